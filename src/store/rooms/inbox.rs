//! Reads the rooms of a user for an inbox connection. An inbox connection is one socket for all rooms of a user
//! (docs/protocol.md, First frames). All rooms are read at one snapshot time, a time of MongoDB's logical clock. The
//! result is a page of rooms, or the changes since a cursor. A cursor describes which changes the client has already
//! received. The position of a room is the number of its last message and the number of its last revision (an edit or a
//! delete).

use std::cmp::Reverse;
use std::collections::HashMap;

use bson::{RawDocumentBuf, Timestamp, doc};
use futures_util::TryStreamExt;
use handlers::{RoomChange, RoomId, UserId};
use mongodb::ClientSession;

use super::consent::{self, UserMemberships};
use super::inbox_page::{InboxPage, InboxQuery, KnownPosition, MissedInRoom, RoomLookup, Watermarks};
use super::list::{self, RoomPageQuery};
use super::position;
use super::position::RoomListPosition;
use super::room_view::{to_kind, to_member_views};
use super::summary::RoomSummary;
use crate::model::room::StoredRoom;
use crate::protocol::cursor::{self, InboxCursor};
use crate::store::codec::{self, Undecodable};
use crate::store::messages::resume::MessageBytes;
use crate::store::{Store, StoreError, json_size};

/// The maximum number of changed rooms that a resuming client gets. If more rooms have changed, the client gets a page
/// of rooms instead.
const RESUMED: usize = 500;

/// The maximum number of rooms whose positions are read for the first page of a client.
const RECENT: usize = 200;

impl Store {
    /// Returns the ids of all rooms of a user.
    pub(crate) async fn room_ids(&self, user: &UserId) -> Result<Vec<RoomId>, StoreError> {
        let members = self.members.clone();
        let filter = doc! { "_id.user": codec::user_bson(user) };
        self.run_detached(async move {
            let find = members.find(filter).projection(doc! { "_id": 1 });
            let found: Vec<RawDocumentBuf> = find.await?.try_collect().await?;
            let read = |member: &RawDocumentBuf| codec::read_room(member.get_document("_id")?);
            Ok(found.iter().map(read).collect::<Result<_, Undecodable>>()?)
        })
        .await
    }

    /// Returns the rooms that each of these users has accepted. Users without an accepted room are left out.
    pub(crate) async fn rooms_by_user(
        &self,
        users: &[UserId],
    ) -> Result<HashMap<UserId, Vec<RoomId>>, StoreError> {
        let members = self.members.clone();
        let users: Vec<_> = users.iter().map(codec::user_bson).collect();
        self.run_detached(async move {
            let mut filter = doc! { "_id.user": { "$in": users } };
            filter.extend([consent::accepted()]);
            let find = members.find(filter).projection(doc! { "_id": 1 });
            let found: Vec<RawDocumentBuf> = find.await?.try_collect().await?;
            let mut rooms: HashMap<_, Vec<_>> = HashMap::new();
            for member in &found {
                let id = member.get_document("_id").map_err(Undecodable::from)?;
                rooms.entry(codec::read_member_user(id)?).or_default().push(codec::read_room(id)?);
            }
            Ok(rooms)
        })
        .await
    }

    /// Reads a page of a user's rooms, or the changes since the cursor, at one snapshot time.
    pub(crate) async fn inbox(&self, user: &UserId, asked: InboxQuery<'_>) -> Result<InboxPage, StoreError> {
        let InboxQuery { page, first, from } = asked;
        let (store, user, from) = (self.clone(), user.clone(), from.cloned());
        self.run_detached(async move {
            let mut session = store.client.start_session().snapshot(true).await?;
            let UserMemberships { memberships, listed: mut places, pending, hidden } =
                store.listed_in(&mut session, &user).await?;
            let mut began = beginnings(&memberships)?;
            began.retain(|room, _| !hidden.contains(room));
            let all: Vec<RoomId> = places.iter().map(|place| place.room).collect();
            let time = session
                .snapshot_time()
                .ok_or_else(|| StoreError::Fault("the database returned no cluster time".into()))?;
            // This wait must come before `missed_in`, which uses the record of changed rooms. The record is complete
            // only after the change stream has reached the snapshot time.
            let marks = store.wait_until_reached(time).await;
            let missed = match &from {
                Some(from) => {
                    let now = Watermarks { time, marks };
                    store.missed_in(&mut session, (&began, &pending), from, now, page.bytes / 4 * 3).await?
                }
                None => None,
            };
            let as_of = Watermarks { time, marks };
            if let Some(missed) = missed {
                let changed =
                    places.iter().filter(|place| missed.contains_key(&place.room)).copied().collect();
                let shown = store.changed_in(&mut session, &user, changed, marks, page.bytes / 4).await?;
                if let Some(shown) = shown {
                    let positions = reached(&missed, &began);
                    let missed = Some(missed);
                    return Ok(InboxPage {
                        as_of,
                        all,
                        pending,
                        hidden,
                        shown,
                        next: None,
                        missed,
                        positions,
                    });
                }
            }
            // The times of the last activity, which order the rooms, come from a cache. They may be later than the
            // snapshot.
            store.with_activity(&user, &mut places).await?;
            let (mut places, has_more) = list::paged(places, page);
            let fitted = store.details_within(&mut session, &user, &mut places, marks, page.bytes).await?;
            let next = places.last().copied().filter(|_| has_more || fitted.cut);
            let positions =
                if first { store.recent(&mut session, &began, &places, time).await? } else { Vec::new() };
            let shown = fitted.shown;
            Ok(InboxPage { as_of, all, pending, hidden, shown, next, missed: None, positions })
        })
        .await
    }

