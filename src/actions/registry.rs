//! What frames are held to, and what each action is: made anew for each configuration.

use std::sync::Arc;
use std::time::Duration;

use handlers::{Action, Code, Error, Fields, Kind, Limits, Pending, Reply};
use tokio::sync::Semaphore;

use super::functions::{Call, FunctionAction};
use crate::config::Config;
use crate::limits::rate::{CallRates, Rates};

/// What holds for frames and actions. A frame is held to the one that it found when it came.
pub(crate) struct ActionTable {
    pub(crate) rows: Box<[RegisteredAction]>,
    pub(crate) rates: Arc<Rates>,
    pub(crate) deadline: Duration,
    pub(crate) text_chars: usize,
    pub(crate) page_bytes: usize,
}

/// An action, the limits that are in force for it, and the places of its calls: whatever becomes of them, those of
/// other actions are free.
pub(crate) struct RegisteredAction {
    pub(crate) name: Arc<str>,
    pub(crate) run: ActionKind,
    pub(crate) limits: Limits,
    /// Whether an event may come of it that carries its frame's `ref`.
    pub(crate) echoes_ref: bool,
    pub(crate) in_flight: Arc<Semaphore>,
}

/// The events that carry the `ref` of what caused them (docs/protocol.md, Actions).
const CARRY_REF: [Kind; 3] = [Kind::ChatMessage, Kind::MessageEdited, Kind::MessageDeleted];

/// What a call of an action is.
#[derive(Clone)]
pub(crate) enum ActionKind {
    /// Parlor's own.
    Own(&'static Action),
    /// The application's.
    Function(Arc<FunctionAction>),
}

impl ActionTable {
    /// Where there was one `before`, what it counts goes on being counted, unless its bound has changed. Calls that are
    /// under way then hold no place among the new ones.
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
                ActionKind::Own(action) => action.emits.iter().any(|kind| CARRY_REF.contains(kind)),
                ActionKind::Function(_) => true,
            };
            RegisteredAction { name, run, limits, echoes_ref, in_flight }
        };
        let own = actions.iter().map(|action| {
            let limits = config.actions.get(action.name).copied().unwrap_or(action.limits);
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
    /// Decodes the frame, and gives the call to be run.
    pub(crate) fn begin(self, call: Call) -> Result<Pending<'static, Reply>, Error> {
        match self {
            Self::Own(action) => {
                let fields = Fields::parse(&call.frame);
                let fields = fields.map_err(|_| Error::new(Code::BadJson, "not a JSON object"))?;
                let fields = call.caller.strip_unknown_fields(fields);
                (action.run)(call.context, &fields)
            }
            Self::Function(function) => Ok(function.call(call)),
        }
    }
}
