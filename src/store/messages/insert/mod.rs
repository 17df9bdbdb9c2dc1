//! Writes messages in batches (group commit): one task takes all queued messages and writes them with one ordered
//! `insert`. During this write, the next messages wait in the queue. On an idle server, a single message is written
//! immediately. Under load, the task waits a few milliseconds, so that batches are larger
//! ([`batching`](crate::store::batching)).
//!
//! Guarantees:
//! - Once: a message that is reported as written is stored exactly once, by a majority of the database's members.
//! - No holes: a message number of a room is used only after all lower numbers of the room. The inserts are ordered.
//!   Therefore the messages of a room keep the order in which they were queued, even if a batch is tried again.
//! - No locks: two servers may try to use the same number. The second insert fails with a duplicate key error. The
//!   server of the second insert then reads the room's last number from majority-committed data, and continues after
//!   this number.
//! - Unknown outcomes: if the outcome of an attempt is unknown, the task looks for each message by its number and its
//!   `write_id`. Messages that are not found keep their numbers in the next attempt. If the first attempt is still
//!   running, only one of the two attempts can insert a message with a given number.
//! - `client_id`: if a sender sends several messages with the same `client_id` to a room, a unique index lets only one
//!   of these messages be written. Every caller that sent one of these messages gets the number of the written message.

pub(crate) mod attempt;
mod numbers;
pub(crate) mod outcome;
pub(crate) mod standing;
#[cfg(test)]
mod tests;

use std::collections::HashSet;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use handlers::{MessageId, Time};
use mongodb::Database;
use mongodb::error::Error;
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;
use tracing::Instrument;

use self::attempt::InsertOutcome;
use super::sequence_cache::LastMessage;
use crate::config;
use crate::store::batching::BatchPacer;
use crate::store::messages::draft::UnwrittenMessage;
use crate::store::{SequenceCache, Store, StoreError};
use crate::supervisor::Supervisor;
use crate::telemetry::metrics::Metrics;

/// The pause before a failed batch is tried again. It is short, because a broken connection is replaced soon. The
/// election of a new primary takes seconds. During an election, the task tries again several times.
const RETRY_PAUSE: Duration = Duration::from_millis(50);

/// A message that waits to be written, with the channel for its answer.
struct QueuedMessage {
    draft: UnwrittenMessage,
    /// The time at which the caller stops waiting. After this time, the task does not try to write the message.
    deadline: Instant,
    /// The last time at which the sender was known to be a member of the room.
    vouched: Instant,
    /// The number that an earlier attempt with an unknown outcome gave to the message. None if there was no such
    /// attempt.
    tried: Option<i64>,
    done: oneshot::Sender<Result<Written, StoreError>>,
}

/// A message that a majority of the database's members has stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Written {
    /// This call wrote the message, with this number and time.
    New(MessageId, Time),
    /// An earlier call wrote a message with the same `client_id`. This is its number.
    Before(MessageId),
}

/// Formats the `write_id`s of a batch for the log.
struct RequestIds<'a>(&'a [QueuedMessage]);

impl fmt::Debug for RequestIds<'_> {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut list = to.debug_list();
        for entry in self.0 {
            list.entry(&format_args!("{}", entry.draft.write_id));
        }
        list.finish()
    }
}

/// The sending side of the writing task's queue. The task runs until the supervisor stops it. Each caller waits until
/// its message is written. Therefore a shutdown that waits for the callers need not flush the queue.
#[derive(Clone)]
pub struct Writer {
    queue: mpsc::Sender<QueuedMessage>,
    metrics: Arc<Metrics>,
}

