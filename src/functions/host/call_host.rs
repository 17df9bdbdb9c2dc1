//! The host of one call on a server.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use handlers::UserId;
use tokio::sync::Semaphore;
use tokio::time::Instant;

use super::fetch::{FetchBudget, FunctionFetch};
use super::room::{FunctionRoom, no_room};
use super::state;
use crate::config::Secret;
use crate::functions::host_call::{
    Host, HostCall, HostFuture, HostValue, LogLevel, StateOperation, StateScope,
};
use crate::functions::host_error::{HostCode, HostError};
use crate::functions::log_line;
use crate::store::Store;
use crate::store::function_state::{self, StateBounds, StateOwner};
use crate::telemetry::metrics::Metrics;

/// What all calls of one function share.
pub(crate) struct FunctionServices {
    pub(crate) name: Arc<str>,
    pub(crate) store: Store,
    pub(crate) metrics: Arc<Metrics>,
    /// None if the function may reach no host.
    pub(crate) fetch: Option<FunctionFetch>,
    pub(crate) env: BTreeMap<String, Secret>,
    pub(crate) state: StateBounds,
    pub(crate) host_calls: usize,
    pub(crate) log_lines: usize,
    pub(crate) log_line_bytes: usize,
}

/// The host of one call.
pub(crate) struct CallHost {
    pub(crate) services: Arc<FunctionServices>,
    /// The room of the call. None for the hooks `connected` and `disconnected`.
    pub(crate) room: Option<FunctionRoom>,
    /// The user of the call: the caller, the sender, or the user of a hook's event.
    pub(crate) user: Option<UserId>,
    /// Whether the call is of a hook, whose event may be about a user or a room that is gone since.
    pub(crate) is_late: bool,
    /// The id of the call or the event.
    pub(crate) request: String,
    pub(crate) deadline: Instant,
    pub(crate) used: CallUse,
}

/// The most host calls of one call that run at once. Further ones wait, so that one call holds few results in memory and
/// few connections to the database.
const AT_ONCE: usize = 16;

/// What a call has used of its bounds.
#[derive(Debug)]
pub(crate) struct CallUse {
    at_once: Semaphore,
    host_calls: AtomicUsize,
    log_lines: AtomicUsize,
    fetches: FetchBudget,
}

impl Default for CallUse {
    fn default() -> Self {
        Self {
            at_once: Semaphore::new(AT_ONCE),
            host_calls: AtomicUsize::new(0),
            log_lines: AtomicUsize::new(0),
            fetches: FetchBudget::default(),
        }
    }
}

impl CallHost {
    async fn answer(&self, call: HostCall) -> Result<HostValue, HostError> {
        let FunctionServices { store, metrics, host_calls, .. } = &*self.services;
        if self.used.host_calls.fetch_add(1, Ordering::Relaxed) >= *host_calls {
            metrics.bound_hit("function_host_calls");
            let fault = format!("a call may make {host_calls} host calls");
            return Err(HostError::new(HostCode::RateLimited, fault));
        }
        // The semaphore is never closed.
        let _permit = self.used.at_once.acquire().await;
        let room = || self.room.as_ref().ok_or_else(no_room);
        match call {
            HostCall::History { from, limit } => {
                room()?.history(store, from, limit).await.map(HostValue::Json)
            }
            HostCall::Message(id) => room()?.message(store, id).await.map(HostValue::Json),
            HostCall::About => room()?.about(store).await.map(HostValue::Json),
            HostCall::State(scope, operation) => self.state(scope, operation).await,
            HostCall::Fetch(request) => {
                let Some(fetch) = &self.services.fetch else {
                    let fault = "this function may reach no host; list hosts in its configuration";
                    return Err(HostError::new(HostCode::NotAllowed, fault));
                };
                let longest = self.deadline.saturating_duration_since(Instant::now());
                let fetched = fetch.fetch(request, longest, &self.used.fetches).await;
                let outcome = fetched.as_ref().map_or_else(|error| error.code.name(), |_| "ok");
                metrics.function_fetched(&self.services.name, outcome);
                fetched.map(HostValue::Response)
            }
        }
    }

    async fn state(&self, scope: StateScope, operation: StateOperation) -> Result<HostValue, HostError> {
        let FunctionServices { name, store, metrics, state: bounds, .. } = &*self.services;
        let scope = match scope {
            StateScope::Room => {
                let room = self.room.as_ref().ok_or_else(no_room)?.room;
                if self.is_late && store.room(room).await.map_err(state::of_read)?.is_none() {
                    return Err(no_room());
                }
                function_state::StateScope::Room(room)
            }
            StateScope::User => {
                let user = self.user.clone();
                let user = user.ok_or_else(|| HostError::new(HostCode::NotFound, "the call has no user"))?;
                if self.is_late && !store.is_known(&user).await.map_err(state::of_read)? {
                    return Err(HostError::new(HostCode::NotFound, "the user was erased"));
                }
                function_state::StateScope::User(user)
            }
            StateScope::Own => function_state::StateScope::Own,
        };
        let owner = StateOwner { function: name.clone(), scope };
        let done = state::run(store, &owner, operation, bounds, metrics).await;
        metrics.function_state(name, done.as_ref().map_or_else(|error| error.code.name(), |_| "ok"));
        done
    }
}

impl Host for CallHost {
    fn run(&self, call: HostCall) -> HostFuture<'_> {
        Box::pin(self.answer(call))
    }

    fn env(&self, name: &str) -> Option<&str> {
        self.services.env.get(name).map(Secret::expose)
    }

    fn log(&self, level: LogLevel, text: &str) {
        let FunctionServices { name, metrics, log_lines, log_line_bytes, .. } = &*self.services;
        if self.used.log_lines.fetch_add(1, Ordering::Relaxed) >= *log_lines {
            return metrics.bound_hit("function_log_lines");
        }
        let end = text.floor_char_boundary(*log_line_bytes);
        if end < text.len() {
            metrics.bound_hit("function_log_line_bytes");
        }
        log_line::write(level, name, Some(&self.request), text.get(..end).unwrap_or_default());
    }
}
