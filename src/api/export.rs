//! `/users/{user}/export`: all that is kept of a user, as JSON lines, read as fast as the client takes them.

use std::sync::Arc;

use handlers::{Time, UserId};
use salvo::prelude::*;
use salvo_oapi::endpoint;
use serde_json::json;

use super::Shared;
use super::lines::{Left, LineWriter, Lines};
use super::params::UserParam;
use super::problem::{Code, Problem};
use super::view;
use crate::places::Place;
use crate::server::Server;
use crate::store::{Authored, Membership, StoreError};

/// All that is kept of a user
///
/// JSON lines: a `user`, each `membership`, each `message`, and at last the `end`, without which it is not whole.
/// Messages that were deleted have no text.
#[endpoint(tags("users"))]
pub(super) async fn export_user(server: Shared, user: UserParam) -> Result<Lines, Problem> {
    let most = server.config.load().api.exports;
    let Some(place) = server.exports.take(most) else {
        server.metrics.limit("exports");
        return Err(Problem::new(Code::Busy, "as many exports run as may at once; try again later"));
    };
    let (lines, answer) = Lines::new(&server);
    // A task of its own: the driver's futures must not be dropped half way, and clients leave whenever they like.
    server.tracker.spawn(export(server.0.clone(), user.0, lines, place));
    Ok(answer)
}

/// Why an export ends before its end.
enum Cut {
    Left,
    GoingAway,
    Fault(StoreError),
}

impl From<Left> for Cut {
    fn from(_: Left) -> Self {
        Self::Left
    }
}

impl From<StoreError> for Cut {
    fn from(error: StoreError) -> Self {
        Self::Fault(error)
    }
}

async fn export(server: Arc<Server>, user: UserId, mut lines: LineWriter, _place: Place) {
    match write(&server, &user, &mut lines).await {
        Ok(()) | Err(Cut::Left) => return,
        Err(Cut::GoingAway) => {}
        Err(Cut::Fault(error)) => {
            server.metrics.fault("export");
            tracing::error!(%error, "an export broke off");
        }
    }
    lines.break_off();
}

async fn write(server: &Arc<Server>, user: &UserId, lines: &mut LineWriter) -> Result<(), Cut> {
    let now = Time(bson::DateTime::now().timestamp_millis());
    lines.line(&json!({ "type": "user", "user_id": user, "exported_at": now })).await?;
    let (mut memberships, mut messages) = (0_u64, 0_u64);
    let mut reading = server.store.memberships(user).await?;
    while let Some(membership) = reading.next().await {
        lines.line(&membership_line(membership?)).await?;
        memberships += 1;
        stay(server)?;
    }
    let mut reading = server.store.authored(user).await?;
    while let Some(message) = reading.next().await {
        lines.line(&message_line(message?)).await?;
        messages += 1;
        stay(server)?;
    }
    lines.line(&json!({ "type": "end", "memberships": memberships, "messages": messages })).await?;
    Ok(lines.flush().await?)
}

fn stay(server: &Server) -> Result<(), Cut> {
    if server.is_draining() { Err(Cut::GoingAway) } else { Ok(()) }
}

fn membership_line(membership: Membership) -> serde_json::Value {
    let Membership { room, email, role, marks, joined_at } = membership;
    json!({
        "type": "membership", "room_id": room, "email": email, "role": view::Role::from(role),
        "delivered": marks.delivered, "read": marks.read, "joined_at": joined_at,
    })
}

fn message_line(message: Authored) -> serde_json::Value {
    let Authored { room, id, text, created_at, updated_at, deleted_at } = message;
    let mut line = json!({
        "type": "message", "room_id": room, "message_id": id, "created_at": created_at, "updated_at": updated_at,
    });
    match deleted_at {
        Some(at) => line["deleted_at"] = json!(at),
        None => line["text"] = json!(text),
    }
    line
}
