//! The events of a room, the error frame, and the first frame of a resumable connection (Level 2).

use schemars::JsonSchema;
use serde::Serialize;

use crate::{Code, Fields, HistoryMessage, Message, MessageId, UserId};

/// An event of a room. Every socket of the room receives it.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Event<'a> {
    /// A message was written: a majority of the database's members has stored it.
    ChatMessage {
        /// The message, with status `send`.
        message: &'a Message,
    },
    /// The message was written to a socket of each other member.
    MarkMessageAsDelivered {
        /// The message, with status `delivered`.
        message: &'a Message,
    },
    /// Each other member has read the message.
    MarkMessageAsRead {
        /// The message, with status `read`.
        message: &'a Message,
    },
    /// The text of a message changed.
    MessageEdited {
        /// The number of the message.
        message_id: MessageId,
        /// The new text.
        text: &'a str,
    },
    /// A message was deleted.
    MessageDeleted {
        /// The number of the message.
        message_id: MessageId,
    },
    /// Another user is typing. Basic connections (Level 1) don't receive this event.
    Typing {
        /// The user who is typing.
        sender_id: &'a UserId,
    },
    /// An event that a function of the application has sent. The event is not stored with the messages.
    Custom {
        /// The name of the function's action.
        name: &'a str,
        /// The fields that the function has sent. None of them has a name in [`RESERVED`](Self::RESERVED).
        #[serde(flatten)]
        fields: &'a Fields<'a>,
    },
}

impl Event<'_> {
    /// The fields that belong to the protocol. A [`Custom`](Self::Custom) event can't have them.
    pub const RESERVED: &'static [&'static str] = &["type", "name", "ref", "cursor", "room_id"];
}

/// The names of a room's events, except `custom`. An action declares which of these events a call may cause.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum EventType {
    /// `chat_message`
    ChatMessage,
    /// `mark_message_as_delivered`
    MarkMessageAsDelivered,
    /// `mark_message_as_read`
    MarkMessageAsRead,
    /// `message_edited`
    MessageEdited,
    /// `message_deleted`
    MessageDeleted,
    /// `typing`
    Typing,
}

impl EventType {
    /// Returns the value of `type` on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ChatMessage => "chat_message",
            Self::MarkMessageAsDelivered => "mark_message_as_delivered",
            Self::MarkMessageAsRead => "mark_message_as_read",
            Self::MessageEdited => "message_edited",
            Self::MessageDeleted => "message_deleted",
            Self::Typing => "typing",
        }
    }
}

/// The answer to a frame that failed. Only the socket that sent the frame receives it.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(tag = "type", rename = "error")]
pub struct ErrorFrame<'a> {
    /// The stable code. A client decides by this code what to do.
    pub code: Code,
    /// An explanation for people.
    pub message: &'a str,
    /// The `action` of the failed frame, cut to 64 characters. Absent if the frame had no `action`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub action: Option<&'a str>,
    /// Only with `rate_limited`: the time that the client should wait before it sends the frame again, in milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retry_after_ms: Option<u64>,
}

/// The first frame of a resumable connection (Level 2). It has all changes since the client's cursor. If the server
/// can't resume from the cursor, the frame has the room's last messages.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(tag = "type", rename = "resumed")]
pub struct Resumed<'a> {
    /// Whether the frame has all changes since the cursor.
    pub resumed: bool,
    /// New messages in their current state, oldest first. If not resumed: the room's last messages.
    pub messages: Vec<HistoryMessage<'a>>,
    /// Messages from before the cursor whose text changed after the cursor, in their current state.
    pub edited: Vec<HistoryMessage<'a>>,
    /// The ids of messages from before the cursor that were deleted after the cursor.
    pub deleted: Vec<MessageId>,
    /// The receipt markers of every member. The client computes the status of each message from these markers.
    pub marks: Vec<Mark>,
    /// Whether the room has more messages than `messages`. If resumed, newer messages are missing. Otherwise, older
    /// messages are missing.
    pub has_more: bool,
    /// The cursor after this frame.
    pub cursor: String,
}

/// The receipt markers of one member: the messages up to these numbers are delivered and read.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Mark {
    /// The member.
    pub user_id: UserId,
    /// The number of the last message that was written to one of the member's sockets.
    pub delivered: i64,
    /// The number of the last message that the member has read.
    pub read: i64,
}
