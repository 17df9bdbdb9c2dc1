//! The host of a trial: a room and stored values in memory.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use handlers::HistoryCursor;
use serde_json::{Value, json};

use super::TrialPlan;
use super::memory_state::MemoryState;
use crate::config::{FunctionConfig, Secret};
use crate::functions::host::fetch::{FetchBudget, FunctionFetch};
use crate::functions::host_call::{Host, HostCall, HostFuture, HostValue, LogLevel};
use crate::functions::host_error::{HostCode, HostError};
use crate::functions::log_line::escaped;

pub(super) struct MemoryHost {
    state: Mutex<MemoryState>,
    log: Mutex<Vec<String>>,
    room: Value,
    env: BTreeMap<String, Secret>,
    fetch: Option<FunctionFetch>,
    used: FetchBudget,
    timeout: Duration,
}

impl MemoryHost {
    pub(super) fn new(
        plan: &TrialPlan,
        settings: &FunctionConfig,
        fetch: Option<FunctionFetch>,
    ) -> Result<Self, String> {
        Ok(Self {
            state: Mutex::new(MemoryState::read(&plan.state)?),
            log: Mutex::default(),
            room: plan.room.clone(),
            env: settings.file.env.clone(),
            fetch,
            used: FetchBudget::default(),
            timeout: settings.receiver.timeout,
        })
    }

    pub(super) fn log_lines(&self) -> Vec<String> {
        lock(&self.log).clone()
    }

    pub(super) fn state(&self) -> Value {
        lock(&self.state).to_json()
    }

    fn messages(&self) -> &[Value] {
        self.room["messages"].as_array().map(Vec::as_slice).unwrap_or_default()
    }

    /// Returns a page of the room's messages, which the plan lists oldest first.
    fn history(&self, from: HistoryCursor, limit: usize) -> Value {
        let number = |message: &Value| message["message_id"].as_i64().unwrap_or_default();
        let mut due: Vec<&Value> = match from {
            HistoryCursor::Newest => self.messages().iter().rev().collect(),
            HistoryCursor::Before(id) => {
                self.messages().iter().rev().filter(|message| number(message) < id.get()).collect()
            }
            HistoryCursor::After(id) => {
                self.messages().iter().filter(|message| number(message) > id).collect()
            }
        };
        let has_more = due.len() > limit;
        due.truncate(limit);
        json!({ "messages": due, "has_more": has_more })
    }

    async fn answer(&self, call: HostCall) -> Result<HostValue, HostError> {
        match call {
            HostCall::History { from, limit } => {
                Ok(HostValue::Json(self.history(from, limit as usize).to_string()))
            }
            HostCall::Message(id) => {
                let found = self.messages().iter().find(|message| message["message_id"] == id.get());
                let none = || HostError::new(HostCode::NotFound, "no such message");
                found.map(|message| HostValue::Json(message.to_string())).ok_or_else(none)
            }
            HostCall::About => {
                let [kind, name, members] = ["kind", "name", "members"].map(|field| &self.room[field]);
                let about = json!({ "kind": kind, "name": name, "members": members });
                Ok(HostValue::Json(about.to_string()))
            }
            HostCall::State(scope, operation) => lock(&self.state).run(scope, operation),
            HostCall::Fetch(request) => {
                let Some(fetch) = &self.fetch else {
                    let fault =
                        "a test sends requests only with --allow-fetch, to the hosts of the configuration";
                    return Err(HostError::new(HostCode::NotAllowed, fault));
                };
                fetch.fetch(request, self.timeout, &self.used).await.map(HostValue::Response)
            }
        }
    }
}

impl Host for MemoryHost {
    fn run(&self, call: HostCall) -> HostFuture<'_> {
        Box::pin(self.answer(call))
    }

    fn env(&self, name: &str) -> Option<&str> {
        self.env.get(name).map(Secret::expose)
    }

    fn log(&self, level: LogLevel, text: &str) {
        let level = match level {
            LogLevel::Debug => "debug",
            LogLevel::Info => "info",
            LogLevel::Warn => "warn",
            LogLevel::Error => "error",
        };
        lock(&self.log).push(format!("{level}: {}", escaped(text)));
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
