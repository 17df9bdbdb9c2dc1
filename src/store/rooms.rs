//! Rooms and who is in them.

use bson::{Bson, DateTime, Document, RawDocumentBuf, doc};
use handlers::{Role, RoomId, UserId};
use mongodb::error::{Error, ErrorKind, WriteFailure};
use mongodb::options::ReturnDocument;
use serde::{Deserialize, Serialize};

use super::documents::{self, Kind, Room};
use super::{Store, StoreError};

/// The server's error code for a key that is there already.
pub(super) const DUPLICATE_KEY: i32 = 11_000;

/// A member of a room to be made.
#[derive(Clone, Debug, Deserialize, Serialize, PartialEq, Eq)]
pub struct NewMember {
    /// The id that the user's tokens carry.
    pub user_id: UserId,
    /// Shown as `sender_email`; a token that has one replaces it.
    #[serde(default)]
    pub email: Option<String>,
}

/// A room to be made.
#[derive(Debug)]
pub(crate) struct RoomPlan<'a> {
    /// A direct room is of two members, and found where they have one.
    pub(crate) kind: Kind,
    pub(crate) name: Option<&'a str>,
    pub(crate) members: &'a [(NewMember, Role)],
}

/// A room that was made, or found where its pair has one.
#[derive(Debug)]
pub struct NewRoom {
    /// Its id.
    pub id: RoomId,
    /// Whether it was made by this call.
    pub made: bool,
}

impl Store {
    /// The direct room of two users.
    pub(crate) async fn direct_room(
        &self,
        one: &UserId,
        other: &UserId,
    ) -> Result<Option<RoomId>, StoreError> {
        self.find_room(doc! { "pair": pair(one, other) }).await
    }

    /// Whether there is such a room.
    pub(crate) async fn room_exists(&self, room: RoomId) -> Result<bool, StoreError> {
        Ok(self.find_room(doc! { "_id": room.get(), "deleted_at": { "$exists": false } }).await?.is_some())
    }

    async fn find_room(&self, filter: Document) -> Result<Option<RoomId>, StoreError> {
        let rooms = self.db.collection::<RawDocumentBuf>("rooms");
        let found = self
            .bounded(async move { Ok(rooms.find_one(filter).projection(doc! { "_id": 1 }).await?) })
            .await?;
        let Some(room) = found else { return Ok(None) };
        Ok(Some(documents::read_room_id(&room)?))
    }

    /// Makes the room of these users: of two, the one direct room that they have; of more, a new group.
    ///
    /// # Errors
    /// As the database fails; the members must be two or more and differ.
    pub async fn make_room(&self, members: &[NewMember]) -> Result<NewRoom, StoreError> {
        let kind = if members.len() == 2 { Kind::Direct } else { Kind::Group };
        let members: Vec<_> = members.iter().map(|member| (member.clone(), Role::Member)).collect();
        self.make(RoomPlan { kind, name: None, members: &members }).await
    }

    /// Makes a room, or finds the direct one that its members have.
    ///
    /// Members are written before the room, and a direct room that exists gets the members it lacks: a call
    /// that was cut short is mended by the same call again, and a room is never seen without its members.
    pub(crate) async fn make(&self, plan: RoomPlan<'_>) -> Result<NewRoom, StoreError> {
        let RoomPlan { kind, name, members } = plan;
        let direct = match members {
            [(one, _), (other, _)] if kind == Kind::Direct => Some(pair(&one.user_id, &other.user_id)),
            _ => None,
        };
        if let Some(pair) = &direct
            && let Some(id) = self.find_room(doc! { "pair": pair.clone() }).await?
        {
            self.add_members(id, members).await?;
            return Ok(NewRoom { id, made: false });
        }
        let id = self.next_room().await?;
        self.add_members(id, members).await?;
        let mut room = doc! { "_id": id.get(), "kind": kind.as_str(), "created_at": DateTime::now() };
        room.extend(name.map(|name| ("name".to_owned(), Bson::from(name))));
        room.extend(direct.clone().map(|pair| ("pair".to_owned(), Bson::Document(pair))));
        let rooms = self.db.collection::<Document>("rooms");
        let inserted = self.bounded(async move { Ok(rooms.insert_one(room).await.map(|_| ())) }).await?;
        match (inserted, direct) {
            (Ok(()), _) => Ok(NewRoom { id, made: true }),
            // Another server made the pair's room in this moment; ours was never seen by anyone.
            (Err(error), Some(pair)) if is_duplicate(&error) => {
                let found = self.find_room(doc! { "pair": pair }).await?;
                let found = found.ok_or_else(|| StoreError::Fault("the pair's room came and went".into()))?;
                self.remove_members(id).await?;
                Ok(NewRoom { id: found, made: false })
            }
            (Err(error), _) => Err(error.into()),
        }
    }

