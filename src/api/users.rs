//! `/users/{user}`: what is known of a user, and the end of it.

use handlers::{Time, UserId};
use salvo::prelude::*;
use salvo_oapi::{ToSchema, endpoint};
use serde::Serialize;

use super::answer::{Accepted, Done};
use super::export::export_user;
use super::params::UserParam;
use super::problem::Problem;
use super::{Shared, schema};
use crate::signal::Signal;

pub(super) fn routes() -> Router {
    Router::with_path("users/{user}")
        .get(get_user)
        .delete(erase_user)
        .push(Router::with_path("disconnect").post(disconnect_user))
        .push(Router::with_path("export").get(export_user))
}

/// What is known of a user.
#[derive(Serialize, ToSchema)]
struct User {
    #[salvo(schema(schema_with = schema::user_id))]
    user_id: UserId,
    /// Whether a socket is open on any server; right within 5 s.
    online: bool,
    /// When the last socket was closed; none where one is open, or none was in a long time.
    #[salvo(schema(schema_with = schema::time))]
    last_seen: Option<Time>,
    /// Whether an erasure is under way.
    erasing: bool,
}

/// A user: rooms, whether online, when last seen
///
/// Anyone may be asked for: Parlor keeps no list of users, and of one that it never saw it knows no rooms.
#[endpoint(tags("users"))]
async fn get_user(server: Shared, user: UserParam) -> Result<Json<User>, Problem> {
    let erasing = server.store.is_being_erased(&user.0).await?;
    Ok(Json(User { user_id: user.0, online: false, last_seen: None, erasing }))
}

/// An erasure that has been noted.
#[derive(Serialize, ToSchema)]
struct Erasing {
    #[salvo(schema(schema_with = schema::user_id))]
    user_id: UserId,
    /// Always true: `GET` tells when it has come to its end.
    erasing: bool,
}

/// Erases a user
///
/// Memberships, address, receipts, and the text of every message, deleted or edited ones included; sockets are closed
/// with 4001. It is done in the background, in batches, and goes on on another server where one dies. What remains of
/// a message is its number, without text or sender.
#[endpoint(tags("users"))]
async fn erase_user(server: Shared, user: UserParam) -> Result<Accepted<Erasing>, Problem> {
    server.store.want_erasure(&user.0).await?;
    server.eraser.wake();
    Ok(Accepted(Erasing { user_id: user.0, erasing: true }))
}

/// Closes all of a user's sockets
///
/// On every server, with 4001. A token that is still good opens new ones: to keep a user out, stop issuing tokens
/// first, or remove the user from the rooms.
#[endpoint(tags("users"))]
async fn disconnect_user(server: Shared, user: UserParam) -> Result<Done, Problem> {
    server.store.signal(&Signal::Disconnect { user: user.0 }).await?;
    Ok(Done)
}
