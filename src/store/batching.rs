//! The pace of group commit. A batch costs the database the same commit, flush and round of change events whether it is of
//! five or of fifty; so while much comes, each lingers for a moment, and takes what comes meanwhile with it. Clients who wait
//! for their answers come in bursts, all that were in one batch together: without lingering the first of a burst goes alone,
//! and all others wait for it.
//!
//! Measured with 6.0.5 on two cores, medians of three runs in turn; processor time of server and database for that of the load
//! generator, which does the same for each message. Saturated, 200 rooms: 3.48, and with a wait after each batch of [`MANY`]
//! instead 3.87 (in another hour 3.73 and 3.94): of 1,025 batches 380 were then of up to four messages. At 4,000/s 4.02 and
//! 4.69, to the peer 10.3 and 9.4 ms at the median, 24 and 28 at p99. Lingering 2 or 4 ms, or until 48 or 64 wait: less done,
//! or more time. Letting those with [`ENOUGH`] go at once is simpler than common moments for messages and receipts, and no
//! worse: 3.91 and 3.87 saturated (four runs each), 3.95 and 4.07 at 4,000/s. Two writers or three, by room, make smaller batches:
//! 4.10 and 4.08 where one took 3.86, for as many messages.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::{Instant, sleep};

/// A batch of so many or more says that much comes. Above 1,000 messages/s: of these, with two marks each, there come 6
/// and 12 in 6 ms.
const MANY: usize = 16;

/// Much comes, for so long after the last batch of [`MANY`]: for longer than clients take from one burst to the next.
const BUSY: Duration = Duration::from_millis(48);

/// How long a batch waits for more to come.
const LINGER: Duration = Duration::from_millis(3);

/// So many need no more.
const ENOUGH: usize = 96;

/// What the writers of one server go by.
#[derive(Clone)]
pub(super) struct Pace {
    enough: usize,
    /// When the last batch of [`MANY`] was taken, by any of them.
    many: Arc<Mutex<Option<Instant>>>,
}

impl Pace {
    /// For batches of so many at most.
    pub(super) fn of(batch: usize) -> Self {
        Self { enough: ENOUGH.min(batch), many: Arc::default() }
    }

    /// To be called where so many wait to be written; resolves when they may be taken, with all that came meanwhile: at once
    /// where little comes, else after [`LINGER`] at most.
    pub(super) async fn gather(&self, waiting: usize) {
        let many = *self.many.lock().unwrap_or_else(PoisonError::into_inner);
        if waiting < self.enough && many.is_some_and(|many| many.elapsed() < BUSY) {
            sleep(LINGER).await;
        }
    }

    /// To be called with each batch that is taken.
    pub(super) fn took(&self, batch: usize) {
        if batch >= MANY {
            *self.many.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    fn at_once(pace: &Pace, waiting: usize) -> bool {
        pace.gather(waiting).now_or_never().is_some()
    }

    #[tokio::test]
    async fn where_little_comes_nothing_waits() {
        let pace = Pace::of(500);
        assert!(at_once(&pace, 1));
        pace.took(MANY - 1);
        assert!(at_once(&pace, MANY - 1));
    }

    #[tokio::test]
    async fn a_full_batch_waits_for_no_more() {
        let pace = Pace::of(MANY);
        pace.took(MANY);
        assert!(at_once(&pace, MANY) && !at_once(&pace, MANY - 1));
    }

    #[tokio::test]
    async fn while_much_comes_a_batch_waits_for_more_unless_it_has_enough() {
        let pace = Pace::of(500);
        let began = Instant::now();
        pace.clone().took(MANY);
        pace.gather(ENOUGH - 1).await;
        assert!(began.elapsed() >= LINGER);
        pace.took(MANY);
        assert!(at_once(&pace, ENOUGH));
        sleep(BUSY).await;
        assert!(at_once(&pace, 1), "it is over");
    }
}
