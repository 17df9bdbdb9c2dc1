//! `/users/{user}`: reads a user, closes the user's sockets, and erases the user.

use std::time::Duration;

use handlers::{RoomId, Time, UserId};
use salvo::prelude::*;
use salvo_oapi::{ToSchema, endpoint};
use serde::Serialize;

use super::export::export_user;
use super::path_params::UserParam;
use super::problem::Problem;
use super::response::{Accepted, NoContent};
use super::{SharedServices, dto, schema};
use crate::protocol::ephemeral::EphemeralEvent;
use crate::store::{ExportedMembership, UserPresence};

/// The answer to a `DELETE` waits until the change stream has reported the erasure to this server. The wait ends after
/// this time at the latest. Usually the report comes within milliseconds.
const KNOWN: Duration = Duration::from_secs(1);

/// The highest number of rooms in the answer about a user.
const MAX_ROOMS: usize = 200;

pub(super) fn routes() -> Router {
    Router::with_path("users/{user}")
        .get(get_user)
        .delete(erase_user)
        .push(Router::with_path("disconnect").post(disconnect_user))
        .push(Router::with_path("export").get(export_user))
}

/// A user.
#[derive(Serialize, ToSchema)]
#[salvo(schema(name = User))]
struct UserDto {
    #[serde(rename = "user_id")]
    #[salvo(schema(schema_with = schema::user_id))]
    id: UserId,
    /// Whether a socket is open on any server. A change appears within 5 s.
    online: bool,
    /// The time when the user's last socket was closed. Null if a socket is open, or if the user had no socket for a
    /// long time.
    #[salvo(schema(schema_with = schema::time_or_null))]
    last_seen: Option<Time>,
    /// Whether an erasure of the user is running. The erasure runs from the `DELETE` until all data of the user is
    /// removed.
    erasing: bool,
    /// The user's rooms, ordered by id, at most 200. `/rooms?user_id=` lists all rooms of the user by pages.
    rooms: Vec<UserRoomDto>,
    /// Whether the user has more rooms than the list contains.
    has_more: bool,
}

/// A user's membership of a room.
#[derive(Serialize, ToSchema)]
#[salvo(schema(name = InRoom))]
struct UserRoomDto {
    #[salvo(schema(schema_with = schema::id))]
    room_id: RoomId,
    #[salvo(schema(inline))]
    role: dto::RoleDto,
    /// The user's e-mail address. The user's messages in this room show it as `sender_email`.
    email: Option<String>,
    /// All messages up to this number were written to one of the user's sockets.
    delivered: i64,
    /// All messages up to this number were read by the user.
    read: i64,
}

impl From<ExportedMembership> for UserRoomDto {
    fn from(membership: ExportedMembership) -> Self {
        let ExportedMembership { room, email, role, marks, .. } = membership;
        Self { room_id: room, role: role.into(), email, delivered: marks.delivered, read: marks.read }
    }
}

/// Shows a user: the rooms, whether the user is online, and when the user was last seen
///
/// Every user id is accepted, because Parlor has no list of users. An unknown user has no rooms.
#[endpoint(operation_id = "get_user", tags("users"))]
async fn get_user(services: SharedServices, user: UserParam) -> Result<Json<UserDto>, Problem> {
    let UserPresence { online, last_seen } = services.store.presence(&user.0).await?;
    let erasing = services.store.is_being_erased(&user.0).await?;
    let mut rooms = services.store.some_memberships(&user.0, MAX_ROOMS + 1).await?;
    let has_more = rooms.len() > MAX_ROOMS;
    rooms.truncate(MAX_ROOMS);
    let rooms = rooms.into_iter().map(UserRoomDto::from).collect();
    Ok(Json(UserDto { id: user.0, online, last_seen, erasing, rooms, has_more }))
}

/// A stored request to erase a user.
#[derive(Serialize, ToSchema)]
#[salvo(schema(name = Erasing))]
struct ErasureDto {
    #[salvo(schema(schema_with = schema::user_id))]
    user_id: UserId,
    /// Always true. After the erasure has ended, `GET /users/{user}` says false.
    erasing: bool,
}

/// Erases a user
///
/// Removes the user's memberships, address and receipts, and the text of every message of the user. This includes
/// messages that were edited or deleted before the erasure. The user's sockets are closed with 4001, and new sockets
/// are refused with 4001 until the erasure has ended.
///
/// The erasure runs in the background, in batches. If the server that runs the erasure crashes, another server
/// continues the erasure within `mongodb.operation_ms` plus two seconds. Requests that were running at the `DELETE` may
/// still write data of the user. These requests have ended after `limits.handler_ms` plus `mongodb.operation_ms` plus
/// `presence.grace_ms`. After this time, the erasure searches for data of the user once more. Until the erasure has
/// ended, `GET /users/{user}` says `erasing`, and requests that would write data of the user get `conflict`.
///
/// The user's messages keep their numbers, but lose text and sender. The database's document of a direct room names
/// both users of the room. This document keeps the user's id.
#[endpoint(operation_id = "erase_user", tags("users"))]
async fn erase_user(services: SharedServices, user: UserParam) -> Result<Accepted<ErasureDto>, Problem> {
    services.store.want_erasure(&user.0).await.map_err(Problem::of_write)?;
    services.erasure.wake();
    // After this wait, this server refuses requests that write data of the user.
    services.store.erasing().wait_for(&user.0, KNOWN).await;
    Ok(Accepted(ErasureDto { user_id: user.0, erasing: true }))
}

/// Closes all of a user's sockets
///
/// The sockets are closed on every server, with 4001, within milliseconds after the answer. The user can open new
/// sockets with a valid token. To lock the user out, first stop issuing tokens for the user, or remove the user from
/// the rooms.
#[endpoint(operation_id = "disconnect_user", tags("users"))]
async fn disconnect_user(services: SharedServices, user: UserParam) -> Result<NoContent, Problem> {
    services.store.signal(&EphemeralEvent::Disconnect { user: user.0 }).await.map_err(Problem::of_write)?;
    Ok(NoContent)
}
