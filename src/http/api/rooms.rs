//! `/rooms` and `/rooms/{id}`: creates, reads, renames and deletes rooms.

use std::collections::HashSet;

use handlers::{RoomId, UserId};
use salvo::prelude::*;
use salvo_oapi::{ToSchema, endpoint};
use serde::Deserialize;
use serde_json::{Value, json};

use super::ApiServices;
use super::dto::{RoleDto, RoomDto, RoomKindDto};
use super::events::room_events;
use super::idempotency::IdempotentAttempt;
use super::json_body::{Example, JsonBody, objects};
use super::path_params::RoomParam;
use super::problem::{Problem, ProblemDetails};
use super::response::{CreatedOrOk, NoContent};
use super::room_bounds::{MAX_MEMBERS, MAX_NAME_CHARS, check_email};
use super::room_list::list_rooms;
use super::strict_json::user_id;
use super::{SharedServices, members, messages, schema};
use crate::model::receipts::Marks;
use crate::model::room::StoredMember;
use crate::model::room::StoredRoom;
use crate::store::{NewMember, RoomPlan};

pub(super) fn routes() -> Router {
    Router::with_path("rooms").get(list_rooms).post(create_room).push(
        Router::with_path("{id}")
            .get(get_room)
            .patch(rename_room)
            .delete(delete_room)
            .push(members::routes())
            .push(messages::routes())
            .push(Router::with_path("events").get(room_events)),
    )
}

/// The room to create.
#[derive(Deserialize, ToSchema)]
#[salvo(schema(name = NewRoom))]
pub(super) struct NewRoomBody {
    /// If `kind` is missing, two members make a direct room, and more members make a group. A room of the kind `group`
    /// may also have only one or two members.
    kind: Option<RoomKindDto>,
    /// The room's name, which the members see.
    #[salvo(schema(schema_with = schema::name))]
    name: Option<String>,
    /// The members. Each user may stand in the list only once.
    #[serde(deserialize_with = "objects")]
    #[salvo(schema(min_items = 1, max_items = 1000))]
    members: Vec<NewMemberBody>,
}

impl Example for NewRoomBody {
    fn example() -> Value {
        json!({ "members": [
            { "user_id": 1, "email": "user1@example.com" },
            { "user_id": 2, "email": "user2@example.com" },
        ] })
    }
}

/// A member of the new room.
#[derive(Deserialize, ToSchema)]
#[salvo(schema(name = NewMember))]
struct NewMemberBody {
    /// The user's id, as in the user's tokens.
    #[serde(deserialize_with = "user_id")]
    #[salvo(schema(schema_with = schema::user_id))]
    user_id: UserId,
    /// The member's e-mail address. The member's messages show it as `sender_email`.
    #[salvo(schema(schema_with = schema::address))]
    email: Option<String>,
    /// `admin` is allowed only in a group.
    #[serde(default)]
    role: RoleDto,
}

/// A room to create, with checked values.
pub(super) struct PlannedRoom {
    pub(super) kind: RoomKindDto,
    pub(super) name: Option<String>,
    pub(super) members: Vec<(NewMember, handlers::Role)>,
}

impl NewRoomBody {
    /// Returns the room to create. Fails with `invalid_request` if the body is invalid.
    pub(super) fn planned(self) -> Result<PlannedRoom, Problem> {
        let Self { kind, name, members } = self;
        let members: Vec<_> = members
            .into_iter()
            .map(|NewMemberBody { user_id, email, role }| (NewMember { user_id, email }, role.into()))
            .collect();
        let kind = check_kind(kind, &members)?;
        check(members.iter().map(|(member, _)| member)).map_err(Problem::invalid)?;
        if let Some(name) = &name {
            check_name(name)?;
        }
        Ok(PlannedRoom { kind, name, members })
    }
}

/// Makes a room, or finds the direct room of the two members
///
/// An existing direct room gets the missing members and is otherwise unchanged. A user who is being erased can't be
/// added to a room.
#[endpoint(operation_id = "create_room", tags("rooms"), responses((
    status_code = 404, body = ProblemDetails, content_type = "application/problem+json",
    description = "`not_found`: an earlier try of the request made the room, which is deleted by now"
), (
    status_code = 409, body = ProblemDetails, content_type = "application/problem+json",
    description = "`conflict`: the user is being erased; try again when that has ended"
)))]
async fn create_room(
    services: SharedServices,
    tried: IdempotentAttempt,
    body: JsonBody<NewRoomBody>,
) -> Result<CreatedOrOk<RoomDto>, Problem> {
    if body.0.members.len() > MAX_MEMBERS {
        services.metrics.bound_hit("room_members");
    }
    let PlannedRoom { kind, name, members } = body.0.planned()?;
    let plan = RoomPlan {
        kind: kind.into(),
        name: name.as_deref(),
        members: &members,
        made_by: None,
        attempt: tried.0.as_ref(),
    };
    let made = services.store.make(plan).await.map_err(Problem::of_write)?;
    let Some(created_at) = made.created_at else {
        return Ok(CreatedOrOk { new: made.made, value: show(&services, made.id).await? });
    };
    // The answer shows the room as it was created. Another request may already have deleted the room, so a read from
    // the database might not find the room.
    let room = StoredRoom { id: made.id, kind: kind.into(), name, created_at };
    Ok(CreatedOrOk { new: true, value: RoomDto::new(room, first_members(members)) })
}

