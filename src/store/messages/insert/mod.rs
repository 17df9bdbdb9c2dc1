//! Group commit: one task takes all waiting messages and writes them as one ordered `insert`. Meanwhile the next batch
//! gathers. On an idle server a single message is written immediately. On a busy one the task waits a little for
//! larger batches ([`batching`](crate::store::batching)).
//!
//! Guarantees:
//! - A message that is reported as written is on a majority of the database, once.
//! - A room's numbers have no hole, and its messages keep the order in which they were handed in, within a batch and
//!   in a retry. Inserts are ordered, and a number is only given once the numbers before it are used.
//! - Nobody holds a lock. If another server has used a number meanwhile, the insert fails with a duplicate key. Then
//!   the room's last number is read, from the majority, and the rest of the batch continues after it.
//! - After a write of unknown outcome the message is looked up, by the id that each message carries for this, before
//!   the next attempt. That attempt uses the same number, so a delayed first attempt can only collide with it.
//! - Of the messages to which a sender gives the same `client_id` in a room only one is written. A unique index
//!   decides which. Later ones get its number as their answer.

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

/// The pause before a batch is tried again. An election takes seconds, a broken connection much less.
const RETRY_PAUSE: Duration = Duration::from_millis(50);

/// A message that waits to be written.
struct QueuedMessage {
    draft: UnwrittenMessage,
    /// When the caller stops waiting. No attempt starts after that.
    deadline: Instant,
    /// When the sender was last known to be a member of the room.
    vouched: Instant,
    /// The number of its last attempt, if the outcome of that attempt is unknown.
    tried: Option<i64>,
    done: oneshot::Sender<Result<Written, StoreError>>,
}

/// A message that is on a majority of the database.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Written {
    /// Written by this call, with this time.
    New(MessageId, Time),
    /// Written by an earlier call, with the same `client_id`.
    Before(MessageId),
}

/// Lists the requests of a batch, for the log.
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

/// Queues messages for the writing task, which runs until it is told to stop. A caller that waits for its answer waits
/// for the write, so the queue needn't be flushed.
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

    /// Writes a message and returns its number once a majority has it. Its `write_id` must be unique.
    ///
    /// # Errors
    /// `Full`, `Unreachable` and `NotMember`: nothing was written. `Unknown`: the outcome was not known before
    /// `deadline`.
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
    /// The database, through a client that doesn't retry writes.
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

    /// Writes a batch. When this returns, every entry has its answer.
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
                        // The first message isn't on a majority yet, and may still be rolled back.
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

    /// Answers the entries whose deadline has passed. Returns the others.
    ///
    /// If such an entry may already be written, the later entries of its room that may be written are answered, too.
    /// They keep their numbers, and without the entry before them these would leave a hole.
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
            // If the caller is gone, the message is written all the same.
            let _ = entry.done.send(id);
        }
    }

    async fn pause(&self, action: &str, error: &StoreError) {
        self.metrics.count_fault("writer");
        tracing::warn!(%error, "could not {action}; trying again");
        tokio::time::sleep(RETRY_PAUSE).await;
    }
}
