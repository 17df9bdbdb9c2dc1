//! Closes the sockets of slow clients when a server holds too many bytes for its clients.

use std::sync::Arc;
use std::time::Duration;

use super::held_bytes::HeldBytes;
use super::sessions::Sessions;
use crate::protocol::close::Close;
use crate::telemetry::metrics::Metrics;

/// The pause after sockets were asked to close. During the pause, the closing sockets release their bytes.
const PAUSE: Duration = Duration::from_millis(50);

/// The maximum number of sockets that are closed between two pauses.
const CLOSED_AT_ONCE: usize = 16;

/// Closes the sockets with the most held bytes while the server exceeds its bound. Never returns.
pub(crate) async fn relieve(held: HeldBytes, outboxes: Sessions, metrics: Arc<Metrics>) {
    loop {
        held.exceeded().await;
        loop {
            let mut excess = held.excess();
            if excess == 0 {
                break;
            }
            for (bytes, outbox) in outboxes.fullest(CLOSED_AT_ONCE) {
                if excess > 0 && outbox.is_first_to_close(Close::TooSlow) {
                    metrics.bound_hit("server_bytes");
                    excess = excess.saturating_sub(bytes);
                }
            }
            tokio::time::sleep(PAUSE).await;
        }
    }
}
