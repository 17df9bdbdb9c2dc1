//! Ephemeral events: events for sockets on every server that are not stored for long. Each event is a small document
//! that expires within minutes. The [change stream](crate::realtime::change_stream) brings the document to each
//! server, in order with all other commits.
//!
//! A server receives every event that was written, even after an outage, if its change stream can continue. If the
//! database has lost the history of the stream, the server misses the events in the gap. A client that is not
//! connected misses an event, too. So no part of Parlor may depend on an ephemeral event being received.

use std::fmt;

use handlers::{Event, Fields, RoomId, UserId};
use tokio_tungstenite::tungstenite::Utf8Bytes;

use super::json::json;

/// The events that [`Store::signal`](crate::store::Store::signal) writes.
#[derive(Clone, Debug)]
pub enum EphemeralEvent {
    /// An event for all sockets of a room, in order with the room's other events.
    Event {
        /// The room whose sockets receive the event.
        room: RoomId,
        /// The event, already encoded as a frame.
        event: CustomEvent,
    },
    /// A user is typing. The room's other Level 2 sockets are notified.
    Typing {
        /// The room in which the user is typing.
        room: RoomId,
        /// The user who is typing.
        user: UserId,
    },
    /// Closes all sockets of a user with 4001. With a token that is still valid, the user can open new sockets.
    Disconnect {
        /// The user whose sockets are closed.
        user: UserId,
    },
}

/// `{"type":"custom","name":...}`: an event with the application's own fields. Their values are not changed.
#[derive(Clone, Debug)]
pub struct CustomEvent(Utf8Bytes);

/// The longest part of a field's name that an error shows, in characters.
const SHOWN_CHARS: usize = 64;

/// The reason why an event is invalid.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum InvalidEvent {
    /// A field has a name that the protocol reserves.
    Reserved(String),
    /// A field is given twice.
    Twice(String),
    /// The frame is too large.
    TooLarge {
        /// The size of the frame.
        bytes: usize,
        /// The largest size that is accepted.
        most: usize,
    },
}

impl CustomEvent {
    /// Builds an event with this name and these fields. Its frame may have at most `most` bytes.
    ///
    /// # Errors
    /// A field is reserved or given twice, or the frame is too large.
    pub fn new(name: &str, fields: &Fields<'_>, most: usize) -> Result<Self, InvalidEvent> {
        if let Some(reserved) = fields.names().find(|name| Event::RESERVED.contains(name)) {
            return Err(InvalidEvent::Reserved(reserved.to_owned()));
        }
        if let Some(twice) = fields.names().find(|name| fields.once(name).is_err()) {
            return Err(InvalidEvent::Twice(twice.to_owned()));
        }
        let frame = one_line(&json(&Event::Custom { name, fields }));
        if frame.len() > most {
            return Err(InvalidEvent::TooLarge { bytes: frame.len(), most });
        }
        Ok(Self(frame))
    }

    /// Creates the event from the frame that the database stores.
    pub(crate) fn from_stored(frame: &str) -> Self {
        Self(one_line(frame))
    }

    /// Returns the frame as sockets receive it.
    pub(crate) fn frame(&self) -> &str {
        &self.0
    }

    pub(crate) fn into_frame(self) -> Utf8Bytes {
        self.0
    }
}

impl fmt::Display for InvalidEvent {
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

impl std::error::Error for InvalidEvent {}

/// Returns JSON on one line, for streams that send one event per line. In a string of JSON, line breaks are always
/// escaped.
fn one_line(json: &str) -> Utf8Bytes {
    if json.contains(['\n', '\r']) { json.replace(['\n', '\r'], " ").into() } else { json.into() }
}
