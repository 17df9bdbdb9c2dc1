//! Stores and removes the e-mail address of a user. The address comes from the token of a connection.

use std::sync::Arc;

use handlers::{RoomId, UserId};

use super::services::SocketServices;
use crate::limits::user_quota::UserSlot;

/// Tells whether the address of a token may be stored. Each change of the address is sent to the user's rooms. Without
/// a limit per minute, a client could switch between two addresses without end.
pub(super) fn may_keep(services: &SocketServices, slot: &UserSlot, email: &str) -> bool {
    let may = slot.accept_address(&services.runtime.rates(), email);
    if !may {
        services.metrics.bound_hit("addresses_per_minute");
    }
    may
}

/// Stores, in the background, that a user accepts a direct room that the other member created by connecting. From then
/// on, the other member sees the user's address and presence.
pub(super) fn accept(services: &Arc<SocketServices>, room: RoomId, user: &UserId, email: Option<String>) {
    let (store, metrics, user) = (services.store.clone(), services.metrics.clone(), user.clone());
    services.lifecycle.spawn(async move {
        if let Err(error) = store.accept(room, &user, email.as_deref()).await {
            metrics.count_fault("accept");
            tracing::warn!(%error, %room, "could not store that a user accepted a room; trying again when the user opens the room again");
        }
    });
}

/// Stores the token's address for the member, in the background. The socket doesn't wait for the write, because the
/// history on this socket already shows the address.
pub(super) fn keep_email(services: &Arc<SocketServices>, room: RoomId, user: &UserId, email: String) {
    let (store, metrics, user) = (services.store.clone(), services.metrics.clone(), user.clone());
    services.lifecycle.spawn(async move {
        if let Err(error) = store.set_email(room, &user, &email).await {
            metrics.count_fault("email");
            tracing::warn!(%error, %room, "could not store a member's address; the next connect tries again");
        }
    });
}

/// Removes the address `doubted` from the room, or from all rooms of the user if `room` is None. The user's own token
/// marks this address as unverified. The socket doesn't wait for the write, because the history on this socket already
/// omits the address.
pub(super) fn drop_email(
    services: &Arc<SocketServices>,
    room: Option<RoomId>,
    user: &UserId,
    doubted: Option<String>,
) {
    let Some(doubted) = doubted else { return };
    let (store, metrics, user) = (services.store.clone(), services.metrics.clone(), user.clone());
    services.lifecycle.spawn(async move {
        if let Err(error) = store.drop_email(room, &user, &doubted).await {
            metrics.count_fault("email");
            tracing::warn!(%error, "could not remove an unverified address; the next connect tries again");
        }
    });
}