    /// Reads the changed rooms in full. Returns none if the rooms take more than about `bytes` bytes of JSON.
    async fn changed_in(
        &self,
        session: &mut ClientSession,
        user: &UserId,
        mut changed: Vec<RoomListPosition>,
        marks: Timestamp,
        bytes: usize,
    ) -> Result<Option<Vec<RoomSummary>>, StoreError> {
        // The times of the last activity, which order the rooms, come from a cache. They may be later than the
        // snapshot.
        self.with_activity(user, &mut changed).await?;
        let (mut changed, _) = list::paged(changed, RoomPageQuery { before: None, limit: usize::MAX, bytes });
        let fitted = self.details_within(session, user, &mut changed, marks, bytes).await?;
        Ok((!fitted.cut).then_some(fitted.shown))
    }

    /// Returns the changes since the cursor `from`, for each room that changed. Returns none if the changes can't be
    /// determined, or if more than [`RESUMED`] rooms may have changed. Also returns none if the changes take more than
    /// about `most` bytes of JSON.
    async fn missed_in(
        &self,
        session: &mut ClientSession,
        (began, pending): (&HashMap<RoomId, Timestamp>, &[RoomId]),
        from: &InboxCursor,
        now: Watermarks,
        most: usize,
    ) -> Result<Option<HashMap<RoomId, MissedInRoom>>, StoreError> {
        let then = from.settled();
        if then > now.time {
            return Ok(None);
        }
        let all: Vec<_> = began.keys().copied().collect();
        let touched = self.touched.changed_after(then, &all).filter(|_| now.marks >= now.time);
        let changed = touched.unwrap_or(all);
        if changed.len() > RESUMED {
            return Ok(None);
        }
        let (mut missed, mut bytes) = (HashMap::new(), 0);
        let fitting = MessageBytes { bytes: most, email: json_size::EMAIL };
        for room in changed {
            let known = from.position(room).unwrap_or_default();
            if !began.get(&room).is_some_and(|beginning| from.knows(room, *beginning)) {
                let now = self.position(session, room).await?;
                let Some(now) = self.reach(session, room, now, known).await? else { return Ok(None) };
                missed.insert(room, MissedInRoom::Room(now));
                continue;
            }
            let Some(position) = self.position_at(session, room, known, then).await? else {
                return Ok(None);
            };
            let now = self.position(session, room).await?;
            if position.message == 0 && pending.contains(&room) {
                // At the cursor's time, the room had no messages and was hidden from the user. Therefore the client
                // gets the whole room.
                missed.insert(room, MissedInRoom::Room(now));
                continue;
            }
            let Some(now) = self.reach(session, room, now, position).await? else { return Ok(None) };
            let Some(changed) = self.missed_after(session, room, position, now, fitting).await? else {
                return Ok(None);
            };
            bytes += changed.bytes();
            if bytes > most {
                return Ok(None);
            }
            missed.insert(room, MissedInRoom::Changed(changed));
        }
        Ok(Some(missed))
    }

