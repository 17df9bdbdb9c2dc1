//! The journal of marks: a batch that was raised is one document, inserted, and so one change event; an update and an
//! event for each member cost the database more than the message that is marked.
//!
//! Once in a while what was raised is folded into members' documents by `$max`, of each member the highest alone, and then
//! deleted. Marks only rise: what is folded twice, or by two servers, is folded once. A server folds what it wrote itself;
//! what one has left that is gone any other folds. Until then the marks are in every server's [overlay](super::overlay),
//! by which whoever reads members raises them: readers never look here.
//!
//! That a batch was folded is known when the change stream tells of its deletion, which a majority has then. Folding waits for
//! a majority, too: where a write that waits for none is under way, one beside it that does may be left waiting for the
//! 100 ms after which the database flushes its journal by itself. (Seen on 6.0.5, of one node: at 1,000 messages/s an insert
//! of 103 ms every few seconds, and 5 to 76 ms to the peer at p99 instead of 4.)

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bson::oid::ObjectId;
use bson::raw::{CStr, cstr};
use bson::{DateTime, Document, RawArrayBuf, RawDocument, RawDocumentBuf, doc, rawdoc};
use futures_util::TryStreamExt;
use handlers::{RoomId, UserId};
use mongodb::Collection;
use tokio::time::MissedTickBehavior;

use super::overlay::{Batch, Mark};
use crate::model::receipts::Marks;
use crate::store::codec::{self, Undecodable};
use crate::store::{Store, StoreError};
use crate::telemetry::metrics::Metrics;

/// Between two times of folding. The more is folded into one update the longer it is.
const PERIOD: Duration = Duration::from_secs(2);

/// What wasn't folded after so long is left: a server that is alive is done with its own by then.
const LEFT: Duration = Duration::from_secs(10);

/// Documents in one write. After it comes a pause as long as it took, so that whoever writes messages, and whoever waits for
/// an event behind those of what is deleted, waits for no more.
const FOLDED: usize = 50;

/// When a member's marks were raised last: an update that sets it is one that folds, of which nobody is told.
pub(crate) const MARKED_AT: &CStr = cstr!("marked_at");

/// The highest marks of a member, and when they were raised last.
type Highest = ((RoomId, UserId), (Marks, DateTime));

impl Store {
    /// Writes marks; done once a majority has them.
    pub(in crate::store) async fn raise(
        &self,
        journal: &Collection<RawDocumentBuf>,
        batch: &[((RoomId, UserId), Marks)],
    ) -> Result<(), StoreError> {
        let mut marks = RawArrayBuf::new();
        for ((room, user), Marks { delivered, read }) in batch {
            let user = codec::user(user);
            marks.push(rawdoc! { "room": room.get(), "user": user, "delivered": *delivered, "read": *read });
        }
        let (id, by) = (ObjectId::new(), self.peers.server());
        let document =
            rawdoc! { "_id": id, "by": by, "at": DateTime::from_millis(self.now().0), "marks": marks };
        let journal = journal.clone();
        self.bounded(async move { Ok(journal.insert_one(document).await.map(|_| ())?) }).await
    }

    /// Takes all that the journal has into the overlay: at the start, and where events may have been missed. To be called
    /// once a majority has what was written when the stream was opened.
    pub(crate) async fn read_journal(&self) -> Result<(), StoreError> {
        let store = self.clone();
        self.bounded(async move {
            let mut session = store.client.start_session().snapshot(true).await?;
            let mut cursor = store.journal().find(doc! {}).session(&mut session).await?;
            let found: Vec<RawDocumentBuf> = cursor.stream(&mut session).try_collect().await?;
            let batches = found.iter().map(|document| read_batch(document).map(Arc::new));
            store.overlay.reload(&batches.collect::<Result<Vec<_>, _>>()?, Instant::now());
            Ok(())
        })
        .await
    }

