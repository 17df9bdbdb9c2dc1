//! The pace of group commit. A batch costs the database the same commit, flush and round of change events whether it is of
//! five or of fifty; so while much comes, each lingers for a moment, and takes what comes meanwhile with it. Clients who wait
//! for their answers come in bursts, all that were in one batch together: without lingering the first of a burst goes alone,
//! and all others wait for it. Messages and receipts go by one pace, so that one flush of the journal can do for both.
//!
//! Measured with 6.0.5 on two cores, medians of three runs in turn; processor time of server and database for that of the load
//! generator, which does the same for each message. Saturated, 200 rooms: 3.48, and with a wait after each batch of [`MANY`]
//! alone, to the next moment, 3.87 (in another hour 3.73 and 3.94): of 1,025 batches 380 were then of up to four messages. At
//! 4,000/s 4.02 and 4.69, to the peer 10.3 and 9.4 ms at the median, 24 and 28 at p99. Lingering 2 or 4 ms, or until 48 or 64
//! wait: less done, or more time.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::{Instant, sleep, sleep_until};

/// A batch of so many or more says that much comes. Above 1,000 messages/s: of these, with two marks each, there come 6 and
/// 12 in a [`PERIOD`].
const MANY: usize = 16;

/// Much comes, for so long after the last batch of [`MANY`]: for longer than clients take from one burst to the next.
const BUSY: Duration = Duration::from_millis(48);

/// How long a batch waits for more to come.
const LINGER: Duration = Duration::from_millis(3);

/// So many need no more.
const ENOUGH: usize = 96;

/// From one moment at which batches of [`ENOUGH`] are let go to the next.
const PERIOD: Duration = Duration::from_millis(6);

/// What the writers of one server go by.
#[derive(Clone)]
pub(super) struct Pace {
    /// The first moment; the others are whole periods after it.
    start: Instant,
    /// When the last batch of [`MANY`] was taken, by any of them.
    many: Arc<Mutex<Option<Instant>>>,
}

impl Pace {
    pub(super) fn start() -> Self {
        Self { start: Instant::now(), many: Arc::default() }
    }

    /// To be called where so many wait to be written, and the batch before them was begun at `before`; resolves when they may
    /// be taken, with all that came meanwhile: at once where little comes, else within a [`PERIOD`].
    pub(super) async fn gather(&self, waiting: usize, before: Instant) {
        let many = *self.many.lock().unwrap_or_else(PoisonError::into_inner);
        if many.is_none_or(|many| many.elapsed() >= BUSY) {
            return;
        }
        if waiting < ENOUGH {
            sleep(LINGER).await;
        } else {
            sleep_until(self.next(before)).await;
        }
    }

    /// To be called with each batch that is taken.
    pub(super) fn took(&self, batch: usize) {
        if batch >= MANY {
            *self.many.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
        }
    }

    /// The first moment after this instant.
    fn next(&self, instant: Instant) -> Instant {
        let into_period = instant.duration_since(self.start).as_nanos() % PERIOD.as_nanos();
        instant + PERIOD - Duration::from_nanos(u64::try_from(into_period).unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    fn at_once(pace: &Pace, waiting: usize, before: Instant) -> bool {
        pace.gather(waiting, before).now_or_never().is_some()
    }

    #[tokio::test]
    async fn where_little_comes_nothing_waits() {
        let pace = Pace::start();
        assert!(at_once(&pace, 1, pace.start));
        pace.took(MANY - 1);
        assert!(at_once(&pace, MANY - 1, Instant::now()));
    }

    #[tokio::test]
    async fn while_much_comes_a_batch_waits_for_more_unless_it_has_enough() {
        let pace = Pace::start();
        let began = Instant::now();
        pace.clone().took(MANY);
        pace.gather(1, pace.start).await;
        assert!(began.elapsed() >= LINGER);
        pace.took(MANY);
        assert!(!at_once(&pace, ENOUGH, Instant::now()));
        sleep_until(pace.start + PERIOD).await;
        assert!(at_once(&pace, ENOUGH, pace.start));
        sleep(BUSY).await;
        assert!(at_once(&pace, 1, Instant::now()), "it is over");
    }

    #[test]
    fn batches_begun_in_one_period_are_let_go_at_one_moment() {
        let pace = Pace::start();
        let moment = pace.start + 8 * PERIOD;
        for before in [PERIOD, PERIOD / 2, Duration::from_nanos(1)] {
            assert_eq!(pace.next(moment - before), moment);
        }
        assert_eq!(pace.next(moment), moment + PERIOD);
    }
}
