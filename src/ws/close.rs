//! Closes a socket so that its client receives the reason. The kernel resets a connection that is closed with unread data,
//! and a reset can discard the close frame. So the rest of the client's data is read first.

use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use tokio::io::AsyncWriteExt as _;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;

use super::connection::WebSocket;
use crate::protocol::close::Close;

/// The timeout for writing the close frame, and then for the peer's answer.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(2);

/// The most bytes that are read from a peer that continues to send.
const MAX_DISCARDED: u64 = 16 * 1024 * 1024;

/// Sends the close code with its reason, and waits for a short time until the peer has received them.
pub(super) async fn close(mut ws: WebSocket, close: Close) {
    tracing::debug!(code = close.code(), reason = close.reason(), "closing a socket");
    let sent = if close == Close::Normal {
        // The answer to the peer's close is already in the buffer.
        tokio::time::timeout(CLOSE_TIMEOUT, ws.flush()).await
    } else {
        let frame = CloseFrame { code: CloseCode::from(close.code()), reason: close.reason().into() };
        tokio::time::timeout(CLOSE_TIMEOUT, ws.close(Some(frame))).await
    };
    if !matches!(sent, Ok(Ok(()))) || ws.get_ref().lost_at().is_some() {
        return;
    }
    let ended = async {
        let left = if close.ends_framing() { MAX_DISCARDED } else { until_answered(&mut ws).await };
        if left > 0 {
            ws.get_mut().discard(left).await;
        } else {
            let _ = ws.get_mut().shutdown().await;
        }
    };
    // A peer that never answers is disconnected after the timeout.
    let _ = tokio::time::timeout(CLOSE_TIMEOUT, ended).await;
}

/// Reads until the peer has answered the close frame, and then returns zero. If the frames of the peer can't be decoded
/// any more, returns the number of bytes that may still be discarded.
async fn until_answered(ws: &mut WebSocket) -> u64 {
    let mut left = MAX_DISCARDED;
    while left > 0 {
        match ws.next().await {
            None | Some(Ok(Message::Close(_))) => return 0,
            Some(Err(_)) => return left,
            // Each frame has at least six bytes besides its payload.
            Some(Ok(message)) => left = left.saturating_sub(message.len() as u64 + 6),
        }
    }
    0
}
