//! Marks that were raised and don't stand in the members' documents yet: a journal.
//!
//! A batch of marks is one document, inserted; it is one change event, too. An update and an event for each mark cost the
//! database more than the message that is marked. Once in a while what was written is folded into the members' documents,
//! of each member the highest alone, and then removed. In any snapshot of the database a mark so stands in the one or in
//! the other, and whoever reads members reads both. Marks only rise: folded twice, or by two servers, is folded once.
//!
//! What a server that is gone has left is folded by any other.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bson::oid::ObjectId;
use bson::{Bson, DateTime, Document, RawArrayBuf, RawDocument, RawDocumentBuf, doc, rawdoc};
use futures_util::TryStreamExt;
use handlers::{RoomId, UserId};
use mongodb::ClientSession;
use mongodb::options::WriteConcern;

use super::documents::{self, Marks, Member, Undecodable};
use super::{Store, StoreError};
use crate::metrics::Metrics;

/// Between two times of folding. More is folded into one update where it is longer; more is read where a room is opened.
const PERIOD: Duration = Duration::from_secs(1);

/// Members in one update.
const FOLDED: usize = 1_000;

/// Documents of other servers that are looked at, at once.
const LEFT: i64 = 1_000;

/// Whose marks in which room.
pub(super) type Whose = (RoomId, UserId);

/// What this server has written and not folded.
#[derive(Clone, Default)]
pub(super) struct Unfolded(Arc<Mutex<Written>>);

#[derive(Default)]
struct Written {
    ids: Vec<ObjectId>,
    marks: HashMap<Whose, Marks>,
}

impl Unfolded {
    fn add(&self, ids: impl IntoIterator<Item = ObjectId>, marks: impl IntoIterator<Item = (Whose, Marks)>) {
        let mut written = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        written.ids.extend(ids);
        for (whose, marks) in marks {
            let highest = written.marks.entry(whose).or_default();
            *highest = highest.max(marks);
        }
    }

