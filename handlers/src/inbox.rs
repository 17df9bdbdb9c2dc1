//! The frames of an inbox connection, which is one socket for all rooms of a user (docs/protocol.md, Inbox).

use schemars::JsonSchema;
use serde::Serialize;

use crate::{HistoryMessage, MessageId, Role, RoomId, Time, UserId};

/// The first frame of an inbox connection: the caller's rooms.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(tag = "type", rename = "ready")]
pub struct Ready {
    /// The user id of the caller.
    pub user_id: UserId,
    /// Whether `rooms` has all changes since the cursor. If false, `rooms` is the first page of the caller's rooms.
    pub resumed: bool,
    /// If resumed: all rooms that changed after the cursor. Otherwise: the first page of the caller's rooms. The
    /// room with the latest activity is first.
    pub rooms: Vec<ReadyRoom>,
    /// Whether the caller has more rooms than this page. The action `rooms` returns the next page.
    pub has_more: bool,
    /// If `has_more`: the value to send as `next` with the action `rooms`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String")]
    pub next: Option<String>,
    /// If resumed: the ids of all rooms of the caller. The client removes every room that is not in this list.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Vec<RoomId>")]
    pub room_ids: Option<Vec<RoomId>>,
    /// The users who are online. If resumed: among the members of all rooms of the caller. Otherwise: among the members
    /// of `rooms`.
    pub online: Vec<UserId>,
    /// The cursor after this frame.
    pub cursor: String,
}

/// A room in its current state. If the client resumes, the entry also has the room's changes after the cursor.
#[derive(Debug, Serialize, JsonSchema)]
pub struct ReadyRoom {
    /// The current state of the room.
    #[serde(flatten)]
    pub room: RoomView,
    /// True if the caller joined the room after the cursor. The client then loads the messages with `history`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "bool")]
    pub added: Option<bool>,
    /// The messages sent after the cursor, in their current state. The oldest is first. At most 1,000.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Vec<HistoryMessage<'static>>")]
    pub messages: Option<Vec<HistoryMessage<'static>>>,
    /// The messages that were sent before the cursor and edited after it, in their current state.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Vec<HistoryMessage<'static>>")]
    pub edited: Option<Vec<HistoryMessage<'static>>>,
    /// The messages that were sent before the cursor and deleted after it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Vec<MessageId>")]
    pub deleted: Option<Vec<MessageId>>,
    /// Whether the room has more messages after the last message in `messages`. The client loads them with the action
    /// `history`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "bool")]
    pub has_more: Option<bool>,
}

/// A room as one of its members sees it.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct RoomView {
    /// The room's id.
    pub room_id: RoomId,
    /// Whether the room is a direct room or a group.
    pub kind: RoomKind,
    /// The room's name, if it has one.
    pub name: Option<String>,
    /// The time of the last message, even if that message is deleted. If the caller joined the room after the last
    /// message, the time of joining.
    pub last_activity: Time,
    /// All members, the caller included.
    pub members: Vec<MemberView>,
    /// The last message that is not deleted.
    pub last_message: Option<HistoryMessage<'static>>,
    /// The number of messages of other users after the caller's read marker. Deleted messages don't count.
    pub unread: i64,
    /// The caller's own delivered marker: all messages up to this number were delivered to the caller.
    pub delivered: i64,
    /// The caller's own read marker: the caller has read all messages up to this number.
    pub read: i64,
}

/// The kind of a room.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum RoomKind {
    /// A room of exactly two users. Each pair of users has at most one direct room.
    Direct,
    /// A room of 1 to 1,000 members. The backend adds and removes members.
    Group,
}

/// A member of a room.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct MemberView {
    /// The member's id.
    pub user_id: UserId,
    /// The member's e-mail address. Messages of this member show it as `sender_email`.
    pub email: Option<String>,
    /// The member's role.
    pub role: Role,
    /// All messages up to this number were written to one of the member's sockets.
    pub delivered: i64,
    /// The member has read all messages up to this number.
    pub read: i64,
    /// Whether the member has a socket on any server. In the caller's own entry the value may be wrong, so the
    /// client ignores it.
    pub online: bool,
}

/// An event about the caller's list of rooms, or about a user's presence. The type `Event` has the events of a room,
/// such as a new message.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum InboxEvent {
    /// The caller joined a room.
    RoomAdded {
        /// The room, in the form of a room in `ready`.
        room: Box<RoomView>,
    },
    /// The name or the members of a room changed.
    RoomChanged {
        /// The changed parts of the room in their current state.
        room: RoomChange,
    },
    /// The caller left the room, or the room was deleted.
    RoomRemoved {},
    /// The unread count changed because the caller's read marker rose or a message was deleted.
    Unread {
        /// The number of messages of other users after the caller's read marker.
        unread: i64,
        /// The caller's read marker: the caller has read all messages up to this number.
        read: i64,
    },
    /// A user who shares a room with the caller came online or went offline.
    Presence {
        /// The user whose presence changed.
        user_id: UserId,
        /// Whether the user has a socket on any server.
        online: bool,
        /// If offline: the time at which the user's last socket was closed.
        #[serde(skip_serializing_if = "Option::is_none")]
        #[schemars(with = "Time")]
        last_seen: Option<Time>,
    },
}

/// The parts of a room that the event `room_changed` contains.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct RoomChange {
    /// Whether the room is a direct room or a group.
    pub kind: RoomKind,
    /// The room's name, if it has one.
    pub name: Option<String>,
    /// All members, the caller included.
    pub members: Vec<MemberView>,
}

/// A page of the caller's rooms.
#[derive(Debug)]
pub struct RoomPage {
    /// The rooms. The room with the latest activity is first.
    pub rooms: Vec<RoomView>,
    /// The value that the client sends as `next` to request the next page. None if this page is the last one.
    pub next: Option<String>,
}

/// The position in the caller's list of rooms at which a page starts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RoomsFrom {
    /// The page starts with the room with the latest activity.
    Latest,
    /// The page starts after an earlier page. The value is the `next` of the earlier page.
    Next(String),
    /// The page starts after the room with the last activity `at` and the id `room`.
    Before {
        /// The `last_activity` of the room, as the client received it.
        at: String,
        /// The room's id, which is optional. Rooms with the same `last_activity` are sorted by id, the highest
        /// first.
        room: Option<RoomId>,
    },
}
