//! The stored values of a function.

use crate::functions::host_call::{HostValue, StateEntry, StateOperation};
use crate::functions::host_error::{HostCode, HostError};
use crate::store::function_state::{StateBounds, StateError, StateOwner};
use crate::store::{Store, StoreError};
use crate::telemetry::metrics::Metrics;

/// Does an operation on the values of one scope.
pub(super) async fn run(
    store: &Store,
    owner: &StateOwner,
    operation: StateOperation,
    bounds: &StateBounds,
    metrics: &Metrics,
) -> Result<HostValue, HostError> {
    let is_read = matches!(operation, StateOperation::Get { .. } | StateOperation::Keys { .. });
    let done = match operation {
        StateOperation::Get { key } => store.state_value(owner, &key).await.map(|found| {
            let entry = |value: crate::store::function_state::StoredValue| StateEntry {
                value: value.json,
                version: value.version,
            };
            HostValue::Entry(found.map(entry))
        }),
        StateOperation::Set { key, write } => {
            let set = store.set_state(owner, &key, write.value, write.ttl_seconds, bounds);
            set.await.map(HostValue::Version)
        }
        StateOperation::Swap { key, version, write } => {
            let swap = store.swap_state(owner, &key, version, write.value, write.ttl_seconds, bounds);
            swap.await.map(HostValue::Swapped)
        }
        StateOperation::Add { key, amount, ttl_seconds } => {
            store.add_state(owner, &key, amount, ttl_seconds, bounds).await.map(HostValue::Number)
        }
        StateOperation::Delete { key } => store.delete_state(owner, &key).await.map(HostValue::Deleted),
        StateOperation::Keys { prefix, after, limit } => {
            store.state_keys(owner, &prefix, after.as_deref(), limit).await.map(HostValue::Keys)
        }
    };
    done.map_err(|error| failed(error, is_read, metrics))
}

fn failed(error: StateError, is_read: bool, metrics: &Metrics) -> HostError {
    match error {
        StateError::Invalid(fault) => HostError::new(HostCode::InvalidRequest, fault),
        StateError::TooLarge(bound, most) => {
            metrics.bound_hit(match bound {
                "state_keys" => "function_state_keys",
                "state_bytes" => "function_state_bytes",
                _ => "function_state_value_bytes",
            });
            HostError::new(HostCode::TooLarge, format!("{bound} is {most}"))
        }
        StateError::Store(error) => {
            let known = if is_read { error.of_read() } else { error.of_write() };
            of_error(&known)
        }
    }
}

/// Returns the error of the database as a function gets it. The details stay in the server's log.
pub(super) fn of_error(error: &handlers::Error) -> HostError {
    let code = match error.code() {
        handlers::Code::NotFound => HostCode::NotFound,
        handlers::Code::InvalidRequest => HostCode::InvalidRequest,
        handlers::Code::RateLimited => HostCode::RateLimited,
        handlers::Code::Timeout => HostCode::Timeout,
        handlers::Code::Unavailable => HostCode::Unavailable,
        _ => HostCode::Internal,
    };
    if code == HostCode::Internal {
        tracing::error!(%error, "a host call of a function failed");
    }
    HostError::new(code, error.message())
}

/// Converts an error of a read.
pub(super) fn of_read(error: StoreError) -> HostError {
    of_error(&error.of_read())
}
