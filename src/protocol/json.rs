//! Encodes values as JSON text.

use tokio_tungstenite::tungstenite::Utf8Bytes;

/// The number of unused bytes that the buffer of an encoded text may keep.
const SLACK_BYTES: usize = 1024;

/// Encodes a value for the wire. The encoding fails only for a map whose keys are not strings, and no type of Parlor
/// has such a map.
pub(crate) fn json(value: &impl serde::Serialize) -> Utf8Bytes {
    let mut text = serde_json::to_string(value).unwrap_or_default();
    // The buffer grew by doubling, so a large part of it may be unused. An outbox (the send queue of a socket) may hold
    // the text for a long time.
    if text.capacity() - text.len() > SLACK_BYTES {
        text.shrink_to_fit();
    }
    text.into()
}
