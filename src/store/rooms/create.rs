//! Creates rooms: direct rooms for two users, and groups. Two users have at most one direct room. If a client sends a
//! request several times with the same idempotency key, the request creates only one room. Two unique indexes guarantee
//! this: one on the pair of users, and one on the id of the request's write.

use bson::{Bson, DateTime, Document, RawDocumentBuf, doc};
use futures_util::FutureExt;
use handlers::{Role, RoomId, Time, UserId};
use mongodb::error::{Error, ErrorKind, WriteFailure};
use mongodb::options::ReturnDocument;
use serde::{Deserialize, Serialize};

use super::insertion::{RoomInsertion, first_member};
use crate::model::room::{StoredRoom, StoredRoomKind};
use crate::store::indexes::lacks_index;
use crate::store::{RequestAttempt, Store, StoreError, codec};

/// The database's error code for a duplicate key.
pub(in crate::store) const DUPLICATE_KEY: i32 = 11_000;

/// A member of a new room.
#[derive(Clone, Debug, Deserialize, Serialize, PartialEq, Eq)]
pub struct NewMember {
    /// The user's id, as in the user's tokens.
    pub user_id: UserId,
    /// The e-mail address that clients get as `sender_email`. An address in the user's token replaces it.
    #[serde(default)]
    pub email: Option<String>,
}

/// A room to create.
#[derive(Debug)]
pub(crate) struct RoomPlan<'a> {
    /// The room's kind. A direct room needs exactly two members. Two users have at most one direct room.
    pub(crate) kind: StoredRoomKind,
    pub(crate) name: Option<&'a str>,
    pub(crate) members: &'a [(NewMember, Role)],
    /// The user who creates the direct room by connecting to it. The other member has not accepted the room yet. None
    /// if the application creates the room.
    pub(crate) made_by: Option<&'a UserId>,
    /// The current attempt to process an HTTP request that has an idempotency key. All attempts of one request create
    /// only one room. None for a request without a key.
    pub(crate) attempt: Option<&'a RequestAttempt>,
}

/// A new room, or the existing direct room of the members.
#[derive(Debug)]
pub struct NewRoom {
    /// The room's id.
    pub id: RoomId,
    /// Whether this request created the room, in this attempt or in an earlier attempt.
    pub made: bool,
    /// The creation time, if this call created the room.
    pub(crate) created_at: Option<Time>,
}

impl Store {
    /// Returns the direct room of two users. Returns none if they have no direct room.
    pub(crate) async fn direct_room(
        &self,
        one: &UserId,
        other: &UserId,
    ) -> Result<Option<RoomId>, StoreError> {
        self.find_room(doc! { "pair": pair(one, other) }).await
    }

    /// Returns whether a room exists and is not deleted.
    pub(crate) async fn room_exists(&self, room: RoomId) -> Result<bool, StoreError> {
        Ok(self.find_room(doc! { "_id": room.get(), "deleted_at": { "$exists": false } }).await?.is_some())
    }

    async fn find_room(&self, filter: Document) -> Result<Option<RoomId>, StoreError> {
        let rooms = self.db.collection::<RawDocumentBuf>("rooms");
        let found = self
            .run_detached(async move { Ok(rooms.find_one(filter).projection(doc! { "_id": 1 }).await?) })
            .await?;
        let Some(room) = found else { return Ok(None) };
        Ok(Some(codec::read_room_id(&room)?))
    }

    /// Creates a room for `members`. Two members get their direct room, which may exist already. More members get a new
    /// group.
    ///
    /// # Errors
    /// Fails if the database fails, and if a user is being erased. The caller must pass at least two different users,
    /// and no user twice.
    pub async fn make_room(&self, members: &[NewMember]) -> Result<NewRoom, StoreError> {
        let kind = if members.len() == 2 { StoredRoomKind::Direct } else { StoredRoomKind::Group };
        let members: Vec<_> = members.iter().map(|member| (member.clone(), Role::Member)).collect();
        self.make(RoomPlan { kind, name: None, members: &members, made_by: None, attempt: None }).await
    }

