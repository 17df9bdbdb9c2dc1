//! Edits and deletes, numbered within their room: a message has the number of its last revision, and what was revised
//! after another one is a range of an index. That is what a client resumes by.
//!
//! Whoever resumes after a number must never lack one that is lower and came later. So a revision is first written into
//! the journal of its room's document, by the one update that also takes its number; then all that stands in the journal
//! is done, in order, and taken out. What a server that died has left there is done by whoever comes next, in its order
//! and once, for a message that has a number takes none that is lower. Numbers may have holes.
//!
//! A transaction over both documents would be shorter. But one whose server dies in it holds the room's document until
//! the database gives it up, after a minute (`transactionLifetimeLimitSeconds`), and meanwhile nothing in the room can be
//! revised. A unique index, as it numbers the messages themselves, would not do either: a message that is revised again
//! leaves its number free, and another server could still take it.

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

/// Rooms whose journals are looked at, at once.
const LEFT: i64 = 1_000;

/// The field by which the rooms are found whose journal isn't empty.
pub(in crate::store) const UNFINISHED: &str = "journal.id";

/// What is changed of messages, in fields that are set and others that are removed.
pub(in crate::store) struct Change {
    pub(in crate::store) set: Document,
    pub(in crate::store) unset: &'static [&'static str],
}

/// What a room's document has of revisions.
#[derive(Deserialize)]
struct Revised {
    #[serde(rename = "_id")]
    room: i64,
    /// The number of the last one.
    revisions: i64,
    /// Those that may not have been carried out, in order.
    journal: Vec<Revision>,
}

/// A change of messages, each of which has a number of its own.
#[derive(Deserialize, Serialize)]
struct Revision {
    id: ObjectId,
    /// The messages' numbers.
    messages: Vec<i64>,
    set: Document,
    unset: Vec<String>,
}

impl Store {
    /// Waits until no other revision of the room is under way on this server, for `mongodb.operation_ms` at most.
    pub(in crate::store) async fn revision_turn(
        &self,
        room: RoomId,
    ) -> Result<OwnedMutexGuard<()>, StoreError> {
        let turn = tokio::time::timeout(self.operation, self.revisions.turn(room)).await;
        turn.map_err(|_| StoreError::Unreachable(None))
    }

    /// Changes those of these messages that are not deleted, each as a next revision of its room. Gives how many.
    pub(in crate::store) async fn revise(
        &self,
        room: RoomId,
        ids: Vec<MessageId>,
        change: Change,
        request: ObjectId,
    ) -> Result<u64, StoreError> {
        let turn = self.revision_turn(room).await?;
        self.revise_in(turn, room, ids, change, request).await
    }

    /// The same, in the room's turn, which it keeps until it has come to its end.
    pub(in crate::store) async fn revise_in(
        &self,
        turn: OwnedMutexGuard<()>,
        room: RoomId,
        ids: Vec<MessageId>,
        Change { set, unset }: Change,
        request: ObjectId,
    ) -> Result<u64, StoreError> {
        let (id, count) = (ObjectId::new(), ids.len() as u64);
        let messages = ids.into_iter().map(MessageId::get).collect();
        let revision =
            Revision { id, messages, set, unset: unset.iter().map(|&field| field.to_owned()).collect() };
        let store = self.clone();
        self.bounded(async move {
            // Also for who comes next, until this has come to its end, whether its caller waits for it or not.
            let _turn = turn;
            let Some(revised) = store.note(room, revision).await? else { return Ok(0) };
            // The journal holds the revision from here on, and some server will apply it. No error may claim that nothing
            // was written.
            let first = store.carry_out(&revised, request).await.map_err(StoreError::after_a_write)?;
            if first {
                return Ok(count);
            }
            store.count_done(&revised, id).await.map_err(StoreError::after_a_write)
        })
        .await
    }

