//! What waits for one socket: a bounded queue of frames, and the word to close.
//!
//! The hub pushes, the socket's task takes. Pushing never waits: a socket whose queue is full is told to close,
//! for it reads too slowly, and no other socket notices. A queue is full by its frames, by their bytes, or by the bytes
//! of all sockets of its user.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Instant;

use bson::Timestamp;
use bson::oid::ObjectId;
use handlers::{MessageId, RoomId, Status, UserId};
use tokio::sync::{Notify, oneshot};
use tokio_tungstenite::tungstenite::Utf8Bytes;

use super::held_bytes::{Charge, HeldBytes};
use super::joined_rooms::JoinedRooms;
use crate::config::Limits;
use crate::protocol::close::Close;
use crate::protocol::cursor::Position;

/// An event, encoded once and shared by all sockets that it goes to.
#[derive(Debug)]
pub(crate) struct Frame {
    pub(crate) json: Utf8Bytes,
    /// When the database committed what it tells of. A history with this time or a later one has it already, unless it is
    /// of marks.
    pub(crate) time: Timestamp,
    /// The message and its author where this is a `chat_message`: written to a reader's socket it is delivered.
    pub(crate) delivers: Option<(MessageId, UserId)>,
    /// The message, its author and how far it has come, where it tells of that.
    pub(crate) marks: Option<(MessageId, UserId, Status)>,
    /// How far the room has come by it.
    pub(crate) reaches: Position,
    /// The request that caused it, where that is known.
    pub(crate) cause: Option<ObjectId>,
    /// Of whom this tells, where it tells of someone: it is for the others, and not for Level 1 sockets.
    pub(crate) about: Option<UserId>,
    /// Who left the room: their sockets in it end here, and for all others this is nothing.
    pub(crate) dismisses: Option<UserId>,
    /// Where it happened, and what it is to sockets of all rooms. For those of one room that is nothing.
    pub(crate) inbox: Option<InboxMeta>,
    /// What it counts for while it waits anywhere.
    pub(crate) charge: Charge,
}

/// What a frame is to a user's own socket.
#[derive(Clone, Debug)]
pub(crate) struct InboxMeta {
    pub(crate) room: RoomId,
    pub(crate) what: InboxEffect,
}

/// What a user's own socket makes of it.
#[derive(Clone, Debug)]
pub(crate) enum InboxEffect {
    /// An event of the room, as for all of its sockets.
    Event,
    /// A message is gone that was unread, or may have been, but to its author: who is known where it waited to be read.
    Deleted { id: MessageId, author: Option<UserId> },
    /// A member has read further, up to this message, and whether that is all there is. There is no frame of it for anyone.
    Read { user: UserId, up_to: i64, all: bool },
    /// The room, or who is in it, is not what it was: it is to be looked at. There is no frame of it for anyone.
    Recheck,
}

impl Frame {
    pub(crate) fn new(json: Utf8Bytes, time: Timestamp) -> Self {
        Self {
            json,
            time,
            delivers: None,
            marks: None,
            reaches: Position::default(),
            cause: None,
            about: None,
            dismisses: None,
            inbox: None,
            charge: Charge::default(),
        }
    }

    /// Returns the bytes that it takes while it waits.
    fn bytes(&self) -> usize {
        self.json.len() + FRAME_BYTES
    }

    /// Counts it among what this server holds.
    pub(crate) fn charged(mut self, held: &HeldBytes) -> Arc<Self> {
        self.charge = held.charge(self.bytes());
        Arc::new(self)
    }

    /// The room has come so far by it, and this request caused it.
    pub(crate) fn caused(self, reaches: Position, cause: Option<ObjectId>) -> Self {
        Self { reaches, cause, ..self }
    }

    /// For sockets of all rooms alone; what they write of it they find out.
    pub(crate) fn inbox(room: RoomId, what: InboxEffect, time: Timestamp) -> Self {
        Self { inbox: Some(InboxMeta { room, what }), ..Self::new(Utf8Bytes::default(), time) }
    }

