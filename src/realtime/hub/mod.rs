//! Room -> the sockets on this server. Takes changes from the feed, one after the other, and puts their frames
//! into the sockets' outboxes: encoded once, shared by all, without ever waiting for one.
//!
//! A socket joins *before* its history is read, so that nothing falls between the two; what its history had
//! already it drops by the frames' times. The room's own state is read with the first socket's history; until
//! then changes wait. Where several join meanwhile, the earliest of their histories counts, once all have theirs: of
//! what came after it each drops what it has, and none lacks any.
//!
//! A socket of all of a user's rooms ([`inboxes`]) is in each of them, and reads none: a room in which nobody else is
//! sleeps until something happens in it, and its state is then read as it was just before.

pub(crate) mod catch_up;
pub(crate) mod coalesce;
pub(crate) mod inboxes;
pub(crate) mod subscription;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bson::Timestamp;
use handlers::{RoomId, UserId};
use tokio::sync::mpsc;
use tokio::time::Instant;

pub(crate) use self::catch_up::CatchUp;
use self::coalesce::Deferred;
use super::held_bytes::HeldBytes;
use super::outbox::{Frame, Outbox, PushOutcome};
use super::room_state::{OpenRoom, TextPool};
use crate::model::change::CommittedChange;
use crate::protocol::close::Close;
use crate::store::{Audience, Snapshot};
use crate::telemetry::metrics::Metrics;

/// Changes that may wait for a room's state to be read. It takes milliseconds; at this many the room's sockets
/// are sent away, to come back to a fresh one.
const WAITING_CHANGES: usize = 10_000;

/// Before everything.
const NEVER: Timestamp = Timestamp { time: 0, increment: 0 };

/// All rooms with sockets here.
pub(crate) struct Hub {
    rooms: Mutex<HubRooms>,
    /// Rooms whose state is to be read by [`Opener`](crate::realtime::room_loader::RoomLoader): each stands here once while it is open.
    wanted: mpsc::UnboundedSender<RoomLoadRequest>,
    deferred: Deferred,
    held: HeldBytes,
    texts: TextPool,
    metrics: Arc<Metrics>,
}

/// A room whose state is to be read, as it was at a moment.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RoomLoadRequest {
    pub(crate) room: RoomId,
    pub(crate) generation: RoomGeneration,
    pub(crate) at: Timestamp,
    /// Since when it is waited for.
    pub(crate) since: Instant,
}

#[derive(Default)]
struct HubRooms {
    entries: HashMap<RoomId, HubEntry>,
    /// Sockets of all of a user's rooms.
    inboxes: HashMap<UserId, Vec<Arc<Outbox>>>,
    /// When the last change that came was committed.
    reached: Option<Timestamp>,
    generations: u64,
    /// The stream is stream_lost: whoever joins now may have in its history what its room will be told as missed.
    stream_lost: bool,
}

struct HubEntry {
    /// Tells this stay of the room in memory from earlier ones.
    generation: u64,
    /// All that was committed after this is told to the room since then.
    from: Option<Timestamp>,
    sockets: Vec<Arc<Outbox>>,
    /// Those of them that joined while the stream was stream_lost.
    late: Vec<Arc<Outbox>>,
    state: RoomPhase,
}

enum RoomPhase {
    /// Nothing happened in it, and nobody is in it who would read it.
    Idle,
    Loading(PendingLoad),
    Live(OpenRoom),
    /// Texts are being read that the first of these changes is to be told with.
    FillingTexts(OpenRoom, Vec<(Timestamp, CommittedChange)>),
    /// Changes may have been missed since; what came after.
    CatchingUp(OpenRoom, Vec<(Timestamp, CommittedChange)>),
}

/// A room whose state isn't read yet.
#[derive(Default)]
struct PendingLoad {
    /// What came meanwhile.
    changes: Vec<(Timestamp, CommittedChange)>,
    /// Those who are reading it.
    readers: Vec<Arc<Outbox>>,
    /// The earliest that was read.
    earliest: Option<OpenRoom>,
    /// It is read by none of them, but for all.
    wanted: bool,
}

/// What a socket that joins has to know.
#[derive(Clone, Copy, Debug)]
pub(crate) struct JoinTicket {
    /// When the last change that the hub had was committed: a history read as of before lacks what nobody will
    /// tell of again.
    pub(crate) reached: Option<Timestamp>,
    /// All marks that were raised after this will be told: a history has those up to then.
    pub(crate) marked: Timestamp,
    /// The room's state isn't read yet: whoever has it gives it to [`Hub::room_loaded`], with this.
    pub(crate) load: Option<RoomGeneration>,
}

/// A room's stay in memory, from its first socket to its last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RoomGeneration(u64);

impl HubEntry {
    fn new(generation: u64, from: Option<Timestamp>, state: RoomPhase) -> Self {
        Self { generation, from, sockets: Vec::with_capacity(2), late: Vec::new(), state }
    }
}

impl Audience for Hub {
    fn hears(&self, room: RoomId, typist: &UserId) -> bool {
        let rooms = self.rooms();
        rooms
            .entries
            .get(&room)
            .is_some_and(|entry| entry.sockets.iter().any(|socket| socket.receives_typing_of(typist)))
    }
}

impl Hub {
    /// And the rooms whose state is to be read for it.
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