    /// Returns the positions of the rooms that changed just before the snapshot time `time`, at most [`RECENT`] rooms.
    /// If this server doesn't know which rooms changed, returns the positions of the rooms on the page. Rooms that the
    /// user has just joined are included. The rooms are sorted by the beginning of the user's membership, the latest
    /// first.
    async fn recent(
        &self,
        session: &mut ClientSession,
        began: &HashMap<RoomId, Timestamp>,
        shown: &[RoomListPosition],
        time: Timestamp,
    ) -> Result<Vec<KnownPosition>, StoreError> {
        let all: Vec<_> = began.keys().copied().collect();
        let settled = cursor::settled(time);
        let recent = self.touched.changed_after(settled, &all);
        let mut recent = recent.unwrap_or_else(|| shown.iter().map(|place| place.room).collect());
        recent.extend(began.iter().filter(|(_, beginning)| **beginning > settled).map(|(room, _)| *room));
        recent.sort_unstable_by_key(|room| (Reverse(began.get(room)), *room));
        recent.dedup();
        let mut positions = Vec::with_capacity(recent.len().min(RECENT));
        for room in recent.into_iter().take(RECENT) {
            positions.extend(self.known_in(session, room, began).await?);
        }
        Ok(positions)
    }

    /// Returns the position of one of the user's rooms. Returns none if the user is not a member of the room.
    async fn known_in(
        &self,
        session: &mut ClientSession,
        room: RoomId,
        began: &HashMap<RoomId, Timestamp>,
    ) -> Result<Option<KnownPosition>, StoreError> {
        let Some(beginning) = began.get(&room).copied() else { return Ok(None) };
        Ok(Some(KnownPosition { room, position: self.position(session, room).await?, beginning }))
    }

    /// Returns a room as one of its members sees it, with the room's position and the cluster times of the read.
    pub(crate) async fn room_of(
        &self,
        user: &UserId,
        room: RoomId,
    ) -> Result<(Watermarks, RoomLookup), StoreError> {
        let (store, user) = (self.clone(), user.clone());
        self.run_detached(async move {
            let mut session = store.client.start_session().snapshot(true).await?;
            let mut places = [RoomListPosition { at: handlers::Time(0), room }];
            let mut known = None;
            let find = store.members.find_one(doc! { "_id": codec::member_id(room, &user) });
            if let Some(member) = find.session(&mut session).await? {
                places[0] = position::joined(&member)?;
                let beginning = codec::read_beginning(&member)?;
                known = Some(KnownPosition {
                    room,
                    position: store.position(&mut session, room).await?,
                    beginning,
                });
            }
            let time = session
                .snapshot_time()
                .ok_or_else(|| StoreError::Fault("the database returned no cluster time".into()))?;
            store.with_activity(&user, &mut places).await?;
            // This read does not wait until the change stream has reached the snapshot time, because the client gets
            // later receipt markers as events.
            let marks = store.reached.capped_at(time);
            let listed = store.details_in(&mut session, &user, &places, marks).await?;
            let looked = match listed.into_iter().next().zip(known) {
                None => RoomLookup::NotMember,
                Some((room, known)) => {
                    let is_hidden =
                        room.pending && !store.hidden_in(&mut session, &[room.room.id]).await?.is_empty();
                    if is_hidden { RoomLookup::Hidden } else { RoomLookup::Listed(Box::new((room, known))) }
                }
            };
            Ok((Watermarks { time, marks }, looked))
        })
        .await
    }

    /// Returns the kind, the name and the members of a room, with the snapshot time of the members. Returns none if the
    /// room doesn't exist.
    pub(crate) async fn change_of(
        &self,
        room: RoomId,
    ) -> Result<Option<(Timestamp, RoomChange)>, StoreError> {
        let (view, members) = self.members_known(room).await?;
        let Some(StoredRoom { kind, name, .. }) = self.room(room).await? else { return Ok(None) };
        let online = self.online_of(members.iter().map(|member| &member.user), None).await?;
        let change = RoomChange { kind: to_kind(kind), name, members: to_member_views(members, &online) };
        Ok(Some((view.time(), change)))
    }
}

/// Returns the current positions of the rooms that changed since the cursor.
fn reached(missed: &HashMap<RoomId, MissedInRoom>, began: &HashMap<RoomId, Timestamp>) -> Vec<KnownPosition> {
    let known = |(room, missed): (&RoomId, &MissedInRoom)| {
        let position = match missed {
            MissedInRoom::Room(position) => *position,
            MissedInRoom::Changed(changed) => changed.position,
        };
        Some(KnownPosition { room: *room, position, beginning: *began.get(room)? })
    };
    missed.iter().filter_map(known).collect()
}

/// Returns the cluster time at which each of a user's memberships began.
fn beginnings(memberships: &[RawDocumentBuf]) -> Result<HashMap<RoomId, Timestamp>, Undecodable> {
    let began = |member: &RawDocumentBuf| {
        Ok((codec::read_room(member.get_document("_id")?)?, codec::read_beginning(member)?))
    };
    memberships.iter().map(began).collect()
}
