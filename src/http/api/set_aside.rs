//! `/hooks/set-aside`: lists the set-aside events, sends one event again, or drops one event. A set-aside event is an
//! event that Parlor no longer delivers, because the hook's receiver did not accept it in `hooks.max_tries` tries.

use std::str::FromStr;

use bson::oid::ObjectId;
use handlers::{MessageId, RoomId, Time, UserId};
use salvo::extract::{Extractible, Metadata};
use salvo::prelude::*;
use salvo_oapi::{
    BasicType, Components, EndpointArgRegister, Object, Operation, Parameter, ParameterIn, RefOr, Schema,
    ToSchema, endpoint,
};
use serde::Serialize;
use serde_json::Value;

use super::path_params::{self, SetAsideParam};
use super::problem::{Problem, ProblemCode, ProblemDetails, may_fail};
use super::response::NoContent;
use super::{SharedServices, schema};
use crate::store::set_aside_events::SetAside;
use crate::webhooks::{HookKind, ResendOutcome};

/// The number of events on a page: the default and the highest allowed number.
const LIMIT: (usize, usize) = (50, 200);

pub(super) fn routes() -> Router {
    let one = Router::with_path("{event}")
        .delete(drop_set_aside)
        .push(Router::with_path("retry").post(retry_set_aside));
    Router::with_path("hooks/set-aside").get(list_set_aside).push(one)
}

/// An event that Parlor no longer delivers, because the hook's receiver did not accept it.
#[derive(Serialize, ToSchema)]
#[salvo(schema(name = SetAsideEvent))]
pub(super) struct SetAsideEventDto {
    /// The id of the entry in this list.
    id: String,
    /// The hook: `after_send`, `connected`, `disconnected` or `offline`.
    hook: String,
    /// The event's `id` in requests to the receiver.
    event_id: String,
    /// `sent`, `edited`, `deleted`, `connected` or `disconnected`.
    #[serde(rename = "type")]
    kind: &'static str,
    /// The id of the message's room, if the event is about a message.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[salvo(schema(schema_with = schema::id, required = false))]
    room_id: Option<RoomId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[salvo(schema(schema_with = schema::id, required = false))]
    message_id: Option<MessageId>,
    /// The user who connected or disconnected. For the hook `offline`, the user who missed the message.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[salvo(schema(schema_with = schema::user_id, required = false))]
    user_id: Option<UserId>,
    /// The number of tries to send the event.
    tries: i64,
    /// The reason why the last try failed.
    reason: String,
    #[salvo(schema(schema_with = schema::time))]
    set_aside_at: Time,
}

impl From<SetAside> for SetAsideEventDto {
    fn from(event: SetAside) -> Self {
        let SetAside { id, hook, event, subject, recipient, tries, reason, at } = event;
        let (room_id, message_id) = subject.message().unzip();
        let user_id = recipient.or_else(|| subject.user().cloned());
        let (id, kind) = (id.to_hex(), subject.kind());
        Self {
            id,
            hook,
            event_id: event,
            kind,
            room_id,
            message_id,
            user_id,
            tries,
            reason,
            set_aside_at: at,
        }
    }
}

/// A page of the events that are set aside.
#[derive(Serialize, ToSchema)]
#[salvo(schema(name = SetAsideEvents))]
struct SetAsidePage {
    /// Oldest first.
    events: Vec<SetAsideEventDto>,
    /// If there are more events, the client sends this value as `after` to get the next page.
    next: Option<String>,
}

/// Lists the events that are set aside
///
/// The hook's receiver did not accept these events, but accepted other events: see `hooks.max_tries`. The oldest event
/// comes first.
#[endpoint(operation_id = "list_set_aside", tags("hooks"))]
async fn list_set_aside(
    services: SharedServices,
    wanted: ListSetAsideQuery,
) -> Result<Json<SetAsidePage>, Problem> {
    let ListSetAsideQuery { hook, user, after, limit } = wanted;
    let found =
        services.store.list_set_aside(hook.as_deref(), user.as_ref(), after, limit.saturating_add(1)).await?;
    let more = found.len() > limit;
    let events: Vec<SetAsideEventDto> = found.into_iter().take(limit).map(SetAsideEventDto::from).collect();
    let next = events.last().filter(|_| more).map(|last| last.id.clone());
    Ok(Json(SetAsidePage { events, next }))
}

