//! A frame is an event for sockets. It is encoded once, and all receiving sockets share it.

use std::sync::Arc;

use bson::Timestamp;
use bson::oid::ObjectId;
use handlers::{MessageId, RoomId, Status, UserId};
use tokio_tungstenite::tungstenite::Utf8Bytes;

use super::held_bytes::{Charge, HeldBytes};
use crate::model::message::Revision;
use crate::protocol::cursor::Position;

/// An encoded event, shared by all sockets that receive it.
#[derive(Debug)]
pub(crate) struct Frame {
    /// The text for the client. Empty if the socket only processes the frame and does not send it.
    pub(crate) json: Utf8Bytes,
    /// The commit time of the change. A history (the first frame of a socket) that was read at this time or later
    /// already contains the change. Receipt markers are an exception: a history may contain older markers.
    pub(crate) time: Timestamp,
    pub(crate) kind: FrameKind,
    /// The frame's share of the server's [held bytes](super::held_bytes), until the last queue drops the frame.
    charge: Charge,
}

/// The event of a frame, and the sockets that receive it.
#[derive(Debug)]
pub(crate) enum FrameKind {
    /// All sockets of the room: the sockets that are connected to this room, and the inbox connections (Level 3) of its
    /// members.
    Room(RoomId, RoomFrame),
    /// Inbox connections only.
    Inbox(InboxFrame),
}

/// An event for all sockets of a room.
#[derive(Debug)]
pub(crate) enum RoomFrame {
    /// A new message. It counts as delivered as soon as the frame is written to a socket of another member.
    Message {
        id: MessageId,
        author: UserId,
        /// The id of the request that sent the message, if known.
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
    /// A `custom` event, sent by an action of the application.
    Custom,
    /// The user left the room. The frame closes the user's sockets in the room. Other sockets ignore the frame.
    MemberRemoved(UserId),
}

/// Whether a message was unread before it was deleted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum UnreadBeforeDelete {
    /// Every other member had read the message.
    No,
    /// At least one other member had not read this author's message.
    Yes { author: UserId },
    /// The room's state does not reach back to this message. The message may have been unread for any member except its
    /// author.
    Unknown,
}

/// An event for inbox connections only.
#[derive(Debug)]
pub(crate) enum InboxFrame {
    /// The room or its list of members has changed. The frame's text contains the new state of the room.
    RoomChanged(RoomId),
    /// A user who shares a room with the recipients went online or offline.
    Presence(UserId),
    /// The user has read the room up to the message `up_to`. `all` is true if this is the last message of the room. The
    /// frame has no text.
    MarkerRaised { room: RoomId, user: UserId, up_to: i64, all: bool },
    /// A membership in the room has changed. The connection must re-read the room. The frame has no text.
    Recheck(RoomId),
}

/// The bytes that a frame uses besides its text, including its slots in the sockets' queues.
const FRAME_BYTES: usize = 256;

impl Frame {
    pub(crate) fn new(json: Utf8Bytes, time: Timestamp, kind: FrameKind) -> Self {
        Self { json, time, kind, charge: Charge::default() }
    }

    /// Creates a frame that is not sent to clients. Sockets only process it.
    pub(crate) fn without_text(time: Timestamp, kind: FrameKind) -> Self {
        Self::new(Utf8Bytes::default(), time, kind)
    }

    /// Returns the bytes that the frame counts while it is queued: its text plus [`FRAME_BYTES`].
    pub(super) fn bytes(&self) -> usize {
        self.json.len() + FRAME_BYTES
    }

    /// Counts the frame's bytes as held by this server until the frame is dropped.
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

    /// Returns the id of the request that caused the event, if known.
    pub(crate) fn request(&self) -> Option<ObjectId> {
        match &self.kind {
            FrameKind::Room(_, event) => event.request(),
            FrameKind::Inbox(_) => None,
        }
    }
}

impl RoomFrame {
    /// Returns the id of the request that caused the event, if known.
    pub(crate) fn request(&self) -> Option<ObjectId> {
        match self {
            Self::Message { request, .. } => *request,
            Self::Edited(revision) | Self::Deleted { revision, .. } => revision.request,
            Self::Receipt { .. } | Self::Typing(_) | Self::Custom | Self::MemberRemoved(_) => None,
        }
    }

    /// Returns the cursor position that a client has reached when it has this event. Only messages, edits and deletes
    /// move the position.
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
