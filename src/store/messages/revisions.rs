//! Writes revisions: edits and deletions, numbered within their room. The document of a message contains the number of
//! the message's last revision. An index on these numbers finds all revisions after a given number. A client resumes
//! after the last revision number that it has received.
//!
//! Revisions must become visible in the order of their numbers. Otherwise a client could resume after a number, and
//! miss a revision with a lower number that becomes visible later. This procedure guarantees the order:
//!
//! - One update of the room's document takes the next number, and appends the revision to a list in the document, the
//!   *journal*.
//! - Then the server applies all revisions in the journal to the messages, in the order of their numbers. After that,
//!   it removes these revisions from the journal.
//! - A server may die and leave revisions in the journal. The next server that writes a revision in the room applies
//!   the remaining revisions, or a background job applies them.
//! - A message never gets a revision number that is lower than its present number. Therefore, if a revision is applied
//!   twice, the second time has no effect.
//!
//! A revision number may stay unused, for example if a message is deleted before an edit of this message is applied.
//!
//! Two shorter designs were rejected:
//!
//! - A transaction over the room's document and the message's document. If the server dies during the transaction, the
//!   room's document stays locked until the database aborts the transaction after a minute
//!   (`transactionLifetimeLimitSeconds`). During this minute, no user could edit or delete a message in the room.
//! - Revision numbers without a counter: each server takes the next number, and a unique index on the messages rejects
//!   a number that another message already has. If a message is edited again, the number of its earlier revision
//!   becomes free, and another server could use this number again.

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

/// A lock for each room. On one server, the revisions of a room are written one after the other. Concurrent updates of
/// the room's document would only conflict in the database.
#[derive(Default)]
pub(crate) struct RevisionLocks(std::sync::Mutex<HashMap<RoomId, Arc<Mutex<()>>>>);

/// The number of rooms whose locks are kept. When this number is reached, unused locks are removed.
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

/// The maximum number of rooms whose journals one run of the background job reads.
const LEFT: i64 = 1_000;

/// The index field that finds rooms with revisions in their journal.
pub(in crate::store) const UNFINISHED: &str = "journal.id";

/// One change for one or more messages: the fields to set and the fields to remove in the document of each message.
pub(in crate::store) struct MessageChange {
    pub(in crate::store) set: Document,
    pub(in crate::store) unset: &'static [&'static str],
}

/// The fields of a room's document that concern revisions.
#[derive(Deserialize)]
struct RoomRevisions {
    #[serde(rename = "_id")]
    room: i64,
    /// The number of the room's last revision.
    revisions: i64,
    /// The revisions that may not be applied yet, in the order of their numbers.
    journal: Vec<PendingRevision>,
}

/// A revision in the journal: one change of one or more messages. Each of these messages gets a separate revision
/// number.
#[derive(Deserialize, Serialize)]
struct PendingRevision {
    id: ObjectId,
    /// The numbers of the messages to change.
    messages: Vec<i64>,
    set: Document,
    unset: Vec<String>,
}

impl Store {
    /// Waits until this server writes no other revision of the room, for at most `mongodb.operation_ms`. Returns the
    /// room's lock.
    pub(in crate::store) async fn revision_turn(
        &self,
        room: RoomId,
    ) -> Result<OwnedMutexGuard<()>, StoreError> {
        let turn = tokio::time::timeout(self.operation, self.revisions.turn(room)).await;
        turn.map_err(|_| StoreError::Unreachable(None))
    }

    /// Applies one change to the messages in `ids`, except to deleted messages. Returns the number of changed messages.
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

