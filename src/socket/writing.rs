//! What a socket writes: what waits for it in its outbox, and never without a limit.

use std::collections::VecDeque;
use std::time::Duration;

use futures_util::{FutureExt, SinkExt};
use tokio_tungstenite::tungstenite::error::Error;
use tokio_tungstenite::tungstenite::{Message, Utf8Bytes};

use super::{End, Socket, View, opening};
use crate::close::Close;
use crate::outbox::Outbox;
use crate::server::Server;

/// Of the first frame, what is written within one `limits.write_ms`: what a line of 13 kbit/s carries in its 10 s.
const FIRST_BYTES: usize = 16 * 1024;

/// Frames that are written before anything else has its turn.
const WRITTEN_AT_ONCE: usize = 64;

impl Socket<'_> {
    /// The first frame, past the WebSocket's own buffer, which would keep the size of its largest frame for ever.
    pub(super) async fn write_first(&mut self, history: Utf8Bytes) -> Result<(), End> {
        let Self { ws, outbox, server, caller, .. } = self;
        // It may be of megabytes, for a line that is slow: the limit is for each part of it.
        for part in opening::text_frame(&history).chunks(FIRST_BYTES) {
            let write = async { opening::write(ws.get_mut(), part).await.map_err(Error::from) };
            // A close frame would stand in the middle of this one.
            limited(server, outbox, || caller.until_expiry(), write).await.map_err(|_| End::Gone)?;
        }
        Ok(())
    }

    /// Writes what waits, a handful in one go. A reader that is just fast enough for the queue never to run dry has
    /// its turn at everything else in between.
    pub(super) async fn write_waiting(&mut self) -> Result<(), End> {
        self.outbox.take(WRITTEN_AT_ONCE, &mut self.taken);
        if self.taken.is_empty() {
            return Ok(());
        }
        if self.is_lost() {
            self.taken.clear();
            return Ok(());
        }
        while let Some(frame) = self.taken.pop_front() {
            let (text, more) = match &mut self.view {
                View::Room(view) => (view.take(&frame, &self.caller)?, None),
                View::Inbox(view) => {
                    let expired = self.caller.until_expiry();
                    let taken = tokio::time::timeout(expired, view.take(&frame, &self.taken)).await;
                    taken.map_err(|_| Close::Expired)??
                }
            };
            if text.is_some() {
                self.written.push(frame);
            }
            for text in text.into_iter().chain(more) {
                self.feed(Message::Text(text)).await?;
            }
        }
        // What a burst took is not kept for ever.
        if self.taken.capacity() > WRITTEN_AT_ONCE {
            self.taken = VecDeque::new();
        }
        self.flush().await?;
        if self.is_lost() {
            self.written.clear();
        }
        for frame in self.written.drain(..) {
            match &mut self.view {
                View::Room(view) => view.wrote(&frame, &self.caller),
                View::Inbox(view) => view.wrote(&frame),
            }
        }
        Ok(())
    }

    /// What is unread in a room where that waited to be counted.
    pub(super) async fn write_count(&mut self) -> Result<(), End> {
        let View::Inbox(view) = &mut self.view else { return Ok(()) };
        let counted = tokio::time::timeout(self.caller.until_expiry(), view.count_next()).await;
        if let Some(unread) = counted.map_err(|_| Close::Expired)?? {
            self.feed(Message::Text(unread)).await?;
            self.flush().await?;
        }
        Ok(())
    }

    pub(super) async fn feed(&mut self, message: Message) -> Result<(), End> {
        let Self { ws, outbox, server, caller, .. } = self;
        limited(server, outbox, || caller.until_expiry(), ws.feed(message)).await
    }

    pub(super) async fn flush(&mut self) -> Result<(), End> {
        let Self { ws, outbox, server, caller, .. } = self;
        limited(server, outbox, || caller.until_expiry(), ws.flush()).await
    }
}

/// Waits for a write, but no longer than `limits.write_ms`, nor than the token is good for, nor past the word that
/// the socket reads too slowly. What else changed in the outbox meanwhile is still to be seen by whoever looks next.
async fn limited(
    server: &Server,
    outbox: &Outbox,
    until_expiry: impl FnOnce() -> Duration,
    write: impl Future<Output = Result<(), Error>>,
) -> Result<(), End> {
    tokio::pin!(write);
    // Most find room in the kernel's buffer, and need no clock.
    if let Some(written) = (&mut write).now_or_never() {
        return written.map_err(|_| End::Gone);
    }
    let (limit, expired) = (server.config.load().limits.write, until_expiry());
    let write = tokio::time::timeout(limit.min(expired), write);
    tokio::pin!(write);
    let mut woken = false;
    let written = loop {
        tokio::select! {
            biased;
            written = &mut write => break written,
            () = outbox.changed() => {
                woken = true;
                if let Some(close @ Close::TooSlow) = outbox.closing() {
                    return Err(close.into());
                }
            }
        }
    };
    if woken {
        outbox.wake();
    }
    match written {
        Ok(Ok(())) => Ok(()),
        Ok(Err(_)) => Err(End::Gone),
        Err(_) if expired < limit => Err(Close::Expired.into()),
        Err(_) => {
            server.metrics.limit("write_ms");
            Err(Close::TooSlow.into())
        }
    }
}
