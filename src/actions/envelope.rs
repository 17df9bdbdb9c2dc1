//! What a frame says of itself, and what its answer repeats of that.

use bson::oid::ObjectId;
use handlers::{Code, Error, ErrorFrame, RoomId};
use tokio_tungstenite::tungstenite::Utf8Bytes;

use crate::protocol::fields::{quoted, splice};
use crate::protocol::json::json;

/// An answer to one frame, for its own socket alone.
#[derive(Debug)]
pub(crate) struct FrameAnswer {
    /// What it was refused with; none where it was done.
    pub(crate) refused: Option<Code>,
    pub(crate) json: Utf8Bytes,
}

/// How much of a frame's `action` an error repeats, in characters.
pub(crate) const ACTION_SHOWN: usize = 64;

/// What a frame says of itself, which its answer repeats.
#[derive(Default)]
pub(crate) struct Envelope {
    /// What is to be done, where it says so.
    pub(crate) action: Option<String>,
    /// What its sender calls it.
    pub(crate) reference: Option<String>,
    /// Where it is to be done, where that is said: by it, or by its socket's being in one room.
    pub(crate) room: Option<RoomId>,
    /// The same, where the frame says it.
    pub(crate) named_room: Option<RoomId>,
}

impl Envelope {
    /// The answer with the frame's `ref`, and with its room where its socket is in many.
    pub(crate) fn answer(&self, json: impl Into<Utf8Bytes>) -> Utf8Bytes {
        let json = json.into();
        let room = self.named_room.map(|room| room.to_string());
        let reference = self.reference.as_deref().map(quoted);
        match (room, reference) {
            (None, None) => json,
            (Some(room), None) => splice(&json, &[("room_id", &room)]),
            (None, Some(reference)) => splice(&json, &[("ref", &reference)]),
            (Some(room), Some(reference)) => splice(&json, &[("room_id", &room), ("ref", &reference)]),
        }
    }

    /// The answer to a frame that can't be done. What only the log is to have goes there.
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
        FrameAnswer { refused: Some(code), json: self.answer(json(&frame)) }
    }
}
