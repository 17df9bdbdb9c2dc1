//! Who is typing: told to the others of a room, kept nowhere.
//!
//! It is a signal, and so takes the one road that all else takes. Where none of the others is there to hear of it nothing
//! is written; and nothing is read, where there is no other server on which they might be. Of another server's sockets it is
//! not known which would hear.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use bson::{RawDocumentBuf, doc};
use futures_util::TryStreamExt;
use handlers::{RoomId, UserId};

use super::codec::{self, Undecodable};
use super::{Store, StoreError};
use crate::protocol::ephemeral::EphemeralEvent;

/// Who hears of a room on this server.
pub trait Audience: Send + Sync {
    /// Whether someone other than the user who is typing would be told.
    fn hears(&self, room: RoomId, typist: &UserId) -> bool;
}

/// Of a user in a room one is passed on in this time (docs/protocol.md, `typing`).
const PERIOD: Duration = Duration::from_secs(3);

/// Those who are remembered before it is looked who can be forgotten.
const REMEMBERED: usize = 1_000;

/// Who has just been typing.
#[derive(Default)]
pub(crate) struct Typists(Mutex<HashMap<(RoomId, UserId), Instant>>);

impl Typists {
    /// Whether it is news that this user is typing there; from now on it isn't for a while.
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

    pub(super) fn forget(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }
}

impl Store {
    /// Tells the others of a room that a user is typing, where it is news and one of them is there.
    pub(crate) async fn typing(
        &self,
        room: RoomId,
        user: &UserId,
        here: &dyn Audience,
    ) -> Result<(), StoreError> {
        if !self.typists.is_news(room, user) {
            return Ok(());
        }
        let heard_here = here.hears(room, user);
        if !heard_here && (self.peers.is_alone() || !self.is_anyone_elsewhere(room, user).await?) {
            return Ok(());
        }
        self.signal(&EphemeralEvent::Typing { room, user: user.clone() }).await
    }

    async fn is_anyone_elsewhere(&self, room: RoomId, user: &UserId) -> Result<bool, StoreError> {
        let members = self.members.clone();
        let presence = self.db.collection::<RawDocumentBuf>("presence");
        let filter = doc! { "_id": codec::of_room(room, "user") };
        let (user, server) = (user.clone(), self.peers.server());
        self.bounded(async move {
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
    fn it_is_news_once_for_each_user_and_room() {
        let typists = Typists::default();
        let room = |id| RoomId::try_from(id).unwrap();
        let news = |id, user| typists.is_news(room(id), &UserId::Int(user));
        assert_eq!(
            [news(1, 1), news(1, 1), news(1, 2), news(2, 1), news(2, 1)],
            [true, false, true, true, false]
        );
    }
}
