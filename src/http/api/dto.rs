//! The types of the API for rooms, members and messages.

use std::borrow::Cow;

use handlers::{HistoryMessage, MessageId, RoomId, Status, Text, Time, UserId};
use salvo_oapi::ToSchema;
use serde::{Deserialize, Serialize};

use super::schema;
use crate::model::message::StoredMessage;
use crate::model::room::StoredMember;
use crate::model::room::StoredRoom;
use crate::model::room::StoredRoomKind;
use crate::store::{self, MessageRenderer, Snapshot};

/// A room.
#[derive(Serialize, ToSchema)]
#[salvo(schema(name = Room))]
pub(super) struct RoomDto {
    #[serde(rename = "room_id")]
    #[salvo(schema(schema_with = schema::id))]
    id: RoomId,
    kind: RoomKindDto,
    name: Option<String>,
    #[salvo(schema(schema_with = schema::time))]
    created_at: Time,
    members: Vec<MemberDto>,
}

impl RoomDto {
    pub(super) fn new(room: StoredRoom, members: Vec<StoredMember>) -> Self {
        let StoredRoom { id, kind, name, created_at } = room;
        let members = members.into_iter().map(MemberDto::from).collect();
        Self { id, kind: kind.into(), name, created_at, members }
    }
}

/// A room as one of its members sees it.
#[derive(Serialize, ToSchema)]
#[salvo(schema(name = ListedRoom))]
pub(super) struct ListedRoomDto {
    #[salvo(schema(schema_with = schema::id))]
    room_id: RoomId,
    kind: RoomKindDto,
    name: Option<String>,
    #[salvo(schema(schema_with = schema::time))]
    created_at: Time,
    /// The time of the last message, even if this message is deleted. If the user joined the room after the last
    /// message, this is the time when the user joined.
    #[salvo(schema(schema_with = schema::time))]
    active_at: Time,
    members: Vec<MemberDto>,
    /// The last message that is not deleted.
    last_message: Option<MessageDto>,
    /// The number of messages of other users after the user's `read` marker. Deleted messages don't count.
    unread: i64,
    /// All messages up to this number were written to one of the user's sockets.
    delivered: i64,
    /// All messages up to this number were read by the user.
    read: i64,
}

impl ListedRoomDto {
    pub(super) fn new(listed: store::RoomSummary) -> Self {
        let store::RoomSummary { room, members, last, unread, marks, active_at, .. } = listed;
        let StoredRoom { id, kind, name, created_at } = room;
        let last_message = last.map(|message| MessageRenderer::to(&members).show(&message).into());
        Self {
            room_id: id,
            kind: kind.into(),
            name,
            created_at,
            active_at,
            members: members.into_iter().map(MemberDto::from).collect(),
            last_message,
            unread,
            delivered: marks.delivered,
            read: marks.read,
        }
    }
}

/// The kind of a room.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[salvo(schema(name = Kind))]
pub(super) enum RoomKindDto {
    /// A room of exactly two users. Each pair of users has at most one direct room.
    Direct,
    /// A room whose members can be added and removed.
    Group,
}

impl From<StoredRoomKind> for RoomKindDto {
    fn from(kind: StoredRoomKind) -> Self {
        match kind {
            StoredRoomKind::Direct => Self::Direct,
            StoredRoomKind::Group => Self::Group,
        }
    }
}

impl From<RoomKindDto> for StoredRoomKind {
    fn from(kind: RoomKindDto) -> Self {
        match kind {
            RoomKindDto::Direct => Self::Direct,
            RoomKindDto::Group => Self::Group,
        }
    }
}

/// A user in a room.
#[derive(Serialize, ToSchema)]
#[salvo(schema(name = Member))]
pub(super) struct MemberDto {
    #[salvo(schema(schema_with = schema::user_id))]
    user_id: UserId,
    /// The member's e-mail address. The member's messages show it as `sender_email`.
    email: Option<String>,
    role: RoleDto,
    /// All messages up to this number were written to one of the member's sockets.
    delivered: i64,
    /// All messages up to this number were read by the member.
    read: i64,
}

impl From<StoredMember> for MemberDto {
    fn from(member: StoredMember) -> Self {
        let StoredMember { user, email, role, marks, .. } = member;
        Self { user_id: user, email, role: role.into(), delivered: marks.delivered, read: marks.read }
    }
}

/// The rights of a member.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[salvo(schema(name = Role))]
pub(super) enum RoleDto {
    /// May read and write.
    #[default]
    Member,
    /// Only in a group: may also delete the messages of other members.
    Admin,
}

impl From<handlers::Role> for RoleDto {
    fn from(role: handlers::Role) -> Self {
        match role {
            handlers::Role::Member => Self::Member,
            handlers::Role::Admin => Self::Admin,
        }
    }
}

impl From<RoleDto> for handlers::Role {
    fn from(role: RoleDto) -> Self {
        match role {
            RoleDto::Member => Self::Member,
            RoleDto::Admin => Self::Admin,
        }
    }
}

/// A message that is not deleted.
#[derive(Serialize, ToSchema)]
#[salvo(schema(name = Message))]
pub(super) struct MessageDto {
    /// The message's number in the room: 1, 2, 3, ...
    #[serde(rename = "message_id")]
    #[salvo(schema(schema_with = schema::id))]
    id: MessageId,
    text: String,
    #[salvo(schema(schema_with = schema::user_id))]
    sender_id: UserId,
    /// The sender's e-mail address, if the sender is a member with an address.
    sender_email: Option<String>,
    /// `send`: stored. `delivered`: written to a socket of each other member. `read`: read by each other member.
    #[salvo(schema(schema_with = schema::status))]
    status: Status,
    #[salvo(schema(schema_with = schema::time))]
    created_at: Time,
    /// The time of the last edit. If the message was never edited, the time when the message was written.
    #[salvo(schema(schema_with = schema::time))]
    updated_at: Time,
}

impl MessageDto {
    /// Builds a message that was written now. Its status is `send`.
    pub(super) fn new(id: MessageId, text: &Text, sender: UserId, email: Option<String>, at: Time) -> Self {
        let text = text.as_str().to_owned();
        let message = StoredMessage { id, sender, text, created_at: at, updated_at: at, write_id: None };
        Self::written(message, email)
    }

    /// Builds the answer from a stored message. The status is `send`, the status of every new message.
    pub(super) fn written(message: StoredMessage, email: Option<String>) -> Self {
        let StoredMessage { id, sender, text, created_at, updated_at, .. } = message;
        let status = Status::Send;
        Self { id, text, sender_id: sender, sender_email: email, status, created_at, updated_at }
    }

    /// Returns whether `id` is the message's id.
    pub(super) fn is(&self, id: MessageId) -> bool {
        self.id == id
    }

    /// Returns the message after an edit: with the new text, and with the time of the edit as `updated_at`.
    pub(super) fn edited(self, text: &Text, updated_at: Time) -> Self {
        Self { text: text.as_str().to_owned(), updated_at, ..self }
    }

    /// Returns the messages of a snapshot that are not deleted, in the order of the snapshot.
    pub(super) fn all(snapshot: &Snapshot) -> Vec<Self> {
        snapshot.visible_messages().map(Self::from).collect()
    }
}

impl From<HistoryMessage<'_>> for MessageDto {
    fn from(message: HistoryMessage<'_>) -> Self {
        Self {
            id: message.message_id,
            text: message.text.into_owned(),
            sender_id: message.sender_id,
            sender_email: message.sender_email.map(Cow::into_owned),
            status: message.status,
            created_at: message.created_at,
            updated_at: message.updated_at,
        }
    }
}
