//! All rooms of a user at one moment, for the socket that hears of all of them (protocol.md, Level 3).

use std::collections::HashMap;

use bson::{RawDocumentBuf, Timestamp, doc};
use futures_util::TryStreamExt;
use handlers::{HistoryMessage, MemberView, RoomId, RoomKind, RoomView, UserId};

use super::documents::{self, Kind, Undecodable};
use super::list::{self, Listed, Page, Position};
use super::presence::Presence;
use super::{Store, StoreError, lowest};
use crate::room::status;

/// A user's rooms.
#[derive(Debug)]
pub(crate) struct Rooms {
    /// The moment that they are of.
    pub(crate) time: Timestamp,
    /// All of them.
    pub(crate) all: Vec<RoomId>,
    /// Some, in their order.
    pub(crate) shown: Vec<Listed>,
    /// Whether there are more than are shown.
    pub(crate) has_more: bool,
}

impl Store {
    /// The ids of all rooms of a user.
    pub(crate) async fn room_ids(&self, user: &UserId) -> Result<Vec<RoomId>, StoreError> {
        let members = self.members.clone();
        let filter = doc! { "_id.user": documents::user_bson(user) };
        self.bounded(async move {
            let find = members.find(filter).projection(doc! { "_id": 1 });
            let found: Vec<RawDocumentBuf> = find.await?.try_collect().await?;
            let read = |member: &RawDocumentBuf| documents::read_room(member.get_document("_id")?);
            Ok(found.iter().map(read).collect::<Result<_, Undecodable>>()?)
        })
        .await
    }

    /// The rooms of each of these users; whoever is in none is not among them.
    pub(crate) async fn rooms_by_user(
        &self,
        users: &[UserId],
    ) -> Result<HashMap<UserId, Vec<RoomId>>, StoreError> {
        let members = self.members.clone();
        let users: Vec<_> = users.iter().map(documents::user_bson).collect();
        self.bounded(async move {
            let find = members.find(doc! { "_id.user": { "$in": users } }).projection(doc! { "_id": 1 });
            let found: Vec<RawDocumentBuf> = find.await?.try_collect().await?;
            let mut rooms: HashMap<_, Vec<_>> = HashMap::new();
            for member in &found {
                let id = member.get_document("_id").map_err(Undecodable::from)?;
                rooms.entry(documents::read_member_user(id)?).or_default().push(documents::read_room(id)?);
            }
            Ok(rooms)
        })
        .await
    }

    /// All rooms of a user, and what is shown of a page of them, of one moment.
    pub(crate) async fn inbox(&self, user: &UserId, page: Page) -> Result<Rooms, StoreError> {
        let (store, user) = (self.clone(), user.clone());
        self.bounded(async move {
            let mut session = store.client.start_session().snapshot(true).await?;
            let filter = doc! { "_id.user": documents::user_bson(&user) };
            let find = store.members.find(filter).projection(doc! { "_id": 1, "joined_at": 1 });
            let mut cursor = find.session(&mut session).await?;
            let found: Vec<RawDocumentBuf> = cursor.stream(&mut session).try_collect().await?;
            let places = found.iter().map(|member| list::joined(member));
            let mut places = places.collect::<Result<Vec<Position>, Undecodable>>()?;
            let all = places.iter().map(|place| place.room).collect();
            // Their order is no part of the moment.
            store.with_activity(&user, &mut places).await?;
            let (places, has_more) = list::paged(places, page);
            let shown = store.details_in(&mut session, &user, &places, page.counted).await?;
            let time = session.snapshot_time().ok_or_else(|| StoreError::Fault("no cluster time".into()))?;
            Ok(Rooms { time, all, shown, has_more })
        })
        .await
    }

    /// One room as one of its members sees it, and the moment that this is of; none where the user is no member or
    /// there is no such room.
    pub(crate) async fn room_of(
        &self,
        user: &UserId,
        room: RoomId,
        counted: usize,
    ) -> Result<(Timestamp, Option<Listed>), StoreError> {
        let (store, user) = (self.clone(), user.clone());
        self.bounded(async move {
            let mut session = store.client.start_session().snapshot(true).await?;
            let mut places = [Position { at: handlers::Time(0), room }];
            let find = store.members.find_one(doc! { "_id": documents::member_id(room, &user) });
            if let Some(member) = find.session(&mut session).await? {
                places[0] = list::joined(&member)?;
            }
            store.with_activity(&user, &mut places).await?;
            let listed = store.details_in(&mut session, &user, &places, counted).await?;
            let time = session.snapshot_time().ok_or_else(|| StoreError::Fault("no cluster time".into()))?;
            Ok((time, listed.into_iter().next()))
        })
        .await
    }

    /// Who of these rooms' members is online.
    pub(crate) async fn presences_in(
        &self,
        rooms: &[Listed],
    ) -> Result<HashMap<UserId, Presence>, StoreError> {
        let mut users: Vec<_> =
            rooms.iter().flat_map(|room| &room.members).map(|member| member.user.clone()).collect();
        users.sort_unstable();
        users.dedup();
        self.presences(&users).await
    }
}

/// A room as its member is shown it.
pub(crate) fn see(listed: Listed, present: &HashMap<UserId, Presence>) -> RoomView {
    let Listed { room, members, last, unread, marks, active_at } = listed;
    let last_message = last.map(|message| {
        let others = lowest(members.iter().map(|member| (&member.user, member.marks)), &message.sender);
        let sender = members.iter().find(|member| member.user == message.sender);
        HistoryMessage {
            message_id: message.id,
            status: status(others, message.id),
            sender_email: sender.and_then(|member| member.email.clone()).map(Into::into),
            text: message.text.into(),
            sender_id: message.sender,
            created_at: message.created_at,
            updated_at: message.updated_at,
        }
    });
    let member = |member: documents::Member| MemberView {
        online: present.get(&member.user).is_some_and(|presence| presence.online),
        user_id: member.user,
        email: member.email,
        role: member.role,
        delivered: member.marks.delivered,
        read: member.marks.read,
    };
    RoomView {
        room_id: room.id,
        kind: match room.kind {
            Kind::Direct => RoomKind::Direct,
            Kind::Group => RoomKind::Group,
        },
        name: room.name,
        last_activity: active_at,
        members: members.into_iter().map(member).collect(),
        last_message,
        unread,
        delivered: marks.delivered,
        read: marks.read,
    }
}
