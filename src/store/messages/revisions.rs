//! Edits and deletes, numbered within their room. A message has the number of its last revision, so the changes after
//! a number are a range of an index. Clients resume by it.
//!
//! A client that resumes after a number must never miss a lower number that was written later. So a revision is first
//! written into the journal in its room's document, by the update that also takes its number. Then all revisions in
//! the journal are applied, in order, and removed. Revisions that a dead server left there are applied by the next
//! server that revises something in the room. They are applied in order and once, because a message never takes a
//! number lower than its own. So revisions are always published in order, and any server can finish those of a crashed
//! one. Numbers may have holes.
//!
//! A transaction over both documents would be shorter. But if its server dies, the transaction locks the room's
//! document until the database aborts it after a minute (`transactionLifetimeLimitSeconds`). Meanwhile nothing in the
//! room could be revised. A unique index, which numbers the messages themselves, would not work either: a message that
//! is revised again frees its old number, and another server could still take that.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, PoisonError};

use bson::oid::ObjectId;
use bson::{Bson, Document, doc};
use futures_util::TryStreamExt;
use handlers::{MessageId, RoomId};
use mongodb::Collection;
use mongodb::error::Error;
use mongodb::options::ReturnDocument;
use serde::{Deserialize, Serialize};
use tokio::sync::{Mutex, OwnedMutexGuard};

use crate::store::{Store, StoreError};

/// The locks of rooms in which something is being revised. Revisions of one room run one after the other on a server,
/// because they would only conflict in the database.
#[derive(Default)]
pub(crate) struct RevisionLocks(std::sync::Mutex<HashMap<RoomId, Arc<Mutex<()>>>>);

/// The number of rooms after which locks that nobody waits for are removed.
const REMEMBERED: usize = 1_000;

impl RevisionLocks {
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

/// The maximum of rooms whose journals are read in one pass.
const LEFT: i64 = 1_000;

/// The field that finds the rooms whose journal isn't empty.
pub(in crate::store) const UNFINISHED: &str = "journal.id";

/// A change of messages: the fields to set and the fields to remove.
pub(in crate::store) struct MessageChange {
    pub(in crate::store) set: Document,
    pub(in crate::store) unset: &'static [&'static str],
}

/// The revision state in a room's document.
#[derive(Deserialize)]
struct RoomRevisions {
    #[serde(rename = "_id")]
    room: i64,
    /// The number of the last revision.
    revisions: i64,
    /// Revisions that may not have been applied, in order.
    journal: Vec<PendingRevision>,
}

/// A change of messages. Each of its messages has a revision number of its own.
#[derive(Deserialize, Serialize)]
struct PendingRevision {
    id: ObjectId,
    /// The messages' numbers.
    messages: Vec<i64>,
    set: Document,
    unset: Vec<String>,
}

impl Store {
    /// Waits until no other revision of the room is in progress on this server, for `mongodb.operation_ms` at most.
    pub(in crate::store) async fn revision_turn(
        &self,
        room: RoomId,
    ) -> Result<OwnedMutexGuard<()>, StoreError> {
        let turn = tokio::time::timeout(self.operation, self.revisions.turn(room)).await;
        turn.map_err(|_| StoreError::Unreachable(None))
    }

    /// Changes those of these messages that are not deleted, each as a new revision of its room. Returns how many were
    /// changed.
    pub(in crate::store) async fn revise(
        &self,
        room: RoomId,
        ids: Vec<MessageId>,
        change: MessageChange,
        request: ObjectId,
    ) -> Result<u64, StoreError> {
        let turn = self.revision_turn(room).await?;
        self.revise_in(turn, room, ids, change, request).await
    }

    /// Does the same as [`revise`](Self::revise) with the room's turn already taken. The turn is kept until the
    /// revision has ended.
    pub(in crate::store) async fn revise_in(
        &self,
        turn: OwnedMutexGuard<()>,
        room: RoomId,
        ids: Vec<MessageId>,
        MessageChange { set, unset }: MessageChange,
        request: ObjectId,
    ) -> Result<u64, StoreError> {
        let (id, count) = (ObjectId::new(), ids.len() as u64);
        let messages = ids.into_iter().map(MessageId::get).collect();
        let revision = PendingRevision {
            id,
            messages,
            set,
            unset: unset.iter().map(|&field| field.to_owned()).collect(),
        };
        let store = self.clone();
        self.run_detached(async move {
            // The next revision waits until this one has ended, even if its caller has stopped waiting.
            let _turn = turn;
            let Some(revised) = store.note(room, revision).await? else { return Ok(0) };
            // The journal holds the revision from here on, and some server will apply it. No error may claim that nothing
            // was written.
            let first = store.apply_journal(&revised, request).await.map_err(StoreError::after_a_write)?;
            if first {
                return Ok(count);
            }
            store.count_done(&revised, id).await.map_err(StoreError::after_a_write)
        })
        .await
    }

