//! Joining and leaving groups, and reading a user's membership.
//!
//! A join is a transaction that also changes the room's document. Therefore two concurrent joins of a room conflict in
//! the database, and the driver repeats one of the joins after the other join has ended. A join also conflicts with a
//! concurrent deletion of the room. As a result, no user joins a deleted room, and a group never has too many members.
//! The change stream reports each join and leave to all servers, which notify their sockets.

use bson::{DateTime, Document, RawDocumentBuf, doc};
use futures_util::FutureExt;
use handlers::{Role, RoomId, UserId};
use mongodb::ClientSession;
use mongodb::error::Error;

use crate::model::cluster_time;
use crate::model::receipts::Marks;
use crate::model::room::{StoredMember, StoredRoomKind};
use crate::store::{NewMember, Store, StoreError, codec};

/// The outcome of a join.
#[derive(Clone, Debug)]
pub(crate) enum JoinOutcome {
    /// The user was not a member before. Contains the new membership.
    New(StoredMember),
    /// The user was already a member. Contains the membership with its new role and e-mail address.
    Already(StoredMember),
    /// The room doesn't exist.
    NoRoom,
    /// The room is a direct room, whose members can't change.
    Direct,
    /// The group already has the maximum number of members.
    Full,
}

/// The outcome of a leave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LeaveOutcome {
    Left,
    NotMember,
    NoRoom,
    Direct,
}

impl Store {
    /// Makes a user a member of a group of at most `most` members. A user who is already a member gets the given role
    /// and e-mail address.
    ///
    /// The receipt markers of a new member start at the room's last message. Therefore earlier messages count as read
    /// by the new member, and their status does not change for the other members.
    pub(crate) async fn enter(
        &self,
        room: RoomId,
        member: NewMember,
        role: Option<Role>,
        most: usize,
    ) -> Result<JoinOutcome, StoreError> {
        match self.kind(room).await? {
            None => return Ok(JoinOutcome::NoRoom),
            Some(StoredRoomKind::Direct) => return Ok(JoinOutcome::Direct),
            Some(StoredRoomKind::Group) => {}
        }
        self.refuse_erasing(std::iter::once(&member.user_id)).await?;
        let now = self.clock().await?;
        let entering = JoinTransaction { store: self.clone(), room, member, role, most, now };
        let mut entered = self
            .run_detached(async move {
                let mut session = entering.store.client.start_session().await?;
                let transaction = session.start_transaction();
                Ok(transaction.and_run(entering, |session, entering| entering.run(session).boxed()).await?)
            })
            .await?;
        if let JoinOutcome::Already(member) = &mut entered {
            self.overlay.raise(room, cluster_time::MAX, std::slice::from_mut(member));
        }
        Ok(entered)
    }

    /// Removes a user from a group.
    pub(crate) async fn leave(&self, room: RoomId, user: &UserId) -> Result<LeaveOutcome, StoreError> {
        match self.kind(room).await? {
            None => return Ok(LeaveOutcome::NoRoom),
            Some(StoredRoomKind::Direct) => return Ok(LeaveOutcome::Direct),
            Some(StoredRoomKind::Group) => {}
        }
        let members = self.members.clone();
        let id = codec::member_id(room, user);
        let left =
            self.run_detached(async move { Ok(members.delete_one(doc! { "_id": id }).await?.deleted_count) });
        Ok(if left.await? == 0 { LeaveOutcome::NotMember } else { LeaveOutcome::Left })
    }

    /// Returns the role of a user in a room. Returns none if the user is not a member.
    pub(crate) async fn role(&self, room: RoomId, user: &UserId) -> Result<Option<Role>, StoreError> {
        Ok(self.member(room, user).await?.map(|member| member.role))
    }

    /// Returns a user's membership in a room. Returns none if the user is not a member.
    pub(crate) async fn member(
        &self,
        room: RoomId,
        user: &UserId,
    ) -> Result<Option<StoredMember>, StoreError> {
        let members = self.members.clone();
        let filter = doc! { "_id": { "room": room.get(), "user": codec::user_bson(user) } };
        let member = self.run_detached(async move { Ok(members.find_one(filter).await?) }).await?;
        Ok(member.map(|member| codec::read_member(&member)).transpose()?)
    }

    async fn kind(&self, room: RoomId) -> Result<Option<StoredRoomKind>, StoreError> {
        Ok(self.room(room).await?.map(|room| room.kind))
    }
}

/// The transaction of one join. The driver may run it several times.
struct JoinTransaction {
    store: Store,
    room: RoomId,
    member: NewMember,
    role: Option<Role>,
    most: usize,
    now: DateTime,
}

impl JoinTransaction {
    async fn run(&self, session: &mut ClientSession) -> Result<JoinOutcome, Error> {
        let rooms = self.store.db.collection::<Document>("rooms");
        let there = doc! { "_id": self.room.get(), "deleted_at": { "$exists": false } };
        let touched = rooms.update_one(there, doc! { "$inc": { "revision": 1_i64 } }).session(&mut *session);
        if touched.await?.matched_count == 0 {
            return Ok(JoinOutcome::NoRoom);
        }
        let id = codec::member_id(self.room, &self.member.user_id);
        let members = &self.store.members;
        let there = members.find_one(doc! { "_id": id.clone() }).session(&mut *session).await?;
        if let Some(there) = there {
            let mut member = codec::read_member(&there).map_err(Error::custom)?;
            member.role = self.role.unwrap_or(member.role);
            member.email = self.member.email.clone().or(member.email);
            let mut changed = self.email();
            changed.extend(self.role.map(|role| ("role".to_owned(), codec::role(role).into())));
            if !changed.is_empty() {
                let change = members.update_one(doc! { "_id": id }, doc! { "$set": changed });
                change.session(&mut *session).await?;
            }
            return Ok(JoinOutcome::Already(member));
        }
        let of_room = doc! { "_id": codec::of_room(self.room, "user") };
        let count = members.count_documents(of_room).session(&mut *session).await?;
        if count >= self.most as u64 {
            return Ok(JoinOutcome::Full);
        }
        let last = self.last_number(session).await?;
        let role = self.role.unwrap_or(Role::Member);
        let mut new = doc! {
            "_id": id, "role": codec::role(role), "delivered": last, "read": last, "joined_at": self.now,
            "joined": cluster_time::ZERO,
        };
        new.extend(self.email());
        let new = RawDocumentBuf::try_from(&new).map_err(Error::custom)?;
        members.insert_one(new).session(session).await?;
        let NewMember { user_id, email } = self.member.clone();
        let marks = Marks { delivered: last, read: last };
        Ok(JoinOutcome::New(StoredMember { user: user_id, email, role, marks, pending: false }))
    }

    fn email(&self) -> Document {
        self.member.email.iter().map(|email| ("email".to_owned(), email.into())).collect()
    }

    async fn last_number(&self, session: &mut ClientSession) -> Result<i64, Error> {
        let of_room = doc! { "_id": codec::of_room(self.room, "n") };
        let last = self.store.messages.find_one(of_room).sort(doc! { "_id": -1 });
        let Some(last) = last.projection(doc! { "_id": 1 }).session(session).await? else {
            return self.store.given_out(self.room).await.map_err(Error::custom);
        };
        let id = last.get_document("_id").map_err(Error::custom)?;
        codec::read_int(id, "n").map_err(Error::custom)
    }
}
