//! The configuration: `config/default.toml`, overridden by a file, and both by the environment.
//!
//! A [`Config`] that [`Config::load`] returns is complete and within its ranges. An unknown key or an invalid value is
//! refused. The error names the key, what is wrong, and where the value comes from. No error contains a secret, and
//! neither does `Debug`. The meaning of the values is only described in `config/default.toml`.
//!
//! [`Config::prepare_reload`] decides what a running server applies of a new configuration.
//!
//! The auth module creates a secret if none is configured ([`keep_own_secret`](crate::auth::keep_own_secret)). The
//! store follows the options of a connection string.

mod auth;
pub(crate) mod check;
mod database;
pub(crate) mod error;
mod feed;
pub(crate) mod file;
pub(crate) mod hooks;
pub(crate) mod key;
pub(crate) mod layers;
mod limits;
pub(crate) mod live;
pub(crate) mod load;
pub(crate) mod outbound;
pub(crate) mod ranges;
pub(crate) mod reload;
#[cfg(test)]
mod tests;
pub(crate) mod tls_files;
mod unread_variables;
pub(crate) mod uri;
pub mod url;
mod variable;
pub(crate) mod warnings;

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use ipnet::IpNet;

pub use self::auth::AuthConfig;
pub use self::database::MongodbConfig;
pub use self::error::ConfigError;
pub use self::feed::{FeedConfig, ReadFrom};
pub use self::hooks::{HookSettings, HooksConfig, OnFailure};
pub(crate) use self::key::{KeySetLocation, KeySource, NamedKey, TokenKey, algorithm, jwk, safe};
use self::layers::Values;
pub use self::limits::LimitsConfig;
pub use self::outbound::{FunctionConfig, ReceiverConfig};
pub use self::ranges::{MIN_API_KEY_CHARS, MIN_SECRET_BYTES};
pub(crate) use self::reload::ConfigReload;

/// The whole configuration. Fields are named as in `config/default.toml`, without the unit if the type has one.
#[derive(Clone, Debug)]
pub struct Config {
    /// Address and port to serve on; port 0 takes a free one.
    pub listen: SocketAddr,
    /// The database.
    pub mongodb: MongodbConfig,
    /// The listener for operators.
    pub admin: AdminConfig,
    /// Tokens.
    pub auth: AuthConfig,
    /// The REST API.
    pub api: ApiConfig,
    /// Rooms.
    pub rooms: RoomsConfig,
    /// The HTTP surface.
    pub http: HttpConfig,
    /// TLS.
    pub tls: TlsConfig,
    /// The limits of clients, sockets and actions.
    pub limits: LimitsConfig,
    /// The limits of each action, by its name.
    pub actions: BTreeMap<&'static str, handlers::Limits>,
    /// The application's own actions, by their names.
    pub functions: BTreeMap<String, FunctionConfig>,
    /// The application's webhooks.
    pub hooks: HooksConfig,
    /// WebSocket connections.
    pub sockets: SocketsConfig,
    /// The change stream.
    pub feed: FeedConfig,
    /// Presence: which users are connected.
    pub presence: PresenceConfig,
    /// The shutdown.
    pub shutdown: ShutdownConfig,
    /// The demo page.
    pub page: PageConfig,
    /// The log.
    pub log: LogConfig,
    /// Traces.
    pub traces: TracesConfig,
    /// The values as they were given, which [`Config::prepare_reload`] compares.
    given: Values,
}

/// `[admin]`
#[derive(Clone, Debug)]
pub struct AdminConfig {
    /// The address of metrics and probes. None: they are not served.
    pub listen: Option<SocketAddr>,
    /// The most TCP connections there.
    pub connections: usize,
    /// The most TCP connections there from one address.
    pub connections_per_address: usize,
}

/// `[api]`
#[derive(Clone, Debug)]
pub struct ApiConfig {
    /// Service keys, [`MIN_API_KEY_CHARS`] or more each. None: the API is closed.
    pub keys: Vec<Secret>,
    /// Whether the documentation page is served, on which the API can be tried.
    pub docs: bool,
    /// How long the response of an `Idempotency-Key` is stored.
    pub idempotency: Duration,
    /// The most exports of users at the same time.
    pub exports: usize,
    /// The largest body of a request, in bytes.
    pub body_bytes: usize,
}

