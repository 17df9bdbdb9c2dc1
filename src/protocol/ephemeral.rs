//! What is told to sockets on every server and is not stored: a small document that expires within minutes, which
//! the change stream brings to each server's [`feed`](crate::realtime::change_stream) in the order of all else that was committed.
//!
//! A signal that was written is heard by every server whose stream goes on, also after an outage. It is missed by one
//! whose stream lost its history, and by whoever is not connected: nothing may depend on it having been heard.

use std::fmt;

use handlers::{Event, Fields, RoomId, UserId};
use tokio_tungstenite::tungstenite::Utf8Bytes;

use super::json::json;

/// What [`Store::signal`](crate::store::Store::signal) tells.
#[derive(Clone, Debug)]
pub enum Signal {
    /// An event for all sockets of a room, in its place among the room's other events.
    Event {
        /// The room.
        room: RoomId,
        /// The frame.
        event: CustomEvent,
    },
    /// A user is typing, for the room's other Level 2 sockets.
    Typing {
        /// The room.
        room: RoomId,
        /// Who.
        user: UserId,
    },
    /// All sockets that a user has open are closed with 4001. A token that is still good opens new ones.
    Disconnect {
        /// Whose.
        user: UserId,
    },
}

/// `{"type":"custom","name":...}`: an event with fields of an application's own, written as they came.
#[derive(Clone, Debug)]
pub struct CustomEvent(Utf8Bytes);

/// How much of a field's name is shown, in characters.
const SHOWN_CHARS: usize = 64;

/// Why there is no such event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BadEvent {
    /// It would have a field that is the protocol's.
    Reserved(String),
    /// A field is given twice.
    Twice(String),
    /// Its frame has more bytes than may be.
    TooLarge {
        /// So many it has.
        bytes: usize,
        /// So many it may have.
        most: usize,
    },
}

impl CustomEvent {
    /// An event of `name`, whose frame has `most` bytes at most.
    ///
    /// # Errors
    /// The fields can't be an event's.
    pub fn new(name: &str, fields: &Fields<'_>, most: usize) -> Result<Self, BadEvent> {
        if let Some(reserved) = fields.names().find(|name| Event::RESERVED.contains(name)) {
            return Err(BadEvent::Reserved(reserved.to_owned()));
        }
        if let Some(twice) = fields.names().find(|name| fields.once(name).is_err()) {
            return Err(BadEvent::Twice(twice.to_owned()));
        }
        let frame = one_line(&json(&Event::Custom { name, fields }));
        if frame.len() > most {
            return Err(BadEvent::TooLarge { bytes: frame.len(), most });
        }
        Ok(Self(frame))
    }

    /// As the database has it.
    pub(crate) fn stored(frame: &str) -> Self {
        Self(one_line(frame))
    }

    /// The frame as the sockets get it.
    pub(crate) fn frame(&self) -> &str {
        &self.0
    }

    pub(crate) fn into_frame(self) -> Utf8Bytes {
        self.0
    }
}

impl fmt::Display for BadEvent {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Reserved(field) => {
                write!(to, "an event can't have a field {field:?}: it is the protocol's")
            }
            Self::Twice(field) => {
                let shown: String = field.chars().take(SHOWN_CHARS).collect();
                write!(to, "the event has its field {shown:?} twice")
            }
            Self::TooLarge { bytes, most } => write!(to, "the event has {bytes} bytes, and may have {most}"),
        }
    }
}

impl std::error::Error for BadEvent {}

/// JSON as it came, on one line: what is told by lines must not break them. A text in it has none of these as they are.
fn one_line(json: &str) -> Utf8Bytes {
    if json.contains(['\n', '\r']) { json.replace(['\n', '\r'], " ").into() } else { json.into() }
}
