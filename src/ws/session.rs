//! The task of one connection: open, read, write, close.
//!
//! The frames of one socket are handled one after the other, in order. Events continue to be written while one is
//! handled. Every wait has a limit: a write that stalls and a queue that fills close the socket with 4008. A silent
//! peer is probed by a ping and then disconnected. An expired token closes the socket with 4001.

use super::connection::WebSocket;
use super::services::SocketServices;
use super::view::SocketView;
use crate::ws::close;
use crate::ws::open;

use std::collections::VecDeque;
use std::convert::Infallible;
use std::future::pending;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bson::oid::ObjectId;
use futures_util::StreamExt;
use handlers::Code;
use salvo::hyper::upgrade::Upgraded;
use salvo::rt::tokio::TokioIo;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::error::{CapacityError, Error};
use tokio_tungstenite::tungstenite::protocol::{Role, WebSocketConfig};
use tokio_tungstenite::tungstenite::{Bytes, Message, Utf8Bytes};

use super::connection::CountedStream;
use super::handshake::{Admission, SocketTarget};
use super::raw_frame::LARGE_BYTES;
use super::write_pace::WritePace;
use crate::actions::envelope::FrameAnswer;
use crate::actions::session_state::SocketSession;
use crate::auth::refused_clients::ClientSource;
use crate::limits::permits::Permit;
use crate::presence::tracker::PresenceGuard;
use crate::protocol::close::Close;
use crate::realtime::frame::Frame;
use crate::realtime::outbox::{Outbox, OutboxBounds};

/// The size of a read, and so the buffer that each idle socket keeps: all of it is overwritten before every read. A
/// chat frame fits; a longer one takes more reads. The default of 128 KiB makes 1,000 idle sockets cost 135 MB.
const READ_BYTES: usize = 1024;

/// Frames are written once they reach this size, or no more wait.
const WRITE_BYTES: usize = 4 * 1024;

/// A socket is closed with 4029 after this many rate-limit refusals within this time (docs/protocol.md, Close codes).
const RATE_LIMIT_STRIKES: (usize, Duration) = (10, Duration::from_secs(10));

/// Batches of waiting frames that are written before an answer of unknown outcome. A batch has up to 64 frames, so these are
/// as many as `limits.send_queue` has by default.
const CONTRADICTION_WRITES: usize = 16;

type RunningAction = Pin<Box<dyn Future<Output = Option<FrameAnswer>> + Send>>;

/// Why a socket ended.
pub(super) enum SessionEnd {
    /// The client receives this close code.
    Close(Close),
    /// The client is gone.
    Gone,
}

impl From<Close> for SessionEnd {
    fn from(close: Close) -> Self {
        Self::Close(close)
    }
}

/// Serves one connection from its upgrade to its end.
pub(crate) async fn serve(
    services: Arc<SocketServices>,
    io: Upgraded,
    admission: Result<Admission, Close>,
    place: Permit,
    source: ClientSource,
) {
    let (frame_bytes, fragments, bounds) = {
        let limits = &services.config.load().limits;
        (limits.frame_bytes, limits.message_fragments, OutboxBounds::of(limits))
    };
    let config = Some(bounded(frame_bytes));
    let line = CountedStream::new(TokioIo::new(io), fragments);
    // Boxed, like everything that a socket awaits once or rarely: otherwise it takes memory for the socket's whole life.
    let mut ws = Box::pin(WebSocketStream::from_raw_socket(line, Role::Server, config)).await;
    let outbox = Arc::new(match &admission {
        Ok(Admission { room: SocketTarget::All, caller, .. }) => {
            Outbox::for_inbox(bounds, caller.user.clone(), Arc::default())
        }
        Ok(Admission { caller, options, .. }) if options.since.is_some() => {
            Outbox::for_event_stream(bounds, caller.user.clone())
        }
        Ok(Admission { caller, .. }) => Outbox::new(bounds, Some(caller.user.clone())),
        Err(_) => Outbox::new(bounds, None),
    });
    // Registered before anything is read for it, so that requests about its user reach it from now on.
    let user = admission.as_ref().ok().map(|admission| &admission.caller.user);
    let registered = services.outboxes.register(&outbox, user);
    let end = match admission {
        Ok(admission) => Box::pin(run_session(&services, &mut ws, &outbox, admission, source)).await,
        Err(close) => {
            // A connection without a valid token holds no permit while its close is sent.
            drop(place);
            services.refusals.record(&source, &services.config.load(), close);
            return Box::pin(close::close(ws, close)).await;
        }
    };
    drop(registered);
    if let SessionEnd::Close(close) = end {
        Box::pin(close::close(ws, outbox.closes_by(close))).await;
    }
}

/// Returns the configuration of a WebSocket with this bound for messages, in any number of fragments.
pub(crate) fn bounded(frame_bytes: usize) -> WebSocketConfig {
    WebSocketConfig::default()
        .read_buffer_size(READ_BYTES)
        .write_buffer_size(WRITE_BYTES)
        .max_message_size(Some(frame_bytes))
        .max_frame_size(Some(frame_bytes))
}