/// `[rooms]`
#[derive(Clone, Debug)]
pub struct RoomsConfig {
    /// How the direct room of two users is created.
    pub direct: DirectRooms,
    /// The interval of the clean-up of deleted rooms.
    pub sweep: Duration,
}

/// `rooms.direct`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DirectRooms {
    /// Only by the API.
    Api,
    /// Also by connecting.
    OnConnect,
}

/// `[http]`
#[derive(Clone, Debug)]
pub struct HttpConfig {
    /// Accepted origins, in lower case and without a default port, as browsers send them. None: any.
    pub origins: Vec<String>,
    /// The proxies whose `X-Forwarded-For` is trusted.
    pub proxies: Vec<IpNet>,
    /// The most TCP connections that are not WebSockets.
    pub connections: usize,
    /// The most of them from one address. None: any number.
    pub connections_per_address: Option<usize>,
    /// The largest request head, in bytes.
    pub head_bytes: usize,
    /// How long the head of a request, its body, or a stalled answer may each take.
    pub request: Duration,
    /// The most bytes of an unread body that are read and dropped.
    pub discard_bytes: usize,
    /// How long that may take.
    pub discard: Duration,
}

/// `[tls]`
#[derive(Clone, Debug)]
pub struct TlsConfig {
    /// Certificate and key files. None: plain HTTP.
    pub files: Option<TlsFiles>,
    /// The interval between two checks of the files.
    pub watch: Duration,
}

/// `tls.certificate` and `tls.key`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsFiles {
    /// Certificate chain in PEM, the server's own certificate first.
    pub certificate: PathBuf,
    /// Private key in PEM.
    pub key: PathBuf,
}

/// `[sockets]`
#[derive(Clone, Debug)]
pub struct SocketsConfig {
    /// Silence before a ping.
    pub ping: Duration,
    /// Silence after a ping before the socket is closed.
    pub dead: Duration,
    /// How long the server still executes the frames of a client that can't be written to any more.
    pub last_frames: Duration,
    /// How long a user's silent socket has to answer a ping when a new socket needs its slot. Zero: it keeps the slot.
    pub probe: Duration,
    /// The lowest rate at which a client must read what waits for it.
    pub min_bytes_per_second: u32,
    /// Kernel send buffer, in bytes.
    pub send_buffer_bytes: u32,
    /// The interval between two counts of the unread messages of a room, for one socket.
    pub unread: Duration,
}

/// `[presence]`
#[derive(Clone, Debug)]
pub struct PresenceConfig {
    /// The time from the close of a user's last socket until the user is offline.
    pub grace: Duration,
    /// A server whose heartbeat does not change for this long is dead.
    pub silence: Duration,
}

/// `[shutdown]`
#[derive(Clone, Debug)]
pub struct ShutdownConfig {
    /// How long a shutdown waits for started actions. Zero: not at all.
    pub drain: Duration,
}

/// `[page]`
#[derive(Clone, Debug)]
pub struct PageConfig {
    /// Whether the page is served.
    pub enabled: PageEnabled,
}

/// `page.enabled`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PageEnabled {
    /// Only with the embedded `mongod`.
    Auto,
    /// Always.
    On,
    /// Never.
    Off,
}

/// `[log]`
#[derive(Clone, Debug)]
pub struct LogConfig {
    /// Directives of `tracing_subscriber::EnvFilter`.
    pub filter: String,
    /// The format of a line.
    pub format: LogFormat,
    /// The most lines that may wait to be written.
    pub queue_lines: usize,
}

/// `log.format`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// For people to read.
    Text,
    /// One JSON object per line.
    Json,
}

/// `[traces]`
#[derive(Clone, Debug)]
pub struct TracesConfig {
    /// Base URL of an OpenTelemetry collector over HTTP. None: no traces.
    pub otlp: Option<String>,
}

/// A text that is never shown: it has no `Display`, and its `Debug` reveals nothing.
#[derive(Clone)]
pub struct Secret(String);

impl Secret {
    /// Wraps a text. The required length depends on its purpose.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// Returns the text, for the one place that needs it.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        to.write_str("Secret(..)")
    }
}
