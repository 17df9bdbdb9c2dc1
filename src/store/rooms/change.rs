//! Changes existing rooms: their names, and the e-mail addresses of their members.

use bson::{RawDocumentBuf, doc};
use handlers::{RoomId, UserId};
use mongodb::options::ReturnDocument;

use super::consent;
use crate::model::room::StoredRoom;
use crate::store::{Store, StoreError, codec};

impl Store {
    /// Stores an e-mail address in the user's membership of one room.
    pub(crate) async fn set_email(&self, room: RoomId, user: &UserId, email: &str) -> Result<(), StoreError> {
        let members = self.members.clone();
        let filter = doc! { "_id": codec::member_id(room, user) };
        let update = doc! { "$set": { "email": email } };
        self.run_detached(async move { Ok(members.update_one(filter, update).await?) }).await?;
        Ok(())
    }

    /// Stores an e-mail address in all memberships of the user, except the pending memberships. A membership is pending
    /// if another user has created the direct room, and this user has not accepted the room yet ([`consent`]).
    pub(crate) async fn set_email_everywhere(&self, user: &UserId, email: &str) -> Result<(), StoreError> {
        let members = self.members.clone();
        let mut filter = doc! { "_id.user": codec::user_bson(user), "email": { "$ne": email } };
        filter.extend([consent::accepted()]);
        let update = doc! { "$set": { "email": email } };
        self.run_detached(async move { Ok(members.update_many(filter, update).await.map(|_| ())?) }).await
    }

    /// Removes the e-mail address `email` from the user's membership in `room`, if the membership contains this
    /// address. If `room` is none, removes the address from all memberships of the user that contain it.
    pub(crate) async fn drop_email(
        &self,
        room: Option<RoomId>,
        user: &UserId,
        email: &str,
    ) -> Result<(), StoreError> {
        let members = self.members.clone();
        let everywhere = || doc! { "_id.user": codec::user_bson(user) };
        let mut filter = room.map_or_else(everywhere, |room| doc! { "_id": codec::member_id(room, user) });
        filter.insert("email", email);
        let update = doc! { "$unset": { "email": "" } };
        self.run_detached(async move { Ok(members.update_many(filter, update).await.map(|_| ())?) }).await
    }

    /// Renames a room, or removes its name if `name` is none. Returns the changed room. Returns none if the room does
    /// not exist.
    pub(crate) async fn rename(
        &self,
        room: RoomId,
        name: Option<&str>,
    ) -> Result<Option<StoredRoom>, StoreError> {
        let rooms = self.db.collection::<RawDocumentBuf>("rooms");
        let filter = doc! { "_id": room.get(), "deleted_at": { "$exists": false } };
        let unnamed = doc! { "$unset": { "name": "" } };
        let update = name.map_or(unnamed, |name| doc! { "$set": { "name": name } });
        let renamed = self
            .run_detached(async move {
                let rename = rooms.find_one_and_update(filter, update);
                Ok(rename.return_document(ReturnDocument::After).await?)
            })
            .await?;
        let Some(renamed) = renamed else { return Ok(None) };
        Ok(codec::read_room_document(&renamed)?)
    }
}
