//! The periodic checks of a socket. They send pings. They close the socket if the client does not answer a ping, or if
//! the client's token expires.

use std::time::{Duration, Instant};

use tokio_tungstenite::tungstenite::{Bytes, Message};

use super::session::{SessionEnd, SocketTask};
use crate::protocol::close::Close;

impl SocketTask<'_> {
    /// Returns the time until the next check is due. A check is due to send a ping, at the end of the wait for the
    /// client's answer, or when the token expires. After a failed write, a check is also due when the time for reading
    /// the client's last frames ends.
    pub(super) fn next_tick(&self) -> Duration {
        let sockets = &self.services.config.load().sockets;
        let quiet = self.last_received.elapsed();
        let next = match self.pinged {
            // The client may answer just before the end of the wait. The next ping must then still be sent in time. So
            // the next check is due after `sockets.ping_seconds` at the latest.
            Some(pinged) => sockets.dead.saturating_sub(pinged.elapsed()).min(sockets.ping),
            None => sockets.ping.saturating_sub(quiet),
        };
        let next = match self.ws.get_ref().lost_at() {
            Some(lost) => next.min(sockets.last_frames.saturating_sub(lost.elapsed())),
            None => next,
        };
        next.min(self.until_expiry()).max(Duration::from_millis(1))
    }

    /// Runs the periodic checks. `busy` tells whether an action runs. During an action, the server reads nothing, so it
    /// can't see the client's answer to a ping. Then the server sends another ping instead of closing the socket.
    pub(super) async fn tick(&mut self, busy: bool) -> Result<(), SessionEnd> {
        let (ping, dead, last_frames) = {
            let sockets = &self.services.config.load().sockets;
            (sockets.ping, sockets.dead, sockets.last_frames)
        };
        if self.ws.get_ref().lost_at().is_some_and(|lost| lost.elapsed() >= last_frames) {
            self.services.metrics.bound_hit("last_frames_ms");
            return Err(SessionEnd::Gone);
        }
        if self.until_expiry().is_zero() {
            return Err(Close::Expired.into());
        }
        let due = match self.pinged {
            Some(pinged) if pinged.elapsed() < dead => false,
            Some(_) if busy => true,
            Some(_) => return Err(Close::Dead.into()),
            None => self.last_received.elapsed() >= ping,
        };
        if due {
            self.pinged = Some(Instant::now());
            self.feed(Message::Ping(Bytes::new())).await?;
            self.flush().await?;
        }
        Ok(())
    }

    /// Pings the client, because a new connection of the same user waits for a free slot. While an action runs
    /// (`busy`), the server reads nothing. Then the client counts as alive, because it sent the frame that started the
    /// action.
    pub(super) async fn send_probe(&mut self, busy: bool) -> Result<(), SessionEnd> {
        if busy {
            self.outbox.mark_alive(Instant::now());
        } else if self.pinged.is_none() {
            self.pinged = Some(Instant::now());
            self.feed(Message::Ping(Bytes::new())).await?;
            self.flush().await?;
        }
        Ok(())
    }

    fn until_expiry(&self) -> Duration {
        self.caller.until_expiry()
    }
}
