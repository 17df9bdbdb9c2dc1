//! The ids in the path of a request.

use std::str::FromStr;

use bson::oid::ObjectId;
use handlers::{MessageId, RoomId, UserId};
use salvo::extract::{Extractible, Metadata};
use salvo::prelude::*;
use salvo_oapi::{
    BasicType, Components, EndpointArgRegister, Object, Operation, Parameter, ParameterIn, RefOr, Schema,
};
use serde_json::Value;

use super::problem::{Problem, ProblemCode, may_fail};
use super::schema;

/// `{id}`: the id of a room. The room need not exist.
#[derive(Debug)]
pub(super) struct RoomParam(pub(super) RoomId);

/// `{n}`: the id of a message in the room. The message need not exist.
#[derive(Debug)]
pub(super) struct MessageParam(pub(super) MessageId);

/// `{user}`: the id of any user, percent-encoded if needed.
#[derive(Debug)]
pub(super) struct UserParam(pub(super) UserId);

/// `{event}`: the id of a hook event that was set aside. The event need not exist.
#[derive(Debug)]
pub(super) struct SetAsideParam(pub(super) ObjectId);

/// An example of the id of a set-aside event, for the OpenAPI document.
pub(super) const EVENT: &str = "665f1c2ab7e4a3d1c0b9a8f7";

/// Returns the schema of the id of a set-aside event.
pub(super) fn event_id() -> Object {
    Object::with_type(BasicType::String).pattern("^[0-9a-f]{24}$")
}

/// Returns the value of a query parameter, or `None` if the parameter is missing.
///
/// # Errors
/// `invalid_request`: the parameter is given twice.
pub(super) fn query<'a>(req: &'a Request, name: &str) -> Result<Option<&'a str>, Problem> {
    match req.queries().get_vec(name).map(Vec::as_slice) {
        None => Ok(None),
        Some([value]) => Ok(Some(value)),
        Some(_) => Err(Problem::invalid(format!("{name}: is given twice"))),
    }
}

fn read<T: FromStr>(req: &Request, name: &str) -> Result<T, Problem> {
    let text = req.params().get(name).ok_or_else(|| Problem::internal("a path without its parameter"))?;
    text.parse().map_err(|_| Problem::invalid(format!("{name}: not an id")))
}

fn describe(
    components: &mut Components,
    operation: &mut Operation,
    name: &str,
    description: &str,
    schema: impl Into<RefOr<Schema>>,
    example: Value,
    codes: &[ProblemCode],
) {
    let parameter = Parameter::new(name).location(ParameterIn::Path).required(true);
    operation.parameters.insert(parameter.description(description).schema(schema).example(example));
    may_fail(components, operation, codes);
}

macro_rules! parameter {
    ($type:ident, $name:literal, $description:literal, $schema:path, $example:expr, $codes:expr) => {
        impl<'ex> Extractible<'ex> for $type {
            fn metadata() -> &'static Metadata {
                static METADATA: Metadata = Metadata::new($name);
                &METADATA
            }

            #[allow(refining_impl_trait)]
            async fn extract(req: &'ex mut Request, _: &'ex mut Depot) -> Result<Self, Problem> {
                read(req, $name).map(Self)
            }
        }

        impl EndpointArgRegister for $type {
            fn register(components: &mut Components, operation: &mut Operation, _: &str) {
                let example = Value::from($example);
                describe(components, operation, $name, $description, $schema(), example, &$codes);
            }
        }
    };
}

parameter! { RoomParam, "id", "The room's id.", schema::id, 7, [ProblemCode::InvalidRequest, ProblemCode::NotFound] }
// There is no `not_found` for users: Parlor has no list of users, so every valid id is accepted.
parameter! { UserParam, "user", "The user's id, percent-encoded.", schema::user_id, 1, [ProblemCode::InvalidRequest] }
parameter! {
    SetAsideParam, "event", "The event's `id` in the list.", event_id, EVENT, [ProblemCode::InvalidRequest, ProblemCode::NotFound]
}
parameter! {
    MessageParam, "n", "The message's number in its room.", schema::id, 45, [ProblemCode::InvalidRequest, ProblemCode::NotFound]
}
