//! Actions that the application adds, in any language. Parlor sends the client's frame over HTTP to a server of the
//! application, the "function". The function's answer says which message, event or reply Parlor sends. The
//! [`dispatcher`](crate::actions::dispatcher) treats these actions like built-in actions.
//!
//! The whole answer is validated before any part of it is applied. Then the parts are applied in this order: the
//! message is sent, the event is published, and the caller receives the reply. If one part fails, the later parts are
//! not applied.

pub(crate) mod response;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bson::oid::ObjectId;
use handlers::{Code, Context, Error, Limits, Pending, Reply, RoomId, UserId};
use serde::Serialize;
use serde_json::value::RawValue;
use tokio_tungstenite::tungstenite::Utf8Bytes;

use self::response::{FunctionAnswer, MalformedAnswer};
use super::session_state::SocketSession;
use crate::config::{self, Config};
use crate::error::StartError;
use crate::limits::rate::Rates;
use crate::outbound::{OutboundError, Receiver};
use crate::protocol::ephemeral::{CustomEvent, EphemeralEvent, InvalidEvent};
use crate::store::{Store, StoreError};
use crate::telemetry::metrics::Metrics;

/// The `retry_after_ms` that a client receives when too many calls of an action run concurrently (`max_in_flight`, or
/// `max_in_flight_per_user` of a function). Ten refusals in ten seconds would close the client's socket. A client that
/// waits 1,500 ms after each refusal receives at most seven refusals in ten seconds.
pub(crate) const BUSY_RETRY_MS: u64 = 1_500;

/// One function of the configuration, as an action.
pub(crate) struct FunctionAction {
    name: Arc<str>,
    limits: Limits,
    receiver: Receiver,
    store: Store,
    metrics: Arc<Metrics>,
    event_bytes: usize,
}

/// One call of an action.
pub(crate) struct Call {
    /// The caller, the room and the socket, as a built-in action uses them.
    pub(crate) context: Context,
    pub(crate) caller: Arc<SocketSession>,
    /// The room of the call; none if an inbox connection sent a frame without `room_id`.
    pub(crate) room: Option<RoomId>,
    pub(crate) rates: Arc<Rates>,
    pub(crate) request: ObjectId,
    pub(crate) frame: Utf8Bytes,
}

/// The JSON body of the request to a function.
#[derive(Serialize)]
struct FunctionRequest<'a> {
    request_id: String,
    action: &'a str,
    user: FunctionUser<'a>,
    room_id: RoomId,
    request: &'a RawValue,
}

#[derive(Serialize)]
struct FunctionUser<'a> {
    id: &'a UserId,
    email: Option<&'a str>,
}

/// Returns the functions of a configuration. Each function has its own HTTP connections and its own circuit breaker
/// (which stops calls to a failing server). A reload creates new connections and new circuit breakers.
///
/// # Errors
/// The URL of a function can't be used. The error names the configuration key.
pub(crate) fn configured(
    config: &Config,
    store: &Store,
    metrics: &Arc<Metrics>,
) -> Result<Vec<Arc<FunctionAction>>, StartError> {
    let function = |(name, settings): (&String, &config::FunctionConfig)| {
        let section = format!("functions.{name}");
        match Receiver::new(&section, &settings.receiver, metrics) {
            Ok(receiver) => Ok(Arc::new(FunctionAction {
                name: name.as_str().into(),
                limits: limits(settings, config.limits.handler),
                receiver,
                store: store.clone(),
                metrics: metrics.clone(),
                event_bytes: config.limits.event_bytes,
            })),
            Err(unusable) => Err(StartError::new(format!("{section}.url: {unusable}"))),
        }
    };
    config.functions.iter().map(function).collect()
}

fn limits(settings: &config::FunctionConfig, handler: Duration) -> Limits {
    let time = settings.deadline(handler);
    Limits {
        // Only the function's answer tells whether the call sends a message. Therefore the call itself does not count
        // as a message. If the answer sends a message, `apply_answer` counts this message towards the caller's message
        // rate.
        message: false,
        per_minute: settings.per_minute,
        burst: settings.burst,
        max_bytes: settings.max_bytes,
        timeout_ms: Some(u32::try_from(time.as_millis()).unwrap_or(u32::MAX)),
        max_in_flight: settings.receiver.max_in_flight,
    }
}

impl FunctionAction {
    /// Returns the value of `action` that calls this function.
    pub(crate) fn name(&self) -> &Arc<str> {
        &self.name
    }

    pub(crate) fn limits(&self) -> Limits {
        self.limits
    }

