//! Gives the messages of a batch their numbers. A room's messages are numbered from 1 without holes.

use std::collections::{HashMap, HashSet};

use futures_util::{StreamExt, TryStreamExt, stream};
use handlers::RoomId;

use super::{MessageWriterTask, QueuedMessage};
use crate::store::StoreError;
use crate::store::messages::sequence_cache::LastMessage;

/// The maximum number of concurrent reads of a room's last number, when the number is not in the cache. A read usually
/// waits for the network, and costs the database little. In a measurement, 200 reads one after the other delayed all
/// messages by 100 ms.
const ROOMS_READ: usize = 16;

impl MessageWriterTask {
    /// Returns a number and a time for each message. A message with an earlier attempt keeps the number from that
    /// attempt. Any other message gets the next number of its room. The time of a message is not earlier than the time
    /// of the message before it in the room.
    pub(super) async fn numbers_for(&self, batch: &[QueuedMessage]) -> Result<Vec<LastMessage>, StoreError> {
        let mut last = self.last_numbers(batch).await?;
        let number = |entry: &QueuedMessage| {
            let last = last.entry(entry.draft.room).or_default();
            let own = LastMessage { n: entry.tried.unwrap_or(last.n + 1), at: entry.draft.at.max(last.at) };
            *last = last.max(own);
            own
        };
        Ok(batch.iter().map(number).collect())
    }

    /// Returns the last number of each room in a batch. Numbers that are not in the cache are read concurrently,
    /// because the whole batch waits for them.
    async fn last_numbers(
        &self,
        batch: &[QueuedMessage],
    ) -> Result<HashMap<RoomId, LastMessage>, StoreError> {
        let mut last = HashMap::with_capacity(batch.len());
        let mut unknown = HashSet::new();
        for room in batch.iter().map(|entry| entry.draft.room) {
            if let Some(known) = self.numbers.last(room) {
                last.insert(room, known);
            } else {
                unknown.insert(room);
            }
        }
        let read = |room| async move { Ok::<_, StoreError>((room, self.store.last_number(room).await?)) };
        let mut found = stream::iter(unknown).map(read).buffer_unordered(ROOMS_READ);
        while let Some((room, read)) = found.try_next().await? {
            self.numbers.record(room, read);
            last.insert(room, read);
        }
        Ok(last)
    }

    /// Frees the numbers of a room's messages in `behind`, after an earlier message of the room was not written. The
    /// inserts are ordered and ended at the earlier message, so the messages in `behind` were not written either. If
    /// these messages kept their numbers, the number of the earlier message would be a hole.
    pub(super) fn renumber(&self, room: RoomId, behind: &mut [QueuedMessage]) {
        self.numbers.remove(room);
        for entry in behind.iter_mut().filter(|entry| entry.draft.room == room) {
            entry.tried = None;
        }
    }
}
