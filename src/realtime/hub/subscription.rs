//! Removes a socket from its room in the hub when the connection ends.

use std::sync::Arc;

use handlers::RoomId;

use super::{Hub, JoinTicket};
use crate::realtime::outbox::Outbox;

/// A guard that keeps a socket in a room of the hub. When this value is dropped, the socket leaves the room.
pub(crate) struct HubSubscription {
    hub: Arc<Hub>,
    room: RoomId,
    outbox: Arc<Outbox>,
}

impl HubSubscription {
    /// Adds a socket to a room. The ticket says how new the socket's history (its first frame) must be.
    pub(crate) fn new(hub: &Arc<Hub>, room: RoomId, outbox: &Arc<Outbox>) -> (JoinTicket, Self) {
        let joined = hub.join(room, outbox);
        (joined, Self { hub: hub.clone(), room, outbox: outbox.clone() })
    }
}

impl Drop for HubSubscription {
    fn drop(&mut self) {
        self.hub.leave(self.room, &self.outbox);
    }
}
