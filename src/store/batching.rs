//! Decides when a batch is written. The writers of messages and of receipt markers collect several entries and write
//! them in one database command (group commit). A batch costs the database one commit and one flush to disk, whether
//! the batch has five entries or fifty. Therefore, under load, a writer waits 3 ms for more entries before it writes a
//! batch.
//!
//! Clients that wait for the answer to a message before they send the next message send in bursts. All clients whose
//! messages are in one batch get their answers together, and then send their next messages together. Without the wait,
//! the writer would write the first message of a burst alone. All other messages of the burst would wait for this
//! write.
//!
//! The figures below were measured with MongoDB 6.0.5 on two cores. They are medians of three runs; the runs of the
//! compared variants alternated. "This timing" is the code below. The "ratio" is the processor time of server and
//! database, divided by the processor time of the load generator. The load generator does the same work for each
//! message, so a lower ratio is better.
//!
//! - In variant A, a batch waits only if the previous batch had at least [`MANY`] entries. At full speed with 200
//!   rooms, the ratio was 3.48 with this timing and 3.87 with variant A. In another hour, it was 3.73 with this timing
//!   and 3.94 with variant A. With variant A, 380 of 1,025 batches had at most four messages.
//! - At 4,000 messages/s, the ratio was 4.02 with this timing and 4.69 with variant A. The median time until the other
//!   client received a message was 10.3 ms with this timing and 9.4 ms with variant A. The time within which 99 % of
//!   messages arrived was 24 ms with this timing and 28 ms with variant A.
//! - Other values for [`LINGER`] (2 ms, 4 ms) and [`ENOUGH`] (48, 64) gave a lower throughput or took more processor
//!   time.
//! - In variant B, the writers of messages and of receipt markers have one common timer. At full speed, the ratio was
//!   3.87 with variant B and 3.91 with this timing (four runs each). At 4,000 messages/s, the ratio was 4.07 with
//!   variant B and 3.95 with this timing. Variant B is more complex and not better.
//! - In two other variants, several writers each write the messages of a part of the rooms. The ratio was 4.10 with two
//!   writers, 4.08 with three writers, and 3.86 with one writer. The batches of several writers were smaller.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::{Instant, sleep};

/// A batch of at least this many entries is a sign of load.
const MANY: usize = 16;

/// The time for which load is assumed to continue after a batch of at least [`MANY`] entries. It is longer than the
/// time between two bursts of messages.
const BUSY: Duration = Duration::from_millis(48);

/// The time for which a batch waits for more entries under load.
const LINGER: Duration = Duration::from_millis(3);

/// If at least this many entries are queued, a batch is written without a wait.
const ENOUGH: usize = 96;

/// The timing of batches, shared by all writers of one server.
#[derive(Clone)]
pub(super) struct BatchPacer {
    enough: usize,
    /// The time when a writer last took a batch of at least [`MANY`] entries.
    many: Arc<Mutex<Option<Instant>>>,
}

impl BatchPacer {
    /// Creates the timing for batches of at most `batch` entries.
    pub(super) fn of(batch: usize) -> Self {
        Self { enough: ENOUGH.min(batch), many: Arc::default() }
    }

    /// Waits for [`LINGER`] if there is load and the queued entries are fewer than [`ENOUGH`] and fewer than a full
    /// batch. Otherwise returns immediately. `waiting` is the number of queued entries.
    pub(super) async fn gather(&self, waiting: usize) {
        let many = *self.many.lock().unwrap_or_else(PoisonError::into_inner);
        if waiting < self.enough && many.is_some_and(|many| many.elapsed() < BUSY) {
            sleep(LINGER).await;
        }
    }

    /// Records the size of a batch that a writer took.
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

    fn is_immediate(pace: &BatchPacer, waiting: usize) -> bool {
        pace.gather(waiting).now_or_never().is_some()
    }

    #[tokio::test]
    async fn batch_goes_immediately_without_load() {
        let pace = BatchPacer::of(500);
        assert!(is_immediate(&pace, 1));
        pace.record_batch(MANY - 1);
        assert!(is_immediate(&pace, MANY - 1));
    }

    #[tokio::test]
    async fn full_batch_goes_immediately() {
        let pace = BatchPacer::of(MANY);
        pace.record_batch(MANY);
        assert!(is_immediate(&pace, MANY) && !is_immediate(&pace, MANY - 1));
    }

    #[tokio::test]
    async fn batch_waits_under_load_unless_it_has_enough() {
        let pace = BatchPacer::of(500);
        let began = Instant::now();
        pace.clone().record_batch(MANY);
        pace.gather(ENOUGH - 1).await;
        assert!(began.elapsed() >= LINGER);
        pace.record_batch(MANY);
        assert!(is_immediate(&pace, ENOUGH));
        sleep(BUSY).await;
        assert!(is_immediate(&pace, 1), "the load is over");
    }
}
