//! The numbers of the messages of a batch.

use std::collections::{HashMap, HashSet};

use futures_util::{StreamExt, TryStreamExt, stream};
use handlers::RoomId;

use super::{MessageWriterTask, QueuedMessage};
use crate::store::StoreError;
use crate::store::messages::sequence_cache::LastMessage;

/// The number of rooms whose last numbers are read concurrently, for a batch with rooms that aren't cached. A read is
/// mostly waiting and costs the database little work. One after the other, 200 such reads delayed all messages by
/// 100 ms.
const ROOMS_READ: usize = 16;

impl MessageWriterTask {
    /// Returns a number for each entry: that of its last attempt, or else the room's next. Also returns a time, which
    /// is no earlier than that of the message before it.
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

    /// Returns the last number of each room in a batch. Unknown ones are read concurrently, because all rooms wait
    /// meanwhile.
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

    /// Frees the numbers of a room's entries after one that was not written. Each attempt was ordered and ended at
    /// that one, so they were not written either. With their old numbers they would leave a hole.
    pub(super) fn renumber(&self, room: RoomId, behind: &mut [QueuedMessage]) {
        self.numbers.remove(room);
        for entry in behind.iter_mut().filter(|entry| entry.draft.room == room) {
            entry.tried = None;
        }
    }
}