    /// From now on the socket gets the room's frames.
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
            // Those who are in it have all that was told, and no more: it is read as of then. Not as of before the first
            // of them came, who has that: of what was given before, the room here has heard nothing.
            entry.from = entry.from.max(reached.map(just_before));
            entry.state = RoomPhase::Loading(PendingLoad::default());
            self.request_load(room, entry);
        }
        let joined = JoinTicket { reached: *reached, marked: reached.unwrap_or(NEVER), load: None };
        let RoomPhase::Loading(opening) = &mut entry.state else { return joined };
        if let Some(earliest) = &opening.earliest {
            // It is opened soon: whoever comes now waits for no one, and has to have no less than it.
            return JoinTicket { reached: (*reached).max(Some(earliest.time())), ..joined };
        }
        if opening.wanted {
            return joined;
        }
        opening.readers.push(socket.clone());
        // Those who read it now have its marks as of one moment, whichever of them is the earliest.
        let marked = entry.from.unwrap_or(NEVER);
        JoinTicket { marked, load: Some(RoomGeneration(entry.generation)), ..joined }
    }

    /// The last socket to leave takes the room's state with it.
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

    /// Has the state of a room read for all who are in it.
    fn request_load(&self, room: RoomId, entry: &mut HubEntry) {
        let RoomPhase::Loading(opening) = &mut entry.state else { return };
        let Some(at) = entry.from.filter(|_| !opening.wanted) else { return };
        opening.wanted = true;
        opening.readers = Vec::new();
        opening.earliest = None;
        // Its reader lives as long as the server.
        let _ = self.wanted.send(RoomLoadRequest {
            room,
            generation: RoomGeneration(entry.generation),
            at,
            since: Instant::now(),
        });
    }

    /// A socket has read the state of a room; what waited for it is told once all have who are reading.
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

    /// The state that was wanted of a room was read.
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

    /// Opens a room where nobody reads it any more and somebody has.
    fn open_when_read(&self, entry: &mut HubEntry) {
        let RoomPhase::Loading(opening) = &mut entry.state else { return };
        if !opening.readers.is_empty() {
            return;
        }
        let Some(mut open) = opening.earliest.take() else { return };
        let changes = std::mem::take(&mut opening.changes);
        self.replay(&entry.sockets, &mut open, changes);
        entry.state = RoomPhase::Live(open);
    }

    /// Has the texts read that a room has left out, as they were before a change. Until then what happens in it waits.
    fn request_texts(&self, room: RoomId, entry: &mut HubEntry, at: Timestamp) {
        entry.state = match std::mem::replace(&mut entry.state, RoomPhase::Idle) {
            RoomPhase::Live(open) => RoomPhase::FillingTexts(open, Vec::new()),
            other => other,
        };
        // Its reader lives as long as the server.
        let _ = self.wanted.send(RoomLoadRequest {
            room,
            generation: RoomGeneration(entry.generation),
            at,
            since: Instant::now(),
        });
    }

    /// The texts were read.
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

    /// Something was committed in a room; whether anyone here would hear of it.
    pub(crate) fn advance_to(&self, room: RoomId, time: Timestamp) -> bool {
        let mut rooms = self.rooms();
        rooms.reached = Some(time);
        rooms.entries.contains_key(&room)
    }

    /// A change was committed.
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
                    self.metrics.limit("waiting_changes");
                    entry.sockets.iter().for_each(|socket| socket.close(Close::Unavailable));
                    rooms.entries.remove(&room);
                }
            }
        }
    }

    /// Closes all sockets of a room: with 1012 where too much was missed to be told, and they are to come back to a
    /// fresh history; with 4004 where it was deleted.
    pub(crate) fn close(&self, room: RoomId, close: Close) {
        // The room goes with them: who comes back finds it anew, also while the last of them is still leaving.
        if let Some(entry) = self.rooms().entries.remove(&room) {
            let of_room = |socket: &&Arc<Outbox>| close != Close::NoRoom || !socket.is_of_inbox();
            entry.sockets.iter().filter(of_room).for_each(|socket| socket.close(close));
        }
    }

    /// Closes the sockets of a room whose state can't be read, unless it was left and entered anew meanwhile.
    pub(crate) fn close_generation(&self, request: RoomLoadRequest, close: Close) {
        let mut rooms = self.rooms();
        if rooms.entries.get(&request.room).is_some_and(|entry| entry.generation == request.generation.0)
            && let Some(entry) = rooms.entries.remove(&request.room)
        {
            entry.sockets.iter().for_each(|socket| socket.close(close));
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

    /// Leaves texts of a room out that are more than it may keep.
    fn trim(&self, open: &mut OpenRoom) {
        if open.trim() {
            self.metrics.limit("unread_text_bytes");
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
            PushOutcome::Full(bound) => self.metrics.limit(bound),
        }
    }

    /// Wakes sockets for the frames that could wait, for ever.
    pub(crate) async fn wake_deferred(self: Arc<Self>) {
        self.deferred.wake().await;
    }
}

/// The moment before one at which something was committed.
fn just_before(time: Timestamp) -> Timestamp {
    match time.increment.checked_sub(1) {
        Some(increment) => Timestamp { increment, ..time },
        None => Timestamp { time: time.time.saturating_sub(1), increment: u32::MAX },
    }
}
