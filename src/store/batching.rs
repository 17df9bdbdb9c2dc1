//! The timing of group commit. A batch costs the database the same commit, flush and round of change events, whether
//! it has five or fifty messages. So under load each batch waits a little, and takes the messages that arrive
//! meanwhile. Clients that wait for their answers send in bursts: all clients of one batch together. Without the wait
//! the first message of a burst would be written alone, and all others would wait for it.
//!
//! Measured with 6.0.5 on two cores, medians of three runs in turn. The figures are the processor time of server and
//! database, divided by that of the load generator, which does the same for each message. Saturated, 200 rooms: 3.48,
//! and with a wait after each batch of [`MANY`] instead 3.87 (in another hour 3.73 and 3.94): of 1,025 batches 380
//! then had up to four messages. At 4,000/s 4.02 and 4.69, to the peer 10.3 and 9.4 ms at the median, 24 and 28 at
//! p99. Waits of 2 or 4 ms, or until 48 or 64 messages wait: less throughput, or more time. Letting batches of
//! [`ENOUGH`] go immediately is simpler than common times for messages and receipts, and no worse: 3.91 and 3.87
//! saturated (four runs each), 3.95 and 4.07 at 4,000/s. Two or three writers, by room, make smaller batches: 4.10 and
//! 4.08 instead of 3.86 with one, for as many messages.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::{Instant, sleep};

/// A batch of at least this size means load. That is above 1,000 messages/s: with two receipt markers for each
/// message, 6 messages and 12 markers come in 6 ms.
const MANY: usize = 16;

/// The load is taken to last this long after the last batch of [`MANY`]: longer than the time between two bursts of
/// clients.
const BUSY: Duration = Duration::from_millis(48);

/// How long a batch waits for more entries.
const LINGER: Duration = Duration::from_millis(3);

/// A batch of this size doesn't wait.
const ENOUGH: usize = 96;

/// The timing that the writers of one server share.
#[derive(Clone)]
pub(super) struct BatchPacer {
    enough: usize,
    /// When a writer last took a batch of [`MANY`].
    many: Arc<Mutex<Option<Instant>>>,
}

impl BatchPacer {
    /// Creates the timing for batches of at most this size.
    pub(super) fn of(batch: usize) -> Self {
        Self { enough: ENOUGH.min(batch), many: Arc::default() }
    }

    /// Waits until the queued entries, and those that arrive meanwhile, may be taken. Returns immediately without
    /// load, and after [`LINGER`] otherwise. Call it when `waiting` entries are queued.
    pub(super) async fn gather(&self, waiting: usize) {
        let many = *self.many.lock().unwrap_or_else(PoisonError::into_inner);
        if waiting < self.enough && many.is_some_and(|many| many.elapsed() < BUSY) {
            sleep(LINGER).await;
        }
    }

    /// Records the size of a batch that was taken.
    pub(super) fn record_batch(&self, batch: usize) {
        if batch >= MANY {
            *self.many.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    fn at_once(pace: &BatchPacer, waiting: usize) -> bool {
        pace.gather(waiting).now_or_never().is_some()
    }

    #[tokio::test]
    async fn batch_goes_immediately_without_load() {
        let pace = BatchPacer::of(500);
        assert!(at_once(&pace, 1));
        pace.record_batch(MANY - 1);
        assert!(at_once(&pace, MANY - 1));
    }

    #[tokio::test]
    async fn full_batch_goes_immediately() {
        let pace = BatchPacer::of(MANY);
        pace.record_batch(MANY);
        assert!(at_once(&pace, MANY) && !at_once(&pace, MANY - 1));
    }

    #[tokio::test]
    async fn batch_waits_under_load_unless_it_has_enough() {
        let pace = BatchPacer::of(500);
        let began = Instant::now();
        pace.clone().record_batch(MANY);
        pace.gather(ENOUGH - 1).await;
        assert!(began.elapsed() >= LINGER);
        pace.record_batch(MANY);
        assert!(at_once(&pace, ENOUGH));
        sleep(BUSY).await;
        assert!(at_once(&pace, 1), "the load is over");
    }
}
