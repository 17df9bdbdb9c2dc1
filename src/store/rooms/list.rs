//! Pages of a user's rooms, ordered by their last activity, the latest first.
//!
//! No document stores this order. A room's last activity is the time of its last message, even if this message is
//! deleted. If the user joined the room after the last message, the last activity is the time of joining. The last
//! message has the greatest `_id` of the room. A [cache](super::activity_cache) keeps the time of the last message. An
//! index finds the user's rooms, and only the rooms of the requested page are read in full.

use std::collections::HashMap;

use bson::{Bson, Document, RawDocument, RawDocumentBuf, Timestamp, doc};
use futures_util::TryStreamExt;
use handlers::{RoomId, Time, UserId};
use mongodb::ClientSession;

use super::consent;
use super::newest::{newest, range};
use super::position::RoomListPosition;
use super::summary::RoomSummary;
use crate::model::receipts::Marks;
use crate::store::codec::{self, Undecodable};
use crate::store::json_size::{self, ByteBudget};
use crate::store::receipts::journal;
use crate::store::receipts::unread::{self, ManyDeleted};
use crate::store::{Store, StoreError};

/// The number of rooms whose last activity is read by one operation.
pub(in crate::store) const READ_AT_ONCE: usize = 500;

/// The number of rooms in the first read of [`Store::details_within`]. It is small, because the average size of the
/// user's rooms is still unknown.
const FIRST_ROOMS: usize = 10;
/// The maximum number of rooms in each later read of [`Store::details_within`].
const MOST_ROOMS: usize = 100;

/// The rooms that fit into the requested bytes.
pub(in crate::store) struct FittingRooms {
    pub(in crate::store) shown: Vec<RoomSummary>,
    /// Whether rooms were left out because they don't fit into the bytes.
    pub(in crate::store) cut: bool,
}

/// A request for a page of rooms.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RoomPageQuery {
    pub(crate) before: Option<RoomListPosition>,
    pub(crate) limit: usize,
    /// The approximate maximum size of the page as JSON, in bytes.
    pub(crate) bytes: usize,
}

impl Store {
    /// Returns a page of a user's rooms. If there are more rooms, also returns the position after which the next page
    /// begins.
    pub(crate) async fn rooms_of(
        &self,
        user: &UserId,
        page: RoomPageQuery,
    ) -> Result<(Vec<RoomSummary>, Option<RoomListPosition>), StoreError> {
        let (store, user) = (self.clone(), user.clone());
        self.run_detached(async move {
            let mut session = store.client.start_session().snapshot(true).await?;
            let mut places = store.listed_in(&mut session, &user).await?.listed;
            let time = session
                .snapshot_time()
                .ok_or_else(|| StoreError::Fault("the database returned no cluster time".into()))?;
            store.with_activity(&user, &mut places).await?;
            let (mut places, more) = paged(places, page);
            let known = store.wait_until_reached(time).await;
            let listed = store.details_within(&mut session, &user, &mut places, known, page.bytes).await?;
            Ok((listed.shown, places.last().copied().filter(|_| more || listed.cut)))
        })
        .await
    }

    /// Reads all memberships of a user. Each document has the room, the time of joining, and the cluster time at which
    /// the membership began. It also shows whether the membership is pending (not accepted by the user).
    pub(in crate::store) async fn memberships_in(
        &self,
        session: &mut ClientSession,
        user: &UserId,
    ) -> Result<Vec<RawDocumentBuf>, StoreError> {
        let find = self.members.find(doc! { "_id.user": codec::user_bson(user) });
        let find = find.projection(doc! { "_id": 1, "joined_at": 1, "joined": 1, consent::PENDING: 1 });
        let mut cursor = find.session(&mut *session).await?;
        Ok(cursor.stream(session).try_collect().await?)
    }

    /// Returns the time of the last message in each of these rooms of a user. Rooms without messages are left out.
    async fn last_said(&self, user: &UserId, rooms: &[RoomId]) -> Result<HashMap<RoomId, Time>, StoreError> {
        let members = self.members.clone();
        let stages = [
            of_user(user, rooms.iter().copied()),
            doc! { "$project": { "_id": 0, "room": "$_id.room" } },
            newest("said", doc! { "_id": 0, "created_at": 1 }),
            doc! { "$unwind": "$said" },
            doc! { "$project": { "_id": "$room", "at": "$said.created_at" } },
        ];
        self.run_detached(async move {
            let said = members.aggregate(stages).with_type::<RawDocumentBuf>().await?;
            let documents: Vec<RawDocumentBuf> = said.try_collect().await?;
            let read = |document: &RawDocumentBuf| {
                Ok((codec::read_room_id(document)?, codec::read_time(document, "at")?))
            };
            Ok(documents.iter().map(read).collect::<Result<_, Undecodable>>()?)
        })
        .await
    }

