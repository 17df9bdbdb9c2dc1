//! Group commit: one task takes all messages that wait and writes them as one ordered `insert_many`; meanwhile
//! the next batch gathers. On an idle server a single message is written at once; on a busy one batches keep a
//! [`pace`](super::pace).
//!
//! What it promises:
//! - A message that is reported as written is on a majority of the database, once.
//! - A room's numbers have no hole, and its messages keep the order in which they were handed in, in a batch as
//!   in a retry: inserts go ordered, and a number is given only after the ones before it are taken.
//! - Nobody holds a lock. A number that another server took in the meantime is met as a duplicate key; the
//!   room's true end is read, from the majority, and the rest of the batch goes on from there.
//! - A write of unknown outcome is looked up, by the id that each message carries for this, before it is tried
//!   again, and is tried again with the same number, so that a delayed first try can only collide with it.
//! - Of the messages to which a sender gives one `client_id` in a room one is written: a unique index says which, and
//!   whoever comes later is given its number.

mod attempt;
#[cfg(test)]
mod tests;

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bson::{RawBsonRef, doc};
use futures_util::{StreamExt, TryStreamExt, stream};
use handlers::{MessageId, RoomId};
use mongodb::Database;
use mongodb::error::Error;
use mongodb::options::ReadConcern;
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;
use tracing::Instrument;

use self::attempt::Attempt;
use super::documents::{self, Draft};
use super::pace::Pace;
use super::{LastNumbers, Store, StoreError};
use crate::config;
use crate::metrics::Metrics;
use crate::supervisor::Supervisor;

/// The pause before a batch is tried again. An election takes seconds, a connection that broke much less.
const RETRY_PAUSE: Duration = Duration::from_millis(50);

/// Rooms whose last numbers are read at once, of a batch with rooms that no one here has open. A read waits for the
/// database more than it has it work: one after the other 200 of them kept all messages waiting for 100 ms.
const ROOMS_READ: usize = 16;

/// One message on its way.
struct Entry {
    draft: Draft,
    /// When its caller stops waiting; it isn't begun after that.
    deadline: Instant,
    /// The number it was last tried with, where the outcome of that is unknown.
    tried: Option<i64>,
    done: oneshot::Sender<Result<Written, StoreError>>,
}

/// A message that is on a majority of the database.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Written {
    /// By this call.
    New(MessageId),
    /// By an earlier one, with the same `client_id`.
    Before(MessageId),
}

/// Shows which requests are in a batch.
struct Requests<'a>(&'a [Entry]);

impl fmt::Debug for Requests<'_> {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut list = to.debug_list();
        for entry in self.0 {
            list.entry(&format_args!("{}", entry.draft.write_id));
        }
        list.finish()
    }
}

/// Hands messages to the writing task, which runs until it is told to stop. Whoever waits for an answer from it
/// waits for the write: there is nothing to be emptied besides.
#[derive(Clone)]
pub struct Writer {
    queue: mpsc::Sender<Entry>,
    metrics: Arc<Metrics>,
}

impl Writer {
    pub(super) fn start(
        store: Store,
        db: Database,
        pace: Pace,
        limits: &config::Limits,
        metrics: Arc<Metrics>,
        supervisor: &Supervisor,
    ) -> Self {
        let (queue, entries) = mpsc::channel(limits.write_queue);
        let (numbers, batch) = (store.numbers(), limits.batch);
        let task = Task { numbers, store, db, pace, batch, metrics: metrics.clone() };
        supervisor.spawn("writer", task.run(entries));
        Self { queue, metrics }
    }

    /// Writes a message and gives its number once a majority has it. The `write_id` is its own and no other's.
    ///
    /// # Errors
    /// `Full` and `Unreachable`: nothing was written. `Unknown`: it could not be learnt before `deadline`.
    pub(crate) async fn append(&self, draft: Draft, deadline: Instant) -> Result<Written, StoreError> {
        let (done, written) = oneshot::channel();
        let entry = Entry { draft, deadline, tried: None, done };
        if self.queue.try_send(entry).is_err() {
            self.metrics.limit("write_queue");
            return Err(StoreError::Full);
        }
        written.await.unwrap_or(Err(StoreError::Unknown(None)))
    }

    /// Messages that wait to be taken.
    pub(crate) fn waiting(&self) -> usize {
        self.queue.max_capacity() - self.queue.capacity()
    }
}

struct Task {
    store: Store,
    /// By a client that doesn't repeat what fails.
    db: Database,
    pace: Pace,
    numbers: Arc<LastNumbers>,
    batch: usize,
    metrics: Arc<Metrics>,
}

