//! Sockets of all of a user's rooms, in the hub.

use std::collections::HashSet;
use std::sync::Arc;

use bson::Timestamp;
use handlers::{RoomId, UserId};

use super::{Entry, Hub, State};
use crate::outbox::{Frame, Outbox, What};

impl Hub {
    /// From now on the socket hears which rooms its user comes into, and leaves.
    pub(crate) fn enter_inbox(&self, user: &UserId, socket: &Arc<Outbox>) {
        let mut rooms = self.rooms();
        rooms.inboxes.entry(user.clone()).or_insert_with(|| Vec::with_capacity(1)).push(socket.clone());
    }

    /// The socket hears nothing any more: neither that, nor of any of these rooms.
    pub(crate) fn leave_inbox(&self, user: &UserId, of: impl Iterator<Item = RoomId>, socket: &Arc<Outbox>) {
        {
            let mut rooms = self.rooms();
            if let Some(sockets) = rooms.inboxes.get_mut(user) {
                sockets.retain(|other| !Arc::ptr_eq(other, socket));
                if sockets.is_empty() {
                    rooms.inboxes.remove(user);
                }
            }
        }
        for room in of {
            self.leave(room, socket);
        }
    }

    /// From now on the socket gets the frames of these rooms. Gives when the last change that the hub had was
    /// committed: what is read for the socket must not be older.
    pub(crate) fn join_inbox(&self, of: &[RoomId], socket: &Arc<Outbox>) -> Option<Timestamp> {
        let mut rooms = self.rooms();
        let super::Rooms { entries, reached, visits, broken, .. } = &mut *rooms;
        for room in of {
            let entry = entries.entry(*room).or_insert_with(|| {
                *visits += 1;
                Entry::new(*visits, *reached, State::Asleep)
            });
            entry.sockets.push(socket.clone());
            if *broken {
                entry.late.push(socket.clone());
            }
            // What those read who are reading it may be later than what this socket will have been told.
            self.want(*room, entry);
        }
        *reached
    }

    /// The change stream has come so far.
    pub(crate) fn passed(&self, time: Timestamp) {
        self.rooms().reached = Some(time);
    }

    /// A room, or who is in it, has changed: sockets of all of a user's rooms look at it, those of its members and
    /// those of `user`, who may not have been one, or is none any more.
    pub(crate) fn look(&self, room: RoomId, user: Option<&UserId>, time: Timestamp) {
        let rooms = self.rooms();
        let here = rooms.entries.get(&room).map_or(&[][..], |entry| &entry.sockets);
        let own = user.and_then(|user| rooms.inboxes.get(user)).map_or(&[][..], Vec::as_slice);
        let frame = Arc::new(Frame::inbox(room, What::Look, time));
        // One that is told so twice looks once.
        for socket in here.iter().chain(own) {
            self.push(socket, &frame);
        }
    }

    /// Whether there is any socket of all of a user's rooms here.
    pub(crate) fn has_inboxes(&self) -> bool {
        !self.rooms().inboxes.is_empty()
    }

    /// Tells sockets of all of a user's rooms that are in any of these, each once.
    pub(crate) fn tell_inboxes(&self, of: &[RoomId], frame: &Arc<Frame>) {
        let rooms = self.rooms();
        let mut told = HashSet::new();
        for entry in of.iter().filter_map(|room| rooms.entries.get(room)) {
            for socket in entry.sockets.iter().filter(|socket| socket.is_of_inbox()) {
                if told.insert(Arc::as_ptr(socket)) {
                    self.push(socket, frame);
                }
            }
        }
    }
}
