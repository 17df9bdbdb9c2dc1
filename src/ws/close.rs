//! Closes a socket in a way that lets the client receive the close frame with the reason. If a program closes a
//! connection with unread data, the kernel resets the connection. The reset can discard the close frame. Therefore the
//! server first reads the rest of the client's data.

use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use tokio::io::AsyncWriteExt as _;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;

use super::connection::WebSocket;
use crate::protocol::close::Close;

/// The timeout for writing the close frame. The wait for the client's answer has a separate timeout of the same length.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(2);

/// The maximum number of bytes that the server reads and discards after its close frame, if the client continues to
/// send.
const MAX_DISCARDED: u64 = 16 * 1024 * 1024;

/// Sends the close code with its reason. Then waits for the client's answer, for [`CLOSE_TIMEOUT`] at most.
pub(super) async fn close(mut ws: WebSocket, close: Close) {
    tracing::debug!(code = close.code(), reason = close.reason(), "closing a socket");
    let sent = if close == Close::Normal {
        // The client closed first. The library has already put the answer into the write buffer.
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
    // If the client never answers, the server disconnects it after the timeout.
    let _ = tokio::time::timeout(CLOSE_TIMEOUT, ended).await;
}

/// Reads until the client has answered the close frame, and then returns zero. If a frame of the client can't be
/// decoded, returns the number of bytes that the server may still discard.
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
