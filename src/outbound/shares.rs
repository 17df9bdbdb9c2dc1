//! How many requests of one caller are under way: one whose requests hang must not take all places.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Only callers with a request under way are in it, so it holds no more than may be under way in all.
#[derive(Debug)]
pub(super) struct Shares {
    most: usize,
    taken: Mutex<HashMap<u64, usize>>,
}

/// A place of one caller, until it is dropped.
pub(super) struct Share<'a> {
    shares: &'a Shares,
    caller: u64,
}

impl Shares {
    pub(super) fn new(most: usize) -> Self {
        Self { most, taken: Mutex::default() }
    }

    /// A place, where the caller has fewer than may be.
    pub(super) fn take(&self, caller: u64) -> Option<Share<'_>> {
        let mut taken = self.taken();
        let own = taken.entry(caller).or_default();
        if *own >= self.most {
            return None;
        }
        *own += 1;
        Some(Share { shares: self, caller })
    }

    fn taken(&self) -> MutexGuard<'_, HashMap<u64, usize>> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Share<'_> {
    fn drop(&mut self) {
        let mut taken = self.shares.taken();
        if let Some(own) = taken.get_mut(&self.caller) {
            *own -= 1;
            if *own == 0 {
                taken.remove(&self.caller);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_caller_has_a_share_and_gets_it_back() {
        let shares = Shares::new(2);
        let held = [shares.take(1), shares.take(1)];
        assert!(shares.take(1).is_none());
        assert!(shares.take(2).is_some(), "others have their own");
        drop(held);
        assert!(shares.taken().is_empty(), "nothing is kept of who has none under way");
        assert!(shares.take(1).is_some());
    }
}
