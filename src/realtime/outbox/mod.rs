//! The outbox of one socket: a bounded queue of frames (encoded events), and the request to close the socket.
//!
//! The hub pushes frames into the queue, and the socket's task takes the frames and writes them. A push never waits. If
//! the queue is full, the client reads too slowly, and its socket is closed. Other sockets are not affected. Three
//! numbers are bounded: the frames in the queue, their bytes, and the bytes of all sockets of the user.
//!
//! Some frames are deferred: a deferred frame waits for the next frame, so that one write sends both frames.

mod bytes;
mod liveness;

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicUsize};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use handlers::UserId;
use tokio::sync::Notify;

pub(crate) use self::bytes::OutboxBounds;
use self::liveness::Probe;
pub(crate) use self::liveness::ProbedSocket;
use super::frame::{Frame, FrameKind, InboxFrame, RoomFrame};
use super::joined_rooms::JoinedRooms;
use crate::protocol::close::Close;

/// The maximum number of deferred frames that wait for one socket, or half of the queue's bound if that is less. One
/// more deferred frame makes the socket write all waiting frames immediately. Otherwise deferred frames could fill the
/// queue, and the client would seem to read too slowly.
pub(crate) const MAX_DEFERRED: usize = 32;

/// The queue of one socket.
pub(crate) struct Outbox {
    /// The user of the socket, if known.
    user: Option<UserId>,
    /// The rooms of the user, if the socket is an inbox connection.
    rooms: Option<Arc<JoinedRooms>>,
    /// Whether the socket receives typing events. Sockets of Level 1 do not.
    listens: bool,
    queue: Mutex<Queue>,
    bounds: OutboxBounds,
    /// The bytes that are held for all sockets of the user.
    user_bytes: OnceLock<Arc<AtomicUsize>>,
    /// The bytes that are held for the socket outside its queue, for example a large answer.
    beside: AtomicUsize,
    /// Whether the socket has to send a ping to its client.
    probe_requested: AtomicBool,
    probe: Mutex<Probe>,
    closing: OnceLock<Close>,
    changed: Notify,
}

#[derive(Default)]
struct Queue {
    frames: VecDeque<Arc<Frame>>,
    /// Whether the socket has to write the frames now. False means that all waiting frames are deferred.
    due: bool,
    /// The bytes of the waiting frames, and of the frames that the socket is writing.
    bytes: usize,
    /// The bytes of the frames that the latest [`take`](Outbox::take) returned.
    writing: usize,
}

/// The outcome of a push.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PushOutcome {
    /// The socket writes the frame together with the queued frames. Also returned if the frame exceeded a bound, but
    /// the socket is already closing.
    Queued,
    /// The frame is deferred, and it is the only frame in the queue. The caller has to call [`due`](Outbox::due) later.
    Deferred,
    /// The frame exceeded this bound, and the socket is closed.
    Full(&'static str),
}

impl Outbox {
    /// Creates the outbox of a socket of one room. The socket receives no typing events (Level 1).
    pub(crate) fn new(bounds: impl Into<OutboxBounds>, user: Option<UserId>) -> Self {
        Self {
            user,
            rooms: None,
            listens: false,
            queue: Mutex::default(),
            bounds: bounds.into(),
            user_bytes: OnceLock::new(),
            beside: AtomicUsize::default(),
            probe_requested: AtomicBool::default(),
            probe: Mutex::default(),
            closing: OnceLock::new(),
            changed: Notify::new(),
        }
    }

    /// Creates the outbox of a socket of one room that receives typing events (Level 2).
    pub(crate) fn for_event_stream(bounds: impl Into<OutboxBounds>, user: UserId) -> Self {
        let mut outbox = Self::new(bounds, Some(user));
        outbox.listens = true;
        outbox
    }

    /// Creates the outbox of an inbox connection. `rooms` are the rooms of the user.
    pub(crate) fn for_inbox(bounds: impl Into<OutboxBounds>, user: UserId, rooms: Arc<JoinedRooms>) -> Self {
        let mut outbox = Self::for_event_stream(bounds, user);
        outbox.rooms = Some(rooms);
        outbox
    }

    /// Returns whether the socket receives typing events of the user `typist`. No user receives events of their own
    /// typing.
    pub(crate) fn receives_typing_of(&self, typist: &UserId) -> bool {
        self.listens && self.user.as_ref() != Some(typist)
    }

    /// Returns the rooms of the user, if the socket is an inbox connection.
    pub(crate) fn rooms(&self) -> Option<&Arc<JoinedRooms>> {
        self.rooms.as_ref()
    }

    /// Returns whether the socket belongs to this user.
    pub(crate) fn is_of(&self, user: &UserId) -> bool {
        self.user.as_ref() == Some(user)
    }

    /// Returns whether the socket is an inbox connection (Level 3).
    pub(crate) fn is_of_inbox(&self) -> bool {
        self.rooms.is_some()
    }

