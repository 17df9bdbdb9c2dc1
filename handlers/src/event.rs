//! The events of a room, and the other frames that the server sends by itself.

use schemars::JsonSchema;
use serde::Serialize;

use crate::{Code, Fields, HistoryMessage, Message, MessageId, UserId};

/// What happened in a room, as all of its sockets are told.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Event<'a> {
    /// A message was written: a majority of the database has it.
    ChatMessage {
        /// With status `send`.
        message: &'a Message,
    },
    /// The message was written to a socket of each other member.
    MarkMessageAsDelivered {
        /// With status `delivered`.
        message: &'a Message,
    },
    /// Each other member has read the message.
    MarkMessageAsRead {
        /// With status `read`.
        message: &'a Message,
    },
    /// The text of a message changed.
    MessageEdited {
        /// The message.
        message_id: MessageId,
        /// The new text.
        text: &'a str,
    },
    /// A message was deleted.
    MessageDeleted {
        /// The message.
        message_id: MessageId,
    },
    /// Another user is typing. Basic connections (Level 1) don't receive it.
    Typing {
        /// The user who is typing.
        sender_id: &'a UserId,
    },
    /// An event of a function of the application. It is not stored.
    Custom {
        /// The function's action.
        name: &'a str,
        /// All that it says; never [`RESERVED`](Self::RESERVED).
        #[serde(flatten)]
        fields: &'a Fields<'a>,
    },
}

impl Event<'_> {
    /// The fields that belong to the protocol. A [`Custom`](Self::Custom) event can't have them.
    pub const RESERVED: &'static [&'static str] = &["type", "name", "ref", "cursor", "room_id"];
}

/// The name of an event. An action declares with it the events that a call may cause.
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

/// The answer to a frame that can't be done, on its own socket alone.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(tag = "type", rename = "error")]
pub struct ErrorFrame<'a> {
    /// The stable code: branch on it.
    pub code: Code,
    /// An explanation for people.
    pub message: &'a str,
    /// The frame's `action`, cut to 64 characters. Absent if the frame had none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub action: Option<&'a str>,
    /// With `rate_limited`: the time to wait before sending again, in milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retry_after_ms: Option<u64>,
}

/// The first frame of a resumable connection (Level 2): all changes since the cursor, or the room's last messages if the
/// cursor can't be resumed.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(tag = "type", rename = "resumed")]
pub struct Resumed<'a> {
    /// Whether the frame has all changes since the cursor.
    pub resumed: bool,
    /// New messages as they are now, oldest first. If not resumed: the room's last messages.
    pub messages: Vec<HistoryMessage<'a>>,
    /// Older messages whose text has changed, as they are now.
    pub edited: Vec<HistoryMessage<'a>>,
    /// Older messages that were deleted.
    pub deleted: Vec<MessageId>,
    /// The markers of every member. Each message's status follows from them.
    pub marks: Vec<Mark>,
    /// Whether there are more messages: after these if resumed, otherwise before them.
    pub has_more: bool,
    /// The cursor after this frame.
    pub cursor: String,
}

/// A member's markers: everything up to these numbers is delivered and read.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Mark {
    /// The member.
    pub user_id: UserId,
    /// The number of the last message that was written to one of the member's sockets.
    pub delivered: i64,
    /// The number of the last message that the member has read.
    pub read: i64,
}