    fn take(&self) -> Written {
        std::mem::take(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Store {
    /// Writes marks; done once a majority has them.
    pub(super) async fn raise(
        &self,
        batch: &[(Whose, Marks)],
        unfolded: &Unfolded,
    ) -> Result<(), StoreError> {
        let id = ObjectId::new();
        let mut marks = RawArrayBuf::new();
        for ((room, user), Marks { delivered, read }) in batch {
            let user = documents::user(user);
            marks.push(rawdoc! { "room": room.get(), "user": user, "delivered": *delivered, "read": *read });
        }
        let document = rawdoc! { "_id": id, "marks": marks };
        let journal = self.journal();
        self.bounded(async move { Ok(journal.insert_one(document).await.map(|_| ())?) }).await?;
        unfolded.add([id], batch.iter().cloned());
        Ok(())
    }

    /// Folds what was written, every so often.
    pub(super) async fn go_on_folding(self, unfolded: Unfolded, metrics: Arc<Metrics>) {
        let mut ticks = tokio::time::interval(PERIOD);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            if let Err(error) = self.fold_all(&unfolded).await {
                metrics.fault("receipts");
                tracing::warn!(%error, "folding receipts failed; trying again");
            }
        }
    }

    /// Folds what was written; what can't be folded stays.
    pub(super) async fn fold_all(&self, unfolded: &Unfolded) -> Result<(), StoreError> {
        let written = unfolded.take();
        if written.ids.is_empty() {
            return Ok(());
        }
        let folded = self.fold(&written).await;
        if folded.is_err() {
            unfolded.add(written.ids, written.marks);
        }
        folded
    }

    /// Folds what servers have left that are gone: what was `seen` there before. Gives what is seen there now.
    pub(crate) async fn fold_what_was_left(
        &self,
        seen: &HashSet<ObjectId>,
    ) -> Result<HashSet<ObjectId>, StoreError> {
        let journal = self.journal();
        let there = self.bounded(async move {
            let find = journal.find(doc! {}).projection(doc! { "_id": 1 }).limit(LEFT);
            let found: Vec<RawDocumentBuf> = find.await?.try_collect().await?;
            let ids = found.iter().map(|document| document.get_object_id("_id"));
            Ok(ids.collect::<Result<HashSet<_>, _>>().map_err(Undecodable::from)?)
        });
        let there = there.await?;
        let ids: Vec<_> = there.intersection(seen).copied().collect();
        if ids.is_empty() {
            return Ok(there);
        }
        tracing::info!(batches = ids.len(), "folding receipts that were left");
        let (journal, filter) = (self.journal(), doc! { "_id": { "$in": &ids } });
        let found: Vec<RawDocumentBuf> =
            self.bounded(async move { Ok(journal.find(filter).await?.try_collect().await?) }).await?;
        let left = Unfolded::default();
        for document in &found {
            left.add([], read(document)?);
        }
        self.fold(&Written { ids, ..left.take() }).await?;
        Ok(there.difference(seen).copied().collect())
    }

    /// Folds marks into the members' documents, and then removes the batches that they came in.
    async fn fold(&self, written: &Written) -> Result<(), StoreError> {
        let at = DateTime::now();
        let all: Vec<_> = written.marks.iter().collect();
        for some in all.chunks(FOLDED) {
            let mut statements = RawArrayBuf::new();
            for (whose, marks) in some {
                statements.push(statement(whose, **marks, at));
            }
            let command = rawdoc! {
                "update": "members",
                "updates": statements,
                "ordered": false,
                "writeConcern": { "w": "majority" },
            };
            let db = self.db.clone();
            let answer = self.bounded(async move { Ok(db.run_raw_command(command).await?) }).await?;
            if let Some(errors) = answer.get("writeErrors").or_else(|| answer.get("writeConcernError")) {
                return Err(StoreError::Fault(errors.to_string().into()));
            }
        }
        // One that comes back after an election is folded once more: no majority needs to know that it is gone.
        let removed = doc! { "_id": { "$in": &written.ids } };
        let journal = self.journal();
        self.bounded(async move {
            Ok(journal.delete_many(removed).write_concern(WriteConcern::nodes(1)).await.map(|_| ())?)
        })
        .await
    }

    /// What was raised of a user and isn't folded. To be read before the members' documents are: what is folded in
    /// between is in both.
    pub(super) async fn raised_of(&self, user: &UserId) -> Result<HashMap<RoomId, Marks>, StoreError> {
        let (journal, user) = (self.journal(), user.clone());
        self.bounded(async move {
            let find = journal.find(doc! { "marks.user": documents::user_bson(&user) });
            let found: Vec<RawDocumentBuf> = find.await?.try_collect().await?;
            let mut raised: HashMap<_, Marks> = HashMap::new();
            for document in &found {
                for ((room, _), marks) in read(document)?.into_iter().filter(|((_, of), _)| *of == user) {
                    let highest = raised.entry(room).or_default();
                    *highest = highest.max(marks);
                }
            }
            Ok(raised)
        })
        .await
    }

    /// The batches in which marks of a room are raised, of these its own alone.
    pub(super) async fn raised_in(
        &self,
        session: &mut ClientSession,
        room: RoomId,
    ) -> Result<Vec<RawDocumentBuf>, StoreError> {
        let journal = self.journal();
        let find = journal.find(doc! { "marks.room": room.get() });
        let find = find.projection(doc! { "marks": of_room(room) }).session(&mut *session);
        let mut cursor = find.await?;
        Ok(cursor.stream(session).try_collect().await?)
    }

    fn journal(&self) -> mongodb::Collection<RawDocumentBuf> {
        self.db.collection("marks")
    }
}

/// `$max` by `_id` and nothing else. Asking in the filter whether there is anything to raise takes the statement off
/// the server's fast path by `_id`, and cost twice its processor time (measured on 6.0.5, batches of 200: 125 instead
/// of 68 microseconds). A mark raised twice, from two of a reader's sockets, so moves its times, and nothing else.
fn statement((room, user): &Whose, marks: Marks, at: DateTime) -> RawDocumentBuf {
    let id = rawdoc! { "room": room.get(), "user": documents::user(user) };
    let Marks { delivered, read } = marks;
    let raised = if read > 0 {
        rawdoc! { "delivered": delivered, "read": read, "delivered_at": at, "read_at": at }
    } else {
        rawdoc! { "delivered": delivered, "delivered_at": at }
    };
    rawdoc! { "q": { "_id": id }, "u": { "$max": raised } }
}

/// The marks of a batch.
pub(crate) fn read(document: &RawDocument) -> Result<Vec<(Whose, Marks)>, Undecodable> {
    documents::documents_in(document, "marks")?.into_iter().map(read_mark).collect()
}

fn read_mark(mark: &RawDocument) -> Result<(Whose, Marks), Undecodable> {
    let whose = (documents::read_room(mark)?, documents::read_member_user(mark)?);
    let marks = Marks {
        delivered: documents::read_int(mark, "delivered")?,
        read: documents::read_int(mark, "read")?,
    };
    Ok((whose, marks))
}

/// The members of a room, and after them the batches in which some of them are raised, of `members`.
pub(super) fn members(room: RoomId) -> [Document; 2] {
    [
        doc! { "$match": { "_id": documents::of_room(room, "user") } },
        doc! { "$unionWith": { "coll": "marks", "pipeline": [
            { "$match": { "marks.room": room.get() } },
            { "$project": { "marks": of_room(room) } },
        ] } },
    ]
}

/// The marks of a batch that are of this room.
fn of_room(room: RoomId) -> Document {
    doc! { "$filter": { "input": "$marks", "cond": { "$eq": ["$$this.room", room.get()] } } }
}

/// What [`members`] gave, each with its highest marks.
pub(super) fn read_members(documents: &[RawDocumentBuf]) -> Result<Vec<Member>, Undecodable> {
    let mut members = Vec::with_capacity(documents.len());
    for document in documents {
        if document.get("marks")?.is_none() {
            members.push(documents::read_member(document)?);
        } else {
            raise(&mut members, documents::documents_in(document, "marks")?)?;
        }
    }
    Ok(members)
}

/// Raises the marks of those of a room's members that these are of.
pub(super) fn raise(members: &mut [Member], marks: Vec<&RawDocument>) -> Result<(), Undecodable> {
    for mark in marks {
        let ((_, user), marks) = read_mark(mark)?;
        if let Some(member) = members.iter_mut().find(|member| member.user == user) {
            member.marks = member.marks.max(marks);
        }
    }
    Ok(())
}

/// Looks up in `raised` what of a room's members is raised, and raises by it the user's own `read`.
pub(super) fn stages(user: &UserId) -> [Document; 2] {
    let of_room = doc! { "$expr": { "$eq": ["$marks.room", "$$room"] } };
    let own = doc! { "$eq": ["$$this.user", { "$literal": documents::user_bson(user) }] };
    let own = doc! { "$filter": { "input": "$raised", "cond": own } };
    let highest = doc! { "$max": { "$map": { "input": own, "in": "$$this.read" } } };
    [
        doc! { "$lookup": {
            "from": "marks",
            "localField": "room",
            "foreignField": "marks.room",
            "let": { "room": "$room" },
            "as": "raised",
            "pipeline": [
                { "$unwind": "$marks" }, { "$match": of_room }, { "$replaceRoot": { "newRoot": "$marks" } },
            ],
        } },
        doc! { "$set": { "read": { "$max": ["$read", highest, Bson::Int64(0)] } } },
    ]
}
