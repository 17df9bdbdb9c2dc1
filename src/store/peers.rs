//! Stores this server's id, and whether other Parlor servers use the same database. If this server is the only server,
//! it can skip work that only other servers need.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bson::oid::ObjectId;

/// This server's id, and its observations of other servers at the same database. Cheap to clone.
#[derive(Clone, Default)]
pub(crate) struct Peers(Arc<PeersState>);

#[derive(Default)]
struct PeersState {
    server: ObjectId,
    observed: Mutex<ObservedPeers>,
}

#[derive(Default)]
struct ObservedPeers {
    /// True if the last search found no other server, and no heartbeat of another server has arrived since that search
    /// began.
    alone: bool,
    /// The number of heartbeats that this server has received from other servers.
    heartbeats: u64,
}

impl Peers {
    /// Returns the `_id` of this server's heartbeat.
    pub(crate) fn server(&self) -> ObjectId {
        self.0.server
    }

    /// Records that this server has received a heartbeat of another server.
    pub(crate) fn on_heartbeat(&self) {
        let mut observed = self.observed();
        observed.alone = false;
        observed.heartbeats += 1;
    }

    /// Returns the number of heartbeats that this server has received from other servers. The caller passes the number
    /// to [`on_search`](Self::on_search) after a search for other servers.
    pub(crate) fn heartbeats(&self) -> u64 {
        self.observed().heartbeats
    }

    /// Records the result of a search for other servers. `heartbeats` is the number of received heartbeats before the
    /// search. If a heartbeat of another server arrived during the search, this server does not count as alone.
    pub(crate) fn on_search(&self, heartbeats: u64, found: bool) {
        let mut observed = self.observed();
        observed.alone = !found && observed.heartbeats == heartbeats;
    }

    /// Returns whether this server is the only server at the database. Returns false before the first search.
    pub(crate) fn is_alone(&self) -> bool {
        self.observed().alone
    }

    fn observed(&self) -> MutexGuard<'_, ObservedPeers> {
        self.0.observed.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
