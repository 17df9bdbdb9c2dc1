//! What a function can ask of the server while it runs: the host calls. A script and a component reach the same calls.

use handlers::{HistoryCursor, MessageId};
use serde::{Deserialize, Serialize};

use super::host_error::HostError;

/// One host call of a function.
#[derive(Debug)]
pub(crate) enum HostCall {
    /// A page of the room's messages: `{"messages":[...],"has_more":true}`.
    History { from: HistoryCursor, limit: u32 },
    /// One message of the room.
    Message(MessageId),
    /// The kind, the name and the members of the room.
    About,
    /// An operation on what the function has stored.
    State(StateScope, StateOperation),
    /// An HTTP request to a host that the configuration allows.
    Fetch(FetchRequest),
}

/// To what a stored value belongs, besides the function.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum StateScope {
    /// The room of the call. The value is deleted with the room.
    Room,
    /// The caller, in all rooms. The value is deleted when the user is erased.
    User,
    /// The function itself.
    Own,
}

/// An operation on stored values.
#[derive(Debug)]
pub(crate) enum StateOperation {
    Get {
        key: String,
    },
    Set {
        key: String,
        write: StateWrite,
    },
    /// Writes only if the stored version is `version`. Zero: only if there is no value.
    Swap {
        key: String,
        version: u64,
        write: StateWrite,
    },
    Add {
        key: String,
        amount: i64,
        ttl_seconds: Option<u32>,
    },
    Delete {
        key: String,
    },
    Keys {
        prefix: String,
        after: Option<String>,
        limit: u32,
    },
}

/// A value to store.
#[derive(Debug)]
pub(crate) struct StateWrite {
    /// A JSON text.
    pub(crate) value: String,
    /// The time after which the value is deleted. None: it is kept.
    pub(crate) ttl_seconds: Option<u32>,
}

/// A stored value.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct StateEntry {
    /// A JSON text.
    pub(crate) value: String,
    pub(crate) version: u64,
}

/// An HTTP request of a function.
#[derive(Debug)]
pub(crate) struct FetchRequest {
    pub(crate) method: String,
    pub(crate) url: String,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
    pub(crate) timeout_ms: Option<u32>,
}

/// The answer to a [`FetchRequest`].
#[derive(Debug)]
pub(crate) struct FetchResponse {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

/// The result of a host call.
#[derive(Debug)]
pub(crate) enum HostValue {
    /// A JSON text: a page, a message or a room.
    Json(String),
    /// Of `get`.
    Entry(Option<StateEntry>),
    /// The new version, of `set`.
    Version(u64),
    /// The new version, of `swap`. None if the stored version was another.
    Swapped(Option<u64>),
    /// The new number, of `add`.
    Number(i64),
    /// Whether there was a value, of `delete`.
    Deleted(bool),
    /// Of `keys`.
    Keys(Vec<String>),
    /// Of a fetch.
    Response(FetchResponse),
}

/// The severity of a function's log line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum LogLevel {
    Debug,
    Info,
    Warn,
    Error,
}

/// The server, as one call of a function sees it. The call's room, caller, limits and counters are the host's.
pub(crate) trait Host: Send + Sync {
    /// Does a host call.
    fn run(&self, call: HostCall) -> HostFuture<'_>;

    /// Returns a variable of the function's `env`.
    fn env(&self, name: &str) -> Option<&str>;

    /// Writes a line of the log.
    fn log(&self, level: LogLevel, text: &str);
}

/// The future of a host call.
pub(crate) type HostFuture<'a> =
    std::pin::Pin<Box<dyn Future<Output = Result<HostValue, HostError>> + Send + 'a>>;
