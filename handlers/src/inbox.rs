//! What a user's own socket is told of rooms (docs/protocol.md, Inbox).

use schemars::JsonSchema;
use serde::Serialize;

use crate::{HistoryMessage, MessageId, Role, RoomId, Time, UserId};

/// The first frame: the caller's rooms.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(tag = "type", rename = "ready")]
pub struct Ready {
    /// The caller.
    pub user_id: UserId,
    /// Whether `rooms` has all changes since the cursor. Otherwise it is the first page.
    pub resumed: bool,
    /// The rooms, the one with the latest activity first: all that changed, or the first page.
    pub rooms: Vec<ReadyRoom>,
    /// Whether there are more rooms. The action `rooms` reads them.
    pub has_more: bool,
    /// If there are more rooms: the `next` of the action `rooms`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String")]
    pub next: Option<String>,
    /// If resumed: all rooms of the caller. The client drops every other room.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Vec<RoomId>")]
    pub room_ids: Option<Vec<RoomId>>,
    /// The users who are online: of the members of these rooms, or, if resumed, of all of the caller's rooms.
    pub online: Vec<UserId>,
    /// The cursor after this frame.
    pub cursor: String,
}

/// A room as it is now and, if resumed, its changes since the cursor.
#[derive(Debug, Serialize, JsonSchema)]
pub struct ReadyRoom {
    /// As it is now.
    #[serde(flatten)]
    pub room: RoomView,
    /// The caller joined the room after the cursor: load it with `history`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "bool")]
    pub added: Option<bool>,
    /// New messages as they are now, oldest first, at most 1,000.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Vec<HistoryMessage<'static>>")]
    pub messages: Option<Vec<HistoryMessage<'static>>>,
    /// Older messages whose text has changed, as they are now.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Vec<HistoryMessage<'static>>")]
    pub edited: Option<Vec<HistoryMessage<'static>>>,
    /// Older messages that were deleted.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Vec<MessageId>")]
    pub deleted: Option<Vec<MessageId>>,
    /// Whether there are more new messages after these. The action `history` reads them.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "bool")]
    pub has_more: Option<bool>,
}

/// A room as one of its members sees it.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct RoomView {
    /// Its id.
    pub room_id: RoomId,
    /// Whether it is a direct room or a group.
    pub kind: RoomKind,
    /// Its name, if it has one.
    pub name: Option<String>,
    /// The time of the last message, deleted or not, or of the caller's joining if that is later.
    pub last_activity: Time,
    /// All members, the caller included.
    pub members: Vec<MemberView>,
    /// The last message that is not deleted.
    pub last_message: Option<HistoryMessage<'static>>,
    /// The number of others' messages after the caller's read marker, without deleted ones.
    pub unread: i64,
    /// The caller's own delivered marker.
    pub delivered: i64,
    /// The caller's own read marker.
    pub read: i64,
}

/// What a room is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum RoomKind {
    /// The only room of its kind for two users.
    Direct,
    /// A room whose members may change.
    Group,
}

/// A member of a room.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct MemberView {
    /// The member's id.
    pub user_id: UserId,
    /// Shown as `sender_email`.
    pub email: Option<String>,
    /// The member's role.
    pub role: Role,
    /// Everything up to this number was written to one of the member's sockets.
    pub delivered: i64,
    /// Everything up to this number was read by the member.
    pub read: i64,
    /// Whether the member has a socket on any server. Ignore it in the caller's own entry.
    pub online: bool,
}

/// What happened to the caller's rooms, beside what happened in them.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum InboxEvent {
    /// The caller joined a room.
    RoomAdded {
        /// The room as in `ready`.
        room: Box<RoomView>,
    },
    /// The name or the members of a room changed.
    RoomChanged {
        /// The room as it is now.
        room: RoomChange,
    },
    /// The caller left the room, or the room was deleted.
    RoomRemoved {},
    /// The caller's read marker, or a delete, changed the unread count.
    Unread {
        /// The number of others' messages after the caller's read marker.
        unread: i64,
        /// The caller's read marker.
        read: i64,
    },
    /// A user who shares a room came online or went offline.
    Presence {
        /// The user.
        user_id: UserId,
        /// Whether the user has a socket on any server.
        online: bool,
        /// If offline: when the last socket was closed.
        #[serde(skip_serializing_if = "Option::is_none")]
        #[schemars(with = "Time")]
        last_seen: Option<Time>,
    },
}

/// What can change of a room beside its messages.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct RoomChange {
    /// Whether it is a direct room or a group.
    pub kind: RoomKind,
    /// Its name, if it has one.
    pub name: Option<String>,
    /// All members, the caller included.
    pub members: Vec<MemberView>,
}

/// A page of the caller's rooms.
#[derive(Debug)]
pub struct RoomPage {
    /// The latest first.
    pub rooms: Vec<RoomView>,
    /// Where the next page begins, if there are more rooms.
    pub next: Option<String>,
}

/// Where a page of the caller's rooms begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RoomsFrom {
    /// At the room with the latest activity.
    Latest,
    /// Where the page before ended, as that page said.
    Next(String),
    /// After the room with this last activity, and this id if the caller names one.
    Before {
        /// As the room showed it.
        at: String,
        /// Rooms of the same millisecond are in the order of their ids, the highest first.
        room: Option<RoomId>,
    },
}
