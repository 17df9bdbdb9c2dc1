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
    /// Whether this is what changed since the cursor, and not the plain start.
    pub resumed: bool,
    /// The rooms, the latest first: all in which anything has changed, or the first page.
    pub rooms: Vec<ReadyRoom>,
    /// Whether there are more rooms, by `rooms`.
    pub has_more: bool,
    /// Where there are more: what to ask `rooms` for them with.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String")]
    pub next: Option<String>,
    /// Where it is resumed: all rooms that the caller is in. What is known besides has been left, or is gone.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Vec<RoomId>")]
    pub room_ids: Option<Vec<RoomId>>,
    /// Who is online: of the members of these rooms, or, where it is resumed, of all of the caller's.
    pub online: Vec<UserId>,
    /// Where to resume from, having this.
    pub cursor: String,
}

/// A room as it is now; and where it is resumed, what was missed in it.
#[derive(Debug, Serialize, JsonSchema)]
pub struct ReadyRoom {
    /// As it is now.
    #[serde(flatten)]
    pub room: RoomView,
    /// The caller came in since: there is nothing that was missed, but all of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "bool")]
    pub added: Option<bool>,
    /// New messages as they are now, oldest first; at most 1,000.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Vec<HistoryMessage<'static>>")]
    pub messages: Option<Vec<HistoryMessage<'static>>>,
    /// Older ones whose text has changed since, as they are now.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Vec<HistoryMessage<'static>>")]
    pub edited: Option<Vec<HistoryMessage<'static>>>,
    /// Older ones that have been deleted since.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Vec<MessageId>")]
    pub deleted: Option<Vec<MessageId>>,
    /// Whether there are more new messages after these, by `history`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "bool")]
    pub has_more: Option<bool>,
}

/// A room as one of its members sees it.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct RoomView {
    /// Its id.
    pub room_id: RoomId,
    /// What it is for.
    pub kind: RoomKind,
    /// Its name, where it has one.
    pub name: Option<String>,
    /// The last message, deleted or not, or the caller's joining where that was later.
    pub last_activity: Time,
    /// Everyone, the caller included.
    pub members: Vec<MemberView>,
    /// The last one that is not deleted.
    pub last_message: Option<HistoryMessage<'static>>,
    /// Others' messages after the caller's read mark, deleted ones not counted.
    pub unread: i64,
    /// The caller's own marks.
    pub delivered: i64,
    /// The same.
    pub read: i64,
}

/// What a room is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum RoomKind {
    /// The one room of two users.
    Direct,
    /// Of anyone, who may come and go.
    Group,
}

/// A user in a room.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct MemberView {
    /// Who.
    pub user_id: UserId,
    /// Shown as `sender_email`.
    pub email: Option<String>,
    /// What the member may do beyond writing.
    pub role: Role,
    /// Everything up to this number was written to one of the member's sockets.
    pub delivered: i64,
    /// Everything up to this number was read.
    pub read: i64,
    /// Whether there is a socket of theirs, on any server.
    pub online: bool,
}

/// What happened to the caller's rooms, beside what happened in them.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum InboxEvent {
    /// The caller is in one more room.
    RoomAdded {
        /// As in `ready`.
        room: Box<RoomView>,
    },
    /// Its name or its members are others now.
    RoomChanged {
        /// As it is now.
        room: RoomChange,
    },
    /// The caller isn't in it any more, or it is gone.
    RoomRemoved {},
    /// One of the caller's own marks, or a delete, has changed what is unread.
    Unread {
        /// Others' messages after the caller's read mark.
        unread: i64,
        /// The mark.
        read: i64,
    },
    /// Someone who shares a room has come or gone.
    Presence {
        /// Who.
        user_id: UserId,
        /// Whether there is a socket of theirs, on any server.
        online: bool,
        /// When the last one was closed, where there is none.
        #[serde(skip_serializing_if = "Option::is_none")]
        #[schemars(with = "Time")]
        last_seen: Option<Time>,
    },
}

/// What can change of a room beside its messages.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct RoomChange {
    /// What it is for.
    pub kind: RoomKind,
    /// Its name, where it has one.
    pub name: Option<String>,
    /// Everyone, the caller included.
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
