//! The address of a user, as the token of a connection gives it.

use std::sync::Arc;

use handlers::{RoomId, UserId};

use super::services::SocketServices;
use crate::limits::user_quota::Seat;

/// Whether a token's address may be kept: a client that alternates between two must not tell its rooms of each.
pub(super) fn may_keep(services: &SocketServices, seat: &Seat, email: &str) -> bool {
    let may = seat.may_keep(&services.runtime.rates(), email);
    if !may {
        services.metrics.limit("addresses_per_minute");
    }
    may
}

/// The user accepts a room that another user made by connecting; the others are shown address and presence from now on.
pub(super) fn accept(services: &Arc<SocketServices>, room: RoomId, user: &UserId, email: Option<String>) {
    let (store, metrics, user) = (services.store.clone(), services.metrics.clone(), user.clone());
    services.lifecycle.spawn(async move {
        if let Err(error) = store.accept(room, &user, email.as_deref()).await {
            metrics.fault("accept");
            tracing::warn!(%error, %room, "could not note that a user accepted a room; opening it again tries again");
        }
    });
}

/// The token's address becomes the member's. The socket needn't wait: its own history shows it already.
pub(super) fn keep_email(services: &Arc<SocketServices>, room: RoomId, user: &UserId, email: String) {
    let (store, metrics, user) = (services.store.clone(), services.metrics.clone(), user.clone());
    services.lifecycle.spawn(async move {
        if let Err(error) = store.set_email(room, &user, &email).await {
            metrics.fault("email");
            tracing::warn!(%error, %room, "a member's address could not be kept; the next connect tries again");
        }
    });
}

/// Takes an address away that the user's own token doubts. The socket needn't wait: its own history shows none already.
pub(super) fn drop_email(services: &Arc<SocketServices>, user: &UserId, doubted: Option<String>) {
    let Some(doubted) = doubted else { return };
    let (store, metrics, user) = (services.store.clone(), services.metrics.clone(), user.clone());
    services.lifecycle.spawn(async move {
        if let Err(error) = store.drop_email(&user, &doubted).await {
            metrics.fault("email");
            tracing::warn!(%error, "could not remove an unverified address; the next connect tries again");
        }
    });
}
