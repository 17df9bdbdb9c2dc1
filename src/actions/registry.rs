//! The table of all actions and their limits. Each reload of the configuration builds a new table.

use std::sync::Arc;
use std::time::Duration;

use handlers::{Action, Error, EventType, Fields, Limits, Pending, Reply};
use tokio::sync::Semaphore;

use super::functions::{Call, FunctionAction};
use crate::config::Config;
use crate::limits::rate::{CallRates, Rates};

/// The actions and limits of one configuration. A frame uses the table that was current when it arrived.
pub(crate) struct ActionTable {
    pub(crate) rows: Box<[RegisteredAction]>,
    pub(crate) rates: Arc<Rates>,
    pub(crate) deadline: Duration,
    pub(crate) text_chars: usize,
    pub(crate) page_bytes: usize,
}

/// An action, its limits and its permits. Each running call holds one permit of its action, so the number of permits
/// limits the concurrent calls.
pub(crate) struct RegisteredAction {
    pub(crate) name: Arc<str>,
    pub(crate) run: ActionKind,
    pub(crate) limits: Limits,
    /// Whether the action may cause an event with the `ref` of the action's frame. A `ref` is a text by which the
    /// client recognizes the answer.
    pub(crate) echoes_ref: bool,
    pub(crate) in_flight: Arc<Semaphore>,
}

/// The events that carry the `ref` of the frame that caused them (docs/protocol.md, Actions).
const CARRY_REF: [EventType; 3] =
    [EventType::ChatMessage, EventType::MessageEdited, EventType::MessageDeleted];

/// How an action runs.
pub(crate) enum ActionKind {
    /// A built-in action of this server.
    Own(&'static Action),
    /// A function: an HTTP server of the application.
    Function(Arc<FunctionAction>),
}

impl ActionTable {
    /// Builds the table. `before` is the table that the new table replaces. It is none when the server starts. If an
    /// action's `max_in_flight` has not changed, the action keeps its permits from `before`, including the permits that
    /// running calls hold. Otherwise the action gets new permits, and calls that are already running hold none of the
    /// new permits. If no rate has changed, the calls of each user that were already counted stay counted.
    pub(crate) fn new(
        actions: &'static [Action],
        functions: Vec<Arc<FunctionAction>>,
        config: &Config,
        before: Option<&Self>,
    ) -> Self {
        let row = |name: Arc<str>, run, limits: Limits| {
            let same = |row: &&RegisteredAction| {
                row.name == name && row.limits.max_in_flight == limits.max_in_flight
            };
            let kept = before.and_then(|table| table.rows.iter().find(same)).map(|row| row.in_flight.clone());
            let in_flight = kept.unwrap_or_else(|| Arc::new(Semaphore::new(limits.max_in_flight)));
            let echoes_ref = match &run {
                ActionKind::Own(action) => action.spec.emits.iter().any(|kind| CARRY_REF.contains(kind)),
                ActionKind::Function(_) => true,
            };
            RegisteredAction { name, run, limits, echoes_ref, in_flight }
        };
        let own = actions.iter().map(|action| {
            let limits = config.actions.get(action.name).copied().unwrap_or(action.spec.limits);
            row(action.name.into(), ActionKind::Own(action), limits)
        });
        let functions = functions.into_iter().map(|function| {
            row(function.name().clone(), ActionKind::Function(function.clone()), function.limits())
        });
        let rows: Box<[_]> = own.chain(functions).collect();
        let call =
            |row: &RegisteredAction| CallRates { per_minute: row.limits.per_minute, burst: row.limits.burst };
        let rates = Rates::new(&config.limits, rows.iter().map(call).collect());
        let kept = before.map(|table| &table.rates).filter(|before| ***before == rates).cloned();
        Self {
            rates: kept.unwrap_or_else(|| Arc::new(rates)),
            rows,
            deadline: config.limits.handler,
            text_chars: config.limits.text_chars,
            page_bytes: config.limits.page_bytes,
        }
    }
}

impl ActionKind {
    /// Returns the future that runs the action. Decodes the fields for a built-in action. A function receives the
    /// whole frame instead of decoded fields.
    pub(crate) fn begin(&self, call: Call, fields: &Fields<'_>) -> Result<Pending<'static, Reply>, Error> {
        match self {
            Self::Own(action) => (action.run)(call.context, fields),
            Self::Function(function) => Ok(function.clone().call(call)),
        }
    }
}
