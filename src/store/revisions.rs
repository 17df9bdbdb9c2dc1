//! Edits and deletes, numbered within their room: a message has the number of its last revision, and what was revised
//! after another one is a range of an index. That is what a client resumes by.
//!
//! Whoever resumes after a number must never lack one that is lower and came later. So the number is taken from the
//! room's document in the transaction that changes the message: a second one on the same room waits for its end, or is
//! run anew. Numbers may have holes. A unique index, as it numbers the messages themselves, would not do: a message
//! that is revised again leaves its number free, and another server could still take it.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError};

use bson::oid::ObjectId;
use bson::{Bson, Document, doc};
use futures_util::FutureExt;
use handlers::{MessageId, RoomId};
use mongodb::ClientSession;
use mongodb::error::Error;
use mongodb::options::ReturnDocument;
use tokio::sync::{Mutex, OwnedMutexGuard};

use super::documents;
use super::{Store, StoreError};

/// Rooms in which something is being revised: on one server one after the other, for they would only run into each
/// other in the database.
#[derive(Default)]
pub(crate) struct Revisions(std::sync::Mutex<HashMap<RoomId, Arc<Mutex<()>>>>);

/// Rooms that are remembered before it is looked which of them nobody waits for.
const REMEMBERED: usize = 1_000;

impl Revisions {
    async fn turn(&self, room: RoomId) -> OwnedMutexGuard<()> {
        let turn = {
            let mut rooms = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            if rooms.len() >= REMEMBERED {
                rooms.retain(|_, turn| Arc::strong_count(turn) > 1);
            }
            rooms.entry(room).or_default().clone()
        };
        turn.lock_owned().await
    }
}

impl Store {
    /// Changes those of these messages that are not deleted, each as a next revision of its room. Gives how many.
    pub(super) async fn revise(
        &self,
        room: RoomId,
        ids: Vec<MessageId>,
        update: Document,
        request: ObjectId,
    ) -> Result<u64, StoreError> {
        let turn = self.revisions.turn(room).await;
        let revision = Revision { store: self.clone(), room, ids, update, request };
        self.bounded(async move {
            // Also for who comes next, until this has come to its end, whether its caller waits for it or not.
            let _turn = turn;
            let mut session = revision.store.client.start_session().await?;
            let transaction = session.start_transaction();
            Ok(transaction.and_run(revision, |session, revision| revision.run(session).boxed()).await?)
        })
        .await
    }
}

/// One change, which the driver may run anew.
struct Revision {
    store: Store,
    room: RoomId,
    ids: Vec<MessageId>,
    update: Document,
    request: ObjectId,
}

impl Revision {
    async fn run(&self, session: &mut ClientSession) -> Result<u64, Error> {
        let Self { store, room, ids, update, request } = self;
        let count = i64::try_from(ids.len()).map_err(Error::custom)?;
        let rooms = store.db.collection::<Document>("rooms");
        let there = doc! { "_id": room.get(), "deleted_at": { "$exists": false } };
        let numbers = rooms.find_one_and_update(there, doc! { "$inc": { "revisions": count } });
        let numbers = numbers.projection(doc! { "revisions": 1 }).return_document(ReturnDocument::After);
        let Some(numbers) = numbers.session(&mut *session).await? else { return Ok(0) };
        let last = numbers.get_i64("revisions").map_err(Error::custom)?;
        let mut revised = 0;
        for (id, number) in ids.iter().zip(last - count + 1..) {
            let alive = doc! { "_id": documents::message_id(*room, *id), "deleted_at": { "$exists": false } };
            let change = store.messages.update_one(alive, numbered(update.clone(), number));
            revised += change.comment(*request).session(&mut *session).await?.matched_count;
        }
        Ok(revised)
    }
}

/// The messages of a room that were revised after this one.
pub(super) fn revised_after(room: RoomId, revision: i64) -> Document {
    doc! { "_id.room": room.get(), "rev": { "$gt": revision } }
}

/// The same change, as the revision of this number. When it was made is the database's own word.
fn numbered(mut update: Document, revision: i64) -> Document {
    let set = update.entry("$set".to_owned()).or_insert_with(|| Bson::Document(Document::new()));
    if let Bson::Document(set) = set {
        set.insert("rev", revision);
    }
    update.insert("$currentDate", doc! { "revised": { "$type": "timestamp" } });
    update
}