    /// Carries out what servers have left in the journals that are gone: what was `seen` there before. Gives what is
    /// seen there now and isn't done.
    pub(crate) async fn carry_out_what_was_left(
        &self,
        seen: &HashSet<ObjectId>,
    ) -> Result<HashSet<ObjectId>, StoreError> {
        let rooms = self.rooms();
        let unfinished: Vec<Revised> = self
            .bounded(async move {
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
            tracing::warn!(room = %revised.room, "edits or deletes that a server left are carried out");
            let store = self.clone();
            let done = self.bounded(async move { store.carry_out(&revised, ObjectId::new()).await });
            // One that can't be, as long as it can't, keeps nobody from the others.
            if let Err(error) = done.await {
                tracing::warn!(%error, "they could not be carried out; trying again");
            }
        }
        Ok(left)
    }

    fn rooms(&self) -> Collection<Revised> {
        self.db.collection("rooms")
    }

    /// Writes a revision into the room's journal. Gives the whole of that, or none where there is no such room.
    async fn note(&self, room: RoomId, revision: Revision) -> Result<Option<Revised>, StoreError> {
        let there = doc! { "_id": room.get(), "deleted_at": { "$exists": false } };
        let count = i64::try_from(revision.messages.len()).map_err(Error::custom)?;
        let revision = bson::serialize_to_bson(&revision).map_err(Error::custom)?;
        let update = doc! { "$inc": { "revisions": count }, "$push": { "journal": revision } };
        let rooms = self.rooms();
        let noted = rooms.find_one_and_update(there, update).return_document(ReturnDocument::After);
        Ok(noted.projection(revised_fields()).await?)
    }

    /// Does all that stands in a journal, in order, and takes it out. True where each message was changed by this.
    async fn carry_out(&self, revised: &Revised, request: ObjectId) -> Result<bool, StoreError> {
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
            tracing::warn!(room = %revised.room, %answer, "edits or deletes were not carried out");
            return Err(StoreError::Unknown(None));
        }
        let ids: Vec<_> = revised.journal.iter().map(|revision| revision.id).collect();
        let done = doc! { "$pull": { "journal": { "id": { "$in": ids } } } };
        // Where this is lost, it is done once more, without effect; a majority is waited for only since others, who wait for
        // one, might have to wait longer beside a write that doesn't: see `journal`.
        self.rooms().update_one(doc! { "_id": revised.room }, done).await?;
        Ok(answer.get_i32("n").is_ok_and(|n| usize::try_from(n) == Ok(count)))
    }

    /// How many messages have what this revision was to change, or something later.
    async fn count_done(&self, revised: &Revised, id: ObjectId) -> Result<u64, StoreError> {
        let own = revised.numbered().filter(|(revision, ..)| revision.id == id);
        let done = own.map(|(_, message, number)| doc! { "_id": message, "rev": { "$gte": number } });
        Ok(self.messages.count_documents(doc! { "$or": done.collect::<Vec<_>>() }).await?)
    }
}

impl Revised {
    /// Each message that is to be changed, and the number it is to have.
    fn numbered(&self) -> impl Iterator<Item = (&Revision, Document, i64)> {
        let all = self.journal.iter().flat_map(move |revision| {
            let messages = revision.messages.iter();
            messages.map(move |n| (revision, doc! { "room": self.room, "n": *n }))
        });
        let count = self.journal.iter().map(|revision| revision.messages.len()).sum::<usize>();
        let first = self.revisions - i64::try_from(count).unwrap_or(i64::MAX) + 1;
        all.zip(first..).map(|((revision, message), number)| (revision, message, number))
    }

    /// The statements of an update. When each is made is the database's own word.
    fn updates(&self) -> impl Iterator<Item = Document> {
        self.numbered().map(|(revision, message, number)| {
            let mut set = revision.set.clone();
            set.insert("rev", number);
            let mut change = doc! { "$set": set, "$currentDate": { "revised": { "$type": "timestamp" } } };
            let unset = revision.unset.iter().map(|field| (field.clone(), Bson::from("")));
            change.insert("$unset", unset.collect::<Document>());
            // What was done before is not done again, nor over what came later.
            let rev = doc! { "$not": { "$gte": number } };
            doc! { "q": { "_id": message, "deleted_at": { "$exists": false }, "rev": rev }, "u": change }
        })
    }
}

fn revised_fields() -> Document {
    doc! { "revisions": 1, "journal": 1 }
}

/// The messages of a room that were revised after this one.
pub(in crate::store) fn revised_after(room: RoomId, revision: i64) -> Document {
    doc! { "_id.room": room.get(), "rev": { "$gt": revision } }
}
