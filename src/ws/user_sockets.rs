//! Takes a slot among the sockets of a user. On a mobile network a client loses its connection and opens another one,
//! before the server notices that the old connection is dead. So when a user has the maximum number of sockets, their
//! clients are probed by a ping. Of the clients that do not answer, the longest silent one loses its slot.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use handlers::UserId;
use tokio::time::Instant;

use super::services::SocketServices;
use crate::limits::user_quota::UserSlot;
use crate::protocol::close::Close;
use crate::realtime::outbox::{Outbox, ProbedSocket};

/// Takes a free slot, or the slot of a socket whose client does not answer within `sockets.probe_ms`.
pub(super) async fn take(services: &SocketServices, user: &UserId) -> Result<UserSlot, Close> {
    let (most, probe) = {
        let config = services.config.load();
        (config.limits.sockets_per_user, config.sockets.probe)
    };
    let mut slot = services.users.acquire(user, most);
    if slot.is_none() && !probe.is_zero() {
        slot = after_probe(services, user, most, probe).await;
    }
    slot.ok_or_else(|| {
        services.metrics.bound_hit("sockets_per_user");
        Close::TooManySockets
    })
}

/// Probes the sockets and takes the slot of a dead one. Returns none if all clients are alive. Also returns none if too
/// many connects of the user wait already: as many as the user may have sockets.
async fn after_probe(
    services: &SocketServices,
    user: &UserId,
    most: usize,
    probe: Duration,
) -> Option<UserSlot> {
    let waiting = services.users.queue_for_slot(user, most)?;
    let silent = silent(services.outboxes.probe(user), Instant::now() + probe).await;
    // Another connect may already have chosen the first of these sockets.
    silent.iter().find(|outbox| outbox.is_first_to_close(Close::Dead))?;
    services.metrics.bound_hit("probe_ms");
    // The dead socket ends soon, and then frees its slot.
    let end = Instant::now() + probe;
    loop {
        let mut freed = pin!(waiting.freed());
        // Enabled before the check for a slot, so that no notification is missed.
        freed.as_mut().enable();
        if let Some(slot) = services.users.acquire(user, most) {
            return Some(slot);
        }
        tokio::time::timeout_at(end, freed).await.ok()?;
    }
}

/// Returns the sockets whose clients have not answered by `end`, the longest silent one first.
async fn silent(asked: Vec<ProbedSocket>, end: Instant) -> Vec<Arc<Outbox>> {
    let mut silent = Vec::new();
    for ProbedSocket { outbox, answer } in asked {
        // A socket that has ended meanwhile counts as answered.
        if tokio::time::timeout_at(end, answer).await.is_err() {
            silent.push(outbox);
        }
    }
    silent
}

/// Takes a slot among the sockets of a user, and counts the connect.
pub(super) async fn take_slot(services: &SocketServices, user: &UserId) -> Result<UserSlot, Close> {
    let slot = take(services, user).await?;
    slot.spend_connect(&services.runtime.rates()).map_err(|_| {
        services.metrics.bound_hit("connects_per_minute");
        Close::TooManyConnects
    })?;
    Ok(slot)
}

/// Fails if the user's connects have read too many documents.
pub(super) fn may_read(services: &SocketServices, slot: &UserSlot) -> Result<(), Close> {
    slot.check_read_budget(&services.runtime.rates()).map_err(|_| {
        services.metrics.bound_hit("documents_per_minute");
        Close::TooManyConnects
    })
}
