//! Reads pages of a room's messages. A page starts at any message and contains older or newer messages
//! (docs/protocol.md, `history`).

use bson::doc;
use bson::oid::ObjectId;
use handlers::{HistoryCursor, MessageId, RoomId, UserId};
use mongodb::options::ReadConcern;

use super::resume::{BATCH, MessageBytes};
use super::snapshot::SnapshotView;
use crate::store::{Snapshot, Store, StoreError, codec, json_size};

impl Store {
    /// Returns up to `limit` messages of a room, starting at `from`. Deleted messages are left out. The messages take
    /// about `bytes` bytes of JSON at most. Also returns the members at the same snapshot time, and whether more
    /// messages follow in the direction of the page. Returns none if the room does not exist.
    pub(crate) async fn history(
        &self,
        room: RoomId,
        from: HistoryCursor,
        limit: usize,
        bytes: usize,
    ) -> Result<Option<(Snapshot, bool)>, StoreError> {
        if !self.room_exists(room).await? {
            return Ok(None);
        }
        let (view, members) = self.members(room).await?;
        let store = self.clone();
        self.run_detached(async move {
            let SnapshotView { mut session, time } = view;
            let (numbers, order) = match from {
                HistoryCursor::Newest => (doc! { "$gt": 0 }, -1),
                HistoryCursor::Before(id) => (doc! { "$lt": id.get() }, -1),
                HistoryCursor::After(n) => (doc! { "$gt": n }, 1),
            };
            // Reads one message more than `limit`, to find out whether there are more messages.
            let most = i64::try_from(limit).unwrap_or(i64::MAX).saturating_add(1);
            let find = store.messages.find(codec::alive(room, numbers));
            let find = find.sort(codec::by_number(order)).limit(most);
            let find = find.batch_size(u32::try_from(most).unwrap_or(u32::MAX).min(BATCH));
            let mut cursor = find.session(&mut session).await?;
            let fitting = MessageBytes { bytes, email: json_size::of_longest_email(&members) };
            let (messages, has_more) = fitting.messages(cursor.stream(&mut session), limit).await?;
            let snapshot = Snapshot { time, members, messages, waiting: Vec::new(), complete: true };
            Ok(Some((snapshot, has_more)))
        })
        .await
    }

    /// Returns a snapshot with the room's members and only this message, in its current state. Returns none if the room
    /// or the message does not exist, or if the message is deleted.
    pub(crate) async fn message(&self, room: RoomId, id: MessageId) -> Result<Option<Snapshot>, StoreError> {
        let found = self.history(room, HistoryCursor::After(id.get() - 1), 1, usize::MAX).await?;
        Ok(found
            .map(|(snapshot, _)| snapshot)
            .filter(|snapshot| snapshot.messages.first().is_some_and(|message| message.id == id)))
    }

    /// Returns whether a message is deleted. Returns false if the message never existed.
    pub(crate) async fn is_deleted(&self, room: RoomId, id: MessageId) -> Result<bool, StoreError> {
        let messages = self.messages.clone();
        let filter = doc! { "_id": codec::message_id(room, id), "deleted_at": { "$exists": true } };
        let find = async move { Ok(messages.find_one(filter).projection(doc! { "_id": 1 }).await?) };
        Ok(self.run_detached(find).await?.is_some())
    }

    /// Returns the number of the message with this sender and `client_id`, even if the message is deleted. Also returns
    /// the id of the request that wrote the message. Returns none until a majority has stored the message.
    pub(crate) async fn of_client_id(
        &self,
        room: RoomId,
        sender: &UserId,
        client_id: &str,
    ) -> Result<Option<(MessageId, Option<ObjectId>)>, StoreError> {
        let messages = self.messages.clone();
        let filter = doc! {
            "_id.room": room.get(),
            "sender": codec::user_bson(sender),
            "client_id": client_id,
        };
        let find = async move {
            let find = messages.find_one(filter).projection(doc! { "_id": 1, "write_id": 1 });
            Ok(find.read_concern(ReadConcern::majority()).await?)
        };
        let Some(found) = self.run_detached(find).await? else { return Ok(None) };
        let id = found.get_document("_id").map_err(codec::Undecodable::from)?;
        let (_, id) = codec::read_message_id(id)?;
        Ok(Some((id, codec::read_request(&found, "write_id")?)))
    }
}