    /// The next room's id. Ids count up; one whose room never came to be leaves a hole, which harms nothing.
    async fn next_room(&self) -> Result<RoomId, StoreError> {
        let counters = self.db.collection::<Document>("counters");
        let counter = self
            .bounded(async move {
                let next =
                    counters.find_one_and_update(doc! { "_id": "rooms" }, doc! { "$inc": { "last": 1_i64 } });
                Ok(next.upsert(true).return_document(ReturnDocument::After).await?)
            })
            .await?;
        let last = counter.and_then(|counter| counter.get_i64("last").ok());
        let id = last.and_then(|last| RoomId::try_from(last).ok());
        id.ok_or_else(|| StoreError::Fault("the counter of rooms holds no number".into()))
    }

    /// Adds those who are missing; whoever is there keeps role and marks, and gets an address that is given.
    async fn add_members(&self, room: RoomId, members: &[(NewMember, Role)]) -> Result<(), StoreError> {
        for (member, role) in members {
            let id = documents::member_id(room, &member.user_id);
            let mut update = doc! { "$setOnInsert": {
                "role": documents::role(*role), "delivered": 0_i64, "read": 0_i64, "joined_at": DateTime::now(),
            } };
            if let Some(email) = &member.email {
                update.insert("$set", doc! { "email": email });
            }
            let members = self.members.clone();
            self.bounded(
                async move { Ok(members.update_one(doc! { "_id": id }, update).upsert(true).await?) },
            )
            .await?;
        }
        Ok(())
    }

    async fn remove_members(&self, room: RoomId) -> Result<(), StoreError> {
        let members = self.members.clone();
        let filter = doc! { "_id": documents::of_room(room, "user") };
        self.bounded(async move { Ok(members.delete_many(filter).await?) }).await?;
        Ok(())
    }

    /// Keeps the address that a user's token shows as the member's.
    pub(crate) async fn set_email(&self, room: RoomId, user: &UserId, email: &str) -> Result<(), StoreError> {
        let members = self.members.clone();
        let filter = doc! { "_id": documents::member_id(room, user) };
        let update = doc! { "$set": { "email": email } };
        self.bounded(async move { Ok(members.update_one(filter, update).await?) }).await?;
        Ok(())
    }

    /// Gives a room another name, or none; false where there is no such room.
    pub(crate) async fn rename(&self, room: RoomId, name: Option<&str>) -> Result<bool, StoreError> {
        let rooms = self.db.collection::<Document>("rooms");
        let filter = doc! { "_id": room.get(), "deleted_at": { "$exists": false } };
        let unnamed = doc! { "$unset": { "name": "" } };
        let update = name.map_or(unnamed, |name| doc! { "$set": { "name": name } });
        self.bounded(async move { Ok(rooms.update_one(filter, update).await?.matched_count > 0) }).await
    }

    /// A room; none where there is none, or it is deleted.
    pub(crate) async fn room(&self, room: RoomId) -> Result<Option<Room>, StoreError> {
        let rooms = self.db.collection::<RawDocumentBuf>("rooms");
        let filter = doc! { "_id": room.get() };
        let found = self.bounded(async move { Ok(rooms.find_one(filter).await?) }).await?;
        let Some(room) = found else { return Ok(None) };
        Ok(documents::read_room_document(&room)?)
    }
}

pub(super) fn is_duplicate(error: &Error) -> bool {
    matches!(&*error.kind, ErrorKind::Write(WriteFailure::WriteError(write)) if write.code == DUPLICATE_KEY)
}

/// A pair in its one order, as a document: a unique index on an array would make each element unique.
fn pair(one: &UserId, other: &UserId) -> Document {
    let (a, b) = if one <= other { (one, other) } else { (other, one) };
    doc! { "a": documents::user_bson(a), "b": documents::user_bson(b) }
}
