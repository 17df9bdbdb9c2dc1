//! Deletes a room in two steps. The first step hides the room from all clients immediately. The second step removes the
//! room's messages in the background.
//!
//! The first step is one transaction: it marks the room as deleted and deletes the members. It also removes the field
//! `pair` of a direct room, so that the two users can get a new direct room. In the second step, a server takes a lease
//! on the room and removes the messages in batches. The lease is the right to remove the messages until a time of the
//! database's clock. If the server dies, its lease ends and another server continues. The room's document is deleted
//! last. The document stays until every operation that may still write to the room has ended.

use std::time::Duration;

use bson::{Document, RawDocumentBuf, doc};
use futures_util::{FutureExt, TryStreamExt};
use handlers::RoomId;
use mongodb::ClientSession;
use mongodb::error::Error;
use mongodb::options::ReturnDocument;

use crate::store::{Store, StoreError, codec, from_now};

impl Store {
    /// Marks a room as deleted and deletes its members. Returns false if the room doesn't exist or is already deleted.
    /// [`sweep`](Self::sweep) removes the messages later.
    pub(crate) async fn delete_room(&self, room: RoomId) -> Result<bool, StoreError> {
        let store = self.clone();
        self.run_detached(async move {
            let mut session = store.client.start_session().await?;
            let transaction = session.start_transaction();
            Ok(transaction.and_run(store, |session, store| store.mark_deleted(session, room).boxed()).await?)
        })
        .await
    }

    async fn mark_deleted(&self, session: &mut ClientSession, room: RoomId) -> Result<bool, Error> {
        let rooms = self.db.collection::<Document>("rooms");
        let there = doc! { "_id": room.get(), "deleted_at": { "$exists": false } };
        let mark = doc! { "$currentDate": { "deleted_at": true }, "$unset": { "pair": "", "name": "" } };
        if rooms.update_one(there, mark).session(&mut *session).await?.matched_count == 0 {
            return Ok(false);
        }
        let members = doc! { "_id": codec::of_room(room, "user") };
        self.members.delete_many(members).session(session).await?;
        Ok(true)
    }

    /// Removes the messages of one deleted room whose lease is free, `batch` messages at a time. Returns false if no
    /// deleted room has a free lease. `linger` is the longest time for which a running operation may still write to the
    /// room.
    pub(crate) async fn sweep(&self, batch: usize, linger: Duration) -> Result<bool, StoreError> {
        let Some(room) = self.take_deleted().await? else { return Ok(false) };
        while self.sweep_batch(room, batch).await? {
            self.keep(room, self.lease()).await?;
        }
        let members = self.members.clone();
        let of_room = doc! { "_id": codec::of_room(room, "user") };
        self.run_detached(async move { Ok(members.delete_many(of_room).await.map(|_| ())?) }).await?;
        self.delete_room_state(room).await?;
        self.forget_room(room, linger).await?;
        Ok(true)
    }

    /// Returns the duration of a lease on a room: four times `mongodb.operation_ms`. A batch runs two operations, and a
    /// third operation then renews the lease.
    fn lease(&self) -> Duration {
        self.operation * 4
    }

    /// Takes the lease on a deleted room. Returns none if no deleted room has a free lease.
    async fn take_deleted(&self) -> Result<Option<RoomId>, StoreError> {
        let rooms = self.db.collection::<RawDocumentBuf>("rooms");
        let lease = self.lease();
        let free = doc! { "$lte": [{ "$ifNull": ["$sweep_after", "$deleted_at"] }, "$$NOW"] };
        let filter = doc! { "deleted_at": { "$exists": true }, "$expr": free };
        let taken = self
            .run_detached(async move {
                let take = rooms.find_one_and_update(filter, vec![until(lease)]);
                Ok(take.return_document(ReturnDocument::After).projection(doc! { "_id": 1 }).await?)
            })
            .await?;
        let Some(room) = taken else { return Ok(None) };
        Ok(Some(codec::read_room_id(&room)?))
    }

    /// Extends this server's lease on a room, so that it ends `time` from now.
    async fn keep(&self, room: RoomId, time: Duration) -> Result<(), StoreError> {
        let rooms = self.db.collection::<Document>("rooms");
        let filter = doc! { "_id": room.get() };
        self.run_detached(async move { Ok(rooms.update_one(filter, vec![until(time)]).await.map(|_| ())?) })
            .await
    }

    /// Removes the room's oldest messages, at most `batch` messages. Returns false if the room has no messages.
    async fn sweep_batch(&self, room: RoomId, batch: usize) -> Result<bool, StoreError> {
        let messages = self.messages.clone();
        let range = codec::of_room(room, "n");
        let batch = i64::try_from(batch).unwrap_or(i64::MAX);
        self.run_detached(async move {
            let find = messages.find(doc! { "_id": range }).sort(doc! { "_id": 1 }).limit(batch);
            let ids: Vec<RawDocumentBuf> = find.projection(doc! { "_id": 1 }).await?.try_collect().await?;
            let Some(last) = ids.last() else { return Ok(false) };
            let last = last.get_document("_id").map_err(codec::Undecodable::from)?;
            let n = codec::read_int(last, "n")?;
            let to = doc! { "room": room.get(), "n": n };
            let from = doc! { "room": room.get(), "n": bson::Bson::MinKey };
            messages.delete_many(doc! { "_id": { "$gte": from, "$lte": to } }).await?;
            Ok(true)
        })
        .await
    }

    /// Deletes the room's document if the room was deleted at least `linger` ago. Otherwise extends the lease, so that
    /// it ends `linger` from now. A [`sweep`](Self::sweep) after the end of the lease then deletes the document.
    async fn forget_room(&self, room: RoomId, linger: Duration) -> Result<(), StoreError> {
        let rooms = self.db.collection::<Document>("rooms");
        let linger_ms = i64::try_from(linger.as_millis()).unwrap_or(i64::MAX);
        let over = doc! { "$lte": [{ "$add": ["$deleted_at", linger_ms] }, "$$NOW"] };
        let filter = doc! { "_id": room.get(), "$expr": over };
        let forgotten =
            self.run_detached(async move { Ok(rooms.delete_one(filter).await?.deleted_count > 0) }).await?;
        if forgotten { Ok(()) } else { self.keep(room, linger).await }
    }
}

/// Returns the update that sets the end of a room's lease.
fn until(time: Duration) -> Document {
    doc! { "$set": { "sweep_after": from_now(time) } }
}