impl Task {
    async fn run(self, mut entries: mpsc::Receiver<Entry>) {
        let (mut batch, mut began) = (Vec::with_capacity(self.batch), Instant::now());
        while entries.recv_many(&mut batch, self.batch).await > 0 {
            self.pace.gather(batch.len(), began).await;
            while batch.len() < self.batch
                && let Ok(entry) = entries.try_recv()
            {
                batch.push(entry);
            }
            began = Instant::now();
            self.pace.took(batch.len());
            self.metrics.batch(batch.len());
            while !batch.is_empty() {
                let later = batch.split_off(attempt::in_one_command(&batch));
                self.write(std::mem::replace(&mut batch, later)).await;
            }
            batch.reserve(self.batch.min(entries.len()));
        }
    }

    /// Writes a batch to its end: each entry is answered when this returns.
    async fn write(&self, mut batch: Vec<Entry>) {
        loop {
            batch = Self::expire(batch);
            if batch.is_empty() {
                return;
            }
            let numbers = match self.numbers_for(&batch).await {
                Ok(numbers) => numbers,
                Err(error) => {
                    self.pause("reading a room's last number", &error).await;
                    continue;
                }
            };
            match self.attempt(&batch, &numbers).await {
                Attempt::Written => return self.answer(batch, &numbers),
                Attempt::Taken(at) => {
                    let mut rest = batch.split_off(at);
                    self.answer(batch, &numbers);
                    rest[0].tried = Some(numbers[at]);
                    self.await_majority(&rest[0], numbers[at]).await;
                    batch = self.look_up(rest).await;
                }
                Attempt::Repeated(at) => {
                    let mut rest = batch.split_off(at);
                    self.answer(batch, &numbers);
                    let repeated = rest.remove(0);
                    self.renumber(repeated.draft.room, &mut rest);
                    batch = match self.written_before(&repeated.draft).await {
                        Ok(Some(written)) => {
                            let _ = repeated.done.send(Ok(written));
                            rest
                        }
                        // The first one isn't on a majority yet, and may still be rolled back.
                        Ok(None) => {
                            tokio::time::sleep(RETRY_PAUSE).await;
                            rest.insert(0, repeated);
                            rest
                        }
                        Err(error) => {
                            self.pause("looking up a repeated message", &error).await;
                            rest.insert(0, repeated);
                            rest
                        }
                    };
                }
                Attempt::NotBegun(error) => self.pause("writing messages", &error).await,
                Attempt::Unknown(error) => {
                    self.pause("writing messages", &error).await;
                    for (entry, n) in batch.iter_mut().zip(&numbers) {
                        entry.tried = Some(*n);
                        self.numbers.forget(entry.draft.room);
                    }
                    batch = self.look_up(batch).await;
                }
                Attempt::Refused(at, error) => {
                    let mut rest = batch.split_off(at);
                    self.answer(batch, &numbers);
                    let refused = rest.remove(0);
                    self.renumber(refused.draft.room, &mut rest);
                    Self::refuse(refused, &error);
                    batch = rest;
                }
                Attempt::AllRefused(error) => {
                    return batch.into_iter().for_each(|entry| Self::refuse(entry, &error));
                }
            }
        }
    }

    /// One of this room has no number after all. Those behind it were never written, for every try was ordered and ended
    /// there: they take numbers anew, or it would leave a hole.
    fn renumber(&self, room: RoomId, behind: &mut [Entry]) {
        self.numbers.forget(room);
        for entry in behind.iter_mut().filter(|entry| entry.draft.room == room) {
            entry.tried = None;
        }
    }

    fn refuse(entry: Entry, error: &Error) {
        let _ = entry.done.send(Err(StoreError::Fault(Box::new(error.clone()))));
    }

