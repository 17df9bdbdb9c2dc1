//! `/rooms/{id}/members/{user}`: adds and removes members of a group, and sets their roles.

use salvo::prelude::*;
use salvo_oapi::{ToSchema, endpoint};
use serde::Deserialize;
use serde_json::{Value, json};

use super::dto::{MemberDto, RoleDto};
use super::json_body::{Example, JsonBody};
use super::path_params::{RoomParam, UserParam};
use super::problem::{Problem, ProblemCode, ProblemDetails};
use super::response::{CreatedOrOk, NoContent};
use super::room_bounds::{MAX_MEMBERS, check_email};
use super::{SharedServices, schema};
use crate::store::{JoinOutcome, LeaveOutcome, NewMember};

pub(super) fn routes() -> Router {
    Router::with_path("members/{user}").put(put_member).delete(delete_member)
}

/// A member's new role and address.
#[derive(Deserialize, ToSchema)]
#[salvo(schema(name = Membership))]
pub(super) struct MembershipBody {
    /// If `role` is missing, a new member gets the role `member`, and an existing member keeps the present role.
    role: Option<RoleDto>,
    /// The member's e-mail address. The member's messages show it as `sender_email`.
    #[salvo(schema(schema_with = schema::address))]
    email: Option<String>,
}

impl Example for MembershipBody {
    fn example() -> Value {
        json!({ "role": "admin", "email": "user1@example.com" })
    }
}

impl MembershipBody {
    /// Returns the role and the e-mail address. Fails with `invalid_request` if the address is invalid.
    pub(super) fn checked(self) -> Result<(Option<RoleDto>, Option<String>), Problem> {
        self.email.as_deref().map_or(Ok(()), check_email).map_err(Problem::invalid)?;
        Ok((self.role, self.email))
    }
}

/// Adds a member to a group, or changes one
///
/// A new member can read the earlier messages in the history. These messages do not count as unread.
#[endpoint(operation_id = "put_member", tags("rooms"), responses((
    status_code = 409, body = ProblemDetails, content_type = "application/problem+json",
    description = "`direct_room`: the members of a direct room can't be changed; `too_many_members`: the group already has the highest number of members; \
                   `conflict`: the user is being erased; try again when that has ended"
)))]
async fn put_member(
    services: SharedServices,
    id: RoomParam,
    user: UserParam,
    body: JsonBody<MembershipBody>,
) -> Result<CreatedOrOk<MemberDto>, Problem> {
    let (role, email) = body.0.checked()?;
    let member = NewMember { user_id: user.0.clone(), email };
    let entered = services.store.enter(id.0, member, role.map(Into::into), MAX_MEMBERS).await;
    // The answer shows the values that the transaction wrote. After the transaction, another request may remove the
    // member, so a read from the database might not find the member.
    let (new, member) = match entered.map_err(Problem::of_write)? {
        JoinOutcome::New(member) => (true, member),
        JoinOutcome::Already(member) => (false, member),
        JoinOutcome::NoRoom => return Err(Problem::no_room()),
        JoinOutcome::Direct => return Err(direct()),
        JoinOutcome::Full => {
            services.metrics.bound_hit("room_members");
            let detail = format!("a room has {MAX_MEMBERS} members at most");
            return Err(Problem::new(ProblemCode::TooManyMembers, detail));
        }
    };
    Ok(CreatedOrOk { new, value: member.into() })
}

/// Removes a member from a group
///
/// The member's sockets of this room are closed with 4003 on every server. The member's messages stay.
#[endpoint(operation_id = "delete_member", tags("rooms"), responses((
    status_code = 409, body = ProblemDetails, content_type = "application/problem+json",
    description = "`direct_room`: the members of a direct room can't be changed"
)))]
async fn delete_member(
    services: SharedServices,
    id: RoomParam,
    user: UserParam,
) -> Result<NoContent, Problem> {
    match services.store.leave(id.0, &user.0).await.map_err(Problem::of_write)? {
        LeaveOutcome::Left => Ok(NoContent),
        LeaveOutcome::NotMember => Err(no_member()),
        LeaveOutcome::NoRoom => Err(Problem::no_room()),
        LeaveOutcome::Direct => Err(direct()),
    }
}

fn direct() -> Problem {
    Problem::new(ProblemCode::DirectRoom, "the members of a direct room can't be changed")
}

fn no_member() -> Problem {
    Problem::new(ProblemCode::NotFound, "no such member in this room")
}
