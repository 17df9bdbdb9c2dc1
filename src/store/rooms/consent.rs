//! Direct rooms that one user created by connecting (`rooms.direct`), until the other user has accepted.
//!
//! The other user did nothing for such a room. Their membership is `pending: true` until they open the room, write in
//! it, or the application creates the room through its API. Until then
//!
//! - the membership has no e-mail address, and other members don't see whether the user is online;
//! - nothing is marked as delivered for the user, which would show the same;
//! - the room is *hidden* from the user's lists as long as it has no messages.
//!
//! A plain message costs nothing extra: whether a room is hidden follows from its first message.

use std::collections::HashSet;

use bson::{Bson, RawBsonRef, RawDocument, RawDocumentBuf, doc};
use futures_util::TryStreamExt;
use handlers::{RoomId, UserId};
use mongodb::ClientSession;

use super::position::{RoomListPosition, joined};
use crate::store::codec::{self, Undecodable};
use crate::store::{Store, StoreError};

/// The field of a membership that its user has not accepted yet. Absent otherwise.
pub(in crate::store) const PENDING: &str = "pending";

/// A user's memberships.
#[derive(Debug)]
pub(in crate::store) struct UserMemberships {
    /// The documents of the memberships.
    pub(in crate::store) memberships: Vec<RawDocumentBuf>,
    /// The rooms that are listed, in no order.
    pub(in crate::store) listed: Vec<RoomListPosition>,
    /// The rooms that the user has not accepted, hidden or not.
    pub(in crate::store) pending: Vec<RoomId>,
    /// The pending rooms without messages.
    pub(in crate::store) hidden: Vec<RoomId>,
}

/// Tells whether a membership's user has not accepted it.
pub(in crate::store) fn is_pending(member: &RawDocument) -> Result<bool, Undecodable> {
    Ok(matches!(member.get(PENDING)?, Some(RawBsonRef::Boolean(true))))
}

impl Store {
    /// Accepts a membership. From now on the user's e-mail address and presence are shown in the room.
    pub(crate) async fn accept(
        &self,
        room: RoomId,
        user: &UserId,
        email: Option<&str>,
    ) -> Result<(), StoreError> {
        let members = self.members.clone();
        let filter = doc! { "_id": codec::member_id(room, user), PENDING: true };
        let mut update = doc! { "$unset": { PENDING: "" } };
        update.extend(email.map(|email| ("$set".to_owned(), doc! { "email": email }.into())));
        self.run_detached(async move { Ok(members.update_one(filter, update).await.map(|_| ())?) }).await
    }

    /// Reads a user's memberships at a session's snapshot time.
    pub(in crate::store) async fn listed_in(
        &self,
        session: &mut ClientSession,
        user: &UserId,
    ) -> Result<UserMemberships, StoreError> {
        let memberships = self.memberships_in(session, user).await?;
        let (mut listed, mut pending) = (Vec::with_capacity(memberships.len()), Vec::new());
        for member in &memberships {
            let place = joined(member)?;
            listed.push(place);
            if is_pending(member)? {
                pending.push(place.room);
            }
        }
        let hidden = self.hidden_in(session, &pending).await?;
        if !hidden.is_empty() {
            let hidden: HashSet<_> = hidden.iter().collect();
            listed.retain(|place| !hidden.contains(&place.room));
        }
        Ok(UserMemberships { memberships, listed, pending, hidden })
    }

    /// Returns those of these pending rooms that had no messages at a session's snapshot time.
    pub(in crate::store) async fn hidden_in(
        &self,
        session: &mut ClientSession,
        pending: &[RoomId],
    ) -> Result<Vec<RoomId>, StoreError> {
        if pending.is_empty() {
            return Ok(Vec::new());
        }
        let first: Vec<_> = pending.iter().map(|room| doc! { "room": room.get(), "n": 1_i64 }).collect();
        let find = self.messages.find(doc! { "_id": { "$in": first } }).projection(doc! { "_id": 1 });
        let mut cursor = find.session(&mut *session).await?;
        let found: Vec<RawDocumentBuf> = cursor.stream(session).try_collect().await?;
        let room = |message: &RawDocumentBuf| codec::read_room(message.get_document("_id")?);
        let said: HashSet<RoomId> = found.iter().map(room).collect::<Result<_, Undecodable>>()?;
        Ok(pending.iter().copied().filter(|room| !said.contains(room)).collect())
    }

    /// Returns those of these users whose presence may be shown to a member of these rooms. Users whose membership is
    /// pending in every shared room are left out.
    pub(crate) async fn visible(
        &self,
        rooms: &[RoomId],
        mut users: HashSet<UserId>,
    ) -> Result<HashSet<UserId>, StoreError> {
        if users.is_empty() {
            return Ok(users);
        }
        let members = self.members.clone();
        let of: Vec<_> = rooms.iter().map(|room| room.get()).collect();
        let wanted: Vec<_> = users.iter().map(codec::user_bson).collect();
        let strangers = self
            .run_detached(async move {
                // Uses an index of pending memberships alone.
                let filter = doc! { "_id.room": { "$in": of }, "_id.user": { "$in": wanted }, PENDING: true };
                let found: Vec<RawDocumentBuf> =
                    members.find(filter).projection(doc! { "_id": 1 }).await?.try_collect().await?;
                let user = |member: &RawDocumentBuf| codec::read_member_user(member.get_document("_id")?);
                Ok(found.iter().map(user).collect::<Result<Vec<UserId>, Undecodable>>()?)
            })
            .await?;
        if strangers.is_empty() {
            return Ok(users);
        }
        let shared: HashSet<_> = rooms.iter().copied().collect();
        let accepted = self.rooms_by_user(&strangers).await?;
        users.retain(|user| {
            let is_shared = |of: &Vec<RoomId>| of.iter().any(|room| shared.contains(room));
            !strangers.contains(user) || accepted.get(user).is_some_and(is_shared)
        });
        Ok(users)
    }
}

/// Returns the condition for memberships that their users have accepted.
pub(in crate::store) fn accepted() -> (String, Bson) {
    (PENDING.to_owned(), Bson::Document(doc! { "$exists": false }))
}
