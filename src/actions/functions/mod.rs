//! Actions that the application adds, in any language. Parlor gives the client's frame to the "function": over HTTP to a
//! server of the application, or to a file that runs inside this server. The function's answer says which message, event or reply Parlor sends. The
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

use self::response::{FunctionAnswer, MalformedAnswer, SendPart};
use super::session_state::SocketSession;
use crate::config::{self, Config};
use crate::error::StartError;
use crate::functions::call::Export;
use crate::functions::file::CallContext;
use crate::functions::host::room::FunctionRoom;
use crate::functions::target::{NextFunctions, Target};
use crate::limits::rate::Rates;
use crate::outbound::{OutboundError, ProgramFailure, Receiver};
use crate::protocol::ephemeral::{CustomEvent, EphemeralEvent, InvalidEvent};
use crate::store::{BoundRoom, Store, StoreError};
use crate::telemetry::metrics::Metrics;
use crate::webhooks::before_send::shorten_reason;

/// The `retry_after_ms` that a client receives when too many calls of an action run concurrently (`max_in_flight`, or
/// `max_in_flight_per_user` of a function). Ten refusals in ten seconds would close the client's socket. A client that
/// waits 1,500 ms after each refusal receives at most seven refusals in ten seconds.
pub(crate) const BUSY_RETRY_MS: u64 = 1_500;

/// One function of the configuration, as an action.
pub(crate) struct FunctionAction {
    name: Arc<str>,
    limits: Limits,
    target: Target,
    may_send_as: Vec<UserId>,
    page_bytes: usize,
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
    /// The room of a function's call, in which the function may write as a service.
    pub(crate) as_service: Option<BoundRoom>,
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

/// Returns the functions of a configuration, and the loaded files that have an action. Each HTTP function has its own connections and its own circuit breaker
/// (which stops calls to a failing server). A reload creates new connections and new circuit breakers.
///
/// # Errors
/// The URL of a function can't be used. The error names the configuration key.
pub(crate) fn configured(
    config: &Config,
    files: &NextFunctions,
    store: &Store,
    metrics: &Arc<Metrics>,
) -> Result<Vec<Arc<FunctionAction>>, StartError> {
    let action = |name: &Arc<str>, settings: &config::FunctionConfig, target| {
        Arc::new(FunctionAction {
            name: name.clone(),
            limits: limits(settings, config.limits.handler),
            target,
            may_send_as: settings.may_send_as.clone(),
            page_bytes: config.limits.page_bytes,
            store: store.clone(),
            metrics: metrics.clone(),
            event_bytes: config.limits.event_bytes,
        })
    };
    let http = config.functions.iter().filter(|(_, settings)| settings.is_http());
    let http = http.map(|(name, settings)| {
        let section = format!("functions.{name}");
        match Receiver::new(&section, &settings.receiver, metrics) {
            Ok(receiver) => Ok(action(&name.as_str().into(), settings, Target::Http(Box::new(receiver)))),
            Err(unusable) => Err(StartError::new(format!("{section}.url: {unusable}"))),
        }
    });
    let files = files.targets(Export::Call);
    let files = files.map(|(file, target)| Ok(action(file.name(), file.config(), target)));
    http.chain(files).collect()
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
            let context = || CallContext {
                room: Some(FunctionRoom {
                    room,
                    reader: Some(call.caller.user.clone()),
                    page_bytes: self.page_bytes,
                }),
                user: Some(call.caller.user.clone()),
                is_late: false,
                request: call.request.to_hex(),
            };
            let answer = self.target.call(&call.caller.user, body, context).await;
            let answer = answer.map_err(|error| self.unanswered(&error))?;
            // A file that returns nothing has done its work without an answer.
            let answer = if answer.is_empty() && !self.target.is_remote() { b"{}".to_vec() } else { answer };
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
        let Call { context, caller, as_service, rates, request, .. } = call;
        if let Some(reason) = answer.reject {
            return Err(Error::new(Code::Rejected, shorten_reason(&reason)));
        }
        let sender = answer.send.as_ref().and_then(|send| send.sender.as_ref());
        if let Some(sender) = sender.filter(|sender| !self.may_send_as.contains(sender)) {
            return Err(self.fault(format_args!("may_send_as does not list {sender}")));
        }
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
        if let Some(SendPart { message, sender }) = answer.send {
            let text = context.validate_text(message, "message");
            let text = text.map_err(|error| self.fault(format_args!("its `send` is refused: {error}")))?;
            caller.spend_message(&rates, &self.metrics)?;
            match (sender, as_service) {
                (Some(sender), Some(room)) => room.append_as(sender, text).await?,
                _ => drop(context.room()?.append(text, None).await?),
            }
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
            OutboundError::Busy
            | OutboundError::CallerBusy
            | OutboundError::Program(ProgramFailure::Busy, _) => {
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
            OutboundError::NotLoaded => {
                Error::caused(Code::Unavailable, "the action is being replaced; try again", cause)
            }
            OutboundError::Timeout | OutboundError::Program(ProgramFailure::Cpu, _) => {
                Error::caused(Code::Timeout, "the action took too long; it may still be done", cause)
            }
            OutboundError::Broken(_)
            | OutboundError::Status(_)
            | OutboundError::TooLarge(_)
            | OutboundError::Program(ProgramFailure::Error | ProgramFailure::Trap, _) => {
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
