//! The receipts of an inbox connection. A message that was written to the socket raises the user's receipt markers. If
//! the user has not accepted the room yet, the receipt waits.

use handlers::RoomId;

use super::InboxView;
use crate::model::receipts::Marks;
use crate::realtime::frame::{Frame, FrameKind, RoomFrame};
use crate::ws::member_email;

impl InboxView {
    /// Records that a frame was written to the socket.
    pub(in crate::ws) fn wrote(&mut self, frame: &Frame) {
        if let FrameKind::Room(room, RoomFrame::Message { id, author, .. }) = &frame.kind {
            if *author == self.caller.user {
                self.accept(*room);
            } else {
                self.add_unacked(*room, id.get());
            }
        }
    }

    /// Accepts a room, because the user has opened it or has written in it.
    pub(super) fn accept(&mut self, room: RoomId) {
        if self.set_accepted(room) {
            member_email::accept(&self.services, room, &self.caller.user, self.caller.email.clone());
        }
    }

    /// Records on this socket that the room is accepted. Returns false if the room was accepted before.
    pub(super) fn set_accepted(&mut self, room: RoomId) -> bool {
        let Some(message) = self.pending.remove(&room) else { return false };
        if message > 0 {
            self.add_unacked(room, message);
        }
        true
    }

    /// Records that the messages of a room up to the number `message` were written. If the user has not accepted the
    /// room, these messages do not count as delivered yet, because a receipt would reveal the user's presence.
    pub(super) fn add_unacked(&mut self, room: RoomId, message: i64) {
        if let Some(last) = self.pending.get_mut(&room) {
            *last = message.max(*last);
            return;
        }
        let unacked = self.unacked.entry(room).or_default();
        *unacked = message.max(*unacked);
    }

    /// Queues receipts for the messages that the answer to an action contained. `done` tells whether the answer was
    /// written and is not an error. Otherwise no receipt is queued.
    pub(in crate::ws) fn answered(&self, done: bool) {
        for (room, message) in self.rooms.take_shown() {
            if done {
                // If the queue is full, this receipt is dropped. The receipt of a later message then covers these
                // messages too.
                let marks = Marks { delivered: message, read: 0 };
                let _ = self.services.receipts.raise(room, &self.caller.user, marks);
            }
        }
    }

    /// Queues the receipt markers of written messages. If the client has opened the room, written messages also count
    /// as read, and the user accepts the room.
    pub(in crate::ws) fn flush_receipts(&mut self) {
        if !self.pending.is_empty() {
            let opened: Vec<_> =
                self.pending.keys().copied().filter(|room| self.rooms.is_open(*room)).collect();
            for room in opened {
                self.accept(room);
            }
        }
        let Self { unacked, services, caller, rooms, .. } = self;
        unacked.retain(|room, message| {
            let read = if rooms.is_open(*room) { *message } else { 0 };
            !services.receipts.raise(*room, &caller.user, Marks { delivered: *message, read })
        });
    }
}
