//! Every frame that the server sends, but for the history's array.

use schemars::JsonSchema;
use serde::Serialize;

use crate::{Code, Fields, HistoryMessage, Message, MessageId, UserId};

/// What happened in a room, as all of its sockets are told.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Event<'a> {
    /// A message is safe on a majority of the database.
    ChatMessage {
        /// With status `send`.
        message: &'a Message,
    },
    /// It was written to a socket of each other member.
    MarkMessageAsDelivered {
        /// With status `delivered`.
        message: &'a Message,
    },
    /// Each other member has read it.
    MarkMessageAsRead {
        /// With status `read`.
        message: &'a Message,
    },
    /// Its author changed its text.
    MessageEdited {
        /// Which.
        message_id: MessageId,
        /// The new text.
        text: &'a str,
    },
    /// It is gone.
    MessageDeleted {
        /// Which.
        message_id: MessageId,
    },
    /// Another user is typing. Told to Level 2 sockets alone.
    Typing {
        /// Who.
        sender_id: &'a UserId,
    },
    /// What an action of the application's own tells the room. It is not stored.
    Custom {
        /// The action.
        name: &'a str,
        /// All that it says; never [`RESERVED`](Self::RESERVED).
        #[serde(flatten)]
        fields: &'a Fields<'a>,
    },
}

impl Event<'_> {
    /// The fields of an event that are the protocol's, so that a [`Custom`](Self::Custom) one can't have them.
    pub const RESERVED: &'static [&'static str] = &["type", "name", "ref", "cursor", "room_id"];
}

/// The events by name, for an action to say which it may lead to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
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

impl Kind {
    /// The wire's `type`.
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

/// The answer to a frame that can't be done, for its own socket alone.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(tag = "type", rename = "error")]
pub struct ErrorFrame<'a> {
    /// What clients branch on.
    pub code: Code,
    /// What they may show.
    pub message: &'a str,
    /// The frame's `action`, cut to 64 characters; left out where there was none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub action: Option<&'a str>,
    /// With `rate_limited`: in how many milliseconds the frame would pass.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retry_after_ms: Option<u64>,
}

/// The first frame of a Level 2 socket, instead of the history's array: what changed since its cursor, or, where that
/// is no good, the last messages.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(tag = "type", rename = "resumed")]
pub struct Resumed<'a> {
    /// Whether all that changed since the cursor is told.
    pub resumed: bool,
    /// New ones as they are now, oldest first; where it isn't resumed, the last ones of the room.
    pub messages: Vec<HistoryMessage<'a>>,
    /// Older ones whose text has changed since, as they are now.
    pub edited: Vec<HistoryMessage<'a>>,
    /// Older ones that have been deleted since.
    pub deleted: Vec<MessageId>,
    /// Every member's marks, from which each status follows.
    pub marks: Vec<Mark>,
    /// Whether there are more messages: after these where it is resumed, else before them.
    pub has_more: bool,
    /// Where to resume from, having this.
    pub cursor: String,
}

/// How far a member has come: everything up to these numbers.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Mark {
    /// Who.
    pub user_id: UserId,
    /// Written to one of the member's sockets.
    pub delivered: i64,
    /// Read.
    pub read: i64,
}
