//! Edits and deletes, numbered within their room: 1, 2, 3, as its messages are, and in the same way.
//!
//! A message has the number of its last revision, and what was revised after another one is a range of an index: that
//! is what a client resumes by. Nobody holds a lock across servers. The next number is tried; where another server was
//! faster the index has it already, the room's last one is read from the majority, and the one after it is tried. So a
//! revision is only ever numbered after those before it are safe, and the change stream brings them in this order.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use bson::oid::ObjectId;
use bson::{Bson, Document, doc};
use handlers::{MessageId, RoomId};
use mongodb::options::ReadConcern;
use tokio::sync::{Mutex, OwnedMutexGuard};
use tokio::time::Instant;

use super::documents;
use super::rooms::is_duplicate;
use super::{Store, StoreError};

/// The pause before a number is tried again whose taker isn't on a majority yet.
const RETRY_PAUSE: Duration = Duration::from_millis(20);

/// The last revision of rooms, as far as this server knows. Who revises holds his room's until it is written, so that
/// those of one server don't try the same number.
pub(crate) struct Revisions {
    rooms: std::sync::Mutex<HashMap<RoomId, Arc<Mutex<Option<i64>>>>>,
    limit: usize,
}

impl Revisions {
    pub(crate) fn new(limit: usize) -> Self {
        Self { rooms: std::sync::Mutex::default(), limit }
    }

    async fn hold(&self, room: RoomId) -> OwnedMutexGuard<Option<i64>> {
        let last = {
            let mut rooms = self.rooms.lock().unwrap_or_else(PoisonError::into_inner);
            if rooms.len() >= self.limit && !rooms.contains_key(&room) {
                // What is forgotten costs one read.
                rooms.retain(|_, last| Arc::strong_count(last) > 1);
            }
            rooms.entry(room).or_default().clone()
        };
        last.lock_owned().await
    }
}

/// What came of a try to revise a message as a number.
enum Revised {
    Done,
    /// There is none, or it is deleted.
    NoMessage,
    /// The number is another revision's.
    Taken,
}

impl Store {
    /// Changes a message that is not deleted, as its room's next revision. False where there is no such message.
    ///
    /// The driver tries again once by itself, and the server recognises the second try.
    pub(super) async fn revise(
        &self,
        room: RoomId,
        id: MessageId,
        update: Document,
        request: ObjectId,
    ) -> Result<bool, StoreError> {
        let end = Instant::now() + self.operation;
        let mut last = self.revisions.hold(room).await;
        while Instant::now() < end {
            let number = match last.take() {
                Some(last) => last + 1,
                None => self.last_revision(room).await? + 1,
            };
            match self.revise_as(number, room, id, update.clone(), request).await? {
                Revised::Done => {
                    *last = Some(number);
                    return Ok(true);
                }
                Revised::NoMessage => return Ok(false),
                Revised::Taken => tokio::time::sleep(RETRY_PAUSE).await,
            }
        }
        // Others were faster each time: nothing was written.
        Err(StoreError::Unreachable(None))
    }

    async fn revise_as(
        &self,
        number: i64,
        room: RoomId,
        id: MessageId,
        update: Document,
        request: ObjectId,
    ) -> Result<Revised, StoreError> {
        let (messages, update) = (self.messages.clone(), numbered(update, number));
        let filter = doc! {
            "_id": documents::message_id(room, id),
            "deleted_at": { "$exists": false },
            // Of another message the index would have the number; of this one nothing else tells that it is taken.
            "$or": [{ "rev": { "$exists": false } }, { "rev": { "$lt": number } }],
        };
        self.bounded(async move {
            match messages.update_one(filter, update).comment(request).await {
                Ok(updated) if updated.matched_count > 0 => return Ok(Revised::Done),
                Ok(_) => {}
                Err(error) if is_duplicate(&error) => return Ok(Revised::Taken),
                Err(error) => return Err(error.into()),
            }
            let alive = doc! { "_id": documents::message_id(room, id), "deleted_at": { "$exists": false } };
            let there = messages.find_one(alive).projection(doc! { "_id": 1 }).await?.is_some();
            Ok(if there { Revised::Taken } else { Revised::NoMessage })
        })
        .await
    }

    /// The last revision of a room, as a majority has it; 0 where there is none.
    pub(super) async fn last_revision(&self, room: RoomId) -> Result<i64, StoreError> {
        let messages = self.messages.clone();
        let last = self.bounded(async move {
            let find = messages.find_one(revised_after(room, 0)).sort(doc! { "rev": -1 });
            Ok(find.projection(doc! { "rev": 1 }).read_concern(ReadConcern::majority()).await?)
        });
        let last = last.await?;
        Ok(last.map(|last| documents::read_int(&last, "rev")).transpose()?.unwrap_or_default())
    }
}

/// The messages of a room that were revised after this one.
pub(super) fn revised_after(room: RoomId, revision: i64) -> Document {
    doc! { "_id.room": room.get(), "rev": { "$gt": revision } }
}

/// The same change, as the revision of this number. When it was made is the database's own word.
pub(super) fn numbered(mut update: Document, revision: i64) -> Document {
    let set = update.entry("$set".to_owned()).or_insert_with(|| Bson::Document(Document::new()));
    if let Bson::Document(set) = set {
        set.insert("rev", revision);
    }
    update.insert("$currentDate", doc! { "revised": { "$type": "timestamp" } });
    update
}
