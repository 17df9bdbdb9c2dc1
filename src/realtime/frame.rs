//! A frame is an event for sockets. The event is encoded once, and all receiving sockets share the frame.

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
    /// The text for the client. It is empty if sockets only process the frame and do not send it.
    pub(crate) json: Utf8Bytes,
    /// The commit time of the change. If a history (the first frame of a socket) was read from the database at this
    /// time or later, the history already contains the change. Receipt markers are an exception: this history may
    /// contain older markers.
    pub(crate) time: Timestamp,
    pub(crate) kind: FrameKind,
    /// The frame's share of the server's [held bytes](super::held_bytes). The share ends when the last queue drops the
    /// frame.
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
    /// A new message. The message counts as delivered to a member as soon as the frame is written to a socket of this
    /// member.
    Message {
        id: MessageId,
        author: UserId,
        /// The id of the request that sent the message, if this id is known.
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
    /// The user is typing. The frame is sent only to other users, and never to Level 1 sockets.
    Typing(UserId),
    /// A `custom` event, sent by an action of the application.
    Custom,
    /// The user left the room. The user's sockets for this room close when they receive the frame. The sockets of other
    /// users ignore the frame.
    MemberRemoved(UserId),
}

/// Whether a message was unread before it was deleted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum UnreadBeforeDelete {
    /// Every other member had read the message.
    No,
    /// At least one member other than the author had not read the message.
    Yes { author: UserId },
    /// The room's state in memory does not contain this old message. The message may have been unread for any member
    /// except its author.
    Unknown,
}

/// An event for inbox connections only.
#[derive(Debug)]
pub(crate) enum InboxFrame {
    /// The room, or the room's list of members, has changed. The frame's text contains the new state of the room.
    RoomChanged(RoomId),
    /// A user who shares a room with the recipients went online or offline.
    Presence(UserId),
    /// The user has read the room up to the message `up_to`. `all` is true if `up_to` is the last message of the room.
    /// The frame has no text.
    MarkerRaised { room: RoomId, user: UserId, up_to: i64, all: bool },
    /// A membership in the room has changed. The connection must read the room from the database again. The frame has
    /// no text.
    Recheck(RoomId),
}

/// The memory of a frame besides its text, in bytes. It includes the entries for the frame in the sockets' queues.
const FRAME_BYTES: usize = 256;

impl Frame {
    pub(crate) fn new(json: Utf8Bytes, time: Timestamp, kind: FrameKind) -> Self {
        Self { json, time, kind, charge: Charge::default() }
    }

    /// Creates a frame that is not sent to clients. The tasks of the sockets only process it.
    pub(crate) fn without_text(time: Timestamp, kind: FrameKind) -> Self {
        Self::new(Utf8Bytes::default(), time, kind)
    }

    /// Returns the number of bytes for which the frame counts while it is queued: the length of the text plus
    /// [`FRAME_BYTES`].
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

    /// Returns the cursor position that a client has reached after it has received this event. Only messages, edits and
    /// deletes move the position.
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
