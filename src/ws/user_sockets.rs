//! Limits the number of sockets of a user on this server. Each user has `limits.sockets_per_user` slots, and each
//! socket takes one slot.
//!
//! On a mobile network, a client may lose its connection and open a new connection. If the server has not noticed the
//! loss yet, the old socket still takes a slot. Therefore, when all slots of a user are taken, the server sends a ping
//! to each of the user's connected clients. If some clients do not answer, the server closes the socket that was silent
//! for the longest time, and the new socket takes its slot.

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

/// Sends a ping to the user's clients. If a client does not answer within `probe`, closes its socket and takes the slot
/// of this socket.
///
/// Returns none if all clients answer, if other new connections are already closing the sockets of all silent clients,
/// or if no slot is freed within a second `probe`. Also returns none if `most` new connections of the user already wait
/// for a slot. `most` is the number of the user's slots.
async fn after_probe(
    services: &SocketServices,
    user: &UserId,
    most: usize,
    probe: Duration,
) -> Option<UserSlot> {
    let waiting = services.users.queue_for_slot(user, most)?;
    let silent = silent(services.outboxes.probe(user), Instant::now() + probe).await;
    // Another new connection of the user may already be closing the first of these sockets. So this connection closes
    // the first socket that is not closing yet.
    silent.iter().find(|outbox| outbox.is_first_to_close(Close::Dead))?;
    services.metrics.bound_hit("probe_ms");
    // The socket that is being closed ends soon, and then frees its slot.
    let end = Instant::now() + probe;
    loop {
        let mut freed = pin!(waiting.freed());
        // `enable` registers for the notification before the check for a slot. Otherwise this connection would miss a
        // slot that is freed between the check and the registration.
        freed.as_mut().enable();
        if let Some(slot) = services.users.acquire(user, most) {
            return Some(slot);
        }
        tokio::time::timeout_at(end, freed).await.ok()?;
    }
}

/// Returns the sockets whose clients have not answered by `end`. The socket whose client was silent for the longest
/// time comes first.
async fn silent(asked: Vec<ProbedSocket>, end: Instant) -> Vec<Arc<Outbox>> {
    let mut silent = Vec::new();
    for ProbedSocket { outbox, answer } in asked {
        // If a socket has ended during the wait, `answer` is complete, and the socket is not returned.
        if tokio::time::timeout_at(end, answer).await.is_err() {
            silent.push(outbox);
        }
    }
    silent
}

/// Takes a slot for a new socket of the user, and counts the new connection. Fails if the user connects too often.
pub(super) async fn take_slot(services: &SocketServices, user: &UserId) -> Result<UserSlot, Close> {
    let slot = take(services, user).await?;
    slot.spend_connect(&services.runtime.rates()).map_err(|_| {
        services.metrics.bound_hit("connects_per_minute");
        Close::TooManyConnects
    })?;
    Ok(slot)
}

/// Fails if the user is over `limits.documents_per_minute`. The user's connects and lists of rooms have then read too
/// many documents (rooms, memberships and messages) from the database. A limit on the number of connects is not enough,
/// because one connect may read 50,000 documents.
pub(super) fn may_read(services: &SocketServices, slot: &UserSlot) -> Result<(), Close> {
    slot.check_read_budget(&services.runtime.rates()).map_err(|_| {
        services.metrics.bound_hit("documents_per_minute");
        Close::TooManyConnects
    })
}
