//! The task of one open socket: reads the frames of the client, and writes answers and events.
//!
//! The task handles the frames of the client one after the other, in order. While it handles a frame, it still writes
//! events. Every wait has a time limit. A stalled write or a full queue closes the socket with 4008. If the client
//! sends nothing for some time, the task sends a ping. If the client does not answer the ping, the task closes the
//! socket. An expired token closes the socket with 4001.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::future::pending;
use std::sync::Arc;
use std::time::Instant;

use bson::oid::ObjectId;
use futures_util::StreamExt;
use tokio_tungstenite::tungstenite::Utf8Bytes;

use super::connection::WebSocket;
use super::incoming::RunningAction;
use super::services::SocketServices;
use super::view::SocketView;
use super::write_pace::WritePace;
use crate::actions::envelope::FrameAnswer;
use crate::actions::session_state::SocketSession;
use crate::auth::TokenEnd;
use crate::presence::tracker::PresenceGuard;
use crate::protocol::close::Close;
use crate::realtime::frame::Frame;
use crate::realtime::outbox::Outbox;

/// The reason why a socket ended.
pub(super) enum SessionEnd {
    /// The server closes the socket with this close code.
    Close(Close),
    /// The connection is broken or was closed by the client, so no close code can be sent.
    Gone,
}

impl From<Close> for SessionEnd {
    fn from(close: Close) -> Self {
        Self::Close(close)
    }
}

/// An open socket.
pub(super) struct SocketTask<'a> {
    pub(super) ws: &'a mut WebSocket,
    pub(super) services: &'a Arc<SocketServices>,
    pub(super) outbox: &'a Arc<Outbox>,
    pub(super) _presence: PresenceGuard,
    pub(super) caller: Arc<SocketSession>,
    pub(super) view: SocketView,
    /// The time when the server last received a message from the client.
    pub(super) last_received: Instant,
    /// The time of the last ping, if the client has not answered it yet.
    pub(super) pinged: Option<Instant>,
    /// `taken` has the frames that were taken from the outbox and are not written yet. `written` has the frames that
    /// were written. The two lists are empty between two calls of `write_waiting`.
    pub(super) taken: VecDeque<Arc<Frame>>,
    pub(super) written: Vec<Arc<Frame>>,
    /// The id of the request of the client's last frame. `is_acknowledged` tells whether the event of that request was
    /// written to the client.
    pub(super) request: Option<ObjectId>,
    pub(super) is_acknowledged: bool,
    pub(super) pace: WritePace,
    /// The times of the recent refusals by a rate limit.
    pub(super) refusals: VecDeque<Instant>,
}

impl SocketTask<'_> {
    /// Writes the first frame, and serves the client until the socket has to end.
    pub(super) async fn run(&mut self, first_frame: Utf8Bytes) -> Result<Infallible, SessionEnd> {
        Box::pin(self.write_large(&first_frame)).await?;
        drop(first_frame);
        self.outbox.mark_alive(Instant::now());
        let mut running: Option<RunningAction> = None;
        let mut was_lost = false;
        let timer = tokio::time::sleep(self.next_tick());
        tokio::pin!(timer);
        loop {
            self.write_waiting().await?;
            match self.caller.token_end() {
                Some(TokenEnd::KeyRemoved) => return Err(Close::KeyRemoved.into()),
                Some(TokenEnd::RulesChanged) => return Err(Close::TokenRulesChanged.into()),
                None => {}
            }
            if !self.is_lost() {
                self.view.flush_receipts(&self.services.receipts, &self.caller);
            } else if !std::mem::replace(&mut was_lost, true) {
                // A write has failed, so written messages do not count as delivered. From now on, the timer also limits
                // the time in which the server reads the client's last frames.
                timer.as_mut().reset(tokio::time::Instant::now() + self.next_tick());
            }
            if self.outbox.take_probe_request() {
                Box::pin(self.send_probe(running.is_some())).await?;
                timer.as_mut().reset(tokio::time::Instant::now() + self.next_tick());
            }
            match self.outbox.closing() {
                // During a shutdown, the socket is closed only after its running action has ended and the waiting
                // frames are written.
                Some(Close::GoingAway) if running.is_some() || !self.outbox.is_empty() => {}
                Some(close) => return Err(close.into()),
                None => {}
            }
            tokio::select! {
                () = self.outbox.changed() => {}
                () = wait_until(self.view.next_count()) => Box::pin(self.write_count()).await?,
                answer = next_answer(&mut running) => {
                    running = None;
                    // While the action ran, the server did not read the client's answer to a ping. So the client gets
                    // the full time for this answer again.
                    self.pinged = self.pinged.map(|_| Instant::now());
                    if let Some(close) = self.caller.ended() {
                        return Err(close.into());
                    }
                    if let Some(answer) = answer
                        && !self.is_contradicted(&answer).await?
                    {
                        self.answer(answer).await?;
                    }
                    // The action may have replaced the token by a token with a later expiry.
                    timer.as_mut().reset(tokio::time::Instant::now() + self.next_tick());
                }
                message = self.ws.next(), if running.is_none() && !self.services.lifecycle.is_draining() => {
                    running = self.handle_incoming(message).await?;
                }
                () = &mut timer => {
                    Box::pin(self.tick(running.is_some())).await?;
                    timer.as_mut().reset(tokio::time::Instant::now() + self.next_tick());
                }
            }
        }
    }

    /// Tells whether a write has failed. After a failed write, the server still reads and executes the client's last
    /// frames, but does not answer them.
    pub(super) fn is_lost(&self) -> bool {
        self.ws.get_ref().lost_at().is_some()
    }
}

/// Waits until the time `at`. Without a time, waits forever.
async fn wait_until(at: Option<tokio::time::Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => pending().await,
    }
}

async fn next_answer(running: &mut Option<RunningAction>) -> Option<FrameAnswer> {
    match running {
        Some(answer) => answer.await,
        None => pending().await,
    }
}