    /// Reads the rooms of `places`, and returns them in the same order. The documents are read at the session's
    /// snapshot time. Receipt markers are included up to the cluster time `known`.
    pub(in crate::store) async fn details_in(
        &self,
        session: &mut ClientSession,
        user: &UserId,
        places: &[RoomListPosition],
        known: Timestamp,
    ) -> Result<Vec<RoomSummary>, StoreError> {
        let own = self.overlay.of_user(user, places.iter().map(|place| place.room), known);
        let rooms = self.members.aggregate(stages(user, places, &own)).with_type::<RawDocumentBuf>();
        let mut cursor = rooms.session(&mut *session).await?;
        let documents: Vec<RawDocumentBuf> = cursor.stream(session).try_collect().await?;
        let mut listed = in_order(&documents, user, places)?;
        for document in &documents {
            let Some(ManyDeleted { room, read, others }) = unread::read_many(document)? else { continue };
            let deleted = self.deleted_in(session, room, user, read).await?;
            if let Some(listed) = listed.iter_mut().find(|listed| listed.room.id == room) {
                listed.unread = (others - deleted).max(0);
            }
        }
        for RoomSummary { room, members, marks, .. } in &mut listed {
            self.overlay.raise(room.id, known, members);
            if let Some(own) = members.iter().find(|member| member.user == *user) {
                *marks = own.marks;
            }
        }
        Ok(listed)
    }

    /// Returns how many messages of users other than `user`, with numbers above `read`, were deleted at the session's
    /// snapshot time.
    async fn deleted_in(
        &self,
        session: &mut ClientSession,
        room: RoomId,
        user: &UserId,
        read: i64,
    ) -> Result<i64, StoreError> {
        let revision = self.position(session, room).await?.revision;
        if let Some(deleted) = self.deleted_after(room, user, read, revision).await? {
            return Ok(deleted);
        }
        let count = self.messages.aggregate(unread::count_deleted(room, user, read));
        let mut cursor = count.with_type::<RawDocumentBuf>().session(&mut *session).await?;
        let found: Option<RawDocumentBuf> = cursor.stream(session).try_next().await?;
        Ok(unread::deleted(found.as_deref())?)
    }

    /// Reads as many of the given rooms, in their order, as fit into about `bytes` bytes of JSON. Removes the other
    /// rooms from `places`. Only a few rooms are read at a time, because one room may have thousands of members.
    pub(in crate::store) async fn details_within(
        &self,
        session: &mut ClientSession,
        user: &UserId,
        places: &mut Vec<RoomListPosition>,
        known: Timestamp,
        bytes: usize,
    ) -> Result<FittingRooms, StoreError> {
        let (mut shown, mut fitting, mut read, mut step) =
            (Vec::new(), ByteBudget::new(bytes), 0, FIRST_ROOMS);
        while read < places.len() {
            let some: Vec<_> = places.iter().skip(read).take(step).copied().collect();
            read += some.len();
            for room in self.details_in(session, user, &some, known).await? {
                if !fitting.takes(json_size::of_listed(&room)) {
                    let at = places.iter().position(|place| place.room == room.room.id);
                    places.truncate(at.unwrap_or(places.len()));
                    return Ok(FittingRooms { shown, cut: true });
                }
                shown.push(room);
            }
            // The next read takes as many rooms as fit into the remaining bytes. The estimate uses the average size of
            // the rooms that were read so far.
            let each = (bytes.saturating_sub(fitting.left()) / read).max(1);
            step = (fitting.left() / each).clamp(1, MOST_ROOMS);
        }
        Ok(FittingRooms { shown, cut: false })
    }

