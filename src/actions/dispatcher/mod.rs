//! Finds the action that a frame names, and runs the action within its limits and its deadline.
//!
//! An action runs as a separate task, so a failed action does not end its socket. If the action panics, the client
//! receives one `internal` error. If the client disconnects, the action continues until it ends or reaches its
//! deadline. At its deadline the action is dropped, and the client receives the error `timeout`. A database write that
//! the action has started still continues, in the module `store`.

mod run;

use std::sync::Arc;
use std::time::Duration;

use arc_swap::{ArcSwap, ArcSwapOption};
use bson::oid::ObjectId;
use handlers::{Action, Code, Error, Reply};
use tokio::time::Instant;
use tokio_tungstenite::tungstenite::Utf8Bytes;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::Instrument;

use self::run::AdmittedFrame;
use super::envelope::{Envelope, FrameAnswer};
use super::functions::FunctionAction;
use super::registry::{ActionKind, ActionTable};
use super::session_state::SocketSession;
use crate::auth::Verifier;
use crate::config::Config;
use crate::limits::rate::Rates;
use crate::realtime::heartbeat::Heartbeat;
use crate::store::{Audience, Receipts, Store, StoreError, Writer};
use crate::telemetry::metrics::Metrics;
use crate::webhooks::BeforeSend;

/// Runs the actions of one server.
pub(crate) struct Runtime {
    actions: &'static [Action],
    table: ArcSwap<ActionTable>,
    /// The value of the metrics label `action` for frames without a known action: an empty text.
    none: Arc<str>,
    /// All calls share this store through their [`BoundSocket`](super::bound_socket::BoundSocket). The field is an
    /// `Arc`, because a clone of a `Store` is more expensive: it increments about twenty reference counts.
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

/// The accepted calls that are not answered yet. The shutdown waits until all of them are answered.
#[derive(Clone, Default)]
pub(crate) struct InFlightCalls {
    /// Counts the calls, and lets the shutdown wait until the count is 0.
    pub(crate) tracker: TaskTracker,
    /// The shutdown cancels this token shortly before the end of `shutdown.drain_seconds`. Then each call that still
    /// runs is answered with `timeout`.
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

    /// Returns the number of messages that are queued to be written to the database.
    pub(crate) fn messages_waiting(&self) -> usize {
        self.writer.waiting()
    }

    /// Returns the `AsyncAPI` contract of the socket, as JSON. `closes` holds each close code and its condition.
    pub(crate) fn contract(&self, closes: &[(u16, &str)]) -> String {
        format!("{:#}\n", handlers::asyncapi(self.actions, closes))
    }

    /// Returns the rate limits of users and sockets in the current configuration.
    pub(crate) fn rates(&self) -> Arc<Rates> {
        self.table.load().rates.clone()
    }

    /// Applies the functions (the application's own actions) and the limits of a new configuration to the frames that
    /// arrive from now on. If a rate has changed, the counts of all users start at zero. Otherwise the frames and calls
    /// of each user that were already counted stay counted.
    pub(crate) fn reload(&self, config: &Config, functions: Vec<Arc<FunctionAction>>) {
        let table = ActionTable::new(self.actions, functions, config, Some(&self.table.load()));
        self.table.store(Arc::new(table));
    }

    /// Runs the action of a text frame. `request` is the id of this call. The future returns none if the action
    /// succeeded and its answer is an event, which comes through the change stream. The call counts as started when
    /// this function returns, even if the future was not polled yet. So the shutdown waits for this call.
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
            let (own, action, started) = match table.admit(&frame, &caller, &mut envelope, &self.metrics) {
                Ok((row, fields)) => {
                    tracing::Span::current().record("action", &*row.name);
                    if let Some(reference) = &envelope.reference
                        && row.echoes_ref
                    {
                        caller.remember_ref(request, reference.clone(), &self.metrics);
                    }
                    let own = matches!(row.run, ActionKind::Own(_));
                    let admitted = AdmittedFrame {
                        table: &table,
                        row,
                        caller: &caller,
                        request,
                        frame: &frame,
                        envelope: &envelope,
                    };
                    (own, &row.name, self.start(admitted, fields).await)
                }
                Err(error) => (true, &self.none, Err(error)),
            };
            // Thousands of calls may wait for the database. To save memory, each call drops its frame before it waits.
            drop(frame);
            let result = match started {
                Ok(call) => self.await_result(call).await,
                Err(error) => Err(error),
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
                    // The `ref` is a text by which the client recognizes the answer. It is stored for the event of the
                    // action. A built-in action that replies with a frame causes no event, so its stored `ref` is
                    // dropped. A function of the application may send a message in addition to its reply. The event of
                    // this message needs the `ref`.
                    if own {
                        caller.forget(request);
                    }
                    let json = envelope.answer(json);
                    Some(FrameAnswer { refused: None, is_outcome_unknown: false, json })
                }
                Err(error) => {
                    // After `timeout` the database write may still succeed. The event of the write then needs the
                    // `ref`. After other errors no event follows.
                    if error.code() != Code::Timeout {
                        caller.forget(request);
                    }
                    // The client may already have received the event of the write. In that case the socket does not
                    // send this error. The error of a function is always sent, because a function may do more than
                    // write a message.
                    let is_outcome_unknown = own && is_unknown_write(&error);
                    Some(FrameAnswer { is_outcome_unknown, ..envelope.refuse(&error, request) })
                }
            }
        };
        answer.instrument(tracing::debug_span!("frame", %request, action = tracing::field::Empty))
    }

    /// Returns the answer to a binary frame: `bad_json`, or `rate_limited` if the user's rate is exceeded.
    pub(crate) fn binary(&self, caller: &SocketSession) -> FrameAnswer {
        let error = match self.table.load().spend_frame(caller, &self.metrics) {
            Ok(()) => Error::new(Code::BadJson, "a frame must be text"),
            Err(error) => error,
        };
        self.metrics.action(&self.none, Err(error.code()), Duration::ZERO);
        Envelope::default().refuse(&error, ObjectId::new())
    }

    /// Counts frames that get no answer of their own, such as the fragments of a message, towards the user's frame
    /// rate. If the fragments use up the rate, the frame that completes the message is refused.
    pub(crate) fn spend_frames(&self, caller: &SocketSession, frames: u32) {
        if frames > 0 {
            let table = self.table.load();
            // The first refused frame shows that the rate is used up. So the loop ends there, and the remaining frames
            // are not counted.
            let _ = (0..frames).try_for_each(|_| table.spend_frame(caller, &self.metrics));
        }
    }

    /// Counts a WebSocket control frame, such as a ping, towards the user's frame rate. Returns an error for the client
    /// if the rate is exceeded.
    pub(crate) fn charge_control_frame(&self, caller: &SocketSession) -> Option<FrameAnswer> {
        let error = self.table.load().spend_frame(caller, &self.metrics).err()?;
        self.metrics.action(&self.none, Err(error.code()), Duration::ZERO);
        Some(Envelope::default().refuse(&error, ObjectId::new()))
    }
}

/// Returns whether an error means that the outcome of a database write is unknown: the write may have succeeded.
fn is_unknown_write(error: &Error) -> bool {
    let cause = std::error::Error::source(error).and_then(|cause| cause.downcast_ref());
    error.code() == Code::Timeout && matches!(cause, Some(StoreError::Unknown(_)))
}
