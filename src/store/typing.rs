//! Typing notifications: the other members of a room are notified that a user is typing. Notifications are not stored
//! permanently.
//!
//! A notification is an ephemeral event, and reaches the servers through the change stream like all events. This module
//! avoids needless writes and reads. If no other member is online, the server writes nothing. A server knows only its
//! own sockets. Therefore the server reads from the database whether other members are online on other servers. The
//! server skips this read if another member has a socket on this server, or if no other server uses the database.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use bson::{RawDocumentBuf, doc};
use futures_util::TryStreamExt;
use handlers::{RoomId, UserId};

use super::codec::{self, Undecodable};
use super::lru_map::LruMap;
use super::{Store, StoreError};
use crate::protocol::ephemeral::EphemeralEvent;

/// The sockets of rooms on this server.
pub trait Audience: Send + Sync {
    /// Tells whether a user other than `typist` has a socket in the room on this server.
    fn has_listeners(&self, room: RoomId, typist: &UserId) -> bool;
}

/// The minimum time between two notifications of a user in a room (docs/protocol.md, `typing`).
const PERIOD: Duration = Duration::from_secs(3);

/// The maximum number of typing users that the server remembers. If more users type, some of them may be announced more
/// often than once in [`PERIOD`].
const REMEMBERED: usize = 10_000;

/// The time of the last notification of each user in each room.
pub(crate) struct Typists(Mutex<LruMap<(RoomId, UserId), Instant>>);

impl Default for Typists {
    fn default() -> Self {
        Self(Mutex::new(LruMap::new(REMEMBERED)))
    }
}

impl Typists {
    /// Tells whether a notification of the user in the room is due. If it is due, records the current time. The next
    /// notification is then due after [`PERIOD`].
    fn is_news(&self, room: RoomId, user: &UserId) -> bool {
        let mut typists = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (room, user.clone());
        if typists.peek(&key).is_some_and(|told| told.elapsed() < PERIOD) {
            return false;
        }
        typists.insert(key, Instant::now());
        true
    }

    /// Forgets the last notification of the user in the room. The next notification is then due immediately.
    fn end(&self, room: RoomId, user: &UserId) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&(room, user.clone()));
    }

    pub(super) fn clear(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }
}

impl Store {
    /// Notifies the other members of a room that a user is typing. Does nothing if no notification is due, or no other
    /// member is online.
    pub(crate) async fn typing(
        &self,
        room: RoomId,
        user: &UserId,
        here: &dyn Audience,
    ) -> Result<(), StoreError> {
        if !self.typists.is_news(room, user) {
            return Ok(());
        }
        let is_heard_here = here.has_listeners(room, user);
        if !is_heard_here && (self.peers.is_alone() || !self.is_anyone_elsewhere(room, user).await?) {
            return Ok(());
        }
        self.signal(&EphemeralEvent::Typing { room, user: user.clone() }).await
    }

    /// Ends the typing of a user who sends a message. If the user types again, the other members are notified
    /// immediately.
    pub(super) fn end_typing(&self, room: RoomId, user: &UserId) {
        self.typists.end(room, user);
    }

    async fn is_anyone_elsewhere(&self, room: RoomId, user: &UserId) -> Result<bool, StoreError> {
        let members = self.members.clone();
        let presence = self.db.collection::<RawDocumentBuf>("presence");
        let filter = doc! { "_id": codec::of_room(room, "user") };
        let (user, server) = (user.clone(), self.peers.server());
        self.run_detached(async move {
            let found: Vec<RawDocumentBuf> =
                members.find(filter).projection(doc! { "_id": 1 }).await?.try_collect().await?;
            let read = |member: &RawDocumentBuf| codec::read_member_user(member.get_document("_id")?);
            let others = found.iter().map(read).collect::<Result<Vec<_>, Undecodable>>()?;
            let others: Vec<_> = others.into_iter().filter(|other| *other != user).collect();
            let others: Vec<_> = others.iter().map(codec::user_bson).collect();
            let elsewhere = doc! { "$elemMatch": { "$ne": server } };
            let online = doc! { "_id": { "$in": others }, "online": true, "servers": elsewhere };
            Ok(presence.find_one(online).projection(doc! { "_id": 1 }).await?.is_some())
        })
        .await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn typing_is_sent_once_for_each_user_and_room() {
        let typists = Typists::default();
        let room = |id| RoomId::try_from(id).unwrap();
        let news = |id, user| typists.is_news(room(id), &UserId::Int(user));
        assert_eq!(
            [news(1, 1), news(1, 1), news(1, 2), news(2, 1), news(2, 1)],
            [true, false, true, true, false]
        );
    }

    #[test]
    fn typing_is_sent_again_after_a_message() {
        let typists = Typists::default();
        let (room, user) = (RoomId::try_from(1).unwrap(), UserId::Int(1));
        assert!(typists.is_news(room, &user));
        typists.end(room, &user);
        assert!(typists.is_news(room, &user));
    }
}