    /// Answers those whose time is over; gives back the rest.
    ///
    /// One that may be written or not takes with it those behind it in its room that may be, too: they keep their
    /// numbers, and without the one before them these would have a hole.
    fn expire(batch: Vec<Entry>) -> Vec<Entry> {
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

    /// A number for each entry: the one it was tried with, else the next of its room.
    async fn numbers_for(&self, batch: &[Entry]) -> Result<Vec<i64>, StoreError> {
        let mut last = self.last_numbers(batch).await?;
        let number = |entry: &Entry| {
            let last = last.entry(entry.draft.room).or_default();
            let n = entry.tried.unwrap_or(*last + 1);
            *last = n.max(*last);
            n
        };
        Ok(batch.iter().map(number).collect())
    }

    /// The last number of each room in a batch. Those that aren't known are read, for all rooms wait meanwhile.
    async fn last_numbers(&self, batch: &[Entry]) -> Result<HashMap<RoomId, i64>, StoreError> {
        let mut last = HashMap::with_capacity(batch.len());
        let mut unknown = HashSet::new();
        for room in batch.iter().map(|entry| entry.draft.room) {
            if let Some(n) = self.numbers.last(room) {
                last.insert(room, n);
            } else {
                unknown.insert(room);
            }
        }
        let read = |room| async move { Ok::<_, StoreError>((room, self.store.last_number(room).await?)) };
        let mut found = stream::iter(unknown).map(read).buffer_unordered(ROOMS_READ);
        while let Some((room, n)) = found.try_next().await? {
            self.numbers.saw(room, n);
            last.insert(room, n);
        }
        Ok(last)
    }

    async fn attempt(&self, batch: &[Entry], numbers: &[i64]) -> Attempt {
        let (db, command) = (self.db.clone(), attempt::insert(batch, numbers));
        let began = Instant::now();
        let insert = self.store.bounded(async move { Ok(Attempt::run(&db, command).await) });
        let inserted = insert.instrument(tracing::debug_span!("commit", messages = batch.len())).await;
        self.metrics.committed(began.elapsed());
        tracing::debug!(requests = ?Requests(batch), ms = began.elapsed().as_millis(), "wrote a batch");
        inserted.unwrap_or_else(Attempt::Unknown)
    }

    /// Waits until the message that has an entry's number is on a majority. What isn't may be rolled back, and
    /// going on from there would leave a hole.
    async fn await_majority(&self, entry: &Entry, n: i64) {
        self.numbers.forget(entry.draft.room);
        while entry.deadline > Instant::now() {
            match self.store.last_number(entry.draft.room).await {
                Ok(last) if last >= n => return,
                Ok(_) => tokio::time::sleep(RETRY_PAUSE).await,
                Err(error) => self.pause("reading a taken number", &error).await,
            }
        }
    }

    /// Answers the entries that an earlier try has written after all, and frees those whose number is another
    /// message's. Gives back what is still to be written.
    ///
    /// An entry of which there is nothing keeps its number, for the first try may still be under way. Behind an
    /// entry that is another's it needn't: the first try was ordered, too, and ends there.
    async fn look_up(&self, batch: Vec<Entry>) -> Vec<Entry> {
        let (mut rest, mut blocked) = (Vec::with_capacity(batch.len()), false);
        let mut entries = batch.into_iter();
        while let Some(mut entry) = entries.next() {
            let found = match entry.tried {
                Some(n) => self.written_as(&entry, n).await,
                None => Ok(None),
            };
            match (found, entry.tried) {
                (Ok(Some(true)), Some(n)) => {
                    self.answer(vec![entry], &[n]);
                    continue;
                }
                (Ok(Some(_)), _) => {
                    self.numbers.forget(entry.draft.room);
                    entry.tried = None;
                    blocked = true;
                }
                (Ok(None), _) if blocked => entry.tried = None,
                (Ok(None), _) => {}
                (Err(error), _) => {
                    self.pause("looking up a write", &error).await;
                    rest.push(entry);
                    rest.extend(entries);
                    return rest;
                }
            }
            rest.push(entry);
        }
        rest
    }

    /// Whether the message with this number is this entry; none where there is no such message.
    async fn written_as(&self, entry: &Entry, n: i64) -> Result<Option<bool>, StoreError> {
        let messages = self.store.messages.clone();
        let filter = doc! { "_id": { "room": entry.draft.room.get(), "n": n } };
        let found = self
            .store
            .bounded(
                async move { Ok(messages.find_one(filter).read_concern(ReadConcern::majority()).await?) },
            )
            .await?;
        Ok(found.map(|message| {
            matches!(message.get("write_id"), Ok(Some(RawBsonRef::ObjectId(id))) if id == entry.draft.write_id)
        }))
    }

    /// The message that this one's sender gave its `client_id` first, once a majority has it.
    async fn written_before(&self, draft: &Draft) -> Result<Option<Written>, StoreError> {
        let messages = self.store.messages.clone();
        let client_id = draft.client_id.as_ref().map(|id| id.as_str().to_owned());
        let filter = doc! {
            "_id.room": draft.room.get(),
            "sender": documents::user_bson(&draft.sender),
            "client_id": client_id,
        };
        let find = async move {
            let find = messages.find_one(filter).projection(doc! { "_id": 1, "write_id": 1 });
            Ok(find.read_concern(ReadConcern::majority()).await?)
        };
        let Some(found) = self.store.bounded(find).await? else { return Ok(None) };
        let id = found.get_document("_id").map_err(documents::Undecodable::from)?;
        let (_, id) = documents::read_message_id(id)?;
        // One of unknown outcome may meet itself.
        let mine = documents::read_request(&found, "write_id")? == Some(draft.write_id);
        Ok(Some(if mine { Written::New(id) } else { Written::Before(id) }))
    }

    fn answer(&self, written: Vec<Entry>, numbers: &[i64]) {
        for (entry, n) in written.into_iter().zip(numbers) {
            self.numbers.saw(entry.draft.room, *n);
            let id = MessageId::try_from(*n).map(Written::New);
            let id = id.map_err(|error| StoreError::Fault(Box::new(error)));
            // A caller that is gone has its message all the same.
            let _ = entry.done.send(id);
        }
    }

    async fn pause(&self, what: &str, error: &StoreError) {
        self.metrics.fault("writer");
        tracing::warn!(%error, "{what} failed; trying again");
        tokio::time::sleep(RETRY_PAUSE).await;
    }
}