    /// Creates the direct room of the connecting user `caller` and of the user `other`, who has not accepted the room
    /// yet.
    pub(crate) async fn make_direct(&self, caller: NewMember, other: &UserId) -> Result<NewRoom, StoreError> {
        let made_by = caller.user_id.clone();
        let other = NewMember { user_id: other.clone(), email: None };
        let members = [caller, other].map(|member| (member, Role::Member));
        let plan = RoomPlan {
            kind: StoredRoomKind::Direct,
            name: None,
            members: &members,
            made_by: Some(&made_by),
            attempt: None,
        };
        self.make(plan).await
    }

    /// Creates a room. Returns the existing room instead if the two members already have a direct room, or if an
    /// earlier attempt of the request created the room.
    ///
    /// If an existing direct room lacks one of the members, the member is added. A new room is created together with
    /// its members, or not at all. If two calls create the same room concurrently, the later call returns the room of
    /// the earlier call.
    ///
    /// # Errors
    /// [`StoreError::Erasing`] if one of the members is being erased.
    pub(crate) async fn make(&self, plan: RoomPlan<'_>) -> Result<NewRoom, StoreError> {
        let RoomPlan { kind, name, members, made_by, attempt } = plan;
        self.refuse_erasing(members.iter().map(|(member, _)| &member.user_id)).await?;
        let pair = match members {
            [(one, _), (other, _)] if kind == StoredRoomKind::Direct => {
                Some(pair(&one.user_id, &other.user_id))
            }
            _ => None,
        };
        let earlier = attempt.filter(|attempt| attempt.is_another);
        if let Some(made) = self.find_created(earlier, pair.as_ref(), (members, made_by)).await? {
            return Ok(made);
        }
        let id = self.next_room().await?;
        let now = self.now();
        let mut room =
            doc! { "_id": id.get(), "kind": kind.as_str(), "created_at": DateTime::from_millis(now.0) };
        room.extend(name.map(|name| ("name".to_owned(), Bson::from(name))));
        room.extend(pair.clone().map(|pair| ("pair".to_owned(), Bson::Document(pair))));
        room.extend(attempt.map(|attempt| ("write_id".to_owned(), attempt.write_id.into())));
        let mut unique = Vec::new();
        unique.extend(pair.clone().map(|pair| ("pair", doc! { "pair": pair })));
        unique.extend(attempt.map(|attempt| ("write_id", doc! { "write_id": attempt.write_id })));
        match self.insert_room(id, room, (members, made_by), unique).await? {
            Ok(()) => Ok(NewRoom { id, made: true, created_at: Some(now) }),
            Err(error) if is_duplicate(&error) => {
                let made = self.find_created(attempt, pair.as_ref(), (members, made_by)).await?;
                if made.is_none() {
                    // Another room already has this id, because the counter of room ids is too low. The counter is
                    // raised, so that the next attempt succeeds.
                    self.raise_room_counter().await?;
                }
                made.ok_or(StoreError::Unreachable(Some(error)))
            }
            Err(error) if lacks_index(&error) => Err(self.without_index()),
            Err(error) => Err(error.into()),
        }
    }

    /// Finds the existing room: the room that an earlier attempt of the request created, or else the direct room of the
    /// pair of users. Adds missing members to the direct room.
    async fn find_created(
        &self,
        attempt: Option<&RequestAttempt>,
        pair: Option<&Document>,
        (members, made_by): (&[(NewMember, Role)], Option<&UserId>),
    ) -> Result<Option<NewRoom>, StoreError> {
        if let Some(attempt) = attempt
            && let Some(id) = self.made(attempt).await?
        {
            return Ok(Some(NewRoom { id, made: true, created_at: None }));
        }
        let Some(pair) = pair else { return Ok(None) };
        let Some(id) = self.find_room(doc! { "pair": pair.clone() }).await? else { return Ok(None) };
        self.add_members(id, members, made_by).await?;
        Ok(Some(NewRoom { id, made: false, created_at: None }))
    }

