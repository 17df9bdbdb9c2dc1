//! Ephemeral events: events for the sockets of all servers, such as `typing`. The database stores each event as a small
//! document that expires within minutes. The [change stream](crate::realtime::change_stream) brings the document to
//! each server, in the order of all commits.
//!
//! After an outage, a server continues its change stream and receives every event that was written during the outage.
//! If the database no longer has the history of the stream, the server misses these events. A client that is not
//! connected misses events, too. So no part of Parlor may rely on an ephemeral event, because the event may be lost.

use std::fmt;

use handlers::{Event, Fields, RoomId, UserId};
use tokio_tungstenite::tungstenite::Utf8Bytes;

use super::json::json;

/// The events that [`Store::signal`](crate::store::Store::signal) writes.
#[derive(Clone, Debug)]
pub enum EphemeralEvent {
    /// An event for all sockets of a room. The sockets receive this event and the room's other events in the order of
    /// their commits.
    Event {
        /// The room whose sockets receive the event.
        room: RoomId,
        /// The event, already encoded as a frame.
        event: CustomEvent,
    },
    /// A user is typing. The Level 2 and Level 3 sockets of the room's other members are notified.
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

/// `{"type":"custom","name":...}`: an event with fields that the application defines. Parlor does not change the values
/// of the fields.
#[derive(Clone, Debug)]
pub struct CustomEvent(Utf8Bytes);

/// The maximum number of characters that [`InvalidEvent::Twice`] shows of a field's name.
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
    /// Builds an event with this name and these fields. The encoded event may have at most `most` bytes.
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

/// Returns JSON on one line, because the API's stream of room events sends one event on each line. The values do not
/// change: inside a JSON string, line breaks are always escaped.
fn one_line(json: &str) -> Utf8Bytes {
    if json.contains(['\n', '\r']) { json.replace(['\n', '\r'], " ").into() } else { json.into() }
}
