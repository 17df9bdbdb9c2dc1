//! Runs actions the way a serverless platform would, but without cold starts: finds the action that a frame names,
//! enforces its limits and its deadline, and isolates the socket from its failures.
//!
//! An action runs as a separate task. A panic in it becomes one `internal` error. After its deadline the action is
//! dropped and the client receives `timeout`, while a write that has begun continues in the store. The action also
//! outlives a client that disconnects, because accepted work is completed.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::{ArcSwap, ArcSwapOption};
use bson::oid::ObjectId;
use handlers::{Action, Code, Context, Error, Reply, Room, RoomId};
use tokio::task::JoinError;
use tokio::time::Instant;
use tokio_tungstenite::tungstenite::Utf8Bytes;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::Instrument;

use super::envelope::Envelope;
use super::envelope::FrameAnswer;
use super::functions::BUSY_RETRY_MS;
use super::functions::{Call, FunctionAction};
use super::registry::{ActionKind, ActionTable, RegisteredAction};
use super::session_state::{BoundSocket, SocketSession};
use crate::auth::Verifier;
use crate::config::Config;
use crate::limits::rate::Rates;
use crate::protocol::close::Close;
use crate::realtime::heartbeat::Heartbeat;
use crate::store::{Audience, BoundRoom, Receipts, Store, StoreError, Writer};
use crate::supervisor::panic_text;
use crate::telemetry::metrics::Metrics;
use crate::webhooks::BeforeSend;
use crate::webhooks::before_send::ModeratedRoom;

/// Runs the actions of one server.
pub(crate) struct Runtime {
    actions: &'static [Action],
    table: ArcSwap<ActionTable>,
    /// The metrics label for frames that name no action.
    none: Arc<str>,
    /// Shared: a store has twenty parts, and a clone counts a reference to each.
    store: Arc<Store>,
    writer: Writer,
    receipts: Receipts,
    verifier: Verifier,
    audience: Arc<dyn Audience>,
    heartbeat: Arc<Heartbeat>,
    tracker: TaskTracker,
    overdue: CancellationToken,
    metrics: Arc<Metrics>,
    selection: Duration,
    before_send: ArcSwapOption<BeforeSend>,
}

/// The services that actions use.
pub(crate) struct Ports {
    pub(crate) store: Store,
    pub(crate) writer: Writer,
    pub(crate) receipts: Receipts,
    pub(crate) verifier: Verifier,
    pub(crate) audience: Arc<dyn Audience>,
    pub(crate) heartbeat: Arc<Heartbeat>,
}

/// The accepted calls that are not answered yet, for the shutdown.
#[derive(Clone, Default)]
pub(crate) struct InFlightCalls {
    /// Waits for the calls.
    pub(crate) tracker: TaskTracker,
    /// Cancelled when the time for the shutdown is over: calls that still run are answered with `timeout`.
    pub(crate) overdue: CancellationToken,
}

impl Runtime {
    pub(crate) fn new(
        actions: &'static [Action],
        functions: Vec<Arc<FunctionAction>>,
        config: &Config,
        ports: Ports,
        under_way: InFlightCalls,
        metrics: Arc<Metrics>,
    ) -> Self {
        let InFlightCalls { tracker, overdue } = under_way;
        let Ports { store, writer, receipts, verifier, audience, heartbeat } = ports;
        Self {
            actions,
            table: ArcSwap::from_pointee(ActionTable::new(actions, functions, config, None)),
            none: "".into(),
            store: Arc::new(store),
            writer,
            receipts,
            verifier,
            audience,
            heartbeat,
            tracker,
            overdue,
            metrics,
            selection: config.mongodb.selection,
            before_send: ArcSwapOption::empty(),
        }
    }

    /// Sets or removes the hook that checks each message before it is written.
    pub(crate) fn set_before_send(&self, before_send: Option<Arc<BeforeSend>>) {
        self.before_send.store(before_send);
    }

    /// Returns the number of messages that wait for the database.
    pub(crate) fn messages_waiting(&self) -> usize {
        self.writer.waiting()
    }

    /// Returns the contract of the socket, as JSON.
    pub(crate) fn contract(&self, closes: &[(u16, &str)]) -> String {
        format!("{:#}\n", handlers::asyncapi(self.actions, closes))
    }

