//! Soak test: random faults for a given time, while clients write. Two servers share a replica set of three `mongod`.
//! On both servers, clients send, receive and reconnect. One random fault follows another. After each fault, the test
//! compares the ledger (the record of acknowledged messages) with the database.
//!
//! Run the test by hand. `SOAK_MINUTES` sets its duration. The default is 30 minutes:
//!
//! ```sh
//! SOAK_MINUTES=120 cargo test --test it -- --ignored --nocapture soak
//! ```

mod faults;
mod world;

use std::time::{Duration, Instant};

use self::faults::Fault;
use self::world::World;
use crate::support::{SeededRng, may_open_many_files, seed};

/// The default duration, in minutes.
const MINUTES: u64 = 30;

fn duration() -> Duration {
    let minutes =
        std::env::var("SOAK_MINUTES").ok().map(|minutes| minutes.parse().expect("a number of minutes"));
    Duration::from_secs(60 * minutes.unwrap_or(MINUTES))
}

/// Prints the seed of the test's random numbers. `PARLOR_IT_SEED` sets the seed, for example to repeat an earlier run.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes as long as it is asked to: SOAK_MINUTES=30 cargo test --test it -- --ignored --nocapture soak"]
async fn soak() {
    may_open_many_files();
    let (mut rng, until) = (SeededRng::of(seed()), Instant::now() + duration());
    let mut world = World::begin(&mut rng).await;
    while Instant::now() < until {
        let fault = Fault::ALL[rng.below(Fault::ALL.len())];
        world.suffers(fault, &mut rng).await;
    }
    world.ends().await;
}
