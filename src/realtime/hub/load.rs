//! Loads the state of a room. Usually the state comes from the history (the first frame) of a joining socket. If inbox
//! connections need the state, the [`RoomLoader`](crate::realtime::room_loader::RoomLoader) reads it instead.

use std::sync::Arc;

use bson::Timestamp;
use handlers::RoomId;
use tokio::time::Instant;

use super::Hub;
use super::room_entry::{HubEntry, RoomGeneration, RoomLoadRequest, RoomPhase};
use crate::protocol::close::Close;
use crate::realtime::outbox::Outbox;
use crate::realtime::room_state::OpenRoom;
use crate::store::Snapshot;

impl Hub {
    /// Asks the room loader to read the state of a room. Does nothing if the room is not in the phase `Loading`, or if
    /// the loader was already asked.
    pub(super) fn request_load(&self, room: RoomId, entry: &mut HubEntry) {
        let RoomPhase::Loading(opening) = &mut entry.state else { return };
        let Some(at) = entry.from.filter(|_| !opening.wanted) else { return };
        opening.wanted = true;
        opening.readers = Vec::new();
        opening.earliest = None;
        // `send` fails only without a receiver. The receiver lives as long as the server.
        let _ = self.wanted.send(RoomLoadRequest {
            room,
            generation: RoomGeneration(entry.generation),
            at,
            since: Instant::now(),
        });
    }

    /// Takes the state of a room from the history of a joining socket. If several sockets join, the earliest history
    /// becomes the state. The waiting changes are applied after all joining sockets have read their histories.
    pub(crate) fn room_loaded(
        &self,
        room: RoomId,
        generation: RoomGeneration,
        socket: &Arc<Outbox>,
        snapshot: &Snapshot,
    ) {
        let mut rooms = self.rooms();
        let Some(entry) = rooms.entries.get_mut(&room).filter(|entry| entry.generation == generation.0)
        else {
            return;
        };
        let RoomPhase::Loading(opening) = &mut entry.state else { return };
        if opening.wanted {
            return;
        }
        opening.readers.retain(|other| !Arc::ptr_eq(other, socket));
        if opening.earliest.as_ref().is_none_or(|earliest| snapshot.time < earliest.time()) {
            opening.earliest = Some(OpenRoom::of(room, snapshot, &self.texts));
        }
        self.open_when_read(entry);
    }

    /// Takes the state that the room loader has read.
    pub(crate) fn room_loaded_for_all(&self, request: RoomLoadRequest, snapshot: &Snapshot) {
        let mut rooms = self.rooms();
        let entry =
            rooms.entries.get_mut(&request.room).filter(|entry| entry.generation == request.generation.0);
        let Some(entry) = entry else { return };
        if let RoomPhase::FillingTexts(..) = &entry.state {
            self.texts_loaded(entry, snapshot);
        } else if let RoomPhase::Loading(opening) = &mut entry.state {
            opening.earliest = Some(OpenRoom::of(request.room, snapshot, &self.texts));
            self.open_when_read(entry);
        }
    }

    /// Opens a room if its state is known and no joining socket is still reading its history.
    pub(super) fn open_when_read(&self, entry: &mut HubEntry) {
        let RoomPhase::Loading(opening) = &mut entry.state else { return };
        if !opening.readers.is_empty() {
            return;
        }
        let Some(mut open) = opening.earliest.take() else { return };
        let changes = std::mem::take(&mut opening.changes);
        self.replay(&entry.sockets, &mut open, changes);
        entry.state = RoomPhase::Live(open);
    }

    /// Requests the message texts that a room has dropped to save memory. The texts are read as of the cluster time
    /// `at` (a time of MongoDB's logical clock). Further changes of the room wait until the texts are loaded.
    pub(super) fn request_texts(&self, room: RoomId, entry: &mut HubEntry, at: Timestamp) {
        entry.state = match std::mem::replace(&mut entry.state, RoomPhase::Idle) {
            RoomPhase::Live(open) => RoomPhase::FillingTexts(open, Vec::new()),
            other => other,
        };
        // `send` fails only without a receiver. The receiver lives as long as the server.
        let _ = self.wanted.send(RoomLoadRequest {
            room,
            generation: RoomGeneration(entry.generation),
            at,
            since: Instant::now(),
        });
    }

    /// Restores the loaded texts and applies the changes that waited for them.
    fn texts_loaded(&self, entry: &mut HubEntry, snapshot: &Snapshot) {
        entry.state = match std::mem::replace(&mut entry.state, RoomPhase::Idle) {
            RoomPhase::FillingTexts(mut open, changes) => {
                open.fill(snapshot);
                self.replay(&entry.sockets, &mut open, changes);
                RoomPhase::Live(open)
            }
            other => other,
        };
    }

    /// Closes the sockets of a room whose state could not be loaded. Does nothing if the room has left the hub since
    /// the request, even if the room has entered the hub again.
    pub(crate) fn close_generation(&self, request: RoomLoadRequest, close: Close) {
        let mut rooms = self.rooms();
        if rooms.entries.get(&request.room).is_some_and(|entry| entry.generation == request.generation.0)
            && let Some(entry) = rooms.entries.remove(&request.room)
        {
            entry.sockets.iter().for_each(|socket| socket.close(close));
        }
    }
}