/// Returns the close code for an invalid message; none if the client is gone.
pub(crate) fn close_for(error: &Error) -> Option<Close> {
    match error {
        Error::Capacity(CapacityError::MessageTooLong { .. }) => Some(Close::TooLarge),
        Error::Capacity(_) | Error::Protocol(_) => Some(Close::BadFraming(1002)),
        Error::Utf8(_) => Some(Close::BadFraming(1007)),
        _ => None,
    }
}

/// Runs everything between the handshake and the close.
async fn run_session(
    services: &Arc<SocketServices>,
    ws: &mut WebSocket,
    outbox: &Arc<Outbox>,
    admission: Admission,
    source: ClientSource,
) -> SessionEnd {
    // The outbox is registered, so an erasure that begins from here on closes it.
    if services.store.erasing().contains(&admission.caller.user) {
        services.refusals.record(&source, &services.config.load(), Close::Erased);
        return SessionEnd::Close(Close::Erased);
    }
    // Boxed, so that the memory for opening is freed before the socket's long life begins.
    let opened = Box::pin(open::open(services, outbox, admission)).await;
    let opened = match opened {
        Ok(opened) => opened,
        Err(close) => {
            let close = outbox.closes_by(close);
            services.refusals.record(&source, &services.config.load(), close);
            return SessionEnd::Close(close);
        }
    };
    services.metrics.connect("open");
    let _open = services.metrics.socket();
    let mut socket = SocketTask {
        ws,
        services,
        outbox,
        _presence: services.present.enter(&opened.caller.user),
        caller: opened.caller,
        view: opened.view,
        heard: Instant::now(),
        pinged: None,
        taken: VecDeque::new(),
        written: Vec::new(),
        request: None,
        is_acknowledged: false,
        pace: WritePace::default(),
        refusals: VecDeque::new(),
    };
    let ended = socket.run(opened.first_frame).await;
    match ended {
        Ok(never) => match never {},
        Err(end) => end,
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
    pub(super) heard: Instant,
    pub(super) pinged: Option<Instant>,
    /// The frames that were taken and written; both are empty between two writes.
    pub(super) taken: VecDeque<Arc<Frame>>,
    pub(super) written: Vec<Arc<Frame>>,
    /// The request of the client's last frame, and whether the event that it caused was written.
    pub(super) request: Option<ObjectId>,
    pub(super) is_acknowledged: bool,
    pub(super) pace: WritePace,
    /// The times of the last refusals by a rate limit.
    pub(super) refusals: VecDeque<Instant>,
}

impl SocketTask<'_> {
    async fn run(&mut self, first_frame: Utf8Bytes) -> Result<Infallible, SessionEnd> {
        Box::pin(self.write_large(&first_frame)).await?;
        drop(first_frame);
        self.outbox.mark_alive(Instant::now());
        let mut running: Option<RunningAction> = None;
        let mut was_lost = false;
        let timer = tokio::time::sleep(self.next_tick());
        tokio::pin!(timer);
        loop {
            self.write_waiting().await?;
            if self.caller.has_lost_key() {
                return Err(Close::KeyRemoved.into());
            }
            if !self.is_lost() {
                self.flush_receipts();
            } else if !std::mem::replace(&mut was_lost, true) {
                // Dropped frames are not delivered; and from now on the time to read the last frames is limited.
                timer.as_mut().reset(tokio::time::Instant::now() + self.next_tick());
            }
            if self.outbox.take_probe_request() {
                Box::pin(self.send_probe(running.is_some())).await?;
                timer.as_mut().reset(tokio::time::Instant::now() + self.next_tick());
            }
            match self.outbox.closing() {
                // Running actions finish, and their senders receive the answers, before a shutdown closes the socket.
                Some(Close::GoingAway) if running.is_some() || !self.outbox.is_empty() => {}
                Some(close) => return Err(close.into()),
                None => {}
            }
            tokio::select! {
                () = self.outbox.changed() => {}
                () = wait_until(self.next_count()) => Box::pin(self.write_count()).await?,
                answer = next_answer(&mut running) => {
                    running = None;
                    // Only now can the peer's answer be read.
                    self.pinged = self.pinged.map(|_| Instant::now());
                    if let Some(close) = self.caller.ended() {
                        return Err(close.into());
                    }
                    if let Some(answer) = answer
                        && !self.is_contradicted(&answer).await?
                    {
                        self.answer(answer).await?;
                    }
                    // The action may have brought a new token.
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

    /// Returns when the next unread count is due.
    fn next_count(&self) -> Option<tokio::time::Instant> {
        match &self.view {
            SocketView::Room(_) => None,
            SocketView::Inbox(view) => view.next_count(),
        }
    }

    /// Writes the pending receipt markers.
    fn flush_receipts(&mut self) {
        match &mut self.view {
            SocketView::Room(view) => view.flush_receipts(&self.services.receipts, &self.caller),
            SocketView::Inbox(view) => view.flush_receipts(),
        }
    }

    /// Returns whether the client has already received the event that its frame caused. If the database dies after a write
    /// is on a majority, the event may come and the write's own answer may not: then `timeout`, "it may still be done", would
    /// be a second answer to the frame, and a client without `ref` would take it for the answer to its next one.
    async fn is_contradicted(&mut self, answer: &FrameAnswer) -> Result<bool, SessionEnd> {
        if !answer.is_outcome_unknown {
            return Ok(false);
        }
        // The event may wait in the outbox, behind others. Frames that come meanwhile must not make this endless.
        for _ in 0..CONTRADICTION_WRITES {
            if self.is_acknowledged || self.outbox.is_empty() {
                break;
            }
            self.write_waiting().await?;
        }
        if self.is_acknowledged
            && let SocketView::Inbox(view) = &self.view
        {
            view.answered(false);
        }
        Ok(self.is_acknowledged)
    }

    /// Handles an incoming message. Returns the running action if the message is a frame.
    async fn handle_incoming(
        &mut self,
        message: Option<Result<Message, Error>>,
    ) -> Result<Option<RunningAction>, SessionEnd> {
        let Some(message) = message else { return Err(SessionEnd::Gone) };
        let message = message.map_err(|error| self.end_for(&error))?;
        self.heard = Instant::now();
        self.outbox.mark_alive(self.heard);
        // The last frame of a message is counted with it, as a control frame is.
        let fragments = self.ws.get_mut().take_fragments();
        self.services.runtime.spend_frames(&self.caller, fragments);
        let asked = self.pinged.take().is_some();
        match message {
            Message::Text(frame) => {
                let request = ObjectId::new();
                (self.request, self.is_acknowledged) = (Some(request), false);
                let answer = self.services.runtime.clone().invoke(frame, self.caller.clone(), request);
                // A shutdown waits for the actions that are running by now; later ones are not started.
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
                // Pongs must not pile up for a client that sends pings and reads nothing.
                Box::pin(self.flush()).await?;
                if let Some(answer) = self.services.runtime.charge_control_frame(&self.caller) {
                    Box::pin(self.answer(answer)).await?;
                }
                Ok(None)
            }
        }
    }

    /// Returns how the socket ends after this error, and counts the bound that was hit.
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

    /// Whether a write has failed: then the client's last frames are still read and executed, and nothing is answered.
    pub(super) fn is_lost(&self) -> bool {
        self.ws.get_ref().lost_at().is_some()
    }

    async fn answer(&mut self, answer: FrameAnswer) -> Result<(), SessionEnd> {
        if answer.json.len() > LARGE_BYTES {
            self.flush().await?;
            Box::pin(self.write_large(&answer.json)).await?;
        } else {
            self.feed(Message::Text(answer.json)).await?;
            self.flush().await?;
        }
        if let SocketView::Inbox(view) = &self.view {
            view.answered(answer.refused.is_none() && !self.is_lost());
        }
        if answer.refused == Some(Code::RateLimited) { self.record_strike() } else { Ok(()) }
    }

    /// Counts a refusal by a rate limit. Fails if that was one too many.
    fn record_strike(&mut self) -> Result<(), SessionEnd> {
        let (most, within) = RATE_LIMIT_STRIKES;
        let now = Instant::now();
        self.refusals.push_back(now);
        while self.refusals.front().is_some_and(|first| now.duration_since(*first) > within) {
            self.refusals.pop_front();
        }
        if self.refusals.len() >= most { Err(Close::TooMuch.into()) } else { Ok(()) }
    }

    /// Returns the time until the next check: a ping, a dead peer, or an expiring token.
    fn next_tick(&self) -> Duration {
        let sockets = &self.services.config.load().sockets;
        let quiet = self.heard.elapsed();
        let next = match self.pinged {
            // If the peer answers, it is pinged again in time, however long the answer might have taken.
            Some(pinged) => sockets.dead.saturating_sub(pinged.elapsed()).min(sockets.ping),
            None => sockets.ping.saturating_sub(quiet),
        };
        let next = match self.ws.get_ref().lost_at() {
            Some(lost) => next.min(sockets.last_frames.saturating_sub(lost.elapsed())),
            None => next,
        };
        next.min(self.until_expiry()).max(Duration::from_millis(1))
    }

    /// Runs the periodic checks. While an action runs nothing is read, so a peer that answers can't be told from a
    /// dead one.
    async fn tick(&mut self, busy: bool) -> Result<(), SessionEnd> {
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
            None => self.heard.elapsed() >= ping,
        };
        if due {
            self.pinged = Some(Instant::now());
            self.feed(Message::Ping(Bytes::new())).await?;
            self.flush().await?;
        }
        Ok(())
    }

    /// Pings the client, because a connect waits to know whether it is alive. While an action runs nothing is read;
    /// its frame came from a live client.
    async fn send_probe(&mut self, busy: bool) -> Result<(), SessionEnd> {
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

/// Waits until this time; forever if there is none.
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
