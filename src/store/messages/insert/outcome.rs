//! Finds out whether a message was written. This is needed after an attempt with an unknown outcome, and if the
//! message's number or `client_id` is already in use.

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

/// A stored message that has the number of an earlier attempt.
struct FoundMessage {
    write_id: Option<ObjectId>,
    at: Time,
}

impl MessageWriterTask {
    /// Waits until a majority has stored the message with number `n`. Before that, this message may be rolled back. A
    /// message with the next number would then leave a hole.
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

    /// Answers the messages that an earlier attempt wrote, and returns the other messages. If the database can't be
    /// read, returns all messages unchanged.
    ///
    /// For each message with number n from an earlier attempt, one of these cases applies:
    ///
    /// - The message is stored with number n. It gets its answer.
    /// - Another message is stored with number n. The message loses the number, and so do all later messages of the
    ///   batch without a stored message. The earlier attempt was ordered and ended here, so it did not write these
    ///   messages.
    /// - No message is stored with number n. The message keeps the number, because the earlier attempt may still be
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

    /// Reads the stored messages with the numbers from earlier attempts. One read serves the whole batch, because all
    /// its rooms wait for the read.
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
            // A message that another program inserted may have no time.
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