    /// Sends the call to the function, and applies the answer.
    pub(crate) fn call(self: Arc<Self>, call: Call) -> Pending<'static, Reply> {
        Box::pin(async move {
            let room = call.room.ok_or_else(|| Error::invalid("room_id: is needed"))?;
            let body = self.body(&call, room).map_err(Error::internal)?;
            let answer =
                self.receiver.post(&call.caller.user, body).await.map_err(|error| self.unanswered(&error))?;
            let answer = response::read(&self.name, &answer, self.event_bytes);
            let answer = answer.map_err(|malformed| self.malformed(&malformed))?;
            self.apply_answer(call, room, answer).await
        })
    }

    fn body(&self, call: &Call, room: RoomId) -> serde_json::Result<String> {
        serde_json::to_string(&FunctionRequest {
            request_id: call.request.to_hex(),
            action: &self.name,
            user: FunctionUser { id: &call.caller.user, email: call.caller.email.as_deref() },
            room_id: room,
            request: serde_json::from_str(&call.frame)?,
        })
    }

    async fn apply_answer(&self, call: Call, room: RoomId, answer: FunctionAnswer) -> Result<Reply, Error> {
        let Call { context, caller, rates, request, .. } = call;
        if answer.send.is_none() {
            // The frame's `ref` is a text by which the client recognizes the answer. It is stored for the event of a
            // message. The function sends no message, so no event will carry the `ref`.
            caller.forget(request);
        }
        if answer.send.is_some() || answer.event.is_some() {
            // The caller may have left the room while the function worked.
            self.recheck(room, &caller).await?;
        }
        let sends = answer.send.is_some();
        if let Some(draft) = answer.send {
            let text = context.validate_text(draft, "message");
            let text = text.map_err(|error| self.fault(format_args!("its `send` is refused: {error}")))?;
            caller.spend_message(&rates, &self.metrics)?;
            context.room()?.append(text, None).await?;
        }
        if let Some(event) = answer.event {
            let published = self.publish(room, event, &caller, sends).await;
            if sends {
                // The message was written. So the error must not tell the client that the action had no effect. Only
                // the code `timeout` says that an action may have had an effect.
                let partly =
                    |error| Error::caused(Code::Timeout, "the message was sent, its event was not", error);
                published.map_err(partly)?;
            } else {
                published?;
            }
        }
        Ok(answer.reply.map_or(Reply::ByEvent, Reply::Frame))
    }

    /// Publishes the event to the room. If `waited`, the call wrote a message after the last membership check. The
    /// caller may have left the room during this write, so the membership is checked again.
    async fn publish(
        &self,
        room: RoomId,
        event: CustomEvent,
        caller: &SocketSession,
        waited: bool,
    ) -> Result<(), Error> {
        if waited {
            self.recheck(room, caller).await?;
        }
        self.store.signal(&EphemeralEvent::Event { room, event }).await.map_err(StoreError::of_write)
    }

    /// Checks in the database that the caller is still a member of the room.
    async fn recheck(&self, room: RoomId, caller: &SocketSession) -> Result<(), Error> {
        let role = self.store.role(room, &caller.user).await.map_err(StoreError::of_read)?;
        role.map(|_| ()).ok_or_else(|| Error::new(Code::NotFound, "no such room"))
    }

    fn unanswered(&self, error: &OutboundError) -> Error {
        let cause = format!("functions.{}: {error}", self.name);
        match error {
            OutboundError::Busy | OutboundError::CallerBusy => {
                Error::rate_limited("too many calls of this action are under way", BUSY_RETRY_MS)
            }
            OutboundError::HeldBack { .. } => Error::caused(
                Code::Unavailable,
                "your calls of this action failed repeatedly; try again later",
                cause,
            ),
            OutboundError::Open | OutboundError::Connect(_) => {
                Error::caused(Code::Unavailable, "the action's server is unavailable", cause)
            }
            OutboundError::Timeout => {
                Error::caused(Code::Timeout, "the action took too long; it may still be done", cause)
            }
            OutboundError::Broken(_) | OutboundError::Status(_) | OutboundError::TooLarge(_) => {
                Error::internal(cause)
            }
        }
    }

    fn malformed(&self, malformed: &MalformedAnswer) -> Error {
        if matches!(malformed, MalformedAnswer::Event(InvalidEvent::TooLarge { .. })) {
            self.metrics.bound_hit("event_bytes");
        }
        self.fault(format_args!("{malformed}"))
    }

    /// Returns the error for an invalid answer of the function. The client only learns that the answer was invalid.
    /// The log has the details.
    fn fault(&self, fault: fmt::Arguments<'_>) -> Error {
        Error::internal(format!("functions.{}: {fault}", self.name))
    }
}
