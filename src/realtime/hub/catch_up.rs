//! Where the change stream broke: it goes on where it was, or each room is told what it missed before anything else.

use std::sync::Arc;

use bson::Timestamp;
use handlers::RoomId;

use super::{Hub, HubEntry, PendingLoad, RoomPhase};
use crate::model::change::CommittedChange;
use crate::protocol::close::Close;
use crate::store::Snapshot;

/// What a room missed, read from the collection.
#[derive(Debug)]
pub(crate) struct CatchUp {
    /// The room as it is now.
    pub(crate) snapshot: Snapshot,
    /// What changed, oldest first; marks are in the snapshot.
    pub(crate) changes: Vec<CommittedChange>,
}

impl HubEntry {
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
    pub(crate) fn stream_lost(&self) {
        self.rooms().stream_lost = true;
    }

    /// The stream goes on where it was, or all has been caught up with.
    pub(crate) fn stream_restored(&self) {
        let mut rooms = self.rooms();
        rooms.stream_lost = false;
        rooms.entries.values_mut().for_each(|entry| entry.late = Vec::new());
    }

    /// Changes were missed. From here on they wait, until each of the rooms given back has
    /// [`caught_up`](Self::finish_catch_up); with each the greatest number that it has told of, where that is known.
    ///
    /// `now` is a moment after all that was missed.
    pub(crate) fn begin_catch_up(&self, now: Timestamp) -> Vec<(RoomId, Option<i64>)> {
        let mut behind = Vec::new();
        let mut rooms = self.rooms();
        rooms.reached = rooms.reached.max(Some(now));
        // What rooms a user is in may have changed, too.
        rooms.inboxes.values().flatten().for_each(|socket| socket.close(Close::GoingAway));
        rooms.entries.retain(|room, entry| {
            entry.sockets.retain(|socket| !socket.is_of_inbox());
            entry.state =
                match std::mem::replace(&mut entry.state, RoomPhase::Loading(PendingLoad::default())) {
                    RoomPhase::Live(open) if !open.is_trimmed() => RoomPhase::CatchingUp(open, Vec::new()),
                    behind @ RoomPhase::CatchingUp(..) => behind,
                    // Whatever is read for it now may lack what was missed, and nobody would tell of that.
                    RoomPhase::Loading(_)
                    | RoomPhase::Idle
                    | RoomPhase::Live(_)
                    | RoomPhase::FillingTexts(..) => {
                        entry.sockets.iter().for_each(|socket| socket.close(Close::GoingAway));
                        return false;
                    }
                };
            let stays = entry.send_late_away();
            // What nobody is left to be told isn't read.
            if stays && let RoomPhase::CatchingUp(open, _) = &entry.state {
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
    pub(crate) fn finish_catch_up(&self, room: RoomId, missed: CatchUp) {
        let mut rooms = self.rooms();
        let Some(entry) = rooms.entries.get_mut(&room) else { return };
        if !entry.send_late_away() {
            rooms.entries.remove(&room);
            return;
        }
        let RoomPhase::CatchingUp(mut open, changes) =
            std::mem::replace(&mut entry.state, RoomPhase::Loading(PendingLoad::default()))
        else {
            return;
        };
        let CatchUp { snapshot, changes: told } = missed;
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
        self.send(&entry.sockets, frames);
        self.replay(&entry.sockets, &mut open, changes);
        entry.state = RoomPhase::Live(open);
    }
}