    /// Returns whether the socket has to process a frame. For a [`Recheck`](InboxFrame::Recheck), also marks the room
    /// as stale. If the room is stale already, returns false, because an earlier frame causes the re-read.
    pub(crate) fn is_for(&self, frame: &Frame) -> bool {
        match (&frame.kind, &self.rooms) {
            (FrameKind::Inbox(_), None) => false,
            (FrameKind::Inbox(InboxFrame::MarkerRaised { user, .. }), Some(_)) => self.is_of(user),
            (FrameKind::Inbox(InboxFrame::Recheck(room)), Some(rooms)) => rooms.mark_stale(*room, frame.time),
            (FrameKind::Room(..), _)
            | (FrameKind::Inbox(InboxFrame::RoomChanged(_) | InboxFrame::Presence(_)), Some(_)) => true,
        }
    }

    /// Appends a frame to the queue. If a bound is exceeded, requests that the socket closes.
    ///
    /// A new message status is urgent only for the message's author. For other users the frame is deferred: it waits
    /// for the next frame, or until [`due`](Self::due) is called.
    pub(crate) fn push(&self, frame: &Arc<Frame>) -> PushOutcome {
        let can_wait = match &frame.kind {
            FrameKind::Room(_, RoomFrame::Receipt { author, .. }) => !self.is_of(author),
            _ => false,
        };
        let bytes = frame.bytes();
        let (before, due, crossed) = {
            let mut queue = self.queue();
            let before = queue.frames.len();
            let crossed = if before >= self.bounds.frames {
                Some("send_queue")
            } else if queue.bytes > 0 && queue.bytes + bytes > self.bounds.bytes {
                // An empty queue accepts one frame of any size.
                Some("send_queue_bytes")
            } else {
                queue.frames.push_back(frame.clone());
                queue.bytes += bytes;
                queue.due |= !can_wait || before >= MAX_DEFERRED.min(self.bounds.frames / 2);
                (!self.add_user_bytes(bytes)).then_some("user_bytes")
            };
            (before, queue.due, crossed)
        };
        if let Some(bound) = crossed {
            return if self.is_first_to_close(Close::TooSlow) {
                PushOutcome::Full(bound)
            } else {
                PushOutcome::Queued
            };
        }
        if due {
            self.changed.notify_one();
        }
        if due || before > 0 { PushOutcome::Queued } else { PushOutcome::Deferred }
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes the waiting frames due, so that the socket writes them now.
    pub(crate) fn due(&self) {
        let mut queue = self.queue();
        // The queue is empty if another frame arrived, and the deferred frames were written together with that frame.
        if !queue.frames.is_empty() {
            queue.due = true;
            self.changed.notify_one();
        }
    }

    /// Requests that the socket closes. Does nothing if an earlier request exists.
    pub(crate) fn close(&self, close: Close) {
        self.is_first_to_close(close);
    }

    /// Requests that the socket closes. If an earlier request exists, returns false and ignores the new request.
    pub(crate) fn is_first_to_close(&self, close: Close) -> bool {
        let first = self.closing.set(close).is_ok();
        if first {
            // Deferred frames are written before the close.
            self.queue().due = true;
            self.changed.notify_one();
        }
        first
    }

    /// Wakes the socket's task. The task checks again whether it has to close the socket, for example because the
    /// server shuts down.
    pub(crate) fn wake(&self) {
        self.changed.notify_one();
    }

    /// Returns the requested close code. Returns none if no close was requested.
    pub(crate) fn closing(&self) -> Option<Close> {
        self.closing.get().copied()
    }

    /// Returns the close code to send to a client whose socket closes because of `close`. An erasure of the user also
    /// ends the user's memberships, and the end of a membership may close the socket first. Then the close code of the
    /// erasure takes precedence over `close`.
    pub(crate) fn closes_by(&self, close: Close) -> Close {
        self.closing().filter(|closing| *closing == Close::Erased).unwrap_or(close)
    }

    /// Returns whether no frame waits in the queue.
    pub(crate) fn is_empty(&self) -> bool {
        self.queue().frames.is_empty()
    }

    /// Moves up to `most` waiting frames into `taken`, which must be empty. If more frames wait, the next
    /// [`changed`](Self::changed) resolves immediately. Moves nothing if all waiting frames are deferred. The caller
    /// has written the frames of the previous call, so their bytes no longer count.
    pub(crate) fn take(&self, most: usize, taken: &mut VecDeque<Arc<Frame>>) {
        let mut queue = self.queue();
        let written = std::mem::take(&mut queue.writing);
        queue.bytes -= written;
        if written > 0 {
            self.release_user_bytes(written);
        }
        if !queue.due {
            return;
        }
        if queue.frames.len() <= most {
            // The two queues swap their buffers, so that nothing is allocated.
            std::mem::swap(&mut queue.frames, taken);
            queue.due = false;
            queue.writing = queue.bytes;
        } else {
            taken.extend(queue.frames.drain(..most));
            queue.writing = taken.iter().map(|frame| frame.bytes()).sum();
            self.changed.notify_one();
        }
    }

    /// Resolves when a frame is due, a ping is requested, or the socket has to close. Resolves immediately if one of
    /// these events happened since the last call.
    pub(crate) async fn changed(&self) {
        self.changed.notified().await;
    }
}

impl Drop for Outbox {
    fn drop(&mut self) {
        let bytes = self.queue().bytes;
        self.release_user_bytes(bytes);
    }
}
