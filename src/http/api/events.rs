//! `/rooms/{id}/events`: the live events of a room, as JSON lines. Backends and operators use this endpoint. The caller
//! need not be a member, and the stream does not mark any message as delivered or read.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use salvo::prelude::*;
use salvo_oapi::endpoint;
use serde_json::json;

use super::ndjson::{LineWriter, NdjsonResponse, StreamClosed};
use super::path_params::RoomParam;
use super::problem::{Problem, ProblemCode};
use super::service_keys::Access;
use super::{SharedServices, dto};
use crate::limits::permits::Permit;
use crate::realtime::frame::{FrameKind, RoomFrame};
use crate::realtime::history_watermark::HistoryWatermark;
use crate::realtime::hub::subscription::HubSubscription;
use crate::realtime::outbox::{Outbox, OutboxBounds};
use crate::realtime::sessions::SessionGuard;

/// If there is no event for this duration, the server sends an empty line. The client then knows that the server is
/// alive. If the write of the line fails, the server knows that the client has disconnected.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// The highest number of frames that are taken from the stream's outbox (its queue of frames) in one step.
const TAKEN_AT_ONCE: usize = 64;

/// A room's events, live
///
/// JSON lines: first `{"type":"history","messages":[...]}` with the last 50 messages, newest first. Then every event
/// that a socket of the room receives, in the same order. Between the history and the first event, no event is lost and
/// no event comes twice. An empty line means that nothing happened for 15 s. The stream ends when the server shuts
/// down, the room is deleted, the service key is removed, or the client reads too slowly. An open stream counts as one
/// of the server's sockets.
#[endpoint(operation_id = "room_events", tags("messages"))]
pub(super) async fn room_events(
    services: SharedServices,
    id: RoomParam,
    access: Access,
) -> Result<NdjsonResponse, Problem> {
    let most = services.config.load().limits.sockets;
    let Some(place) = services.permits.acquire(most).filter(|_| !services.lifecycle.is_draining()) else {
        services.metrics.bound_hit("sockets");
        return Err(Problem::new(ProblemCode::Busy, "the limit of open sockets is reached; try again later"));
    };
    let outbox = Arc::new(Outbox::new(OutboxBounds::of(&services.config.load().limits), None));
    let registered = services.outboxes.register(&outbox, None);
    let (joined, subscription) = HubSubscription::new(&services.hub, id.0, &outbox);
    // The stream has already subscribed to the room's events. Therefore, if the room is deleted after this check, the
    // stream receives this deletion as an event.
    if !services.store.room_exists(id.0).await? {
        return Err(Problem::no_room());
    }
    let snapshot = services.room_reader.read(id.0, joined, &outbox).await;
    let snapshot = snapshot.map_err(|close| Problem::new(ProblemCode::Unavailable, close.reason()))?;
    let (mut lines, answer) = NdjsonResponse::new(&services, access);
    let mut follower = EventStream {
        outbox,
        shown: snapshot.complete.then(|| HistoryWatermark::of(&snapshot)),
        _held: (place, registered, subscription),
    };
    services.lifecycle.spawn(async move {
        let history = json!({ "type": "history", "messages": dto::MessageDto::all(&snapshot) });
        if lines.line(&history).await.is_ok() {
            // The result is not needed. When the stream ends for any reason, the drop of `follower` ends the
            // subscription to the room.
            let _ = follower.follow(&mut lines).await;
        }
    });
    Ok(answer)
}

/// A client that receives the events of a room.
struct EventStream {
    outbox: Arc<Outbox>,
    /// Recognizes the events whose changes the history already contained. The field is `None` if the history is not
    /// complete. Then every event is written.
    shown: Option<HistoryWatermark>,
    _held: (Permit, SessionGuard, HubSubscription),
}

impl EventStream {
    /// Writes events until the stream ends.
    async fn follow(&mut self, lines: &mut LineWriter) -> Result<(), StreamClosed> {
        let mut taken = VecDeque::new();
        loop {
            self.outbox.take(TAKEN_AT_ONCE, &mut taken);
            for frame in taken.drain(..) {
                if let FrameKind::Room(_, event) = &frame.kind
                    && !matches!(event, RoomFrame::Typing(_) | RoomFrame::MemberRemoved(_))
                    && !self.shown.as_mut().is_some_and(|shown| shown.contains(frame.time, event))
                {
                    lines.encoded(&frame.json).await?;
                }
            }
            lines.flush().await?;
            if self.outbox.closing().is_some() && self.outbox.is_empty() {
                return Ok(());
            }
            let changed = tokio::select! {
                left = lines.removed() => return Err(left),
                changed = tokio::time::timeout(KEEP_ALIVE, self.outbox.changed()) => changed,
            };
            if changed.is_err() {
                lines.encoded("").await?;
            }
        }
    }
}