    /// Applies revisions that dead servers have left in journals: those that an earlier pass has `seen` there. Returns
    /// the revisions in other journals, for the next pass.
    pub(crate) async fn apply_left_revisions(
        &self,
        seen: &HashSet<ObjectId>,
    ) -> Result<HashSet<ObjectId>, StoreError> {
        let rooms = self.rooms();
        let unfinished: Vec<RoomRevisions> = self
            .run_detached(async move {
                let find = rooms.find(doc! { UNFINISHED: { "$exists": true } }).limit(LEFT);
                Ok(find.projection(revised_fields()).await?.try_collect().await?)
            })
            .await?;
        let mut left = HashSet::new();
        for revised in unfinished {
            if !revised.journal.iter().any(|revision| seen.contains(&revision.id)) {
                left.extend(revised.journal.iter().map(|revision| revision.id));
                continue;
            }
            tracing::warn!(room = %revised.room, "found edits or deletes that a dead server left; applying them");
            let store = self.clone();
            let done = self.run_detached(async move { store.apply_journal(&revised, ObjectId::new()).await });
            // A revision that can't be applied doesn't hold up the others.
            if let Err(error) = done.await {
                tracing::warn!(%error, "could not apply left edits or deletes; trying again");
            }
        }
        Ok(left)
    }

    fn rooms(&self) -> Collection<RoomRevisions> {
        self.db.collection("rooms")
    }

    /// Writes a revision into the room's journal. Returns the whole journal, or None if there is no such room.
    async fn note(
        &self,
        room: RoomId,
        revision: PendingRevision,
    ) -> Result<Option<RoomRevisions>, StoreError> {
        let there = doc! { "_id": room.get(), "deleted_at": { "$exists": false } };
        let count = i64::try_from(revision.messages.len()).map_err(Error::custom)?;
        let revision = bson::serialize_to_bson(&revision).map_err(Error::custom)?;
        let update = doc! { "$inc": { "revisions": count }, "$push": { "journal": revision } };
        let rooms = self.rooms();
        let noted = rooms.find_one_and_update(there, update).return_document(ReturnDocument::After);
        Ok(noted.projection(revised_fields()).await?)
    }

    /// Applies the revisions of a journal, in order, and removes them. True if every message was changed by this call.
    async fn apply_journal(&self, revised: &RoomRevisions, request: ObjectId) -> Result<bool, StoreError> {
        let updates: Vec<_> = revised.updates().collect();
        let count = updates.len();
        let command = doc! {
            "update": "messages",
            "updates": updates,
            "ordered": true,
            "writeConcern": { "w": "majority" },
            "comment": request,
        };
        let answer = self.db.run_command(command).await?;
        if answer.contains_key("writeErrors") || answer.contains_key("writeConcernError") {
            tracing::warn!(room = %revised.room, %answer, "could not apply edits or deletes; they stay in the journal");
            return Err(StoreError::Unknown(None));
        }
        let ids: Vec<_> = revised.journal.iter().map(|revision| revision.id).collect();
        let done = doc! { "$pull": { "journal": { "id": { "$in": ids } } } };
        // If this update is lost, the revisions are applied once more, without effect. It waits for a majority only
        // because a write that doesn't can delay others beside it: see `receipts::journal`.
        self.rooms().update_one(doc! { "_id": revised.room }, done).await?;
        Ok(answer.get_i32("n").is_ok_and(|n| usize::try_from(n) == Ok(count)))
    }

    /// Counts the messages that have this revision or a later one.
    async fn count_done(&self, revised: &RoomRevisions, id: ObjectId) -> Result<u64, StoreError> {
        let own = revised.numbered().filter(|(revision, ..)| revision.id == id);
        let done = own.map(|(_, message, number)| doc! { "_id": message, "rev": { "$gte": number } });
        Ok(self.messages.count_documents(doc! { "$or": done.collect::<Vec<_>>() }).await?)
    }
}

impl RoomRevisions {
    /// Returns each message to change, with its new revision number.
    fn numbered(&self) -> impl Iterator<Item = (&PendingRevision, Document, i64)> {
        let all = self.journal.iter().flat_map(move |revision| {
            let messages = revision.messages.iter();
            messages.map(move |n| (revision, doc! { "room": self.room, "n": *n }))
        });
        let count = self.journal.iter().map(|revision| revision.messages.len()).sum::<usize>();
        let first = self.revisions - i64::try_from(count).unwrap_or(i64::MAX) + 1;
        all.zip(first..).map(|((revision, message), number)| (revision, message, number))
    }

    /// Returns the statements of an update. The database stamps the time of each.
    fn updates(&self) -> impl Iterator<Item = Document> {
        self.numbered().map(|(revision, message, number)| {
            let mut set = revision.set.clone();
            set.insert("rev", number);
            let mut change = doc! { "$set": set, "$currentDate": { "revised": { "$type": "timestamp" } } };
            let unset = revision.unset.iter().map(|field| (field.clone(), Bson::from("")));
            change.insert("$unset", unset.collect::<Document>());
            // A revision that was applied before isn't applied again, nor over a later one.
            let rev = doc! { "$not": { "$gte": number } };
            doc! { "q": { "_id": message, "deleted_at": { "$exists": false }, "rev": rev }, "u": change }
        })
    }
}

fn revised_fields() -> Document {
    doc! { "revisions": 1, "journal": 1 }
}

/// Returns a filter for the messages of a room that were revised after this revision.
pub(in crate::store) fn revised_after(room: RoomId, revision: i64) -> Document {
    doc! { "_id.room": room.get(), "rev": { "$gt": revision } }
}
