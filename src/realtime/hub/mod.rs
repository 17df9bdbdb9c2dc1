//! The hub maps each room to its sockets on this server. The hub receives committed changes from the change stream, one
//! after the other. It turns each change into frames (encoded events), and puts the frames into the outboxes (send
//! queues) of the sockets. All sockets share one encoded frame. The hub never waits for a socket.
//!
//! A socket joins the hub *before* its history (its first frame) is read from the database. So no event is lost between
//! the join and the read. The socket then drops the frames whose changes its history already contained. It recognizes
//! these frames by their commit times.
//!
//! The hub keeps the state of each active room: its members, receipt markers and unread messages. The state is loaded
//! with the history of the first socket, and changes wait until the state is loaded. If several sockets join during the
//! load, the hub waits for all their histories. The earliest history becomes the state of the room, so that no socket
//! misses an event.
//!
//! An inbox connection ([`inboxes`]) is in each room of its user, but does not load the rooms' states. A room that has
//! only inbox connections is idle until the room's first change. The state is then loaded as of the time just before
//! that change.

pub(crate) mod catch_up;
pub(crate) mod coalesce;
pub(crate) mod inboxes;
mod load;
mod room_entry;
pub(crate) mod subscription;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bson::Timestamp;
use handlers::{RoomId, UserId};
use tokio::sync::mpsc;

pub(crate) use self::catch_up::CatchUp;
use self::coalesce::Deferred;
use self::room_entry::{HubEntry, PendingLoad, RoomPhase};
pub(crate) use self::room_entry::{JoinTicket, RoomGeneration, RoomLoadRequest};
use super::frame::Frame;
use super::held_bytes::HeldBytes;
use super::outbox::{Outbox, PushOutcome};
use super::room_state::{OpenRoom, TextPool};
use crate::model::change::CommittedChange;
use crate::model::cluster_time;
use crate::protocol::close::Close;
use crate::store::Audience;
use crate::telemetry::metrics::Metrics;

/// The maximum number of changes of one room that wait while the room's state is loaded. A load takes milliseconds. If
/// more changes wait, the sockets of the room are closed. Their clients reconnect and receive a new history.
const WAITING_CHANGES: usize = 10_000;

/// The rooms that have sockets on this server.
pub(crate) struct Hub {
    rooms: Mutex<HubRooms>,
    /// Load requests for the [`RoomLoader`](crate::realtime::room_loader::RoomLoader): one for each room at a time.
    wanted: mpsc::UnboundedSender<RoomLoadRequest>,
    deferred: Deferred,
    held: HeldBytes,
    texts: TextPool,
    metrics: Arc<Metrics>,
}

#[derive(Default)]
struct HubRooms {
    entries: HashMap<RoomId, HubEntry>,
    /// The inbox connections of each user.
    inboxes: HashMap<UserId, Vec<Arc<Outbox>>>,
    /// The commit time of the last change that was received.
    reached: Option<Timestamp>,
    generations: u64,
    /// Whether the change stream is lost. The history of a socket that joins during the loss may contain changes that
    /// the stream missed. The room would send these changes again when it catches up. Therefore the hub closes this
    /// socket before the catch-up.
    stream_lost: bool,
}

impl Audience for Hub {
    fn has_listeners(&self, room: RoomId, typist: &UserId) -> bool {
        let rooms = self.rooms();
        rooms
            .entries
            .get(&room)
            .is_some_and(|entry| entry.sockets.iter().any(|socket| socket.receives_typing_of(typist)))
    }
}

impl Hub {
    /// Creates a hub, and the receiver of its load requests.
    pub(crate) fn new(
        held: HeldBytes,
        texts: TextPool,
        metrics: Arc<Metrics>,
    ) -> (Self, mpsc::UnboundedReceiver<RoomLoadRequest>) {
        let (wanted, rooms) = mpsc::unbounded_channel();
        (Self { rooms: Mutex::default(), wanted, deferred: Deferred::default(), held, texts, metrics }, rooms)
    }

    fn rooms(&self) -> MutexGuard<'_, HubRooms> {
        self.rooms.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a socket to a room. The socket receives the frames of all later changes. The returned ticket says how new
    /// the socket's history must be.
    pub(crate) fn join(&self, room: RoomId, socket: &Arc<Outbox>) -> JoinTicket {
        let mut rooms = self.rooms();
        let HubRooms { entries, reached, generations, stream_lost, .. } = &mut *rooms;
        let entry = entries.entry(room).or_insert_with(|| {
            *generations += 1;
            HubEntry::new(*generations, *reached, RoomPhase::Loading(PendingLoad::default()))
        });
        entry.sockets.push(socket.clone());
        if *stream_lost {
            entry.late.push(socket.clone());
        }
        if let RoomPhase::Idle = entry.state {
            // The hub knows the time `reached`, but may not have received the change of this time yet. Therefore the
            // state is loaded as of the time just before `reached`. The load time must not be earlier than the join of
            // the first socket, because the hub dropped the room's earlier changes.
            entry.from = entry.from.max(reached.map(just_before));
            entry.state = RoomPhase::Loading(PendingLoad::default());
            self.request_load(room, entry);
        }
        let joined =
            JoinTicket { reached: *reached, marked: reached.unwrap_or(cluster_time::ZERO), load: None };
        let RoomPhase::Loading(opening) = &mut entry.state else { return joined };
        if let Some(earliest) = &opening.earliest {
            // The room opens soon and does not wait for this socket. The history of the socket must therefore not be
            // older than the room's state.
            return JoinTicket { reached: (*reached).max(Some(earliest.time())), ..joined };
        }
        if opening.wanted {
            return joined;
        }
        opening.readers.push(socket.clone());
        // All readers read receipt markers as of one time, so the history of any reader can become the room's state.
        let marked = entry.from.unwrap_or(cluster_time::ZERO);
        JoinTicket { marked, load: Some(RoomGeneration(entry.generation)), ..joined }
    }