    /// Sets the time of each room to the time of its last message, if this message is later than the user's joining.
    pub(in crate::store) async fn with_activity(
        &self,
        user: &UserId,
        places: &mut [RoomListPosition],
    ) -> Result<(), StoreError> {
        let mut asked = self.activity.look_up(places.iter().map(|place| place.room));
        let missing = std::mem::take(&mut asked.missing);
        for some in missing.chunks(READ_AT_ONCE) {
            let read = self.last_said(user, some).await?;
            self.activity.store(&mut asked, &read, some);
        }
        for place in places {
            place.at = asked.known.get(&place.room).copied().map_or(place.at, |said| said.max(place.at));
        }
        Ok(())
    }
}

fn in_order(
    documents: &[RawDocumentBuf],
    user: &UserId,
    order: &[RoomListPosition],
) -> Result<Vec<RoomSummary>, Undecodable> {
    let mut listed = Vec::with_capacity(documents.len());
    for RoomListPosition { at, room } in order {
        let id = room.get();
        if let Some(document) =
            documents.iter().find(|document| document.get_i64("room").is_ok_and(|room| room == id))
        {
            listed.push(read(document, user, *at)?);
        }
    }
    Ok(listed)
}

/// Returns the requested page of rooms, the latest activity first, and whether there are more rooms.
pub(in crate::store) fn paged(
    mut places: Vec<RoomListPosition>,
    page: RoomPageQuery,
) -> (Vec<RoomListPosition>, bool) {
    if let Some(before) = page.before {
        places.retain(|place| (place.at, place.room) < (before.at, before.room));
    }
    places.sort_unstable_by_key(|place| std::cmp::Reverse((place.at, place.room)));
    let more = places.len() > page.limit;
    places.truncate(page.limit);
    (places, more)
}

/// Returns the aggregation stage that finds the user's memberships in these rooms by the index on users.
pub(in crate::store) fn of_user(user: &UserId, rooms: impl Iterator<Item = RoomId>) -> Document {
    let rooms: Vec<_> = rooms.map(RoomId::get).collect();
    doc! { "$match": { "_id.user": codec::user_bson(user), "_id.room": { "$in": rooms } } }
}

fn stages(user: &UserId, places: &[RoomListPosition], own: &HashMap<RoomId, Marks>) -> Vec<Document> {
    let mut stages = vec![
        of_user(user, places.iter().map(|place| place.room)),
        doc! { "$project": { "_id": 0, "room": "$_id.room", "read": 1 } },
        doc! { "$lookup": { "from": "rooms", "localField": "room", "foreignField": "_id", "as": "doc" } },
        doc! { "$unwind": "$doc" },
        doc! { "$match": { "doc.deleted_at": { "$exists": false } } },
        newest_alive(),
        doc! { "$lookup": { "from": "members", "let": { "room": "$room" }, "as": "members", "pipeline": [
            { "$match": { "$expr": { "$and": range("user", "$gte", Bson::MinKey) } } },
        ] } },
    ];
    stages.extend(journal::raised_read(own));
    stages.extend(unread::stages(user));
    stages
}

/// Returns the aggregation stage that looks up the room's last message that is not deleted. The stage uses the same
/// index as [`codec::alive`].
fn newest_alive() -> Document {
    let filter = doc! { "$expr": { "$eq": ["$_id.room", "$$room"] }, "text": { "$exists": true } };
    doc! { "$lookup": { "from": "messages", "let": { "room": "$room" }, "as": "last", "pipeline": [
        { "$match": filter }, { "$sort": codec::by_number(-1) }, { "$limit": 1 }, { "$project": { "write_id": 0 } },
    ] } }
}

fn read(document: &RawDocument, user: &UserId, active_at: Time) -> Result<RoomSummary, Undecodable> {
    let room = codec::read_room_document(document.get_document("doc")?)?
        .ok_or_else(|| Undecodable::new("the list contains a deleted room"))?;
    let members = codec::documents_in(document, "members")?.into_iter().map(codec::read_member);
    let members = members.collect::<Result<Vec<_>, _>>()?;
    let last = codec::documents_in(document, "last")?.first().map(|last| codec::read_message(last));
    let own = members.iter().find(|member| member.user == *user);
    let (marks, pending) = own.map(|own| (own.marks, own.pending)).unwrap_or_default();
    Ok(RoomSummary {
        room,
        members,
        last: last.transpose()?.flatten(),
        unread: unread::read(document)?,
        marks,
        active_at,
        pending,
    })
}
