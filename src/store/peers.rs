//! This server's id, and whether other servers use the same database.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bson::oid::ObjectId;

/// The known servers: this one and the others. Cheap to clone.
#[derive(Clone, Default)]
pub(crate) struct Peers(Arc<PeersState>);

#[derive(Default)]
struct PeersState {
    server: ObjectId,
    observed: Mutex<ObservedPeers>,
}

#[derive(Default)]
struct ObservedPeers {
    /// The last search found no other server, and no heartbeat of one was received since it began.
    alone: bool,
    /// Heartbeats of other servers that were received.
    heartbeats: u64,
}

impl Peers {
    /// Returns the `_id` of this server's heartbeat.
    pub(crate) fn server(&self) -> ObjectId {
        self.0.server
    }

    /// Records a heartbeat of another server.
    pub(crate) fn on_heartbeat(&self) {
        let mut observed = self.observed();
        observed.alone = false;
        observed.heartbeats += 1;
    }

    /// Returns how many heartbeats of other servers were received. Read it before a search for other servers.
    pub(crate) fn heartbeats(&self) -> u64 {
        self.observed().heartbeats
    }

    /// Records the result of a search for other servers. `heartbeats` is the number before the search: a heartbeat
    /// that came during the search means that this server is not alone.
    pub(crate) fn on_search(&self, heartbeats: u64, found: bool) {
        let mut observed = self.observed();
        observed.alone = !found && observed.heartbeats == heartbeats;
    }

    /// Returns whether no other server uses the database. Before the first search it returns false.
    pub(crate) fn is_alone(&self) -> bool {
        self.observed().alone
    }

    fn observed(&self) -> MutexGuard<'_, ObservedPeers> {
        self.0.observed.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
