//! Encodes values as JSON text.

use tokio_tungstenite::tungstenite::Utf8Bytes;

/// The capacity that an encoded text may have beyond its length, in bytes.
const SLACK_BYTES: usize = 1024;

/// Encodes a value for the wire. Parlor's own types have no map with keys that are not strings, so they always encode.
pub(crate) fn json(value: &impl serde::Serialize) -> Utf8Bytes {
    let mut text = serde_json::to_string(value).unwrap_or_default();
    // The buffer grew by doubling, so much of it may be unused. An outbox (the send queue of a socket) may hold the
    // text for long.
    if text.capacity() - text.len() > SLACK_BYTES {
        text.shrink_to_fit();
    }
    text.into()
}
