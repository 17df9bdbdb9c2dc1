//! Consent to direct rooms. With `rooms.direct = "on_connect"`, a user creates a direct room by connecting to it. The
//! room's other user has not agreed to this room. The membership of the other user is therefore *pending*: its document
//! has the field `pending: true`. The membership stays pending until the other user accepts the room. A user accepts a
//! room by opening it or by writing in it. The application can also accept the room for the user: it requests the
//! creation of this direct room through the HTTP API.
//!
//! While the membership of a user is pending:
//!
//! - The membership has no e-mail address, and the other member does not see whether the user is online.
//! - No message is marked as delivered to the user, because this would show that the user was online.
//! - The room is *hidden* from the user's lists of rooms as long as the room has no messages.
//!
//! The first message makes a hidden room visible. This needs no extra write, because each read of a list checks whether
//! a pending room has a message with the number 1.

use std::collections::HashSet;

use bson::{Bson, RawBsonRef, RawDocument, RawDocumentBuf, doc};
use futures_util::TryStreamExt;
use handlers::{RoomId, UserId};
use mongodb::ClientSession;

use super::position::{RoomListPosition, joined};
use crate::store::codec::{self, Undecodable};
use crate::store::{Store, StoreError};

/// The name of the field that marks a pending membership. Other memberships don't have this field.
pub(in crate::store) const PENDING: &str = "pending";

/// A user's memberships, and the rooms of these memberships in three lists.
#[derive(Debug)]
pub(in crate::store) struct UserMemberships {
    /// The documents of all memberships.
    pub(in crate::store) memberships: Vec<RawDocumentBuf>,
    /// The rooms that the user's lists show: all rooms except the hidden rooms, in no particular order.
    pub(in crate::store) listed: Vec<RoomListPosition>,
    /// The rooms with a pending membership, hidden or not.
    pub(in crate::store) pending: Vec<RoomId>,
    /// The hidden rooms: rooms with a pending membership and without messages.
    pub(in crate::store) hidden: Vec<RoomId>,
}

/// Returns whether a membership is pending.
pub(in crate::store) fn is_pending(member: &RawDocument) -> Result<bool, Undecodable> {
    Ok(matches!(member.get(PENDING)?, Some(RawBsonRef::Boolean(true))))
}

impl Store {
    /// Accepts a pending membership for its user. From then on, the room's other member sees the user's e-mail address
    /// and presence. If `email` is given, stores this address in the membership.
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

    /// Reads a user's memberships, and finds the pending and hidden rooms among them. All reads show the state at the
    /// session's snapshot time, a time of MongoDB's logical clock.
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

    /// Returns the rooms among `pending` that had no messages at the session's snapshot time.
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

    /// Returns the users among `users` whose presence is visible to a user with the rooms `rooms`. Leaves out a user
    /// who has a pending membership in one of `rooms` and has accepted none of `rooms`.
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
                // A partial index that contains only pending memberships answers this filter.
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

/// Returns a filter condition (a field and its value) that matches only accepted memberships.
pub(in crate::store) fn accepted() -> (String, Bson) {
    (PENDING.to_owned(), Bson::Document(doc! { "$exists": false }))
}
