//! Random numbers that a later run can repeat, because the test prints their seed.

use super::now;

/// The generator `SplitMix64` (Steele, Lea and Flood, 2014). The same seed gives the same numbers.
pub(crate) struct SeededRng(u64);

impl SeededRng {
    pub(crate) const fn of(seed: u64) -> Self {
        Self(seed)
    }

    /// Returns a random number from `0..sides`.
    pub(crate) fn below(&mut self, sides: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((mixed ^ (mixed >> 31)) % u64::try_from(sides).unwrap()).unwrap()
    }
}

/// Returns the seed in `PARLOR_IT_SEED`, or a seed from the current time. Prints the seed. The same seed makes the same
/// plan, but not the same run, because the servers' timing differs.
pub(crate) fn seed() -> u64 {
    let given = std::env::var("PARLOR_IT_SEED").ok().map(|seed| seed.parse().expect("a seed is a number"));
    let seed = given.unwrap_or_else(|| u64::try_from(now().as_micros()).unwrap());
    eprintln!("PARLOR_IT_SEED={seed} makes the same plan again");
    seed
}
