//! A room in the hub: its sockets, and the phase of its state.

use std::sync::Arc;

use bson::Timestamp;
use handlers::RoomId;
use tokio::time::Instant;

use crate::model::change::CommittedChange;
use crate::realtime::outbox::Outbox;
use crate::realtime::room_state::OpenRoom;

pub(super) struct HubEntry {
    /// Distinguishes this stay of the room in the hub from earlier stays.
    pub(super) generation: u64,
    /// The room has received every change that was committed after this time.
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
    /// Nothing has happened in the room, and no socket needs its state.
    Idle,
    Loading(PendingLoad),
    Live(OpenRoom),
    /// The first of these waiting changes needs texts, which are being loaded.
    FillingTexts(OpenRoom, Vec<(Timestamp, CommittedChange)>),
    /// The change stream was lost, and the missed changes are being read. Newer changes wait.
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
    /// Whether the room loader reads the state for all sockets, instead of one of the sockets.
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

/// The state of the hub at the join of a socket.
#[derive(Clone, Copy, Debug)]
pub(crate) struct JoinTicket {
    /// The commit time of the last change that the hub received. The history of the socket must not be older: the socket
    /// does not receive earlier events.
    pub(crate) reached: Option<Timestamp>,
    /// The history has to contain all receipt markers up to this time. Later markers arrive as events.
    pub(crate) marked: Timestamp,
    /// Present if the room's state is not loaded yet. The socket then passes this and its history to
    /// [`Hub::room_loaded`](super::Hub::room_loaded).
    pub(crate) load: Option<RoomGeneration>,
}

/// A stay of a room in the hub, from its first socket to its last. It guards against stale loads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RoomGeneration(pub(super) u64);
