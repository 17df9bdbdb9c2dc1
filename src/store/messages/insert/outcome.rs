//! Finds out whether a message was written. The writer needs this after an attempt with an unknown outcome, and when
//! the message's number or `client_id` is already in use.

use std::collections::HashMap;

use bson::oid::ObjectId;
use bson::{RawDocumentBuf, doc};
use futures_util::TryStreamExt;
use handlers::{RoomId, Time};
use mongodb::options::ReadConcern;
use tokio::time::Instant;

use super::{MessageWriterTask, QueuedMessage, RETRY_PAUSE, Written};
use crate::store::StoreError;
use crate::store::codec;
use crate::store::messages::draft::UnwrittenMessage;
use crate::store::messages::sequence_cache::LastMessage;

/// A stored message that has a number which an earlier attempt tried to use.
struct FoundMessage {
    write_id: Option<ObjectId>,
    at: Time,
}

impl MessageWriterTask {
    /// Waits until a majority has stored the message with number `n`, or until the deadline of `entry`. Until a
    /// majority has stored the message `n`, the database may roll it back. If the writer had already written a message
    /// with the number `n + 1`, the number `n` would then be a hole.
    pub(super) async fn await_majority(&self, entry: &QueuedMessage, n: i64) {
        self.numbers.remove(entry.draft.room);
        while entry.deadline > Instant::now() {
            match self.store.last_number(entry.draft.room).await {
                Ok(last) if last.n >= n => return,
                Ok(_) => tokio::time::sleep(RETRY_PAUSE).await,
                Err(error) => self.pause("read the message of a taken number", &error).await,
            }
        }
    }

    /// Answers the callers of the messages that an earlier attempt wrote, and returns the other messages. If the
    /// database can't be read, returns all messages unchanged.
    ///
    /// For each message to which an earlier attempt gave the number n, one of these cases applies:
    ///
    /// - The message is stored with number n. Its caller gets the answer.
    /// - A different message is stored with number n. The message loses its number. All later messages of the batch
    ///   that are not stored also lose their numbers. The earlier attempt was ordered and ended at the message with
    ///   number n, so it did not write the later messages.
    /// - No message is stored with number n. The message keeps its number, because the earlier attempt may still be
    ///   running.
    pub(super) async fn look_up(&self, batch: Vec<QueuedMessage>) -> Vec<QueuedMessage> {
        let there = match self.with_numbers_of(&batch).await {
            Ok(there) => there,
            Err(error) => {
                self.pause("look up the outcome of a write", &error).await;
                return batch;
            }
        };
        let (mut rest, mut blocked) = (Vec::with_capacity(batch.len()), false);
        for mut entry in batch {
            let room = entry.draft.room;
            match entry.tried.and_then(|n| Some((n, there.get(&(room, n))?))) {
                Some((n, found)) if found.write_id == Some(entry.draft.write_id) => {
                    self.answer(vec![entry], &[LastMessage { n, at: found.at }]);
                    continue;
                }
                Some(_) => {
                    self.numbers.remove(room);
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

    /// Reads the stored messages that have the numbers which earlier attempts tried to use. One read serves the whole
    /// batch, because all rooms of the batch wait for the read.
    async fn with_numbers_of(
        &self,
        batch: &[QueuedMessage],
    ) -> Result<HashMap<(RoomId, i64), FoundMessage>, StoreError> {
        let tried = |entry: &QueuedMessage| Some(doc! { "room": entry.draft.room.get(), "n": entry.tried? });
        let tried: Vec<_> = batch.iter().filter_map(tried).collect();
        let messages = self.store.messages.clone();
        let find = async move {
            let find = messages.find(doc! { "_id": { "$in": tried } });
            let find = find.projection(doc! { "_id": 1, "write_id": 1, "created_at": 1 });
            Ok(find.read_concern(ReadConcern::majority()).await?.try_collect().await?)
        };
        let found: Vec<RawDocumentBuf> = self.store.run_detached(find).await?;
        let known = |message: &RawDocumentBuf| {
            let id = message.get_document("_id").map_err(codec::Undecodable::from)?;
            let (room, id) = codec::read_message_id(id)?;
            let write_id = codec::read_request(message, "write_id")?;
            // A message may have no time if another program inserted it.
            let at = codec::read_time(message, "created_at").unwrap_or(LastMessage::default().at);
            Ok(((room, id.get()), FoundMessage { write_id, at }))
        };
        found.iter().map(known).collect()
    }

    /// Returns the stored message with the draft's sender and `client_id`. Returns none until a majority has stored the
    /// message.
    pub(super) async fn written_before(
        &self,
        draft: &UnwrittenMessage,
    ) -> Result<Option<Written>, StoreError> {
        let Some(client_id) = &draft.client_id else { return Ok(None) };
        let found = self.store.of_client_id(draft.room, &draft.sender, client_id).await?;
        let Some((id, write_id)) = found else { return Ok(None) };
        if write_id != Some(draft.write_id) {
            return Ok(Some(Written::Before(id)));
        }
        // If an earlier attempt had an unknown outcome, the stored message may be the draft itself.
        let at = self.store.sent_at(draft.room, id).await?;
        Ok(Some(Written::New(id, at.unwrap_or(draft.at))))
    }
}
