//! A frame: an event for sockets, encoded once and shared by all of them.

use std::sync::Arc;

use bson::Timestamp;
use bson::oid::ObjectId;
use handlers::{MessageId, RoomId, Status, UserId};
use tokio_tungstenite::tungstenite::Utf8Bytes;

use super::held_bytes::{Charge, HeldBytes};
use crate::model::message::Revision;
use crate::protocol::cursor::Position;

/// An event, encoded once and shared by all sockets that receive it.
#[derive(Debug)]
pub(crate) struct Frame {
    /// The text for the client; empty if the frame is never written as it is.
    pub(crate) json: Utf8Bytes,
    /// When the database committed the change. A history that was read at this time or later already contains the
    /// change, unless the frame reports receipt markers.
    pub(crate) time: Timestamp,
    pub(crate) kind: FrameKind,
    /// The bytes that are counted for the frame while it is in any queue.
    charge: Charge,
}

/// The sockets that a frame is for, and the event.
#[derive(Debug)]
pub(crate) enum FrameKind {
    /// All sockets of the room: those that opened it, and the inbox connections of its members.
    Room(RoomId, RoomFrame),
    /// Inbox connections only.
    Inbox(InboxFrame),
}

/// An event for all sockets of a room.
#[derive(Debug)]
pub(crate) enum RoomFrame {
    /// A `chat_message`. The message counts as delivered as soon as the frame is written to a socket of another member.
    Message {
        id: MessageId,
        author: UserId,
        /// The request that sent the message, if known.
        request: Option<ObjectId>,
    },
    Edited(Revision),
    Deleted {
        id: MessageId,
        revision: Revision,
        unread: UnreadBeforeDelete,
    },
    /// The message has a new status.
    Receipt {
        id: MessageId,
        author: UserId,
        status: Status,
    },
    /// The user is typing. The frame is sent to other users only, and never to Level 1 sockets.
    Typing(UserId),
    /// An event of the application.
    Custom,
    /// The user left the room. The frame closes the user's sockets in the room. Other sockets ignore the frame.
    MemberRemoved(UserId),
}

/// Whether a message was unread before it was deleted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum UnreadBeforeDelete {
    /// Every other member had read the message.
    No,
    /// Some member had not read the message of this author.
    Yes { author: UserId },
    /// The room's state no longer knows. The message may have been unread for any member but its author.
    Unknown,
}

/// An event for inbox connections only.
#[derive(Debug)]
pub(crate) enum InboxFrame {
    /// The room or its list of members has changed. The text has the new state.
    RoomChanged(RoomId),
    /// A user who shares a room with the recipients went online or offline.
    Presence(UserId),
    /// The user has read the room up to the message `up_to`. `all` is true if that is the last message of the room.
    /// The frame has no text.
    MarkerRaised { room: RoomId, user: UserId, up_to: i64, all: bool },
    /// A membership in the room has changed, so the connection has to re-read the room. The frame has no text.
    Recheck(RoomId),
}

/// The memory that a frame uses besides its text, including its slots in queues, in bytes.
const FRAME_BYTES: usize = 256;

impl Frame {
    pub(crate) fn new(json: Utf8Bytes, time: Timestamp, kind: FrameKind) -> Self {
        Self { json, time, kind, charge: Charge::default() }
    }

    /// Creates a frame without a text.
    pub(crate) fn without_text(time: Timestamp, kind: FrameKind) -> Self {
        Self::new(Utf8Bytes::default(), time, kind)
    }

    /// Returns the bytes that are counted for the frame while it is queued.
    pub(super) fn bytes(&self) -> usize {
        self.json.len() + FRAME_BYTES
    }

    /// Adds the bytes of the frame to the total of this server.
    pub(crate) fn charged(mut self, held: &HeldBytes) -> Arc<Self> {
        self.charge = held.charge(self.bytes());
        Arc::new(self)
    }

    /// Returns the message and its author, if the frame is a `chat_message`.
    pub(crate) fn message(&self) -> Option<(MessageId, &UserId)> {
        match &self.kind {
            FrameKind::Room(_, RoomFrame::Message { id, author, .. }) => Some((*id, author)),
            _ => None,
        }
    }

    /// Returns the request that caused the event, if known.
    pub(crate) fn request(&self) -> Option<ObjectId> {
        match &self.kind {
            FrameKind::Room(_, event) => event.request(),
            FrameKind::Inbox(_) => None,
        }
    }
}

impl RoomFrame {
    /// Returns the request that caused the event, if known.
    pub(crate) fn request(&self) -> Option<ObjectId> {
        match self {
            Self::Message { request, .. } => *request,
            Self::Edited(revision) | Self::Deleted { revision, .. } => revision.request,
            Self::Receipt { .. } | Self::Typing(_) | Self::Custom | Self::MemberRemoved(_) => None,
        }
    }

    /// Returns the position in the room's events that a client has reached with this event.
    pub(crate) fn position(&self) -> Position {
        match self {
            Self::Message { id, .. } => Position::message(id.get()),
            Self::Edited(revision) | Self::Deleted { revision, .. } => Position::revision(revision.number),
            Self::Receipt { .. } | Self::Typing(_) | Self::Custom | Self::MemberRemoved(_) => {
                Position::default()
            }
        }
    }
}
