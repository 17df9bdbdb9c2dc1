//! The configuration has three layers. `config/default.toml` has the defaults. A configuration file overrides the
//! defaults. Environment variables override the file and the defaults.
//!
//! A [`Config`] from [`Config::load`] is complete, and its values are within their ranges. An unknown key or an
//! invalid value is refused. The error names the key, the fault of the value, and the source of the value (file and
//! line, or variable). Neither errors nor `Debug` show a secret. Only `config/default.toml` describes the meaning of
//! the values in full.
//!
//! [`Config::prepare_reload`] decides which values of a new configuration a running server applies.
//!
//! If no signing key is configured, the auth module creates a secret
//! ([`keep_own_secret`](crate::auth::keep_own_secret)). The store applies the options of the MongoDB connection
//! string.

pub(crate) mod allowed_host;
mod auth;
pub(crate) mod check;
mod database;
pub(crate) mod error;
mod feed;
pub(crate) mod file;
mod functions;
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
pub use self::functions::{FileFunctionConfig, FunctionConfig, FunctionFilesConfig};
pub use self::hooks::{HookSettings, HooksConfig, OnFailure};
pub(crate) use self::key::{KeySetLocation, KeySource, NamedKey, TokenKey, algorithm, jwk, safe};
use self::layers::Values;
pub use self::limits::LimitsConfig;
pub use self::outbound::ReceiverConfig;
pub use self::ranges::{MIN_API_KEY_CHARS, MIN_SECRET_BYTES};
pub(crate) use self::reload::ConfigReload;
pub use self::unread_variables::is_like_a_setting;

/// The whole configuration. Fields are named as in `config/default.toml`. If a key's name ends in a unit and the
/// field's type is a `Duration`, the field's name has no unit.
#[derive(Clone, Debug)]
pub struct Config {
    /// Address and port for clients. With port 0, the system chooses a free port.
    pub listen: SocketAddr,
    /// The database.
    pub mongodb: MongodbConfig,
    /// The listener for operators: metrics and probes.
    pub admin: AdminConfig,
    /// How tokens are verified.
    pub auth: AuthConfig,
    /// The REST API.
    pub api: ApiConfig,
    /// How rooms are created and cleaned up.
    pub rooms: RoomsConfig,
    /// The HTTP server for clients.
    pub http: HttpConfig,
    /// The certificate for TLS.
    pub tls: TlsConfig,
    /// The limits of clients, of sockets and of the server.
    pub limits: LimitsConfig,
    /// The limits of each built-in action, by its name.
    pub actions: BTreeMap<&'static str, handlers::Limits>,
    /// The application's own actions that have a section, by their names.
    pub functions: BTreeMap<String, FunctionConfig>,
    /// The settings of a function file that has no section.
    pub function_default: FunctionConfig,
    /// The settings of all function files.
    pub function_files: FunctionFilesConfig,
    /// The application's webhooks.
    pub hooks: HooksConfig,
    /// The sockets of clients.
    pub sockets: SocketsConfig,
    /// The change stream, from which a server learns of changes in the database.
    pub feed: FeedConfig,
    /// Presence: which users are connected.
    pub presence: PresenceConfig,
    /// The shutdown.
    pub shutdown: ShutdownConfig,
    /// The demo page (the messenger).
    pub page: PageConfig,
    /// The log.
    pub log: LogConfig,
    /// The export of traces.
    pub traces: TracesConfig,
    /// The values of all layers, from which the fields were read. [`Config::prepare_reload`] compares these values
    /// with those of the new configuration.
    given: Values,
}

/// `[admin]`
#[derive(Clone, Debug)]
pub struct AdminConfig {
    /// The address of the listener for metrics and probes. None: the server has no admin listener.
    pub listen: Option<SocketAddr>,
    /// The most open TCP connections to this listener.
    pub connections: usize,
    /// The most open TCP connections to this listener from one address.
    pub connections_per_address: usize,
}

/// `[api]`
#[derive(Clone, Debug)]
pub struct ApiConfig {
    /// Service keys, the passwords of the backend, [`MIN_API_KEY_CHARS`] or more each. Empty: the API is closed.
    pub keys: Vec<Secret>,
    /// Whether the server serves the page on which a person reads and tries the API.
    pub docs: bool,
    /// How long the response to a request with an `Idempotency-Key` is stored.
    pub idempotency: Duration,
    /// The most exports of users that run concurrently.
    pub exports: usize,
    /// The largest body of a request, in bytes.
    pub body_bytes: usize,
}

