//! Where the change stream broke: it goes on where it was, or each room is told what it missed before anything else.

use std::sync::Arc;

use bson::Timestamp;
use handlers::RoomId;

use super::{Entry, Hub, Opening, State};
use crate::model::change::CommittedChange;
use crate::protocol::close::Close;
use crate::store::Snapshot;

/// What a room missed, read from the collection.
#[derive(Debug)]
pub(crate) struct Missed {
    /// The room as it is now.
    pub(crate) snapshot: Snapshot,
    /// What changed, oldest first; marks are in the snapshot.
    pub(crate) changes: Vec<CommittedChange>,
}

impl Entry {
    /// Sends those away to a fresh history who joined while the stream was broken: what of the missed is in theirs
    /// can't be told. False where nobody is left.
    fn send_late_away(&mut self) -> bool {
        for socket in std::mem::take(&mut self.late) {
            socket.close(Close::GoingAway);
            self.sockets.retain(|other| !Arc::ptr_eq(other, &socket));
        }
        !self.sockets.is_empty()
    }
}

impl Hub {
    /// The stream broke.
    pub(crate) fn broken(&self) {
        self.rooms().broken = true;
    }

    /// The stream goes on where it was, or all has been caught up with.
    pub(crate) fn mended(&self) {
        let mut rooms = self.rooms();
        rooms.broken = false;
        rooms.entries.values_mut().for_each(|entry| entry.late = Vec::new());
    }

    /// Changes were missed. From here on they wait, until each of the rooms given back has
    /// [`caught_up`](Self::caught_up); with each the greatest number that it has told of, where that is known.
    ///
    /// `now` is a moment after all that was missed.
    pub(crate) fn missed(&self, now: Timestamp) -> Vec<(RoomId, Option<i64>)> {
        let mut behind = Vec::new();
        let mut rooms = self.rooms();
        rooms.reached = rooms.reached.max(Some(now));
        // What rooms a user is in may have changed, too.
        rooms.inboxes.values().flatten().for_each(|socket| socket.close(Close::GoingAway));
        rooms.entries.retain(|room, entry| {
            entry.sockets.retain(|socket| !socket.is_of_inbox());
            entry.state = match std::mem::replace(&mut entry.state, State::Unread(Opening::default())) {
                State::Open(open) if !open.is_trimmed() => State::Behind(open, Vec::new()),
                behind @ State::Behind(..) => behind,
                // Whatever is read for it now may lack what was missed, and nobody would tell of that.
                State::Unread(_) | State::Asleep | State::Open(_) | State::Filling(..) => {
                    entry.sockets.iter().for_each(|socket| socket.close(Close::GoingAway));
                    return false;
                }
            };
            let stays = entry.send_late_away();
            // What nobody is left to be told isn't read.
            if stays && let State::Behind(open, _) = &entry.state {
                behind.push((*room, open.last()));
            }
            stays
        });
        behind
    }

    /// Sends all sockets away, to come back to what there is: that is not what they know of.
    pub(crate) fn send_all_away(&self) {
        let mut rooms = self.rooms();
        let of_rooms = rooms.entries.values().flat_map(|entry| &entry.sockets);
        of_rooms.chain(rooms.inboxes.values().flatten()).for_each(|socket| socket.close(Close::GoingAway));
        rooms.entries.clear();
    }

    /// Tells a room what it missed, and then what waited.
    pub(crate) fn caught_up(&self, room: RoomId, missed: Missed) {
        let mut rooms = self.rooms();
        let Some(entry) = rooms.entries.get_mut(&room) else { return };
        if !entry.send_late_away() {
            rooms.entries.remove(&room);
            return;
        }
        let State::Behind(mut open, changes) =
            std::mem::replace(&mut entry.state, State::Unread(Opening::default()))
        else {
            return;
        };
        let Missed { snapshot, changes: told } = missed;
        let gone = open.gone(&snapshot.members).into_iter().map(|user| CommittedChange::Left { user });
        let marks = snapshot
            .members
            .into_iter()
            .map(|member| CommittedChange::Entered { user: member.user, marks: member.marks });
        let mut frames = Vec::new();
        for change in gone.chain(told).chain(marks) {
            open.apply(snapshot.time, change, &mut frames);
        }
        open.reached(snapshot.time);
        self.tell(&entry.sockets, frames);
        self.replay(&entry.sockets, &mut open, changes);
        entry.state = State::Open(open);
    }
}