    /// Whether it is for sockets of all rooms alone.
    pub(crate) fn is_for_inboxes(&self) -> bool {
        matches!(self.inbox, Some(InboxMeta { what: InboxEffect::Read { .. } | InboxEffect::Recheck, .. }))
    }

    /// A member left; nothing is written.
    pub(crate) fn dismissal(user: UserId, time: Timestamp) -> Self {
        Self { dismisses: Some(user), ..Self::new(Utf8Bytes::default(), time) }
    }
}

/// What a frame takes beside its text, and its places in queues, in bytes.
const FRAME_BYTES: usize = 256;

/// What may wait for a socket.
#[derive(Clone, Copy, Debug)]
pub(crate) struct OutboxBounds {
    /// Frames of one socket.
    frames: usize,
    /// Their bytes.
    bytes: usize,
    /// The bytes of all sockets of a user.
    user_bytes: usize,
}

impl OutboxBounds {
    pub(crate) fn of(limits: &Limits) -> Self {
        let Limits { send_queue, send_queue_bytes, user_bytes, .. } = limits;
        Self { frames: *send_queue, bytes: *send_queue_bytes, user_bytes: *user_bytes }
    }
}

#[cfg(test)]
impl From<usize> for OutboxBounds {
    fn from(frames: usize) -> Self {
        Self { frames, bytes: usize::MAX, user_bytes: usize::MAX }
    }
}

/// Frames from which on a socket is woken for those that can wait, too; or half of what fits, where that is less: what waits
/// by our choice must not look like a reader that is too slow.
pub(crate) const MAX_DEFERRED: usize = 32;

/// The queue of one socket.
pub(crate) struct Outbox {
    /// Whose socket it is, where that is known.
    user: Option<UserId>,
    /// The rooms of its user, where it is of a socket of all of them.
    rooms: Option<Arc<JoinedRooms>>,
    /// Whether it hears of who is typing.
    listens: bool,
    queue: Mutex<Queue>,
    bounds: OutboxBounds,
    /// The bytes that wait for all sockets of its user.
    user_bytes: OnceLock<Arc<AtomicUsize>>,
    /// The bytes that are held for it beside its queue.
    beside: AtomicUsize,
    /// Whether its client is to be asked by a ping.
    probe_requested: AtomicBool,
    probe: Mutex<Probe>,
    closing: OnceLock<Close>,
    changed: Notify,
}

#[derive(Default)]
struct Queue {
    frames: VecDeque<Arc<Frame>>,
    /// Something of it is to be written now.
    due: bool,
    /// The bytes of these frames, and of those that are being written.
    bytes: usize,
    /// The bytes of those that were taken last.
    writing: usize,
}

/// What became of a frame that was given to an outbox.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PushOutcome {
    /// It is written with what is there, or the socket is closing anyway.
    Queued,
    /// It can wait a moment, and nothing else is to be written: someone has to say when it is [`due`](Outbox::due).
    Deferred,
    /// This bound is crossed, which closes the socket.
    Full(&'static str),
}

/// What is known of whether a socket's client is there.
#[derive(Default)]
struct Probe {
    /// When something last came of the client; none before the socket is open.
    last_alive: Option<Instant>,
    /// Those who wait for the next time.
    askers: Vec<oneshot::Sender<()>>,
}

/// A socket whose client was asked whether it is there.
pub(crate) struct ProbedSocket {
    pub(crate) outbox: Arc<Outbox>,
    /// Resolves once something came of the client.
    pub(crate) answer: oneshot::Receiver<()>,
}

/// Bytes that a user's socket holds beside its queue, until this is dropped.
pub(crate) struct Holding<'a> {
    outbox: &'a Outbox,
    bytes: usize,
}

impl Drop for Holding<'_> {
    fn drop(&mut self) {
        self.outbox.beside.fetch_sub(self.bytes, Ordering::Relaxed);
        self.outbox.release_user_bytes(self.bytes);
    }
}

