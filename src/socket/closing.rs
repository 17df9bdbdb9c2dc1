//! Saying why, and being heard: a connection that is dropped with something unread in it is reset, and a reset
//! can take the close frame with it.

use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use tokio::io::AsyncReadExt as _;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;

use super::WebSocket;
use crate::close::Close;

/// How long writing the close frame may take, and then the peer's answer.
const PATIENCE: Duration = Duration::from_secs(2);

/// How much of a frame that is too large is still taken in, so that its sender hears why, in bytes.
const SWALLOWED: u64 = 16 * 1024 * 1024;

/// Closes with the code and its reason, and waits a moment for the peer to have heard it.
pub(super) async fn close(mut ws: WebSocket, close: Close) {
    tracing::debug!(code = close.code(), reason = close.reason(), "closing a socket");
    let said = if close == Close::Normal {
        // The answer to the peer's close stands in the buffer already.
        tokio::time::timeout(PATIENCE, ws.flush()).await
    } else {
        let frame = CloseFrame { code: CloseCode::from(close.code()), reason: close.reason().into() };
        tokio::time::timeout(PATIENCE, ws.close(Some(frame))).await
    };
    if !matches!(said, Ok(Ok(()))) {
        return;
    }
    let heard = async {
        if close == Close::TooLarge {
            // The WebSocket would stop at the frame's header again.
            let mut rest = ws.get_mut().take(SWALLOWED);
            let _ = tokio::io::copy(&mut rest, &mut tokio::io::sink()).await;
        } else {
            while let Some(Ok(_)) = ws.next().await {}
        }
    };
    // A peer that never answers is let go all the same.
    let _ = tokio::time::timeout(PATIENCE, heard).await;
}
