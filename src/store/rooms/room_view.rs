//! Renders stored rooms and members in the form that clients get.

use std::collections::HashSet;

use handlers::{MemberView, ReadyRoom, RoomKind, RoomView, UserId};

use super::inbox_page::MissedInRoom;
use super::summary::RoomSummary;
use crate::model::message::StoredMessage;
use crate::model::room::{StoredMember, StoredRoomKind};
use crate::store::MessageRenderer;

/// Renders a room for one of its members, with the changes that the member's client missed. If `missed` is None,
/// renders the room without changes.
pub(crate) fn to_delta(
    listed: RoomSummary,
    missed: Option<&MissedInRoom>,
    online: &HashSet<UserId>,
) -> ReadyRoom {
    let changed = match missed {
        Some(MissedInRoom::Changed(changed)) => Some(changed),
        _ => None,
    };
    let showing = MessageRenderer::to(&listed.members);
    let all = |messages: &[StoredMessage]| -> Vec<_> {
        messages.iter().map(|message| showing.show(message).into_owned()).collect()
    };
    let (messages, edited) =
        (changed.map(|changed| all(&changed.messages)), changed.map(|changed| all(&changed.edited)));
    ReadyRoom {
        added: matches!(missed, Some(MissedInRoom::Room(_))).then_some(true),
        messages,
        edited,
        deleted: changed.map(|changed| changed.deleted.clone()),
        has_more: changed.map(|changed| changed.has_more),
        room: to_room_view(listed, online),
    }
}

/// Renders a room for one of its members.
pub(crate) fn to_room_view(listed: RoomSummary, online: &HashSet<UserId>) -> RoomView {
    let RoomSummary { room, members, last, unread, marks, active_at, .. } = listed;
    let last_message = last.map(|message| MessageRenderer::to(&members).show(&message).into_owned());
    RoomView {
        room_id: room.id,
        kind: to_kind(room.kind),
        name: room.name,
        last_activity: active_at,
        members: to_member_views(members, online),
        last_message,
        unread,
        delivered: marks.delivered,
        read: marks.read,
    }
}

pub(super) fn to_kind(kind: StoredRoomKind) -> RoomKind {
    match kind {
        StoredRoomKind::Direct => RoomKind::Direct,
        StoredRoomKind::Group => RoomKind::Group,
    }
}

pub(super) fn to_member_views(members: Vec<StoredMember>, online: &HashSet<UserId>) -> Vec<MemberView> {
    let see = |member: StoredMember| MemberView {
        online: !member.pending && online.contains(&member.user),
        user_id: member.user,
        email: member.email,
        role: member.role,
        delivered: member.marks.delivered,
        read: member.marks.read,
    };
    members.into_iter().map(see).collect()
}
