//! A room in the hub: its sockets, and whether its state is idle, loading or live.

use std::sync::Arc;

use bson::Timestamp;
use handlers::RoomId;
use tokio::time::Instant;

use crate::model::change::CommittedChange;
use crate::realtime::outbox::Outbox;
use crate::realtime::room_state::OpenRoom;

pub(super) struct HubEntry {
    /// The number of the room's current stay in the hub (see [`RoomGeneration`]).
    pub(super) generation: u64,
    /// A cluster time (a time of MongoDB's logical clock). The hub has received every change of the room that was
    /// committed after this time.
    pub(super) from: Option<Timestamp>,
    pub(super) sockets: Vec<Arc<Outbox>>,
    /// The sockets that joined while the change stream was lost.
    pub(super) late: Vec<Arc<Outbox>>,
    pub(super) state: RoomPhase,
}

impl HubEntry {
    pub(super) fn new(generation: u64, from: Option<Timestamp>, state: RoomPhase) -> Self {
        Self { generation, from, sockets: Vec::with_capacity(2), late: Vec::new(), state }
    }
}

pub(super) enum RoomPhase {
    /// No change has arrived, and no socket has needed the room's state.
    Idle,
    Loading(PendingLoad),
    Live(OpenRoom),
    /// The next change needs message texts that the state has dropped. The room loader is reading these texts, and the
    /// changes in the list wait.
    FillingTexts(OpenRoom, Vec<(Timestamp, CommittedChange)>),
    /// The change stream was lost, and the missed changes are being read. The newer changes in the list wait.
    CatchingUp(OpenRoom, Vec<(Timestamp, CommittedChange)>),
}

/// A room whose state is being loaded.
#[derive(Default)]
pub(super) struct PendingLoad {
    /// The changes to apply after the state is loaded, oldest first.
    pub(super) changes: Vec<(Timestamp, CommittedChange)>,
    /// The sockets that are reading their histories. The room opens after all of them have finished.
    pub(super) readers: Vec<Arc<Outbox>>,
    /// The room's state, taken from the earliest history that a socket has read so far.
    pub(super) earliest: Option<OpenRoom>,
    /// True: the room loader reads the state. False: the state comes from the history that a joining socket reads.
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

/// Says how new the history (the first frame) of a socket must be when the socket joins a room.
#[derive(Clone, Copy, Debug)]
pub(crate) struct JoinTicket {
    /// The commit time of the last change that the hub received. The history must not be older than this time, because
    /// the socket receives no earlier events.
    pub(crate) reached: Option<Timestamp>,
    /// The history must contain all receipt markers that were committed up to this time. Later markers arrive as
    /// events.
    pub(crate) marked: Timestamp,
    /// Present if the hub takes the room's state from the histories of joining sockets. The socket then passes this
    /// generation and its history to [`Hub::room_loaded`](super::Hub::room_loaded).
    pub(crate) load: Option<RoomGeneration>,
}

/// The number of a stay of a room in the hub. A stay lasts from the time when the room's first socket joins until the
/// last socket leaves. The hub ignores the result of a load that was requested in an earlier stay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RoomGeneration(pub(super) u64);
