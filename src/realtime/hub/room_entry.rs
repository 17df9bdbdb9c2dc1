//! A room in the hub: its sockets, and the phase of its state.

use std::sync::Arc;

use bson::Timestamp;
use handlers::RoomId;
use tokio::time::Instant;

use crate::model::change::CommittedChange;
use crate::realtime::outbox::Outbox;
use crate::realtime::room_state::OpenRoom;

pub(super) struct HubEntry {
    /// Distinguishes this stay of the room in memory from earlier ones.
    pub(super) generation: u64,
    /// The room has received everything that was committed after this time.
    pub(super) from: Option<Timestamp>,
    pub(super) sockets: Vec<Arc<Outbox>>,
    /// The sockets that joined while the stream was lost.
    pub(super) late: Vec<Arc<Outbox>>,
    pub(super) state: RoomPhase,
}

impl HubEntry {
    pub(super) fn new(generation: u64, from: Option<Timestamp>, state: RoomPhase) -> Self {
        Self { generation, from, sockets: Vec::with_capacity(2), late: Vec::new(), state }
    }
}

pub(super) enum RoomPhase {
    /// Nothing has happened in it, and no socket needs its state.
    Idle,
    Loading(PendingLoad),
    Live(OpenRoom),
    /// Texts are being loaded that the first of these changes needs.
    FillingTexts(OpenRoom, Vec<(Timestamp, CommittedChange)>),
    /// Changes may have been missed since; newer changes wait.
    CatchingUp(OpenRoom, Vec<(Timestamp, CommittedChange)>),
}

/// A room whose state is being loaded.
#[derive(Default)]
pub(super) struct PendingLoad {
    /// The changes that wait.
    pub(super) changes: Vec<(Timestamp, CommittedChange)>,
    /// The sockets whose histories are being read.
    pub(super) readers: Vec<Arc<Outbox>>,
    /// The state from the earliest history so far.
    pub(super) earliest: Option<OpenRoom>,
    /// The loader reads the state for all sockets, instead of one of them.
    pub(super) wanted: bool,
}

/// A request to load the state of a room as of a time.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RoomLoadRequest {
    pub(crate) room: RoomId,
    pub(crate) generation: RoomGeneration,
    pub(crate) at: Timestamp,
    /// When the request was made.
    pub(crate) since: Instant,
}

/// What a joining socket has to know.
#[derive(Clone, Copy, Debug)]
pub(crate) struct JoinTicket {
    /// The commit time of the last change that the hub received. A history as of an earlier time would lack events
    /// that are not sent again.
    pub(crate) reached: Option<Timestamp>,
    /// All receipt markers that are raised after this time will be sent: the history has to contain those up to then.
    pub(crate) marked: Timestamp,
    /// The room's state is not loaded yet: the socket passes its history to [`Hub::room_loaded`], with this.
    pub(crate) load: Option<RoomGeneration>,
}

/// A stay of a room in memory, from its first socket to its last. It guards against stale loads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RoomGeneration(pub(super) u64);