    /// Folds what this server wrote, and what others left, every so often.
    pub(in crate::store) async fn go_on_folding(self, metrics: Arc<Metrics>) {
        let mut ticks = tokio::time::interval(PERIOD);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            self.overlay.sweep(self.grace(), Instant::now());
            if let Err(error) = self.fold().await {
                metrics.fault("fold");
                tracing::warn!(%error, "folding receipts failed; trying again");
            }
        }
    }

    /// Folds what is to be folded by now.
    pub(crate) async fn fold(&self) -> Result<(), StoreError> {
        let _turn = self.overlay.folding.lock().await;
        let batches = self.overlay.take(self.peers.server(), LEFT, Instant::now());
        if batches.is_empty() {
            return Ok(());
        }
        let folded = self.fold_batches(&batches).await;
        if folded.is_err() {
            self.overlay.give_back(&batches);
        }
        folded
    }

    /// How long a mark is kept in the overlay after it was folded: whoever read the documents as of before that has looked
    /// by then.
    fn grace(&self) -> Duration {
        self.operation * 2 + LEFT
    }

    async fn fold_batches(&self, batches: &[Arc<Batch>]) -> Result<(), StoreError> {
        let mut highest = HashMap::new();
        for batch in batches {
            let Batch { at, marks, .. } = &**batch;
            for Mark { room, user, marks } in marks {
                let (known, last) = highest.entry((*room, user.clone())).or_insert((*marks, *at));
                (*known, *last) = (Marks::max(*known, *marks), (*last).max(*at));
            }
        }
        let all: Vec<Highest> = highest.into_iter().collect();
        for some in all.chunks(FOLDED) {
            let began = Instant::now();
            self.fold_into(some).await?;
            tokio::time::sleep(began.elapsed()).await;
        }
        let ids: Vec<_> = batches.iter().map(|batch| batch.id).collect();
        for some in ids.chunks(FOLDED) {
            let began = Instant::now();
            self.delete(some).await?;
            tokio::time::sleep(began.elapsed()).await;
        }
        Ok(())
    }

    async fn delete(&self, batches: &[ObjectId]) -> Result<(), StoreError> {
        let (journal, filter) = (self.journal(), doc! { "_id": { "$in": batches } });
        self.bounded(async move { Ok(journal.delete_many(filter).await.map(|_| ())?) }).await
    }

    async fn fold_into(&self, members: &[Highest]) -> Result<(), StoreError> {
        let mut statements = RawArrayBuf::new();
        for ((room, user), (Marks { delivered, read }, at)) in members {
            let id = rawdoc! { "room": room.get(), "user": codec::user(user) };
            // By `_id` and nothing else. Asking in the filter whether there is anything to raise takes the statement off
            // the server's fast path by `_id`, and cost twice its processor time (measured on 6.0.5, batches of 200: 125
            // instead of 68 microseconds). Of a member who has left nothing is made.
            let raised = rawdoc! { "delivered": *delivered, "read": *read, MARKED_AT: *at };
            statements.push(rawdoc! { "q": { "_id": id }, "u": { "$max": raised } });
        }
        self.update_each("members", statements).await
    }

    fn journal(&self) -> Collection<RawDocumentBuf> {
        self.db.collection("marks")
    }
}

/// Raises, in a pipeline whose documents name a `room` and how far a member has `read` in it, the latter by this.
pub(in crate::store) fn raised_read(own: &HashMap<RoomId, Marks>) -> Option<Document> {
    if own.is_empty() {
        return None;
    }
    let branch = |(room, marks): (&RoomId, &Marks)| doc! { "case": { "$eq": ["$room", room.get()] }, "then": marks.read };
    let branches: Vec<_> = own.iter().map(branch).collect();
    let raised = doc! { "$switch": { "branches": branches, "default": 0_i64 } };
    Some(doc! { "$set": { "read": { "$max": ["$read", raised] } } })
}

/// A batch as it stands in the journal.
pub(crate) fn read_batch(document: &RawDocument) -> Result<Batch, Undecodable> {
    let marks = codec::documents_in(document, "marks")?.into_iter().map(read_mark);
    Ok(Batch {
        id: document.get_object_id("_id")?,
        by: document.get_object_id("by")?,
        at: document.get_datetime("at")?,
        marks: marks.collect::<Result<_, _>>()?,
    })
}

fn read_mark(mark: &RawDocument) -> Result<Mark, Undecodable> {
    let marks =
        Marks { delivered: codec::read_int(mark, "delivered")?, read: codec::read_int(mark, "read")? };
    Ok(Mark { room: codec::read_room(mark)?, user: codec::read_member_user(mark)?, marks })
}
