//! Handles the WebSocket messages that a client sends, and writes the answers.

use std::pin::Pin;
use std::time::{Duration, Instant};

use bson::oid::ObjectId;
use handlers::Code;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::error::{CapacityError, Error};

use super::raw_frame::LARGE_BYTES;
use super::session::{SessionEnd, SocketTask};
use crate::actions::envelope::FrameAnswer;
use crate::protocol::close::Close;

/// If the rate limits refuse this number of frames within this time, the server closes the socket with 4029
/// (docs/protocol.md, Close codes).
const RATE_LIMIT_STRIKES: (usize, Duration) = (10, Duration::from_secs(10));

/// The maximum number of batches of waiting frames that are written before an answer with an unknown outcome. A batch
/// has up to 64 frames. So 16 batches hold all frames of a queue with the default `limits.send_queue`.
const CONTRADICTION_WRITES: usize = 16;

pub(super) type RunningAction = Pin<Box<dyn Future<Output = Option<FrameAnswer>> + Send>>;

impl SocketTask<'_> {
    /// Handles an incoming message. Returns the running action if the message is a text frame.
    pub(super) async fn handle_incoming(
        &mut self,
        message: Option<Result<Message, Error>>,
    ) -> Result<Option<RunningAction>, SessionEnd> {
        let Some(message) = message else { return Err(SessionEnd::Gone) };
        let message = message.map_err(|error| self.end_for(&error))?;
        self.last_received = Instant::now();
        self.outbox.mark_alive(self.last_received);
        // The number of fragments excludes the last fragment of each message. The last fragment is counted with the
        // whole message.
        let fragments = self.ws.get_mut().take_fragments();
        self.services.runtime.spend_frames(&self.caller, fragments);
        let asked = self.pinged.take().is_some();
        match message {
            Message::Text(frame) => {
                let request = ObjectId::new();
                (self.request, self.is_acknowledged) = (Some(request), false);
                let answer = self.services.runtime.clone().invoke(frame, self.caller.clone(), request);
                // During a shutdown, the server waits for the actions that are already running, but starts no new
                // action.
                Ok((!self.services.lifecycle.is_draining()).then(|| Box::pin(answer) as RunningAction))
            }
            Message::Binary(_) => {
                let answer = self.services.runtime.binary(&self.caller);
                Box::pin(self.answer(answer)).await?;
                Ok(None)
            }
            Message::Close(_) => Err(Close::Normal.into()),
            Message::Pong(_) if asked => Ok(None),
            Message::Ping(_) | Message::Pong(_) | Message::Frame(_) => {
                // The pong is written now. Otherwise the pongs for a client that sends pings and reads nothing would
                // fill the memory.
                Box::pin(self.flush()).await?;
                if let Some(answer) = self.services.runtime.charge_control_frame(&self.caller) {
                    Box::pin(self.answer(answer)).await?;
                }
                Ok(None)
            }
        }
    }

    /// Returns the reason why the socket ends after this error. If the client hit a bound, counts that bound.
    fn end_for(&self, error: &Error) -> SessionEnd {
        let close = close_for(error)
            .or_else(|| self.ws.get_ref().is_too_fragmented().then_some(Close::TooFragmented));
        match close {
            Some(Close::TooLarge) => self.services.metrics.bound_hit("frame_bytes"),
            Some(Close::TooFragmented) => self.services.metrics.bound_hit("message_fragments"),
            _ => {}
        }
        close.map_or(SessionEnd::Gone, SessionEnd::Close)
    }

    pub(super) async fn answer(&mut self, answer: FrameAnswer) -> Result<(), SessionEnd> {
        if answer.json.len() > LARGE_BYTES {
            self.flush().await?;
            Box::pin(self.write_large(&answer.json)).await?;
        } else {
            self.feed(Message::Text(answer.json)).await?;
            self.flush().await?;
        }
        self.view.answered(answer.refused.is_none() && !self.is_lost());
        if answer.refused == Some(Code::RateLimited) { self.record_strike() } else { Ok(()) }
    }

    /// Counts a refusal by a rate limit. Fails if the client has had too many refusals ([`RATE_LIMIT_STRIKES`]).
    fn record_strike(&mut self) -> Result<(), SessionEnd> {
        let (most, within) = RATE_LIMIT_STRIKES;
        let now = Instant::now();
        self.refusals.push_back(now);
        while self.refusals.front().is_some_and(|first| now.duration_since(*first) > within) {
            self.refusals.pop_front();
        }
        if self.refusals.len() >= most { Err(Close::TooMuch.into()) } else { Ok(()) }
    }

    /// Tells whether the client has already received the event of its frame, although the server does not know the
    /// outcome of the frame's database write.
    ///
    /// If the database fails right after a majority has stored a write, the server may receive the event but not the
    /// result of the write. The event already answers the frame. The error `timeout` would be a second answer. A client
    /// that sends no `ref` would take that error for the answer to its next frame.
    pub(super) async fn is_contradicted(&mut self, answer: &FrameAnswer) -> Result<bool, SessionEnd> {
        if !answer.is_outcome_unknown {
            return Ok(false);
        }
        // The event may wait in the outbox (the socket's queue) behind other frames. The number of batches is limited,
        // because new frames may arrive all the time.
        for _ in 0..CONTRADICTION_WRITES {
            if self.is_acknowledged || self.outbox.is_empty() {
                break;
            }
            self.write_waiting().await?;
        }
        if self.is_acknowledged {
            self.view.answered(false);
        }
        Ok(self.is_acknowledged)
    }
}

/// Returns the close code for an invalid message. None if the connection is broken.
pub(crate) fn close_for(error: &Error) -> Option<Close> {
    match error {
        Error::Capacity(CapacityError::MessageTooLong { .. }) => Some(Close::TooLarge),
        Error::Capacity(_) | Error::Protocol(_) => Some(Close::BadFraming(1002)),
        Error::Utf8(_) => Some(Close::BadFraming(1007)),
        _ => None,
    }
}
