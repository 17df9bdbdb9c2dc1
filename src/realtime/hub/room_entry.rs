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
    /// The room dropped message texts that the next change needs. The room loader is reading these texts, and the changes
    /// wait.
    FillingTexts(OpenRoom, Vec<(Timestamp, CommittedChange)>),
    /// The change stream was lost, and the missed changes are being read. Newer changes wait.
    CatchingUp(OpenRoom, Vec<(Timestamp, CommittedChange)>),
}

/// A room whose state is being loaded.
#[derive(Default)]
pub(super) struct PendingLoad {
    /// The changes to apply when the state is loaded.
    pub(super) changes: Vec<(Timestamp, CommittedChange)>,
    /// The sockets whose histories are being read.
    pub(super) readers: Vec<Arc<Outbox>>,
    /// The state of the room, taken from the history with the earliest snapshot time so far.
    pub(super) earliest: Option<OpenRoom>,
    /// True: the room loader reads the state. False: the state comes from a history that a joining socket reads.
    pub(super) wanted: bool,
}

/// A request to load the state of a room as of the cluster time `at`.
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
    /// Present if the room's state is to be taken from the histories of the joining sockets. The socket then passes this
    /// generation and its history to [`Hub::room_loaded`](super::Hub::room_loaded).
    pub(crate) load: Option<RoomGeneration>,
}

/// A stay of a room in the hub, from its first socket to its last. A load that was requested in
/// an earlier stay is ignored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RoomGeneration(pub(super) u64);
