//! Deleting a room: at once for everyone, and then, in the background, all that was in it.
//!
//! The first step is one transaction: the room is marked, its pair set free, its members go. From then on nobody
//! finds it. What is left is its messages, which any server removes, in batches; it takes the room for a while, so
//! that others leave it alone, and where it dies another goes on. The room's document goes last, once nothing that
//! was under way in it can still be written.

use std::time::Duration;

use bson::{Document, RawDocumentBuf, doc};
use futures_util::{FutureExt, TryStreamExt};
use handlers::RoomId;
use mongodb::ClientSession;
use mongodb::error::Error;
use mongodb::options::ReturnDocument;

use crate::store::{Store, StoreError, codec, from_now};

impl Store {
    /// Deletes a room; false where there is none. What was in it is still to be [swept](Self::sweep).
    pub(crate) async fn delete_room(&self, room: RoomId) -> Result<bool, StoreError> {
        let store = self.clone();
        self.bounded(async move {
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

    /// Removes what is left of one deleted room that is nobody's to sweep, `batch` messages at once; false where
    /// there is none. `linger` is how long something that was under way in it may still be written.
    pub(crate) async fn sweep(&self, batch: usize, linger: Duration) -> Result<bool, StoreError> {
        let Some(room) = self.take_deleted().await? else { return Ok(false) };
        while self.sweep_batch(room, batch).await? {
            self.keep(room, self.lease()).await?;
        }
        let members = self.members.clone();
        let of_room = doc! { "_id": codec::of_room(room, "user") };
        self.bounded(async move { Ok(members.delete_many(of_room).await.map(|_| ())?) }).await?;
        self.forget_room(room, linger).await?;
        Ok(true)
    }

    /// How long a room is a server's to sweep. Each batch takes it anew, and is two operations and this one.
    fn lease(&self) -> Duration {
        self.operation * 4
    }

    /// Takes a deleted room, by the database's clock.
    async fn take_deleted(&self) -> Result<Option<RoomId>, StoreError> {
        let rooms = self.db.collection::<RawDocumentBuf>("rooms");
        let lease = self.lease();
        let free = doc! { "$lte": [{ "$ifNull": ["$sweep_after", "$deleted_at"] }, "$$NOW"] };
        let filter = doc! { "deleted_at": { "$exists": true }, "$expr": free };
        let taken = self
            .bounded(async move {
                let take = rooms.find_one_and_update(filter, vec![until(lease)]);
                Ok(take.return_document(ReturnDocument::After).projection(doc! { "_id": 1 }).await?)
            })
            .await?;
        let Some(room) = taken else { return Ok(None) };
        Ok(Some(codec::read_room_id(&room)?))
    }

    /// Leaves the room alone for so long.
    async fn keep(&self, room: RoomId, time: Duration) -> Result<(), StoreError> {
        let rooms = self.db.collection::<Document>("rooms");
        let filter = doc! { "_id": room.get() };
        self.bounded(async move { Ok(rooms.update_one(filter, vec![until(time)]).await.map(|_| ())?) }).await
    }

    /// Removes the room's first messages; false where there was none.
    async fn sweep_batch(&self, room: RoomId, batch: usize) -> Result<bool, StoreError> {
        let messages = self.messages.clone();
        let range = codec::of_room(room, "n");
        let batch = i64::try_from(batch).unwrap_or(i64::MAX);
        self.bounded(async move {
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

    /// Removes the room's document, where it was deleted long enough ago; else it is swept again then.
    async fn forget_room(&self, room: RoomId, linger: Duration) -> Result<(), StoreError> {
        let rooms = self.db.collection::<Document>("rooms");
        let linger_ms = i64::try_from(linger.as_millis()).unwrap_or(i64::MAX);
        let over = doc! { "$lte": [{ "$add": ["$deleted_at", linger_ms] }, "$$NOW"] };
        let filter = doc! { "_id": room.get(), "$expr": over };
        let forgotten =
            self.bounded(async move { Ok(rooms.delete_one(filter).await?.deleted_count > 0) }).await?;
        if forgotten { Ok(()) } else { self.keep(room, linger).await }
    }
}

/// The update that makes a room be left alone for so long.
fn until(time: Duration) -> Document {
    doc! { "$set": { "sweep_after": from_now(time) } }
}