impl Outbox {
    /// Of a socket of one room.
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

    /// Of a socket of one room on which this user hears of who is typing there.
    pub(crate) fn for_event_stream(bounds: impl Into<OutboxBounds>, user: UserId) -> Self {
        let mut outbox = Self::new(bounds, Some(user));
        outbox.listens = true;
        outbox
    }

    /// Of a socket of all of a user's rooms, which are these.
    pub(crate) fn for_inbox(bounds: impl Into<OutboxBounds>, user: UserId, rooms: Arc<JoinedRooms>) -> Self {
        let mut outbox = Self::for_event_stream(bounds, user);
        outbox.rooms = Some(rooms);
        outbox
    }

    /// Counts its bytes with those of its user's other sockets. Only the first call counts.
    pub(crate) fn count_for(&self, user_bytes: Arc<AtomicUsize>) {
        let _ = self.user_bytes.set(user_bytes);
    }

    /// Returns the bytes that wait for it.
    pub(crate) fn bytes(&self) -> usize {
        self.queue().bytes + self.beside.load(Ordering::Relaxed)
    }

    /// Counts bytes that are held for the socket beside its queue; none where its user is over the bound by them.
    pub(crate) fn hold(&self, bytes: usize) -> Option<Holding<'_>> {
        let fits = self.add_user_bytes(bytes);
        self.beside.fetch_add(bytes, Ordering::Relaxed);
        let holding = Holding { outbox: self, bytes };
        fits.then_some(holding)
    }

    /// Counts bytes for the user; false where that is over the bound, though they are counted.
    fn add_user_bytes(&self, bytes: usize) -> bool {
        let Some(user_bytes) = self.user_bytes.get() else { return true };
        user_bytes.fetch_add(bytes, Ordering::Relaxed).saturating_add(bytes) <= self.bounds.user_bytes
    }

    fn release_user_bytes(&self, bytes: usize) {
        if let Some(user_bytes) = self.user_bytes.get() {
            user_bytes.fetch_sub(bytes, Ordering::Relaxed);
        }
    }

    /// Whether it would be told that this user is typing.
    pub(crate) fn receives_typing_of(&self, typist: &UserId) -> bool {
        self.listens && self.user.as_ref() != Some(typist)
    }

    /// The rooms of its user, where it is of a socket of all of them.
    pub(crate) fn rooms(&self) -> Option<&Arc<JoinedRooms>> {
        self.rooms.as_ref()
    }

    /// Whether it is of a socket of this user.
    pub(crate) fn is_of(&self, user: &UserId) -> bool {
        self.user.as_ref() == Some(user)
    }

    /// Whether it is of a socket of all of a user's rooms.
    pub(crate) fn is_of_inbox(&self) -> bool {
        self.rooms.is_some()
    }

    /// Whether a frame is anything to this socket. A room that it is to look at is in doubt until it has, and one that
    /// is in doubt already needs no second look.
    pub(crate) fn is_for(&self, frame: &Frame) -> bool {
        match (&frame.inbox, &self.rooms) {
            (Some(InboxMeta { what: InboxEffect::Read { user, .. }, .. }), Some(_)) => {
                self.user.as_ref() == Some(user)
            }
            (Some(InboxMeta { what: InboxEffect::Recheck, room }), Some(rooms)) => {
                rooms.mark_stale(*room, frame.time)
            }
            (Some(InboxMeta { what: InboxEffect::Read { .. } | InboxEffect::Recheck, .. }), None) => false,
            _ => true,
        }
    }

    /// Puts a frame at the end.
    ///
    /// How far a message has come is news to its author. The others made it so, or are one of many: for them it can wait until
    /// there is something else to be written, or it is [`due`](Self::due).
    pub(crate) fn push(&self, frame: &Arc<Frame>) -> PushOutcome {
        let can_wait = frame.marks.as_ref().is_some_and(|(_, author, _)| self.user.as_ref() != Some(author));
        let bytes = frame.bytes();
        let (before, due, crossed) = {
            let mut queue = self.queue();
            let before = queue.frames.len();
            let crossed = if before >= self.bounds.frames {
                Some("send_queue")
            } else if queue.bytes > 0 && queue.bytes + bytes > self.bounds.bytes {
                // One frame always has room.
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

    /// What could wait is to be written now.
    pub(crate) fn due(&self) {
        let mut queue = self.queue();
        // It may have been written with something else.
        if !queue.frames.is_empty() {
            queue.due = true;
            self.changed.notify_one();
        }
    }

    /// Tells the socket to close. The first word counts.
    pub(crate) fn close(&self, close: Close) {
        self.is_first_to_close(close);
    }

    /// The same; false where it was told so already.
    pub(crate) fn is_first_to_close(&self, close: Close) -> bool {
        let first = self.closing.set(close).is_ok();
        if first {
            // What could wait is written before the close.
            self.queue().due = true;
            self.changed.notify_one();
        }
        first
    }

    /// Something came of the client, or the socket is at work for it.
    pub(crate) fn mark_alive(&self) {
        let mut probe = self.probe();
        probe.last_alive = Some(Instant::now());
        for asker in probe.askers.drain(..) {
            // It may have stopped waiting.
            let _ = asker.send(());
        }
    }

    /// Returns when something last came of the client; none before the socket is open, and once it is to close.
    pub(crate) fn last_alive(&self) -> Option<Instant> {
        self.probe().last_alive.filter(|_| self.closing().is_none())
    }

    /// Has the client asked whether it is there.
    pub(crate) fn request_probe(self: &Arc<Self>) -> ProbedSocket {
        let (asker, answer) = oneshot::channel();
        let mut probe = self.probe();
        probe.askers.retain(|asker| !asker.is_closed());
        probe.askers.push(asker);
        drop(probe);
        self.probe_requested.store(true, Ordering::Relaxed);
        self.changed.notify_one();
        ProbedSocket { outbox: self.clone(), answer }
    }

    /// Whether the client is to be asked: true once for each time.
    pub(crate) fn take_probe_request(&self) -> bool {
        self.probe_requested.load(Ordering::Relaxed) && self.probe_requested.swap(false, Ordering::Relaxed)
    }

    fn probe(&self) -> MutexGuard<'_, Probe> {
        self.probe.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes the socket look at its server's state anew.
    pub(crate) fn wake(&self) {
        self.changed.notify_one();
    }

    /// Why the socket is to close, where it is.
    pub(crate) fn closing(&self) -> Option<Close> {
        self.closing.get().copied()
    }

    /// The close that is written where the socket ends by this one. An erasure also ends memberships, in any order: its
    /// code is the one that counts.
    pub(crate) fn closes_by(&self, close: Close) -> Close {
        self.closing().filter(|closing| *closing == Close::Erased).unwrap_or(close)
    }

    /// Whether nothing waits.
    pub(crate) fn is_empty(&self) -> bool {
        self.queue().frames.is_empty()
    }

    /// Moves what waits into `taken`, which is empty, the first `most` of it. Where that isn't all,
    /// [`changed`](Self::changed) resolves at once. Nothing where all of it can wait.
    pub(crate) fn take(&self, most: usize, taken: &mut VecDeque<Arc<Frame>>) {
        let mut queue = self.queue();
        // What was taken before is written by now.
        let written = std::mem::take(&mut queue.writing);
        queue.bytes -= written;
        if written > 0 {
            self.release_user_bytes(written);
        }
        if !queue.due {
            return;
        }
        if queue.frames.len() <= most {
            // What there was room for in the one there is in the other: nothing is allocated for a frame.
            std::mem::swap(&mut queue.frames, taken);
            queue.due = false;
            queue.writing = queue.bytes;
        } else {
            taken.extend(queue.frames.drain(..most));
            queue.writing = taken.iter().map(|frame| frame.bytes()).sum();
            self.changed.notify_one();
        }
    }

    /// Resolves when something was pushed or it is to close; at once where that was so since the last time.
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
