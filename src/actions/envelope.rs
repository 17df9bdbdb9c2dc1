//! The envelope of a frame: its action, its room, and its `ref` (a text by which the client recognizes the answer).
//! The server's answer repeats these values.

use bson::oid::ObjectId;
use handlers::{Code, Error, ErrorFrame, RoomId};
use tokio_tungstenite::tungstenite::Utf8Bytes;

use crate::protocol::fields::{append_fields, quoted};
use crate::protocol::json::json;

/// An answer to one frame. Only the socket that sent the frame receives it.
#[derive(Debug)]
pub(crate) struct FrameAnswer {
    /// The error code; none if the action succeeded.
    pub(crate) refused: Option<Code>,
    /// Whether a built-in action failed and the outcome of its database write is unknown: the write may have
    /// succeeded.
    pub(crate) is_outcome_unknown: bool,
    pub(crate) json: Utf8Bytes,
}

/// The most characters of a frame's `action` that an error frame repeats.
pub(crate) const ACTION_SHOWN: usize = 64;

/// The envelope of a frame. [`admit`](super::registry::ActionTable::admit) fills it step by step, so that the answer
/// to a refused frame can repeat the parts that were valid.
#[derive(Default)]
pub(crate) struct Envelope {
    /// The value of `action`, if the frame has one.
    pub(crate) action: Option<String>,
    /// The value of `ref`, if the frame has one.
    pub(crate) reference: Option<String>,
    /// The room of the action: the room that the frame names, or the only room of the socket.
    pub(crate) room: Option<RoomId>,
    /// The room that the frame names on an inbox connection (one socket for all rooms of a user). None on a socket
    /// of one room.
    pub(crate) named_room: Option<RoomId>,
}

impl Envelope {
    /// Adds the frame's `ref` to an answer. On an inbox connection, also adds the room's id.
    pub(crate) fn answer(&self, json: impl Into<Utf8Bytes>) -> Utf8Bytes {
        let json = json.into();
        let room = self.named_room.map(|room| room.to_string());
        let reference = self.reference.as_deref().map(quoted);
        match (room, reference) {
            (None, None) => json,
            (Some(room), None) => append_fields(&json, &[("room_id", &room)]),
            (None, Some(reference)) => append_fields(&json, &[("ref", &reference)]),
            (Some(room), Some(reference)) => append_fields(&json, &[("room_id", &room), ("ref", &reference)]),
        }
    }

    /// Returns the error frame for a failed frame. For `internal`, `timeout` and `unavailable`, logs the cause with
    /// the request id. The client's message then contains this id, by which the operator finds the cause in the log.
    pub(crate) fn refuse(&self, error: &Error, request: ObjectId) -> FrameAnswer {
        let action = self.action.as_deref();
        let code = error.code();
        let mut message = error.message().to_owned();
        if matches!(code, Code::Internal | Code::Timeout | Code::Unavailable) {
            tracing::error!(%request, action, %error, "an action failed");
            message = format!("{message} ({request})");
        }
        let shown = action.map(|name| name.chars().take(ACTION_SHOWN).collect::<String>());
        let frame = ErrorFrame {
            code,
            message: &message,
            action: shown.as_deref(),
            retry_after_ms: error.retry_after_ms(),
        };
        FrameAnswer { refused: Some(code), is_outcome_unknown: false, json: self.answer(json(&frame)) }
    }
}