impl Writer {
    pub(in crate::store) fn start(
        store: Store,
        db: Database,
        pace: BatchPacer,
        limits: &config::LimitsConfig,
        metrics: Arc<Metrics>,
        supervisor: &Supervisor,
    ) -> Self {
        let (queue, entries) = mpsc::channel(limits.write_queue);
        let (numbers, batch) = (store.numbers(), limits.batch);
        let task = MessageWriterTask { numbers, store, db, pace, batch, metrics: metrics.clone() };
        supervisor.spawn("writer", task.run(entries));
        Self { queue, metrics }
    }

    /// Writes a message. Returns its number after a majority has stored the message. The `write_id` must be unique.
    ///
    /// # Errors
    /// After `Full`, `Unreachable` and `NotMember`, nothing was written. `Fault` means that the database rejected the
    /// message. `Unknown` means that the outcome of the write was still unknown at `deadline`.
    pub(crate) async fn append(
        &self,
        draft: UnwrittenMessage,
        deadline: Instant,
    ) -> Result<Written, StoreError> {
        let (done, written) = oneshot::channel();
        let entry = QueuedMessage { draft, deadline, vouched: Instant::now(), tried: None, done };
        if self.queue.try_send(entry).is_err() {
            self.metrics.bound_hit("write_queue");
            return Err(StoreError::Full);
        }
        written.await.unwrap_or(Err(StoreError::Unknown(None)))
    }

    /// Returns the number of queued messages.
    pub(crate) fn waiting(&self) -> usize {
        self.queue.max_capacity() - self.queue.capacity()
    }
}

struct MessageWriterTask {
    store: Store,
    /// The database, with a client whose driver doesn't retry writes.
    db: Database,
    pace: BatchPacer,
    numbers: Arc<SequenceCache>,
    batch: usize,
    metrics: Arc<Metrics>,
}

impl MessageWriterTask {
    async fn run(self, mut entries: mpsc::Receiver<QueuedMessage>) {
        let mut batch = Vec::with_capacity(self.batch);
        while entries.recv_many(&mut batch, self.batch).await > 0 {
            self.pace.gather(batch.len()).await;
            while batch.len() < self.batch
                && let Ok(entry) = entries.try_recv()
            {
                batch.push(entry);
            }
            self.pace.record_batch(batch.len());
            self.metrics.batch(batch.len());
            while !batch.is_empty() {
                let later = batch.split_off(attempt::in_one_command(&batch));
                self.write(std::mem::replace(&mut batch, later)).await;
            }
            batch.reserve(self.batch.min(entries.len()));
        }
    }

    /// Writes a batch. Returns after the callers of all its messages have their answers.
    async fn write(&self, mut batch: Vec<QueuedMessage>) {
        loop {
            batch = Self::expire(batch);
            batch = match self.refuse_former_members(batch).await {
                Ok(batch) => batch,
                Err((waiting, error)) => {
                    self.pause("read which senders are still members", &error).await;
                    batch = waiting;
                    continue;
                }
            };
            if batch.is_empty() {
                return;
            }
            let numbers = match self.numbers_for(&batch).await {
                Ok(numbers) => numbers,
                Err(error) => {
                    self.pause("read a room's last number", &error).await;
                    continue;
                }
            };
            match self.attempt(&batch, &numbers).await {
                InsertOutcome::Written => return self.answer(batch, &numbers),
                InsertOutcome::Taken(at) => {
                    let mut rest = batch.split_off(at);
                    self.answer(batch, &numbers);
                    rest[0].tried = Some(numbers[at].n);
                    self.await_majority(&rest[0], numbers[at].n).await;
                    batch = self.look_up(rest).await;
                }
                InsertOutcome::Repeated(at) => {
                    let mut rest = batch.split_off(at);
                    self.answer(batch, &numbers);
                    let repeated = rest.remove(0);
                    self.renumber(repeated.draft.room, &mut rest);
                    batch = match self.written_before(&repeated.draft).await {
                        Ok(Some(written)) => {
                            let _ = repeated.done.send(Ok(written));
                            rest
                        }
                        // A majority has not stored the earlier message yet. The earlier message may still be rolled
                        // back, so the batch is tried again.
                        Ok(None) => {
                            tokio::time::sleep(RETRY_PAUSE).await;
                            rest.insert(0, repeated);
                            rest
                        }
                        Err(error) => {
                            self.pause("look up a repeated message", &error).await;
                            rest.insert(0, repeated);
                            rest
                        }
                    };
                }
                InsertOutcome::NotBegun(error) => self.pause("write messages", &error).await,
                InsertOutcome::Unknown(error) => {
                    self.pause("write messages", &error).await;
                    for (entry, n) in batch.iter_mut().zip(&numbers) {
                        entry.tried = Some(n.n);
                        self.numbers.remove(entry.draft.room);
                    }
                    batch = self.look_up(batch).await;
                }
                InsertOutcome::Refused(at, error) => {
                    let mut rest = batch.split_off(at);
                    self.answer(batch, &numbers);
                    let refused = rest.remove(0);
                    self.renumber(refused.draft.room, &mut rest);
                    Self::refuse(refused, &error);
                    batch = rest;
                }
                InsertOutcome::AllRefused(error) => {
                    return batch.into_iter().for_each(|entry| Self::refuse(entry, &error));
                }
            }
        }
    }

