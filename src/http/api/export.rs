//! `/users/{user}/export`: all stored data of a user, as JSON lines, at the speed of the client.

use std::sync::Arc;

use handlers::{MessageId, RoomId, Time, UserId};
use salvo::prelude::*;
use salvo_oapi::endpoint;
use serde::Serialize;
use serde_json::value::RawValue;

use super::ApiServices;
use super::ndjson::{LineWriter, NdjsonResponse, StreamClosed};
use super::path_params::UserParam;
use super::problem::{Problem, ProblemCode, ProblemDetails};
use super::service_keys::Access;
use super::{SharedServices, dto};
use crate::limits::permits::Permit;
use crate::store::function_state::ExportedState;
use crate::store::set_aside_events::SetAside;
use crate::store::{ExportedMembership, ExportedMessage, StoreError, UserPresence};

/// Exports all stored data of a user
///
/// JSON lines, in this order. First comes one `user`, then one `membership` for each room, and one `message` for each
/// message that the user wrote. Then come one `event` for each set-aside hook event that names the user, one `state` for
/// each value that a function has stored about the user, and the `end`. A hook event is set aside after the hook's
/// receiver failed to accept the event several times. Without the `end`, the export is not complete. Deleted messages
/// have no text. If the user is erased during the export, the answer breaks off.
#[endpoint(operation_id = "export_user", tags("users"), responses((
    status_code = 409, body = ProblemDetails, content_type = "application/problem+json",
    description = "`conflict`: the user is being erased; try again when that has ended"
)))]
pub(super) async fn export_user(
    services: SharedServices,
    user: UserParam,
    access: Access,
) -> Result<NdjsonResponse, Problem> {
    // During an erasure, a part of the user's data is already deleted. An export of the remaining data would look
    // complete.
    if services.store.is_being_erased(&user.0).await? {
        return Err(Problem::erasing(&user.0));
    }
    let most = services.config.load().api.exports;
    let Some(place) = services.exports.acquire(most) else {
        services.metrics.bound_hit("exports");
        return Err(Problem::new(ProblemCode::Busy, "the limit of exports is reached; try again later"));
    };
    let (lines, answer) = NdjsonResponse::new(&services, access);
    // The export runs in a separate task, because a client may disconnect at any time. A disconnect must not drop a
    // future of the MongoDB driver before this future has ended.
    services.lifecycle.spawn(export(services.0.clone(), user.0, lines, place));
    Ok(answer)
}

/// The reason why an export ends early.
enum ExportEnd {
    Left,
    GoingAway,
    /// The user's erasure began during the export, so the export is not complete.
    Erased,
    Fault(StoreError),
}

impl From<StreamClosed> for ExportEnd {
    fn from(_: StreamClosed) -> Self {
        Self::Left
    }
}

impl From<StoreError> for ExportEnd {
    fn from(error: StoreError) -> Self {
        Self::Fault(error)
    }
}

async fn export(services: Arc<ApiServices>, user: UserId, mut lines: LineWriter, _place: Permit) {
    match write(&services, &user, &mut lines).await {
        Ok(()) | Err(ExportEnd::Left) => return,
        Err(ExportEnd::GoingAway | ExportEnd::Erased) => {}
        Err(ExportEnd::Fault(error)) => {
            services.metrics.count_fault("export");
            tracing::error!(%error, "an export failed; its response ends early");
        }
    }
    lines.break_off();
}

/// A line of the export. Its `type` is the variant's name.
#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum ExportLine<'a> {
    User {
        user_id: &'a UserId,
        exported_at: Time,
        online: bool,
        last_seen: Option<Time>,
    },
    Membership {
        room_id: RoomId,
        email: Option<String>,
        role: dto::RoleDto,
        delivered: i64,
        read: i64,
        joined_at: Option<Time>,
    },
    Message {
        room_id: RoomId,
        message_id: MessageId,
        #[serde(skip_serializing_if = "Option::is_none")]
        text: Option<String>,
        created_at: Time,
        updated_at: Time,
        #[serde(skip_serializing_if = "Option::is_none")]
        deleted_at: Option<Time>,
    },
    /// A hook event that Parlor no longer delivers, because the hook's receiver failed several times to accept the
    /// event.
    Event(ExportedEvent),
    /// A value that a function has stored about the user.
    State {
        function: String,
        key: String,
        value: &'a RawValue,
    },
    End {
        memberships: u64,
        messages: u64,
        #[serde(skip_serializing_if = "Option::is_none")]
        events: Option<u64>,
        #[serde(skip_serializing_if = "Option::is_none")]
        states: Option<u64>,
    },
}

/// The line of a set-aside hook event. The line's `type` is `event`, so the line leaves out the event's own field
/// `type`.
#[derive(Serialize)]
struct ExportedEvent {
    hook: String,
    event_id: String,
    set_aside_at: Time,
}

impl From<SetAside> for ExportedEvent {
    fn from(event: SetAside) -> Self {
        Self { hook: event.hook, event_id: event.event, set_aside_at: event.at }
    }
}

impl From<ExportedMembership> for ExportLine<'_> {
    fn from(membership: ExportedMembership) -> Self {
        let ExportedMembership { room, email, role, marks, joined_at } = membership;
        let (delivered, read) = (marks.delivered, marks.read);
        Self::Membership { room_id: room, email, role: role.into(), delivered, read, joined_at }
    }
}

impl From<ExportedMessage> for ExportLine<'_> {
    fn from(message: ExportedMessage) -> Self {
        let ExportedMessage { room, id, text, created_at, updated_at, deleted_at } = message;
        Self::Message { room_id: room, message_id: id, text, created_at, updated_at, deleted_at }
    }
}

async fn write(services: &Arc<ApiServices>, user: &UserId, lines: &mut LineWriter) -> Result<(), ExportEnd> {
    let store = services.store.on_bulk_connections();
    let exported_at = store.now();
    let UserPresence { online, last_seen } = store.presence(user).await?;
    lines.line(&ExportLine::User { user_id: user, exported_at, online, last_seen }).await?;
    let (mut memberships, mut messages) = (0, 0);
    let mut reading = store.memberships(user).await?;
    while let Some(membership) = reading.next().await {
        lines.line(&ExportLine::from(membership?)).await?;
        memberships += 1;
        stay(services)?;
    }
    let mut reading = store.authored(user).await?;
    while let Some(message) = reading.next().await {
        lines.line(&ExportLine::from(message?)).await?;
        messages += 1;
        stay(services)?;
    }
    let mut events = 0;
    let mut reading = services.store.set_aside_of(user).await?;
    while let Some(event) = reading.next().await {
        lines.line(&ExportLine::Event(event?.into())).await?;
        events += 1;
        stay(services)?;
    }
    let mut states = 0;
    let mut reading = services.store.state_of(user).await?;
    while let Some(state) = reading.next().await {
        let ExportedState { function, key, json } = state?;
        let value = serde_json::from_str(&json).map_err(|error| StoreError::Fault(error.into()))?;
        lines.line(&ExportLine::State { function, key, value }).await?;
        states += 1;
        stay(services)?;
    }
    if services.store.is_being_erased(user).await? {
        return Err(ExportEnd::Erased);
    }
    let states = (states > 0).then_some(states);
    let events = (events > 0).then_some(events);
    lines.line(&ExportLine::End { memberships, messages, events, states }).await?;
    Ok(lines.flush().await?)
}

fn stay(services: &ApiServices) -> Result<(), ExportEnd> {
    if services.lifecycle.is_draining() { Err(ExportEnd::GoingAway) } else { Ok(()) }
}
