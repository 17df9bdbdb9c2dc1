//! The parts of the server that every WebSocket connection uses.

use std::sync::Arc;

use crate::actions::dispatcher::Runtime;
use crate::auth::refused_clients::RefusedClients;
use crate::config::live::LiveConfig;
use crate::lifecycle::Lifecycle;
use crate::limits::user_quota::UserQuotas;
use crate::presence::tracker::PresenceTracker;
use crate::realtime::heartbeat::Heartbeat;
use crate::realtime::held_bytes::HeldBytes;
use crate::realtime::hub::Hub;
use crate::realtime::room_reader::RoomReader;
use crate::realtime::sessions::Sessions;
use crate::store::{Receipts, Store};
use crate::telemetry::metrics::Metrics;

/// The services that every socket uses.
pub(crate) struct SocketServices {
    pub(crate) config: Arc<LiveConfig>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) lifecycle: Lifecycle,
    pub(crate) refusals: Arc<RefusedClients>,
    pub(crate) runtime: Arc<Runtime>,
    pub(crate) store: Store,
    pub(crate) receipts: Receipts,
    pub(crate) hub: Arc<Hub>,
    pub(crate) room_reader: RoomReader,
    /// All open connections.
    pub(crate) outboxes: Sessions,
    /// The number of bytes that wait in the outboxes of all connections.
    pub(crate) held: HeldBytes,
    pub(crate) present: PresenceTracker,
    /// The limits that apply to all connections of a user together.
    pub(crate) users: UserQuotas,
    pub(crate) heartbeat: Arc<Heartbeat>,
}