    /// Applies a change like [`revise`](Self::revise), for a caller that already holds the room's lock `turn`. Releases
    /// the lock after the change was applied or has failed.
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
            // This task keeps the lock until the revision has ended, even if the caller has stopped waiting.
            let _turn = turn;
            let Some(revised) = store.note(room, revision).await? else { return Ok(0) };
            // The revision is now in the journal, so some server will apply it. Later errors must not say that nothing
            // was written.
            let first = store.apply_journal(&revised, request).await.map_err(StoreError::after_a_write)?;
            if first {
                return Ok(count);
            }
            store.count_done(&revised, id).await.map_err(StoreError::after_a_write)
        })
        .await
    }

    /// Applies the revisions that dead servers left in journals. `seen` contains the revisions that the previous call
    /// found in journals. If a journal still contains one of them, a dead server left this revision. Returns the
    /// revisions in the other journals, which the caller passes as `seen` to the next call.
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
            tracing::warn!(room = %revised.room, "found edits or deletions that a dead server left; applying them");
            let store = self.clone();
            let done = self.run_detached(async move { store.apply_journal(&revised, ObjectId::new()).await });
            // If a revision can't be applied, the revisions of other rooms must not wait for it.
            if let Err(error) = done.await {
                tracing::warn!(%error, "could not apply the edits or deletions that a dead server left; trying again");
            }
        }
        Ok(left)
    }

    fn rooms(&self) -> Collection<RoomRevisions> {
        self.db.collection("rooms")
    }

    /// Writes a revision into the room's journal. Returns the room's revisions. Returns none if the room does not
    /// exist.
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

    /// Applies all revisions of a journal in order, and removes these revisions from the journal. Returns whether every
    /// update of this call changed its message.
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
            tracing::warn!(room = %revised.room, %answer, "could not apply edits or deletions; keeping them in the room's journal");
            return Err(StoreError::Unknown(None));
        }
        let ids: Vec<_> = revised.journal.iter().map(|revision| revision.id).collect();
        let done = doc! { "$pull": { "journal": { "id": { "$in": ids } } } };
        // If this update is lost, a later call applies the revisions again, without effect. The update waits for a
        // majority, because a write that does not wait can delay other writes
        // ([`journal`](crate::store::receipts::journal)).
        self.rooms().update_one(doc! { "_id": revised.room }, done).await?;
        Ok(answer.get_i32("n").is_ok_and(|n| usize::try_from(n) == Ok(count)))
    }

    /// Returns how many messages of the revision `id` have the revision number that this revision gives them, or a
    /// higher number.
    async fn count_done(&self, revised: &RoomRevisions, id: ObjectId) -> Result<u64, StoreError> {
        let own = revised.numbered().filter(|(revision, ..)| revision.id == id);
        let done = own.map(|(_, message, number)| doc! { "_id": message, "rev": { "$gte": number } });
        Ok(self.messages.count_documents(doc! { "$or": done.collect::<Vec<_>>() }).await?)
    }
}

impl RoomRevisions {
    /// Returns the messages of all revisions in the journal, each with its new revision number. A message may occur
    /// several times.
    fn numbered(&self) -> impl Iterator<Item = (&PendingRevision, Document, i64)> {
        let all = self.journal.iter().flat_map(move |revision| {
            let messages = revision.messages.iter();
            messages.map(move |n| (revision, doc! { "room": self.room, "n": *n }))
        });
        let count = self.journal.iter().map(|revision| revision.messages.len()).sum::<usize>();
        let first = self.revisions - i64::try_from(count).unwrap_or(i64::MAX) + 1;
        all.zip(first..).map(|((revision, message), number)| (revision, message, number))
    }

    /// Returns the statements of the update command. The database stamps each message with its cluster time.
    fn updates(&self) -> impl Iterator<Item = Document> {
        self.numbered().map(|(revision, message, number)| {
            let mut set = revision.set.clone();
            set.insert("rev", number);
            let mut change = doc! { "$set": set, "$currentDate": { "revised": { "$type": "timestamp" } } };
            let unset = revision.unset.iter().map(|field| (field.clone(), Bson::from("")));
            change.insert("$unset", unset.collect::<Document>());
            // The update has no effect on a message that already has this revision number or a higher number.
            let rev = doc! { "$not": { "$gte": number } };
            doc! { "q": { "_id": message, "deleted_at": { "$exists": false }, "rev": rev }, "u": change }
        })
    }
}

fn revised_fields() -> Document {
    doc! { "revisions": 1, "journal": 1 }
}

/// Returns a filter for the messages of a room whose last revision has a number above `revision`.
pub(in crate::store) fn revised_after(room: RoomId, revision: i64) -> Document {
    doc! { "_id.room": room.get(), "rev": { "$gt": revision } }
}
