//! What waits for one socket: a bounded queue of frames, and the word to close.
//!
//! The hub pushes, the socket's task takes. Pushing never waits: a socket whose queue is full is told to close,
//! for it reads too slowly, and no other socket notices.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use bson::Timestamp;
use bson::oid::ObjectId;
use handlers::{MessageId, RoomId, Status, UserId};
use tokio::sync::Notify;
use tokio_tungstenite::tungstenite::Utf8Bytes;

use crate::caller::Inbox as Rooms;
use crate::close::Close;
use crate::cursor::Position;

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
    pub(crate) inbox: Option<Inbox>,
}

/// What a frame is to a user's own socket.
#[derive(Clone, Debug)]
pub(crate) struct Inbox {
    pub(crate) room: RoomId,
    pub(crate) what: What,
}

/// What a user's own socket makes of it.
#[derive(Clone, Debug)]
pub(crate) enum What {
    /// An event of the room, as for all of its sockets.
    Event,
    /// A message is gone: it may have been unread.
    Deleted(MessageId),
    /// A member has read further. There is no frame of it for anyone.
    Read(UserId),
    /// The room, or who is in it, is not what it was: it is to be looked at. There is no frame of it for anyone.
    Look,
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
        }
    }

    /// The room has come so far by it, and this request caused it.
    pub(crate) fn caused(self, reaches: Position, cause: Option<ObjectId>) -> Self {
        Self { reaches, cause, ..self }
    }

    /// For sockets of all rooms alone; what they write of it they find out.
    pub(crate) fn inbox(room: RoomId, what: What, time: Timestamp) -> Self {
        Self { inbox: Some(Inbox { room, what }), ..Self::new(Utf8Bytes::default(), time) }
    }

    /// Whether it is for sockets of all rooms alone.
    pub(crate) fn is_for_inboxes(&self) -> bool {
        matches!(self.inbox, Some(Inbox { what: What::Read(_) | What::Look, .. }))
    }

    /// A member left; nothing is written.
    pub(crate) fn dismissal(user: UserId, time: Timestamp) -> Self {
        Self { dismisses: Some(user), ..Self::new(Utf8Bytes::default(), time) }
    }
}

/// The queue of one socket.
pub(crate) struct Outbox {
    /// Whose rooms, where it is of a socket of all of a user's.
    inbox: Option<(UserId, Arc<Rooms>)>,
    /// Its user, where it is of one room and above Level 1.
    hears: Option<UserId>,
    frames: Mutex<VecDeque<Arc<Frame>>>,
    limit: usize,
    closing: OnceLock<Close>,
    changed: Notify,
}

impl Outbox {
    pub(crate) fn new(limit: usize) -> Self {
        Self {
            inbox: None,
            hears: None,
            frames: Mutex::default(),
            limit,
            closing: OnceLock::new(),
            changed: Notify::new(),
        }
    }

    /// Of a socket of one room on which this user hears of who is typing there.
    pub(crate) fn of_listener(limit: usize, user: UserId) -> Self {
        Self { hears: Some(user), ..Self::new(limit) }
    }

    /// Whether it would be told that this user is typing.
    pub(crate) fn hears_of(&self, typist: &UserId) -> bool {
        let user = self.hears.as_ref().or_else(|| self.inbox.as_ref().map(|(user, _)| user));
        user.is_some_and(|user| user != typist)
    }

    /// Of a socket of all of a user's rooms, which are these.
    pub(crate) fn of_inbox(limit: usize, user: UserId, rooms: Arc<Rooms>) -> Self {
        Self { inbox: Some((user, rooms)), ..Self::new(limit) }
    }

    /// The rooms of its user, where it is of a socket of all of them.
    pub(crate) fn rooms(&self) -> Option<&Arc<Rooms>> {
        self.inbox.as_ref().map(|(_, rooms)| rooms)
    }

    /// Whether it is of a socket of all of a user's rooms.
    pub(crate) fn is_of_inbox(&self) -> bool {
        self.inbox.is_some()
    }

    /// Whether a frame is anything to this socket. A room that it is to look at is in doubt until it has, and one that
    /// is in doubt already needs no second look.
    pub(crate) fn is_for(&self, frame: &Frame) -> bool {
        match (&frame.inbox, &self.inbox) {
            (Some(Inbox { what: What::Read(user), .. }), Some((owner, _))) => user == owner,
            (Some(Inbox { what: What::Look, room }), Some((_, rooms))) => rooms.doubt(*room),
            (Some(Inbox { what: What::Read(_) | What::Look, .. }), None) => false,
            _ => true,
        }
    }

    /// Puts a frame at the end. False where that closes the socket, since the queue is full; one that is closing anyway has
    /// no use for it.
    pub(crate) fn push(&self, frame: &Arc<Frame>) -> bool {
        let fits = {
            let mut frames = self.frames.lock().unwrap_or_else(PoisonError::into_inner);
            let fits = frames.len() < self.limit;
            if fits {
                frames.push_back(frame.clone());
            }
            fits
        };
        if fits {
            self.changed.notify_one();
        }
        fits || !self.is_first_to_close(Close::TooSlow)
    }

    /// Tells the socket to close. The first word counts.
    pub(crate) fn close(&self, close: Close) {
        self.is_first_to_close(close);
    }

    fn is_first_to_close(&self, close: Close) -> bool {
        let first = self.closing.set(close).is_ok();
        if first {
            self.changed.notify_one();
        }
        first
    }

    /// Makes the socket look at its server's state anew.
    pub(crate) fn wake(&self) {
        self.changed.notify_one();
    }

    /// Why the socket is to close, where it is.
    pub(crate) fn closing(&self) -> Option<Close> {
        self.closing.get().copied()
    }

    /// Whether nothing waits.
    pub(crate) fn is_empty(&self) -> bool {
        self.frames.lock().unwrap_or_else(PoisonError::into_inner).is_empty()
    }

    /// Moves what waits into `taken`, which is empty, the first `most` of it. Where that isn't all,
    /// [`changed`](Self::changed) resolves at once.
    pub(crate) fn take(&self, most: usize, taken: &mut VecDeque<Arc<Frame>>) {
        let mut frames = self.frames.lock().unwrap_or_else(PoisonError::into_inner);
        if frames.len() <= most {
            // What there was room for in the one there is in the other: nothing is allocated for a frame.
            std::mem::swap(&mut *frames, taken);
        } else {
            taken.extend(frames.drain(..most));
            self.changed.notify_one();
        }
    }

    /// Resolves when something was pushed or it is to close; at once where that was so since the last time.
    pub(crate) async fn changed(&self) {
        self.changed.notified().await;
    }
}