/// Sends an event again
///
/// Sends the event to the receiver once, immediately. If the receiver answers 2xx, the event is removed from the list.
/// If the event is about a message, it is sent with the present text of the message. If the message was deleted, the
/// event is removed without being sent.
#[endpoint(operation_id = "retry_set_aside", tags("hooks"), responses((
    status_code = 502, body = ProblemDetails, content_type = "application/problem+json",
    description = "`receiver_failed`: the receiver did not accept the event, or the hook has no URL; the event stays"
)))]
async fn retry_set_aside(services: SharedServices, event: SetAsideParam) -> Result<NoContent, Problem> {
    let found = services.store.find_set_aside(event.0).await?.ok_or_else(no_event)?;
    let failed = match services.hooks.load_full().resend(&services.store, &found).await? {
        ResendOutcome::Taken | ResendOutcome::Withdrawn => {
            // If the removal fails, the event stays in the list. A later retry then sends the event a second time, with
            // the same id.
            services.store.drop_set_aside(found.id).await.map_err(Problem::of_write)?;
            return Ok(NoContent);
        }
        ResendOutcome::NoHook => format!("the hook {} has no url, or its file is not loaded", found.hook),
        ResendOutcome::Failed(error) => error.to_string(),
    };
    services.store.note_set_aside(found.id, &failed).await.map_err(Problem::of_write)?;
    Err(Problem::new(ProblemCode::ReceiverFailed, failed))
}

/// Drops an event
///
/// Removes the event from the list. The hook never receives it.
#[endpoint(operation_id = "drop_set_aside", tags("hooks"))]
async fn drop_set_aside(services: SharedServices, event: SetAsideParam) -> Result<NoContent, Problem> {
    let dropped = services.store.drop_set_aside(event.0).await.map_err(Problem::of_write)?;
    if dropped { Ok(NoContent) } else { Err(no_event()) }
}

fn no_event() -> Problem {
    Problem::new(ProblemCode::NotFound, "no such event is set aside")
}

/// The parameters of the list.
struct ListSetAsideQuery {
    hook: Option<String>,
    user: Option<UserId>,
    after: Option<ObjectId>,
    limit: usize,
}

/// Parses an id in the query. `name` is the parameter's name in the error.
fn parsed<T: FromStr>(name: &'static str, text: Option<&str>) -> Result<Option<T>, Problem> {
    let wrong = || Problem::invalid(format!("{name}: not an id"));
    text.map(|text| text.parse().map_err(|_| wrong())).transpose()
}

impl<'ex> Extractible<'ex> for ListSetAsideQuery {
    fn metadata() -> &'static Metadata {
        static METADATA: Metadata = Metadata::new("");
        &METADATA
    }

    #[allow(refining_impl_trait)]
    async fn extract(req: &'ex mut Request, _: &'ex mut Depot) -> Result<Self, Problem> {
        let given = |name| path_params::query(req, name);
        let hook = given("hook")?.map(|name| {
            let kind = name.split_once(':').map_or(name, |(kind, _)| kind);
            HookKind::named(kind).map(|_| name.to_owned()).ok_or_else(|| {
                Problem::invalid("hook: after_send, connected, disconnected or offline, or one of a file, such as after_send:audit")
            })
        });
        let limit = match given("limit")?.map(str::parse) {
            None => LIMIT.0,
            Some(Ok(limit)) if (1..=LIMIT.1).contains(&limit) => limit,
            Some(_) => return Err(Problem::invalid(format!("limit: from 1 to {}", LIMIT.1))),
        };
        Ok(Self {
            hook: hook.transpose()?,
            user: parsed("user_id", given("user_id")?)?,
            after: parsed("after", given("after")?)?,
            limit,
        })
    }
}

impl EndpointArgRegister for ListSetAsideQuery {
    fn register(components: &mut Components, operation: &mut Operation, _: &str) {
        let mut add = |name: &str, description: &str, schema: RefOr<Schema>, example: Value| {
            let parameter = Parameter::new(name).location(ParameterIn::Query).required(false);
            let parameter = parameter.description(description).schema(schema);
            operation.parameters.insert(parameter.example(example));
        };
        let text = || Object::with_type(BasicType::String);
        let hooks = "^(after_send|connected|disconnected|offline)(:[a-z0-9_]+)?$";
        let limit = Object::with_type(BasicType::Integer).minimum(1).maximum(LIMIT.1);
        let of_hook = "Only those of this hook, or of the hook of this file, such as `after_send:audit`.";
        add("hook", of_hook, text().pattern(hooks).into(), "offline".into());
        add("user_id", "Only those that name this user.", schema::user_id().into(), 1.into());
        add(
            "after",
            "After this event: `next` of the page before.",
            path_params::event_id().into(),
            path_params::EVENT.into(),
        );
        add("limit", "By default 50.", limit.into(), LIMIT.0.into());
        may_fail(components, operation, &[ProblemCode::InvalidRequest]);
    }
}
