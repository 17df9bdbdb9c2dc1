//! What became of a message that may be written or not, or whose number or `client_id` is another's.

use std::collections::HashMap;

use bson::oid::ObjectId;
use bson::{RawDocumentBuf, doc};
use futures_util::TryStreamExt;
use handlers::{RoomId, Time};
use mongodb::options::ReadConcern;
use tokio::time::Instant;

use super::{Entry, RETRY_PAUSE, Task, Written};
use crate::store::StoreError;
use crate::store::codec::{self, Draft};
use crate::store::messages::sequence_cache::Last;

/// A message that has a number with which another was tried.
struct Found {
    write_id: Option<ObjectId>,
    at: Time,
}

impl Task {
    /// Waits until the message that has an entry's number is on a majority. What isn't may be rolled back, and
    /// going on from there would leave a hole.
    pub(super) async fn await_majority(&self, entry: &Entry, n: i64) {
        self.numbers.forget(entry.draft.room);
        while entry.deadline > Instant::now() {
            match self.store.last_number(entry.draft.room).await {
                Ok(last) if last.n >= n => return,
                Ok(_) => tokio::time::sleep(RETRY_PAUSE).await,
                Err(error) => self.pause("reading a taken number", &error).await,
            }
        }
    }

    /// Answers the entries that an earlier try has written after all, and frees those whose number is another
    /// message's. Gives back what is still to be written; all of it, as it was, where that can't be read.
    ///
    /// An entry of which there is nothing keeps its number, for the first try may still be under way. Behind an
    /// entry that is another's it needn't: the first try was ordered, too, and ends there.
    pub(super) async fn look_up(&self, batch: Vec<Entry>) -> Vec<Entry> {
        let there = match self.with_numbers_of(&batch).await {
            Ok(there) => there,
            Err(error) => {
                self.pause("looking up a write", &error).await;
                return batch;
            }
        };
        let (mut rest, mut blocked) = (Vec::with_capacity(batch.len()), false);
        for mut entry in batch {
            let room = entry.draft.room;
            match entry.tried.and_then(|n| Some((n, there.get(&(room, n))?))) {
                Some((n, found)) if found.write_id == Some(entry.draft.write_id) => {
                    self.answer(vec![entry], &[Last { n, at: found.at }]);
                    continue;
                }
                Some(_) => {
                    self.numbers.forget(room);
                    entry.tried = None;
                    blocked = true;
                }
                None if blocked => entry.tried = None,
                None => {}
            }
            rest.push(entry);
        }
        rest
    }

    /// What each message is known by, and its time, that has a number which one of these was tried with. Read at once: all rooms wait
    /// meanwhile.
    async fn with_numbers_of(&self, batch: &[Entry]) -> Result<HashMap<(RoomId, i64), Found>, StoreError> {
        let tried = |entry: &Entry| Some(doc! { "room": entry.draft.room.get(), "n": entry.tried? });
        let tried: Vec<_> = batch.iter().filter_map(tried).collect();
        let messages = self.store.messages.clone();
        let find = async move {
            let find = messages.find(doc! { "_id": { "$in": tried } });
            let find = find.projection(doc! { "_id": 1, "write_id": 1, "created_at": 1 });
            Ok(find.read_concern(ReadConcern::majority()).await?.try_collect().await?)
        };
        let found: Vec<RawDocumentBuf> = self.store.bounded(find).await?;
        let known = |message: &RawDocumentBuf| {
            let id = message.get_document("_id").map_err(codec::Undecodable::from)?;
            let (room, id) = codec::read_message_id(id)?;
            let write_id = codec::read_request(message, "write_id")?;
            // A message that somebody wrote by hand may lack it.
            let at = codec::read_time(message, "created_at").unwrap_or(Last::default().at);
            Ok(((room, id.get()), Found { write_id, at }))
        };
        found.iter().map(known).collect()
    }

    /// The message that this one's sender gave its `client_id` first, once a majority has it.
    pub(super) async fn written_before(&self, draft: &Draft) -> Result<Option<Written>, StoreError> {
        let Some(client_id) = &draft.client_id else { return Ok(None) };
        let found = self.store.of_client_id(draft.room, &draft.sender, client_id).await?;
        let Some((id, write_id)) = found else { return Ok(None) };
        if write_id != Some(draft.write_id) {
            return Ok(Some(Written::Before(id)));
        }
        // One of unknown outcome may meet itself.
        let at = self.store.sent_at(draft.room, id).await?;
        Ok(Some(Written::New(id, at.unwrap_or(draft.at))))
    }
}