/// `[rooms]`
#[derive(Clone, Debug)]
pub struct RoomsConfig {
    /// How the direct room of two users is created.
    pub direct: DirectRooms,
    /// The interval between two clean-ups. A clean-up finishes the deletion of rooms.
    pub sweep: Duration,
}

/// `rooms.direct`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DirectRooms {
    /// Only the API creates direct rooms.
    Api,
    /// The API creates direct rooms. Parlor also creates a direct room when one of its two users connects to it.
    OnConnect,
}

/// `[http]`
#[derive(Clone, Debug)]
pub struct HttpConfig {
    /// Accepted origins in the form that browsers send: in lower case, without a default port. Empty: every origin.
    pub origins: Vec<String>,
    /// The proxies from which the server accepts `X-Forwarded-For`.
    pub proxies: Vec<IpNet>,
    /// The most open TCP connections that are not WebSockets.
    pub connections: usize,
    /// The most open TCP connections from one address that are not WebSockets. None: no limit.
    pub connections_per_address: Option<usize>,
    /// The largest request head, in bytes.
    pub head_bytes: usize,
    /// The longest time for a TLS handshake, for a request's head, for a request's body, and for a pause in which the
    /// client reads nothing of an answer.
    pub request: Duration,
    /// The most bytes of a request's body that the server reads and drops after it has answered.
    pub discard_bytes: usize,
    /// The longest time for reading and dropping the rest of a request's body.
    pub discard: Duration,
}

/// `[tls]`
#[derive(Clone, Debug)]
pub struct TlsConfig {
    /// The files of the certificate and its key. None: plain HTTP.
    pub files: Option<TlsFiles>,
    /// The interval between two checks whether the files have changed.
    pub watch: Duration,
}

/// `tls.certificate` and `tls.key`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsFiles {
    /// The file of the certificate chain in PEM. The server's own certificate is first.
    pub certificate: PathBuf,
    /// The file of the private key in PEM.
    pub key: PathBuf,
}

/// `[sockets]`
#[derive(Clone, Debug)]
pub struct SocketsConfig {
    /// If a client sends nothing for this long, the server sends a ping to the client.
    pub ping: Duration,
    /// If a client sends nothing for this long after a ping, the server closes the socket.
    pub dead: Duration,
    /// After a write to the client has failed, the server still executes the frames that it has received, for at most
    /// this time.
    pub last_frames: Duration,
    /// When a user who has `limits.sockets_per_user` open sockets connects again, the server pings the clients of these
    /// sockets. The server waits for the answers for this time. Then it closes a socket whose client did not answer, in
    /// favour of the new socket. Zero: the server sends no ping and refuses the new socket.
    pub probe: Duration,
    /// The lowest rate at which a client must read the frames that wait to be written to its socket. Zero: any rate.
    pub min_bytes_per_second: u32,
    /// The size of a socket's send buffer in the kernel, in bytes.
    pub send_buffer_bytes: u32,
    /// The shortest interval between two unread counts of one room on one inbox connection.
    pub unread: Duration,
}

/// `[presence]`
#[derive(Clone, Debug)]
pub struct PresenceConfig {
    /// The time from the close of a user's last socket until the user counts as offline.
    pub grace: Duration,
    /// A server whose heartbeat does not change for this long counts as dead.
    pub silence: Duration,
}

/// `[shutdown]`
#[derive(Clone, Debug)]
pub struct ShutdownConfig {
    /// The longest time that a shutdown waits for started actions, database writes and the closing of sockets. Zero:
    /// the shutdown does not wait.
    pub drain: Duration,
}

/// `[page]`
#[derive(Clone, Debug)]
pub struct PageConfig {
    /// Whether the server serves the page.
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
    /// The format of each line.
    pub format: LogFormat,
    /// The most lines that may wait to be written. Further lines are dropped.
    pub queue_lines: usize,
}

/// `log.format`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// Lines for people.
    Text,
    /// One JSON object for each line.
    Json,
}

/// `[traces]`
#[derive(Clone, Debug)]
pub struct TracesConfig {
    /// The base URL of an OpenTelemetry collector that accepts HTTP. None: no traces are exported.
    pub otlp: Option<String>,
}

/// A secret text. It has no `Display`, and its `Debug` doesn't show the text.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Makes a secret from a text. The text's length is checked later, because the minimum depends on the secret's
    /// purpose.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// Returns the secret's text. Never call this function for a log line or an error.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        to.write_str("Secret(..)")
    }
}
