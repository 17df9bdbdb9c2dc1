//! `GET /rooms?user_id=`: lists a user's rooms by pages. The room with the latest activity comes first.

use handlers::UserId;
use salvo::extract::{Extractible, Metadata};
use salvo::prelude::*;
use salvo_oapi::{
    BasicType, Components, EndpointArgRegister, Object, Operation, Parameter, ParameterIn, RefOr, Schema,
    ToSchema, endpoint,
};
use serde::Serialize;
use serde_json::json;

use super::dto::ListedRoomDto;
use super::path_params::query;
use super::problem::{Problem, ProblemCode, may_fail};
use super::{SharedServices, schema};
use crate::store::{RoomListPosition, RoomPageQuery, StoreError};

/// The number of rooms on a page: the default and the highest allowed number.
pub(super) const LIMIT: (usize, usize) = (50, 100);

/// The parameters of the list.
#[derive(Debug)]
pub(super) struct ListRoomsQuery {
    pub(super) user: UserId,
    pub(super) before: Option<RoomListPosition>,
    pub(super) limit: usize,
}

/// A page of a user's rooms.
#[derive(Serialize, ToSchema)]
#[salvo(schema(name = Rooms))]
struct RoomListPage {
    rooms: Vec<ListedRoomDto>,
    has_more: bool,
    /// If there are more rooms, the client sends this value as `before` to get the next page.
    next: Option<String>,
}

/// Lists a user's rooms, the latest activity first
///
/// The activity of a room is the time of its last message, even if the message is deleted. If the user joined the room
/// after its last message, the activity is the time when the user joined.
#[endpoint(operation_id = "list_rooms", tags("rooms"))]
pub(super) async fn list_rooms(
    services: SharedServices,
    wanted: ListRoomsQuery,
) -> Result<Json<RoomListPage>, Problem> {
    let ListRoomsQuery { user, before, limit } = wanted;
    let page = RoomPageQuery { before, limit, bytes: services.config.load().limits.page_bytes };
    let (store, _turn) = services.store.bulk(None).await.map_err(StoreError::from)?;
    let (rooms, next) = store.rooms_of(&user, page).await?;
    let rooms = rooms.into_iter().map(ListedRoomDto::new).collect();
    Ok(Json(RoomListPage { rooms, has_more: next.is_some(), next: next.map(|next| next.to_string()) }))
}

impl<'ex> Extractible<'ex> for ListRoomsQuery {
    fn metadata() -> &'static Metadata {
        static METADATA: Metadata = Metadata::new("");
        &METADATA
    }

    #[allow(refining_impl_trait)]
    async fn extract(req: &'ex mut Request, _: &'ex mut Depot) -> Result<Self, Problem> {
        let given = |name| query(req, name);
        let user = given("user_id")?.ok_or_else(|| Problem::invalid("user_id: is needed"))?;
        let user = user.parse().map_err(|_| Problem::invalid("user_id: not an id"))?;
        let before = match given("before")? {
            Some(text) => Some(text.parse().map_err(|_| Problem::invalid("before: not a page's `next`"))?),
            None => None,
        };
        let (default, most) = LIMIT;
        let limit = given("limit")?.map_or(Some(default), |text| text.parse().ok());
        let limit = limit.filter(|limit| (1..=most).contains(limit));
        let limit = limit.ok_or_else(|| Problem::invalid(format!("limit: must be from 1 to {most}")))?;
        Ok(Self { user, before, limit })
    }
}

impl EndpointArgRegister for ListRoomsQuery {
    fn register(components: &mut Components, operation: &mut Operation, _: &str) {
        let (default, most) = LIMIT;
        let limit = Object::with_type(BasicType::Integer).minimum(1).maximum(most);
        let limit = limit.default_value(default.into());
        let before = Object::with_type(BasicType::String);
        for (name, required, description, schema, example) in [
            (
                "user_id",
                true,
                "The user whose rooms are listed.",
                RefOr::<Schema>::from(schema::user_id()),
                json!(1),
            ),
            ("before", false, "The `next` of the page before.", before.into(), json!("1771439332258-7")),
            ("limit", false, "Rooms of a page.", limit.into(), json!(default)),
        ] {
            let parameter = Parameter::new(name).location(ParameterIn::Query).required(required);
            let parameter = parameter.description(description).schema(schema);
            operation.parameters.insert(parameter.example(example));
        }
        may_fail(components, operation, &[ProblemCode::InvalidRequest]);
    }
}
