//! The membership of a socket in a room of the hub.

use std::sync::Arc;

use handlers::RoomId;

use super::{Hub, JoinTicket};
use crate::realtime::outbox::Outbox;

/// Keeps a socket in a room of the hub. The socket leaves the room when the subscription is dropped.
pub(crate) struct HubSubscription {
    hub: Arc<Hub>,
    room: RoomId,
    outbox: Arc<Outbox>,
}

impl HubSubscription {
    /// Puts a socket into a room until the subscription is dropped.
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