/// Returns the members of a new room, in the order of their ids.
fn first_members(members: Vec<(NewMember, handlers::Role)>) -> Vec<StoredMember> {
    let member = |(NewMember { user_id, email }, role)| StoredMember {
        user: user_id,
        email,
        role,
        marks: Marks::default(),
        pending: false,
    };
    let mut members: Vec<_> = members.into_iter().map(member).collect();
    members.sort_by(|one, other| one.user.cmp(&other.user));
    members
}

/// Shows a room and its members
#[endpoint(operation_id = "get_room", tags("rooms"))]
async fn get_room(services: SharedServices, id: RoomParam) -> Result<Json<RoomDto>, Problem> {
    Ok(Json(show(&services, id.0).await?))
}

/// A room's new name.
#[derive(Deserialize, ToSchema)]
#[salvo(schema(name = Renaming))]
pub(super) struct RenameBody {
    /// `null` removes the name.
    #[serde(deserialize_with = "Option::deserialize")]
    #[salvo(schema(required = true, schema_with = schema::name))]
    name: Option<String>,
}

impl Example for RenameBody {
    fn example() -> Value {
        json!({ "name": "Lunch at noon" })
    }
}

impl RenameBody {
    /// Returns the name. Fails with `invalid_request` if the name is invalid.
    pub(super) fn name(self) -> Result<Option<String>, Problem> {
        self.name.as_deref().map_or(Ok(()), check_name)?;
        Ok(self.name)
    }
}

/// Renames a room
#[endpoint(operation_id = "rename_room", tags("rooms"))]
async fn rename_room(
    services: SharedServices,
    id: RoomParam,
    body: JsonBody<RenameBody>,
) -> Result<Json<RoomDto>, Problem> {
    let name = body.0.name()?;
    // The members are loaded from the database before the rename. If they were loaded after a successful rename, a
    // failed load would make the answer an error.
    let (_, members) = services.store.members(id.0).await.map_err(Problem::of_write)?;
    let room = services.store.rename(id.0, name.as_deref()).await.map_err(Problem::of_write)?;
    Ok(Json(RoomDto::new(room.ok_or_else(Problem::no_room)?, members)))
}

/// Deletes a room with all its messages
///
/// The room disappears immediately: its sockets are closed with 4004 on every server, and no request finds it. The
/// room's messages are removed in the background.
#[endpoint(operation_id = "delete_room", tags("rooms"))]
async fn delete_room(services: SharedServices, id: RoomParam) -> Result<NoContent, Problem> {
    if !services.store.delete_room(id.0).await.map_err(Problem::of_write)? {
        return Err(Problem::no_room());
    }
    services.cleanup.wake();
    Ok(NoContent)
}

async fn show(services: &ApiServices, id: RoomId) -> Result<RoomDto, Problem> {
    let room = services.store.room(id).await?.ok_or_else(Problem::no_room)?;
    let (_, members) = services.store.members(id).await?;
    Ok(RoomDto::new(room, members))
}

/// Returns the kind of the room. Fails with `invalid_request` if the number or the roles of the members do not fit the
/// kind.
fn check_kind(
    kind: Option<RoomKindDto>,
    members: &[(NewMember, handlers::Role)],
) -> Result<RoomKindDto, Problem> {
    let count = members.len();
    let kind = match kind {
        None if count < 2 => {
            return Err(Problem::invalid("members: from 2 are needed, but for `kind` group"));
        }
        None if count == 2 => RoomKindDto::Direct,
        None => RoomKindDto::Group,
        Some(kind) => kind,
    };
    match kind {
        RoomKindDto::Direct if count != 2 => Err(Problem::invalid("members: a direct room has two")),
        RoomKindDto::Direct if members.iter().any(|(_, role)| *role == handlers::Role::Admin) => {
            Err(Problem::invalid("members: a direct room has no admins"))
        }
        _ => Ok(kind),
    }
}

fn check_name(name: &str) -> Result<(), Problem> {
    let fits = (1..=MAX_NAME_CHARS).contains(&name.chars().count());
    if fits && !name.trim().is_empty() && !name.chars().any(char::is_control) {
        return Ok(());
    }
    Err(Problem::invalid(format!(
        "name: must have 1 to {MAX_NAME_CHARS} characters, not only white space and no control characters"
    )))
}

/// Checks that a room can be created with these members: 2 to [`MAX_MEMBERS`] different users with valid addresses.
///
/// # Errors
/// Returns a text that names the error.
pub fn check_members(members: &[NewMember]) -> Result<(), String> {
    if members.len() < 2 {
        return Err(format!("members: from 2 to {MAX_MEMBERS} are needed"));
    }
    check(members.iter())
}

fn check<'a>(members: impl ExactSizeIterator<Item = &'a NewMember> + Clone) -> Result<(), String> {
    let count = members.len();
    if !(1..=MAX_MEMBERS).contains(&count) {
        return Err(format!("members: from 1 to {MAX_MEMBERS} are needed"));
    }
    let different: HashSet<_> = members.clone().map(|member| &member.user_id).collect();
    if different.len() < count {
        return Err("members: a user is named twice".to_owned());
    }
    for email in members.filter_map(|member| member.email.as_deref()) {
        check_email(email).map_err(|fault| format!("members: {fault}"))?;
    }
    Ok(())
}