    /// Returns the current rate limits of users and sockets.
    pub(crate) fn rates(&self) -> Arc<Rates> {
        self.table.load().rates.clone()
    }

    /// Applies the functions and the limits of a new configuration to the frames that arrive from now on. If rates
    /// have changed, each user gets a whole minute's worth of the new ones. Otherwise the spent amounts are kept.
    pub(crate) fn reload(&self, config: &Config, functions: Vec<Arc<FunctionAction>>) {
        let table = ActionTable::new(self.actions, functions, config, Some(&self.table.load()));
        self.table.store(Arc::new(table));
    }

    /// Runs the action of a text frame, as this request. Returns none if it succeeded and the event is the answer. A shutdown waits for
    /// the call from now on, even before the future is first polled.
    pub(crate) fn invoke(
        self: Arc<Self>,
        frame: Utf8Bytes,
        caller: Arc<SocketSession>,
        request: ObjectId,
    ) -> impl Future<Output = Option<FrameAnswer>> + Send {
        let under_way = self.tracker.token();
        let began = Instant::now();
        let answer = async move {
            let mut envelope = Envelope::default();
            let table = self.table.load_full();
            let (own, action, result) = match table.accept(&frame, &caller, &mut envelope, &self.metrics) {
                Ok(row) => {
                    tracing::Span::current().record("action", &*row.name);
                    if let Some(reference) = &envelope.reference
                        && row.echoes_ref
                    {
                        caller.remember_ref(request, reference.clone(), &self.metrics);
                    }
                    let own = matches!(row.run, ActionKind::Own(_));
                    (own, &row.name, self.run(&table, row, request, frame, &caller, &envelope).await)
                }
                Err(error) => (true, &self.none, Err(error)),
            };
            drop(under_way);
            let outcome = result.as_ref().map(|_| ()).map_err(Error::code);
            self.metrics.action(action, outcome, began.elapsed());
            tracing::debug!(
                action = &**action,
                outcome = outcome.map_or_else(Code::as_str, |()| "ok"),
                "done"
            );
            match result {
                Ok(Reply::ByEvent) => None,
                Ok(Reply::Frame(json)) => {
                    // A function may send a reply and an event. Its event carries the id of the call.
                    if own {
                        caller.forget(request);
                    }
                    let json = envelope.answer(json);
                    Some(FrameAnswer { refused: None, is_outcome_unknown: false, json })
                }
                Err(error) => {
                    // After any other error no event follows.
                    if error.code() != Code::Timeout {
                        caller.forget(request);
                    }
                    // After a function's `send` there may be more to answer than the message: its answer is never left out.
                    let is_outcome_unknown = own && is_unknown_write(&error);
                    Some(FrameAnswer { is_outcome_unknown, ..envelope.refuse(&error, request) })
                }
            }
        };
        answer.instrument(tracing::debug_span!("frame", %request, action = tracing::field::Empty))
    }

    /// Returns the answer to a binary frame.
    pub(crate) fn binary(&self, caller: &SocketSession) -> FrameAnswer {
        let error = match self.table.load().spend_frame(caller, &self.metrics) {
            Ok(()) => Error::new(Code::BadJson, "a frame must be text"),
            Err(error) => error,
        };
        self.metrics.action(&self.none, Err(error.code()), Duration::ZERO);
        Envelope::default().refuse(&error, ObjectId::new())
    }

    /// Charges for frames that have no answer of their own, such as the fragments of a message. If too few are left,
    /// the message itself is refused.
    pub(crate) fn spend_frames(&self, caller: &SocketSession, frames: u32) {
        if frames > 0 {
            let table = self.table.load();
            // Once none is left, there is none for the next one either.
            let _ = (0..frames).try_for_each(|_| table.spend_frame(caller, &self.metrics));
        }
    }

    /// Charges for a control frame, which costs as much as any other. Returns an answer if it was one too many.
    pub(crate) fn charge_control_frame(&self, caller: &SocketSession) -> Option<FrameAnswer> {
        let error = self.table.load().spend_frame(caller, &self.metrics).err()?;
        self.metrics.action(&self.none, Err(error.code()), Duration::ZERO);
        Some(Envelope::default().refuse(&error, ObjectId::new()))
    }

