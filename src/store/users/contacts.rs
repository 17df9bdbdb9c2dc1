//! Caches the online users, and the first members of each room. The first members of all rooms of a user are the user's
//! contacts. When an inbox connection (one socket for all rooms of a user) resumes, the server sends the online
//! contacts. Without the cache, the database would read the members of each room.
//!
//! The change stream keeps the cache current. The server reads the online users when the stream begins. Afterwards the
//! server applies each change of presence to the cache. When a connection needs the first members of a room, the server
//! reads at most [`CONTACTS`] members. When a user joins or leaves the room, the server removes the room's members from
//! the cache.
//!
//! The change stream may report a join or a leave while the server reads the members of the room. Therefore the server
//! first marks the room as [`Reading`](CachedMembers::Reading). A join or leave removes this mark. If the mark is gone
//! after the read, the members are returned to the caller but not cached. Both the reads and the stream show only
//! majority-committed data.
//!
//! The cache is as recent as the stream's position. A caller that needs a later state first waits for the stream
//! ([`Store::wait_until_reached`]). If the stream does not reach that state in time, the caller reads from the
//! database.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bson::{Bson, RawDocumentBuf, doc};
use futures_util::TryStreamExt;
use handlers::{RoomId, UserId};
use moka::notification::RemovalCause;
use moka::ops::compute::Op;
use moka::sync::Cache;
use mongodb::options::ReadConcern;

use super::presence;
use crate::store::codec::{self, Undecodable};
use crate::store::rooms::inbox_page::Watermarks;
use crate::store::rooms::list::{self, READ_AT_ONCE};
use crate::store::rooms::newest;
use crate::store::rooms::summary::RoomSummary;
use crate::store::{Store, StoreError};
use crate::telemetry::metrics::Metrics;

/// The maximum number of a room's members that count as contacts.
const CONTACTS: i64 = 100;

/// A server's cache of the online users and of the first members of rooms.
pub(crate) struct Contacts {
    /// The users with a socket on any server. None until the server has read them from the database, and again after
    /// the stream may have missed changes.
    online: Mutex<Option<HashSet<UserId>>>,
    rooms: Cache<RoomId, CachedMembers>,
    reads: AtomicU64,
}

#[derive(Clone)]
enum CachedMembers {
    /// A read of the room's members is running. The number identifies the read.
    Reading(u64),
    Known(Arc<[UserId]>),
}

/// The cached members of the requested rooms, and the rooms whose members must be read.
struct ContactLookup {
    members: Vec<Arc<[UserId]>>,
    missing: Vec<RoomId>,
    read: u64,
}

impl Contacts {
    /// Creates a cache of at most `members` members in total, over all rooms.
    pub(in crate::store) fn new(members: u64, metrics: Option<Arc<Metrics>>) -> Self {
        let weight = |_: &RoomId, room: &CachedMembers| match room {
            CachedMembers::Reading(_) => 1,
            CachedMembers::Known(members) => {
                u32::try_from(members.len()).unwrap_or(u32::MAX).saturating_add(1)
            }
        };
        let evicted = move |_, _, cause| {
            if let (RemovalCause::Size, Some(metrics)) = (cause, &metrics) {
                metrics.bound_hit("members_cached");
            }
        };
        let rooms = Cache::builder().max_capacity(members).weigher(weight).eviction_listener(evicted).build();
        Self { online: Mutex::default(), rooms, reads: AtomicU64::new(0) }
    }

    /// Records that a user came online or went offline.
    pub(crate) fn record_presence(&self, user: &UserId, online: bool) {
        let mut known = self.online();
        let Some(known) = known.as_mut() else { return };
        if online {
            known.insert(user.clone());
        } else {
            known.remove(user);
        }
    }

    /// Removes a room's members from the cache, because a user joined or left the room.
    pub(crate) fn remove_room(&self, room: RoomId) {
        self.rooms.invalidate(&room);
    }

    /// Clears the cache, because the stream may have missed changes.
    pub(crate) fn clear(&self) {
        *self.online() = None;
        self.clear_rooms();
    }

