//! Writes the waiting frames of a socket. Every write has a time limit.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use futures_util::{FutureExt, SinkExt};
use tokio_tungstenite::tungstenite::error::Error;
use tokio_tungstenite::tungstenite::{Message, Utf8Bytes};

use super::raw_frame;
use super::raw_frame::LARGE_BYTES;
use super::services::SocketServices;
use super::session::{SessionEnd, SocketTask};
use super::write_pace::WritePace;
use crate::protocol::close::Close;
use crate::realtime::outbox::Outbox;

/// The maximum number of frames that are written in a row. After this number of frames, the socket's task does its
/// other work, for example reading.
const WRITTEN_AT_ONCE: usize = 64;

impl SocketTask<'_> {
    /// Writes a first frame or another large text directly to the connection. The write buffer of the WebSocket library
    /// must be empty.
    pub(super) async fn write_large(&mut self, text: &Utf8Bytes) -> Result<(), SessionEnd> {
        let Self { ws, outbox, services, caller, pace, .. } = self;
        let _charge = services.held.charge(text.len());
        let Some(_held) = outbox.hold(text.len()) else {
            services.metrics.bound_hit("user_bytes");
            return Err(Close::TooSlow.into());
        };
        let head = raw_frame::head(text.len()).map_err(|_| SessionEnd::Gone)?;
        // The head and the first part of the text are written together, so that a small text needs only one write.
        let (first, rest) = text.as_bytes().split_at(text.len().min(LARGE_BYTES));
        let first = [&*head, first].concat();
        for part in std::iter::once(&*first).chain(rest.chunks(LARGE_BYTES)) {
            let write = async { raw_frame::write(ws.get_mut(), part).await.map_err(Error::from) };
            let writing = BoundedWrite { services, outbox, pace, bytes: part.len() };
            // After a failure, the server can't send a close frame. The client would take the bytes of the close frame
            // for a part of this text.
            writing.limited(|| caller.until_expiry(), write).await.map_err(|_| SessionEnd::Gone)?;
        }
        Ok(())
    }

    /// Writes the waiting frames, at most [`WRITTEN_AT_ONCE`]. The number is limited, because the queue of a slow
    /// client may never become empty. The socket must also do its other work.
    pub(super) async fn write_waiting(&mut self) -> Result<(), SessionEnd> {
        self.outbox.take(WRITTEN_AT_ONCE, &mut self.taken);
        if self.taken.is_empty() {
            self.pace.caught_up();
            return Ok(());
        }
        if self.is_lost() {
            self.taken.clear();
            return Ok(());
        }
        while let Some(frame) = self.taken.pop_front() {
            let (text, more) = self.view.take(&frame, &self.taken, &self.caller).await?;
            if text.is_some() {
                self.is_acknowledged |= frame.request().is_some_and(|request| Some(request) == self.request);
                self.written.push(frame);
            }
            for text in text.into_iter().chain(more) {
                self.feed(Message::Text(text)).await?;
            }
        }
        // After a burst of frames, frees the memory of the list.
        if self.taken.capacity() > WRITTEN_AT_ONCE {
            self.taken = VecDeque::new();
        }
        self.flush().await?;
        if self.is_lost() {
            self.written.clear();
        }
        for frame in self.written.drain(..) {
            self.view.wrote(&frame, &self.caller);
        }
        Ok(())
    }

    /// Writes the unread count of a room, if a count is due.
    pub(super) async fn write_count(&mut self) -> Result<(), SessionEnd> {
        if let Some(unread) = self.view.count_next(&self.caller).await? {
            self.feed(Message::Text(unread)).await?;
            self.flush().await?;
        }
        Ok(())
    }

    pub(super) async fn feed(&mut self, message: Message) -> Result<(), SessionEnd> {
        let Self { ws, outbox, services, caller, pace, .. } = self;
        let writing = BoundedWrite { services, outbox, pace, bytes: message.len() };
        writing.limited(|| caller.until_expiry(), ws.feed(message)).await
    }

    pub(super) async fn flush(&mut self) -> Result<(), SessionEnd> {
        let Self { ws, outbox, services, caller, pace, .. } = self;
        // `feed` has already counted the bytes that are flushed.
        let writing = BoundedWrite { services, outbox, pace, bytes: 0 };
        writing.limited(|| caller.until_expiry(), ws.flush()).await
    }
}

/// One write with its bounds.
struct BoundedWrite<'a> {
    services: &'a SocketServices,
    outbox: &'a Outbox,
    pace: &'a mut WritePace,
    bytes: usize,
}

impl BoundedWrite<'_> {
    /// Waits for the write. The time limits are `limits.write_ms`, the time that `sockets.min_bytes_per_second` allows,
    /// and the expiry of the token. The wait also ends if the socket must close because the client is too slow or does
    /// not answer pings. If the outbox changes for another reason, the socket's task is woken again after the write.
    async fn limited(
        self,
        until_expiry: impl FnOnce() -> Duration,
        write: impl Future<Output = Result<(), Error>>,
    ) -> Result<(), SessionEnd> {
        tokio::pin!(write);
        // Most writes fit into the kernel's buffer and complete immediately, so they need no timer.
        if let Some(written) = (&mut write).now_or_never() {
            self.pace.wrote(self.bytes);
            return written.map_err(|_| SessionEnd::Gone);
        }
        // Boxed, because few writes must wait. Otherwise the memory of this future would belong to the socket's task
        // until the socket ends.
        Box::pin(self.wait(until_expiry(), write)).await
    }

    /// Waits for a write that does not fit into the kernel's buffer. `expired` is the time until the token expires.
    async fn wait(
        self,
        expired: Duration,
        write: impl Future<Output = Result<(), Error>>,
    ) -> Result<(), SessionEnd> {
        let Self { services, outbox, pace, bytes } = self;
        let (limit, rate) = {
            let config = services.config.load();
            (config.limits.write, config.sockets.min_bytes_per_second)
        };
        let pace_limit = if rate > 0 { pace.wait(bytes, rate, limit, Instant::now()) } else { Duration::MAX };
        let write = tokio::time::timeout(limit.min(expired).min(pace_limit), write);
        tokio::pin!(write);
        let mut woken = false;
        let written = loop {
            tokio::select! {
                biased;
                written = &mut write => break written,
                () = outbox.changed() => {
                    woken = true;
                    if let Some(close @ (Close::TooSlow | Close::Dead)) = outbox.closing() {
                        return Err(close.into());
                    }
                }
            }
        };
        if woken {
            outbox.wake();
        }
        match written {
            Ok(Ok(())) => {
                pace.wrote(bytes);
                Ok(())
            }
            Ok(Err(_)) => Err(SessionEnd::Gone),
            Err(_) if expired < limit.min(pace_limit) => Err(Close::Expired.into()),
            Err(_) => {
                services.metrics.bound_hit(if pace_limit < limit {
                    "min_bytes_per_second"
                } else {
                    "write_ms"
                });
                Err(Close::TooSlow.into())
            }
        }
    }
}