    async fn run(
        &self,
        table: &ActionTable,
        row: &RegisteredAction,
        request: ObjectId,
        frame: Utf8Bytes,
        caller: &Arc<SocketSession>,
        envelope: &Envelope,
    ) -> Result<Reply, Error> {
        let Ok(permit) = row.in_flight.clone().try_acquire_owned() else {
            self.metrics.bound_hit("action_max_in_flight");
            return Err(Error::rate_limited("too many calls of this action are under way", BUSY_RETRY_MS));
        };
        let time = row.limits.timeout_ms.map_or(table.deadline, |ms| Duration::from_millis(ms.into()));
        let deadline = Instant::now() + time;
        let room = envelope.room;
        if let Some(room) = room
            && (caller.is_stale(room) || self.heartbeat.is_overdue())
        {
            self.confirm_member(caller, room).await?;
        }
        let bound = room.map(|room| BoundRoom {
            store: Store::clone(&self.store),
            writer: self.writer.clone(),
            receipts: self.receipts.clone(),
            room,
            caller: caller.user.clone(),
            request,
            audience: self.audience.clone(),
            deadline,
            page_bytes: table.page_bytes,
            selection: self.selection,
        });
        let port = bound.map(|room| -> Arc<dyn Room> {
            match self.before_send.load_full() {
                Some(hook) => Arc::new(ModeratedRoom { room, hook }),
                None => Arc::new(room),
            }
        });
        let socket = BoundSocket {
            caller: caller.clone(),
            room,
            verifier: self.verifier.clone(),
            store: self.store.clone(),
            rates: table.rates.clone(),
            page_bytes: table.page_bytes,
            metrics: self.metrics.clone(),
        };
        let context = Context::new(caller.user.clone(), port, Arc::new(socket), table.text_chars);
        let (run, caller, rates) = (row.run.clone(), caller.clone(), table.rates.clone());
        let call = async move {
            let _permit = permit;
            let call = match run.begin(Call { context, caller, room, rates, request, frame }) {
                Ok(call) => call,
                Err(error) => return Some(Err(error)),
            };
            // A call that never ends must not keep its permit, even if nobody waits for the call any more.
            tokio::time::timeout_at(deadline, call).await.ok()
        };
        let task = self.tracker.spawn(call.instrument(tracing::debug_span!("call")));
        match self.in_time(deadline, task).await {
            Some(Ok(Some(result))) => result,
            Some(Err(error)) => Err(Error::internal(panicked(error))),
            Some(Ok(None)) | None => {
                self.metrics.bound_hit("handler_ms");
                Err(Error::new(Code::Timeout, "the action took too long; it may still be done"))
            }
        }
    }

    /// Reads from the database whether a caller is still in a room, for times when the change stream may lag.
    async fn confirm_member(&self, caller: &SocketSession, room: RoomId) -> Result<(), Error> {
        if self.store.role(room, &caller.user).await.map_err(StoreError::of_read)?.is_some() {
            return Ok(());
        }
        if !caller.is_in_many() {
            let exists = self.store.room_exists(room).await.map_err(StoreError::of_read)?;
            caller.end(if exists { Close::NotMember } else { Close::NoRoom });
        }
        Err(Error::new(Code::NotFound, "no such room"))
    }

    /// Waits for the work. Returns none if the deadline or the end of the shutdown came first.
    async fn in_time<T>(&self, deadline: Instant, work: impl Future<Output = T>) -> Option<T> {
        self.overdue.run_until_cancelled(tokio::time::timeout_at(deadline, work)).await?.ok()
    }
}

/// Returns whether an error says that the outcome of a write could not be learnt.
fn is_unknown_write(error: &Error) -> bool {
    let cause = std::error::Error::source(error).and_then(|cause| cause.downcast_ref());
    error.code() == Code::Timeout && matches!(cause, Some(StoreError::Unknown(_)))
}

fn panicked(error: JoinError) -> String {
    let Ok(panic) = error.try_into_panic() else { return "the action was ended from outside".to_owned() };
    format!("the action panicked: {}", panic_text(&*panic))
}