    /// Removes the members of all rooms from the cache, because the members of any room may have changed.
    pub(in crate::store) fn clear_rooms(&self) {
        self.rooms.invalidate_all();
    }

    /// Records that all users are offline, because the collection of presences was dropped.
    pub(crate) fn record_all_offline(&self) {
        if let Some(online) = self.online().as_mut() {
            online.clear();
        }
    }

    /// Returns the online users among `users`. None if the cache does not have the online users.
    fn online_among<'a>(&self, users: impl Iterator<Item = &'a UserId>) -> Option<HashSet<UserId>> {
        let known = self.online();
        let known = known.as_ref()?;
        Some(users.filter(|user| known.contains(*user)).cloned().collect())
    }

    fn look_up(&self, rooms: &[RoomId]) -> ContactLookup {
        let read = self.reads.fetch_add(1, Ordering::Relaxed);
        let (mut members, mut missing) = (Vec::with_capacity(rooms.len()), Vec::new());
        for room in rooms {
            if let Some(CachedMembers::Known(known)) = self.rooms.get(room) {
                members.push(known);
            } else {
                self.rooms.insert(*room, CachedMembers::Reading(read));
                missing.push(*room);
            }
        }
        ContactLookup { members, missing, read }
    }

    fn store_members(&self, room: RoomId, read: u64, members: &Arc<[UserId]>) {
        self.rooms.entry(room).and_compute_with(|entry| match entry.map(moka::Entry::into_value) {
            Some(CachedMembers::Reading(reading)) if reading == read => {
                Op::Put(CachedMembers::Known(members.clone()))
            }
            _ => Op::Nop,
        });
    }

    fn online(&self) -> MutexGuard<'_, Option<HashSet<UserId>>> {
        self.online.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Store {
    /// Reads the online users into the cache. Called when the stream begins, and after the stream may have missed
    /// changes.
    pub(crate) async fn read_online(&self) -> Result<(), StoreError> {
        let store = self.clone();
        self.run_detached(async move {
            let mut session = store.client.start_session().snapshot(true).await?;
            let presences = store.db.collection::<RawDocumentBuf>("presence");
            let find = presences.find(doc! { "online": true });
            let mut cursor = find.projection(doc! { "_id": 1 }).session(&mut session).await?;
            let mut online = HashSet::new();
            let mut found = cursor.stream(&mut session);
            while let Some(document) = found.try_next().await? {
                online.insert(presence::read_id(&document)?);
            }
            *store.contacts.online() = Some(online);
            Ok(())
        })
        .await
    }

    /// Returns the online users among the members of `rooms`. With `as_of`, the result is at least as recent as the
    /// snapshot time in `as_of`. Without `as_of`, the result is as recent as the stream's position.
    pub(crate) async fn online_in(
        &self,
        rooms: &[RoomSummary],
        as_of: Option<Watermarks>,
    ) -> Result<HashSet<UserId>, StoreError> {
        let users = rooms.iter().flat_map(|room| &room.members).map(|member| &member.user);
        self.online_of(users, as_of).await
    }

    /// Returns the online users among `users`. `as_of` has the same meaning as for [`online_in`](Self::online_in).
    pub(in crate::store) async fn online_of<'a>(
        &self,
        users: impl Iterator<Item = &'a UserId> + Clone,
        as_of: Option<Watermarks>,
    ) -> Result<HashSet<UserId>, StoreError> {
        if as_of.is_none_or(Watermarks::is_whole)
            && let Some(online) = self.contacts.online_among(users.clone())
        {
            return Ok(online);
        }
        let users: HashSet<_> = users.collect();
        let users: Vec<_> = users.into_iter().cloned().collect();
        let present = self.presences(&users).await?;
        Ok(present.into_iter().filter(|(_, presence)| presence.online).map(|(user, _)| user).collect())
    }

    /// Returns the online users among the first [`CONTACTS`] members of each of the user's `rooms`.
    pub(crate) async fn contacts_online(
        &self,
        user: &UserId,
        rooms: &[RoomId],
        as_of: Watermarks,
    ) -> Result<HashSet<UserId>, StoreError> {
        let mut asked = if as_of.is_whole() {
            self.contacts.look_up(rooms)
        } else {
            ContactLookup { members: Vec::new(), missing: rooms.to_vec(), read: u64::MAX }
        };
        let missing = std::mem::take(&mut asked.missing);
        for some in missing.chunks(READ_AT_ONCE) {
            for (room, members) in self.first_members(user, some).await? {
                self.contacts.store_members(room, asked.read, &members);
                asked.members.push(members);
            }
        }
        self.online_of(asked.members.iter().flat_map(|members| members.iter()), Some(as_of)).await
    }

    /// Reads the first members of these rooms. Rooms in which `user` is not a member are left out.
    async fn first_members(
        &self,
        user: &UserId,
        rooms: &[RoomId],
    ) -> Result<HashMap<RoomId, Arc<[UserId]>>, StoreError> {
        let members = self.members.clone();
        let stages = [
            list::of_user(user, rooms.iter().copied()),
            doc! { "$project": { "_id": 0, "room": "$_id.room" } },
            doc! { "$lookup": { "from": "members", "let": { "room": "$room" }, "as": "members", "pipeline": [
                { "$match": { "$expr": { "$and": newest::range("user", "$gte", Bson::MinKey) } } },
                { "$limit": CONTACTS },
                { "$project": { "_id": 1 } },
            ] } },
        ];
        self.run_detached(async move {
            let found = members.aggregate(stages).read_concern(ReadConcern::majority());
            let found: Vec<RawDocumentBuf> = found.with_type::<RawDocumentBuf>().await?.try_collect().await?;
            let read = |document: &RawDocumentBuf| {
                let members = codec::documents_in(document, "members")?;
                let users = members.iter().map(|member| codec::read_member_user(member.get_document("_id")?));
                Ok((codec::read_room(document)?, users.collect::<Result<_, Undecodable>>()?))
            };
            Ok(found.iter().map(read).collect::<Result<_, Undecodable>>()?)
        })
        .await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn room(id: i64) -> RoomId {
        RoomId::try_from(id).unwrap()
    }

    fn members(users: &[i64]) -> Arc<[UserId]> {
        users.iter().copied().map(UserId::Int).collect()
    }

    #[test]
    fn members_are_kept_unless_a_change_came_during_the_read() {
        let contacts = Contacts::new(100, None);
        let asked = contacts.look_up(&[room(1), room(2)]);
        assert_eq!(asked.missing, [room(1), room(2)]);
        contacts.remove_room(room(2));
        for id in [room(1), room(2)] {
            contacts.store_members(id, asked.read, &members(&[1, 2]));
        }
        let asked = contacts.look_up(&[room(1), room(2)]);
        assert_eq!((asked.members, &*asked.missing), (vec![members(&[1, 2])], &[room(2)][..]));
        contacts.clear();
        contacts.store_members(room(2), asked.read, &members(&[1, 2]));
        assert_eq!(contacts.look_up(&[room(1), room(2)]).missing, [room(1), room(2)]);
    }

    #[test]
    fn members_kept_are_no_more_than_the_bound() {
        let contacts = Contacts::new(50, None);
        for id in 1..=100 {
            let asked = contacts.look_up(&[room(id)]);
            contacts.store_members(room(id), asked.read, &members(&[1, 2, 3, 4]));
        }
        contacts.rooms.run_pending_tasks();
        assert!(contacts.rooms.weighted_size() <= 50, "{}", contacts.rooms.weighted_size());
    }

    #[test]
    fn online_users_are_known_only_after_a_read() {
        let (contacts, users) = (Contacts::new(0, None), members(&[1, 2]));
        contacts.record_presence(&users[0], true);
        assert_eq!(contacts.online_among(users.iter()), None);
        *contacts.online() = Some(HashSet::new());
        contacts.record_presence(&users[0], true);
        contacts.record_presence(&users[1], true);
        contacts.record_presence(&users[1], false);
        assert_eq!(contacts.online_among(users.iter()), Some([users[0].clone()].into()));
        contacts.clear();
        assert_eq!(contacts.online_among(users.iter()), None);
    }
}
