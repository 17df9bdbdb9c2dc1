//! Handles a change stream that broke. If the new stream resumes at the old position, no change is missing. Otherwise
//! each room catches up: it first sends the missed changes, and then the new ones.

use std::sync::Arc;

use bson::Timestamp;
use handlers::RoomId;

use super::{Hub, HubEntry, PendingLoad, RoomPhase};
use crate::model::change::CommittedChange;
use crate::protocol::close::Close;
use crate::store::Snapshot;

/// The missed changes of a room, read from the collections.
#[derive(Debug)]
pub(crate) struct CatchUp {
    /// The current state of the room, with its receipt markers.
    pub(crate) snapshot: Snapshot,
    /// The missed changes, oldest first, without receipt markers.
    pub(crate) changes: Vec<CommittedChange>,
}

impl HubEntry {
    /// Closes the sockets that joined while the stream was lost. Their histories may contain some of the missed
    /// changes. They reconnect and read a new history. Returns false if the room has no other socket.
    fn send_late_away(&mut self) -> bool {
        for socket in std::mem::take(&mut self.late) {
            socket.close(Close::GoingAway);
            self.sockets.retain(|other| !Arc::ptr_eq(other, &socket));
        }
        !self.sockets.is_empty()
    }
}

impl Hub {
    /// Records that the stream is lost. Sockets that join from now on may have to reconnect after a catch-up.
    pub(crate) fn stream_lost(&self) {
        self.rooms().stream_lost = true;
    }

    /// Records that the stream was resumed, or that all rooms have caught up.
    pub(crate) fn stream_restored(&self) {
        let mut rooms = self.rooms();
        rooms.stream_lost = false;
        rooms.entries.values_mut().for_each(|entry| entry.late = Vec::new());
    }

    /// Begins to catch up after changes were missed. Returns the rooms that have to catch up. With each room it returns
    /// the greatest message number that the room has sent, if known. New changes of a room wait until
    /// [`finish_catch_up`](Self::finish_catch_up) is called for the room.
    ///
    /// `now` is a cluster time after all missed changes.
    pub(crate) fn begin_catch_up(&self, now: Timestamp) -> Vec<(RoomId, Option<i64>)> {
        let mut behind = Vec::new();
        let mut rooms = self.rooms();
        rooms.reached = rooms.reached.max(Some(now));
        // Inbox connections are closed instead: the memberships of their users may also have changed, and only a
        // reconnect reads these.
        rooms.inboxes.values().flatten().for_each(|socket| socket.close(Close::GoingAway));
        rooms.entries.retain(|room, entry| {
            entry.sockets.retain(|socket| !socket.is_of_inbox());
            entry.state =
                match std::mem::replace(&mut entry.state, RoomPhase::Loading(PendingLoad::default())) {
                    RoomPhase::Live(open) if !open.is_trimmed() => RoomPhase::CatchingUp(open, Vec::new()),
                    behind @ RoomPhase::CatchingUp(..) => behind,
                    // These rooms can't catch up: their state is unknown or incomplete. A running load may lack the
                    // missed changes, and no later step would send them.
                    RoomPhase::Loading(_)
                    | RoomPhase::Idle
                    | RoomPhase::Live(_)
                    | RoomPhase::FillingTexts(..) => {
                        entry.sockets.iter().for_each(|socket| socket.close(Close::GoingAway));
                        return false;
                    }
                };
            let stays = entry.send_late_away();
            // A room without sockets needs no catch-up.
            if stays && let RoomPhase::CatchingUp(open, _) = &entry.state {
                behind.push((*room, open.last()));
            }
            stays
        });
        behind
    }

    /// Closes all sockets, because a collection was dropped and the rooms' data is gone. The clients reconnect.
    pub(crate) fn send_all_away(&self) {
        let mut rooms = self.rooms();
        let of_rooms = rooms.entries.values().flat_map(|entry| &entry.sockets);
        of_rooms.chain(rooms.inboxes.values().flatten()).for_each(|socket| socket.close(Close::GoingAway));
        rooms.entries.clear();
    }

    /// Sends the missed changes of a room, and then the newer changes that waited.
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
        let CatchUp { snapshot, changes: missed } = missed;
        let gone = open.gone(&snapshot.members).into_iter().map(|user| CommittedChange::Left { user });
        let marks = snapshot
            .members
            .into_iter()
            .map(|member| CommittedChange::Entered { user: member.user, marks: member.marks });
        let mut frames = Vec::new();
        for change in gone.chain(missed).chain(marks) {
            open.apply(snapshot.time, change, &mut frames);
        }
        open.reached(snapshot.time);
        self.send(&entry.sockets, frames);
        self.replay(&entry.sockets, &mut open, changes);
        entry.state = RoomPhase::Live(open);
    }
}
