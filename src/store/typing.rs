//! Typing notifications. They are sent to the other members of a room and stored nowhere.
//!
//! They are ephemeral events, and so take the same path as all other events. If none of the other members is online to
//! receive one, nothing is written. If no other server is running, nothing is read either. Which sockets on other
//! servers would receive it isn't known.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use bson::{RawDocumentBuf, doc};
use futures_util::TryStreamExt;
use handlers::{RoomId, UserId};

use super::codec::{self, Undecodable};
use super::{Store, StoreError};
use crate::protocol::ephemeral::EphemeralEvent;

/// The sockets of rooms on this server.
pub trait Audience: Send + Sync {
    /// Tells whether a user other than the typing one would be notified.
    fn has_listeners(&self, room: RoomId, typist: &UserId) -> bool;
}

/// One notification for a user in a room is sent in this time (docs/protocol.md, `typing`).
const PERIOD: Duration = Duration::from_secs(3);

/// The number of entries after which expired ones are removed.
const REMEMBERED: usize = 1_000;

/// The users who were typing within the last [`PERIOD`].
#[derive(Default)]
pub(crate) struct Typists(Mutex<HashMap<(RoomId, UserId), Instant>>);

impl Typists {
    /// Tells whether a notification is due for this user in the room. If so, none is due for the next [`PERIOD`].
    fn is_news(&self, room: RoomId, user: &UserId) -> bool {
        let mut typists = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if typists.len() >= REMEMBERED {
            typists.retain(|_, told| told.elapsed() < PERIOD);
        }
        let key = (room, user.clone());
        if typists.get(&key).is_some_and(|told| told.elapsed() < PERIOD) {
            return false;
        }
        typists.insert(key, Instant::now());
        true
    }

    pub(super) fn clear(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }
}

impl Store {
    /// Notifies the other members of a room that a user is typing, if a notification is due and one of them is online.
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
}
