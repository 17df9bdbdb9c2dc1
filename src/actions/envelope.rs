//! The envelope of a frame: the fields that name its action, room and reference, and that its answer repeats.

use bson::oid::ObjectId;
use handlers::{Code, Error, ErrorFrame, RoomId};
use tokio_tungstenite::tungstenite::Utf8Bytes;

use crate::protocol::fields::{append_fields, quoted};
use crate::protocol::json::json;

/// An answer to one frame, for its own socket alone.
#[derive(Debug)]
pub(crate) struct FrameAnswer {
    /// The error code; none if the action succeeded.
    pub(crate) refused: Option<Code>,
    /// Whether this answers a built-in action whose write has an unknown outcome: the write may have succeeded.
    pub(crate) is_outcome_unknown: bool,
    pub(crate) json: Utf8Bytes,
}

/// How much of a frame's `action` an error repeats, in characters.
pub(crate) const ACTION_SHOWN: usize = 64;

/// The envelope of a frame. `admit` fills it as far as the frame is valid, so that a refusal can repeat its fields.
#[derive(Default)]
pub(crate) struct Envelope {
    /// The action, if named.
    pub(crate) action: Option<String>,
    /// The `ref` that the sender gave it.
    pub(crate) reference: Option<String>,
    /// The room of the action: the one that the frame names, or the only room of its socket.
    pub(crate) room: Option<RoomId>,
    /// The room that the frame names.
    pub(crate) named_room: Option<RoomId>,
}

impl Envelope {
    /// Returns the answer with the frame's `ref`, and with its room on an inbox connection.
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

    /// Returns the error frame for a failed frame. Logs the details that the client does not receive.
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