    /// Removes a socket from a room. After the last socket has left, the hub drops the room and its state.
    pub(crate) fn leave(&self, room: RoomId, socket: &Arc<Outbox>) {
        let mut rooms = self.rooms();
        if let Some(entry) = rooms.entries.get_mut(&room) {
            entry.sockets.retain(|other| !Arc::ptr_eq(other, socket));
            entry.late.retain(|other| !Arc::ptr_eq(other, socket));
            if entry.sockets.is_empty() {
                rooms.entries.remove(&room);
                return;
            }
            if let RoomPhase::Loading(opening) = &mut entry.state {
                opening.readers.retain(|other| !Arc::ptr_eq(other, socket));
                self.open_when_read(entry);
            }
        }
    }

    /// Records the commit time of a room's change that the change stream has delivered. Returns whether the room has
    /// sockets on this server.
    pub(crate) fn advance_to(&self, room: RoomId, time: Timestamp) -> bool {
        let mut rooms = self.rooms();
        rooms.reached = Some(time);
        rooms.entries.contains_key(&room)
    }

    /// Applies a committed change to a room, and sends the change's frames to the room's sockets. If the room's state
    /// is not loaded yet, the change waits.
    pub(crate) fn apply(&self, room: RoomId, time: Timestamp, change: CommittedChange) {
        let mut rooms = self.rooms();
        let Some(entry) = rooms.entries.get_mut(&room) else { return };
        if let RoomPhase::Idle = entry.state {
            entry.from = entry.from.max(Some(just_before(time)));
            entry.state = RoomPhase::Loading(PendingLoad::default());
            self.request_load(room, entry);
        }
        if matches!(&entry.state, RoomPhase::Live(open) if open.lacks_texts_for(time, &change)) {
            self.request_texts(room, entry, just_before(time));
        }
        match &mut entry.state {
            RoomPhase::Idle => {}
            RoomPhase::Live(open) => {
                let mut frames = Vec::new();
                open.apply(time, change, &mut frames);
                self.send(&entry.sockets, frames);
                self.trim(open);
            }
            RoomPhase::Loading(PendingLoad { changes: waiting, .. })
            | RoomPhase::FillingTexts(_, waiting)
            | RoomPhase::CatchingUp(_, waiting) => {
                waiting.push((time, change));
                if waiting.len() > WAITING_CHANGES {
                    self.metrics.bound_hit("waiting_changes");
                    entry.sockets.iter().for_each(|socket| socket.close(Close::Unavailable));
                    rooms.entries.remove(&room);
                }
            }
        }
    }

    /// Closes all sockets of a room. Close code 1012 means that the sockets missed too many changes: the clients
    /// reconnect and receive a new history. Code 4004 means that the room was deleted: inbox connections stay open.
    pub(crate) fn close(&self, room: RoomId, close: Close) {
        // The room leaves the hub immediately. A client that reconnects adds the room again, even while its old sockets
        // are still closing.
        if let Some(entry) = self.rooms().entries.remove(&room) {
            let of_room = |socket: &&Arc<Outbox>| close != Close::NoRoom || !socket.is_of_inbox();
            entry.sockets.iter().filter(of_room).for_each(|socket| socket.close(close));
        }
    }

    fn replay(
        &self,
        sockets: &[Arc<Outbox>],
        open: &mut OpenRoom,
        changes: Vec<(Timestamp, CommittedChange)>,
    ) {
        for (time, change) in changes {
            let mut frames = Vec::new();
            open.apply(time, change, &mut frames);
            self.send(sockets, frames);
        }
        self.trim(open);
    }

    /// Drops texts of unread messages if the texts in the room's state exceed their bound.
    fn trim(&self, open: &mut OpenRoom) {
        if open.trim() {
            self.metrics.bound_hit("unread_text_bytes");
        }
    }

    fn send(&self, sockets: &[Arc<Outbox>], frames: Vec<Frame>) {
        for frame in frames {
            let frame = frame.charged(&self.held);
            for socket in sockets {
                self.push(socket, &frame);
            }
        }
    }

    fn push(&self, socket: &Arc<Outbox>, frame: &Arc<Frame>) {
        if !socket.is_for(frame) {
            return;
        }
        match socket.push(frame) {
            PushOutcome::Queued => {}
            PushOutcome::Deferred => self.deferred.add(socket),
            PushOutcome::Full(bound) => self.metrics.bound_hit(bound),
        }
    }

    /// Wakes sockets whose deferred frames have waited long enough. Never returns.
    pub(crate) async fn wake_deferred(self: Arc<Self>) {
        self.deferred.wake().await;
    }
}

/// Returns the latest cluster time (a time of MongoDB's logical clock) before `time`.
fn just_before(time: Timestamp) -> Timestamp {
    match time.increment.checked_sub(1) {
        Some(increment) => Timestamp { increment, ..time },
        None => Timestamp { time: time.time.saturating_sub(1), increment: u32::MAX },
    }
}