    fn refuse(entry: QueuedMessage, error: &Error) {
        let _ = entry.done.send(Err(StoreError::Fault(Box::new(error.clone()))));
    }

    /// Answers the callers of the messages whose deadline has passed. Returns the other messages.
    ///
    /// If an earlier attempt tried to write an expired message, the message may or may not be stored. If it is not
    /// stored, its number stays unused. Later messages of the room that were in the earlier attempt keep their numbers
    /// in the next attempt. The unused number before them would then be a hole. Therefore the callers of these later
    /// messages are also answered with an error.
    fn expire(batch: Vec<QueuedMessage>) -> Vec<QueuedMessage> {
        let now = Instant::now();
        let mut given_up = HashSet::new();
        let (late, rest): (Vec<_>, Vec<_>) = batch.into_iter().partition(|entry| {
            let tried = entry.tried.is_some();
            let late = entry.deadline <= now || (tried && given_up.contains(&entry.draft.room));
            if late && tried {
                given_up.insert(entry.draft.room);
            }
            late
        });
        for entry in late {
            let error =
                if entry.tried.is_some() { StoreError::Unknown(None) } else { StoreError::Unreachable(None) };
            let _ = entry.done.send(Err(error));
        }
        rest
    }

    async fn attempt(&self, batch: &[QueuedMessage], numbers: &[LastMessage]) -> InsertOutcome {
        let (db, command, messages) = (self.db.clone(), attempt::insert(batch, numbers), batch.len());
        let began = Instant::now();
        let insert =
            self.store.run_detached(async move { Ok(InsertOutcome::run(&db, command, messages).await) });
        let inserted = insert.instrument(tracing::debug_span!("commit", messages)).await;
        self.metrics.committed(began.elapsed());
        tracing::debug!(requests = ?RequestIds(batch), ms = began.elapsed().as_millis(), "wrote a batch");
        inserted.unwrap_or_else(InsertOutcome::Unknown)
    }

    fn answer(&self, written: Vec<QueuedMessage>, numbers: &[LastMessage]) {
        for (entry, last) in written.into_iter().zip(numbers) {
            self.numbers.record(entry.draft.room, *last);
            let id = MessageId::try_from(last.n).map(|id| Written::New(id, last.at));
            let id = id.map_err(|error| StoreError::Fault(Box::new(error)));
            // The send fails if the caller no longer waits. The message is written even then.
            let _ = entry.done.send(id);
        }
    }

    async fn pause(&self, action: &str, error: &StoreError) {
        self.metrics.count_fault("writer");
        tracing::warn!(%error, "could not {action}; trying again");
        tokio::time::sleep(RETRY_PAUSE).await;
    }
}
