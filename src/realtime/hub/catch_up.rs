//! Sends changes that a broken change stream missed. If the new stream resumes at the old stream's position, no change
//! is missing. Otherwise each room catches up: the room first sends the missed changes, and then the new changes.

use std::sync::Arc;

use bson::Timestamp;
use handlers::RoomId;

use super::{Hub, HubEntry, PendingLoad, RoomPhase};
use crate::model::change::CommittedChange;
use crate::protocol::close::Close;
use crate::store::Snapshot;

/// The changes of a room that the change stream missed, read from the database's collections.
#[derive(Debug)]
pub(crate) struct CatchUp {
    /// The current state of the room, with its receipt markers.
    pub(crate) snapshot: Snapshot,
    /// The missed changes, oldest first, without receipt markers.
    pub(crate) changes: Vec<CommittedChange>,
}

impl HubEntry {
    /// Closes the sockets that joined while the stream was lost. The histories of these sockets may contain some of the
    /// missed changes. Their clients reconnect and receive a new history. Returns false if the room then has no socket.
    fn send_late_away(&mut self) -> bool {
        for socket in std::mem::take(&mut self.late) {
            socket.close(Close::GoingAway);
            self.sockets.retain(|other| !Arc::ptr_eq(other, &socket));
        }
        !self.sockets.is_empty()
    }
}

impl Hub {
    /// Records that the change stream is lost. The hub remembers the sockets that join from now on. If the rooms must
    /// catch up later, these sockets are closed, and their clients reconnect.
    pub(crate) fn stream_lost(&self) {
        self.rooms().stream_lost = true;
    }

    /// Records that the change stream was resumed, or that all rooms have caught up.
    pub(crate) fn stream_restored(&self) {
        let mut rooms = self.rooms();
        rooms.stream_lost = false;
        rooms.entries.values_mut().for_each(|entry| entry.late = Vec::new());
    }

    /// Begins to catch up after changes were missed. Returns the rooms that have to catch up, each with the greatest
    /// message number that the room has sent, if known. New changes of a room wait until
    /// [`finish_catch_up`](Self::finish_catch_up) is called for the room.
    ///
    /// `now` is a cluster time after all missed changes.
    pub(crate) fn begin_catch_up(&self, now: Timestamp) -> Vec<(RoomId, Option<i64>)> {
        let mut behind = Vec::new();
        let mut rooms = self.rooms();
        rooms.reached = rooms.reached.max(Some(now));
        // Inbox connections don't catch up. They are closed, because the memberships of their users may also have
        // changed. The server reads memberships when the client reconnects.
        rooms.inboxes.values().flatten().for_each(|socket| socket.close(Close::GoingAway));
        rooms.entries.retain(|room, entry| {
            entry.sockets.retain(|socket| !socket.is_of_inbox());
            entry.state =
                match std::mem::replace(&mut entry.state, RoomPhase::Loading(PendingLoad::default())) {
                    RoomPhase::Live(open) if !open.is_trimmed() => RoomPhase::CatchingUp(open, Vec::new()),
                    behind @ RoomPhase::CatchingUp(..) => behind,
                    // These rooms can't catch up, because their state is unknown or incomplete. A running load may read
                    // a state without the missed changes, and nothing would send these changes later.
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

    /// Sends the missed changes of a room, and then the newer changes that waited during the catch-up.
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