    /// Writes a room and its members in one transaction. The inner `Result` is the result of the transaction, with the
    /// driver's error. `unique` lists the unique indexes that apply to the room. Each entry has the name of an index,
    /// and a filter that finds a room with the same key.
    async fn insert_room(
        &self,
        id: RoomId,
        room: Document,
        (members, made_by): (&[(NewMember, Role)], Option<&UserId>),
        unique: Vec<(&'static str, Document)>,
    ) -> Result<Result<(), Error>, StoreError> {
        let now = self.clock().await?;
        let mut first_members = Vec::with_capacity(members.len());
        for (member, role) in members {
            let pending = made_by.is_some_and(|maker| *maker != member.user_id);
            first_members.push(first_member(id, (member, *role), pending, now)?);
        }
        let insertion = RoomInsertion { store: self.clone(), room, members: first_members, unique };
        self.run_detached(async move {
            let mut session = insertion.store.client.start_session().await?;
            let transaction = session.start_transaction();
            Ok(transaction.and_run(insertion, |session, insertion| insertion.run(session).boxed()).await)
        })
        .await
    }

    /// Returns the id for the next room. Ids count up. A failed creation leaves its id unused, which does no harm.
    async fn next_room(&self) -> Result<RoomId, StoreError> {
        let counters = self.db.collection::<Document>("counters");
        let counter = self
            .run_detached(async move {
                let next =
                    counters.find_one_and_update(doc! { "_id": "rooms" }, doc! { "$inc": { "last": 1_i64 } });
                Ok(next.upsert(true).return_document(ReturnDocument::After).await?)
            })
            .await?;
        let last = counter.and_then(|counter| counter.get_i64("last").ok());
        let id = last.and_then(|last| RoomId::try_from(last).ok());
        id.ok_or_else(|| StoreError::Fault("the counter of room ids contains no number".into()))
    }

    /// Adds missing members to a room. An existing member keeps the role and the receipt markers, and gets the given
    /// e-mail address. The call also accepts the room for the user `made_by`. If `made_by` is none, because the
    /// application creates the room, the call accepts the room for all members.
    ///
    /// Each member is added by an insert, because the database sets the field `joined` only at an insert. This field is
    /// the time at which the membership begins.
    async fn add_members(
        &self,
        room: RoomId,
        members: &[(NewMember, Role)],
        made_by: Option<&UserId>,
    ) -> Result<(), StoreError> {
        let now = self.clock().await?;
        for (member, role) in members {
            let pending = made_by.is_some_and(|maker| *maker != member.user_id);
            let new = first_member(room, (member, *role), pending, now)?;
            let members = self.members.clone();
            let inserted = self.run_detached(async move { Ok(members.insert_one(new).await) }).await?;
            match (inserted, &member.email) {
                (Ok(_), _) => {}
                (Err(error), email) if is_duplicate(&error) => {
                    if !pending {
                        self.accept(room, &member.user_id, None).await?;
                    }
                    if let Some(email) = email {
                        self.set_email(room, &member.user_id, email).await?;
                    }
                }
                (Err(error), _) => return Err(error.into()),
            }
        }
        Ok(())
    }

    /// Returns a room. Returns none if the room doesn't exist or is deleted.
    pub(crate) async fn room(&self, room: RoomId) -> Result<Option<StoredRoom>, StoreError> {
        let rooms = self.db.collection::<RawDocumentBuf>("rooms");
        let filter = doc! { "_id": room.get() };
        let found = self.run_detached(async move { Ok(rooms.find_one(filter).await?) }).await?;
        let Some(room) = found else { return Ok(None) };
        Ok(codec::read_room_document(&room)?)
    }
}

/// Returns whether a write failed because of a duplicate key.
pub(in crate::store) fn is_duplicate(error: &Error) -> bool {
    matches!(&*error.kind, ErrorKind::Write(WriteFailure::WriteError(write)) if write.code == DUPLICATE_KEY)
}

/// Returns a pair of users as a document, in a fixed order. The pair is not an array, because a unique index on an
/// array would allow each user in only one pair.
fn pair(one: &UserId, other: &UserId) -> Document {
    let (a, b) = if one <= other { (one, other) } else { (other, one) };
    doc! { "a": codec::user_bson(a), "b": codec::user_bson(b) }
}
