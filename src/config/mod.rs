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

pub(crate) mod check;
pub(crate) mod error;
pub(crate) mod file;
pub(crate) mod hooks;
pub(crate) mod key;
pub(crate) mod layers;
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
pub(crate) mod warnings;

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use ipnet::IpNet;
use jsonwebtoken::Algorithm;

pub use self::error::ConfigError;
pub use self::hooks::{HookSettings, HooksConfig, OnFailure};
pub(crate) use self::key::{KeySetLocation, KeySource, NamedKey, TokenKey, algorithm, jwk, safe};
use self::layers::Values;
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

/// `[mongodb]`
#[derive(Clone, Debug)]
pub struct MongodbConfig {
    /// Connection string. None: an embedded `mongod`. Secret, because it may contain a password.
    pub uri: Option<Secret>,
    /// Database name.
    pub database: String,
    /// Directory of the embedded `mongod` and of the created secret.
    pub data_dir: PathBuf,
    /// Binary of the embedded `mongod`. None: it is searched.
    pub mongod: Option<PathBuf>,
    /// Cache of the embedded `mongod`, in MiB.
    pub cache_mib: u32,
    /// The most connections to each MongoDB server.
    pub pool_size: u32,
    /// The interval between two checks of the indexes.
    pub indexes: Duration,
    /// How long an operation waits for a MongoDB server.
    pub selection: Duration,
    /// How long an operation may take in all.
    pub operation: Duration,
}

/// `[auth]`
#[derive(Clone, Debug)]
pub struct AuthConfig {
    /// Secret of the HS* algorithms, [`MIN_SECRET_BYTES`] or more.
    pub secret: Option<Secret>,
    /// Public key of the others: PEM, or the path of a PEM file.
    pub public_key: Option<String>,
    /// Key set (RFC 7517): the path of a file, or a URL.
    pub jwks: Option<String>,
    /// Issuer whose discovery document names the key set.
    pub discovery: Option<String>,
    /// The interval between two fetches of a key set by its URL.
    pub refresh: Duration,
    /// The interval between two fetches for a token with an unknown key, and after a failed fetch.
    pub refetch: Duration,
    /// How long one fetch may take, and how long a connect waits for it.
    pub fetch: Duration,
    /// The largest document that is fetched, in bytes.
    pub fetch_bytes: usize,
    /// Accepted algorithms. None: the first one that fits the key.
    pub algorithms: Vec<Algorithm>,
    /// Required `iss`. None: any or none.
    pub issuer: Option<String>,
    /// Required `aud`. None: any or none.
    pub audience: Option<String>,
    /// Accepted `typ` values of a header. None: any that doesn't name another purpose.
    pub types: Vec<String>,
    /// Claims with the values that they must have or contain.
    pub require: BTreeMap<String, String>,
    /// The longest time from `iat` to `exp`. None: any.
    pub max_lifetime: Option<Duration>,
    /// The longest token that is read, in bytes.
    pub token_bytes: usize,
    /// Claim with the user's id. It is read before `sub`.
    pub user_claim: String,
    /// Claim with the user's e-mail address.
    pub email_claim: String,
    /// Whether the secret was created at the first start, because no key was given.
    pub(crate) secret_is_own: bool,
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

/// `[limits]`
#[derive(Clone, Debug)]
pub struct LimitsConfig {
    /// The longest text, in code points.
    pub text_chars: usize,
    /// The largest frame from a client, in bytes.
    pub frame_bytes: usize,
    /// The most fragments of a message.
    pub message_fragments: u32,
    /// Frames of a user per minute.
    pub frames_per_minute: u32,
    /// Rooms that a user may create by connecting, per minute.
    pub rooms_per_minute: u32,
    /// Changes of a user's e-mail address per minute.
    pub addresses_per_minute: u32,
    /// Messages of a user per minute.
    pub messages_per_minute: u32,
    /// Connects of a user per minute.
    pub connects_per_minute: u32,
    /// Documents that a user's connects and pages of rooms may read, per minute.
    pub documents_per_minute: u32,
    /// The most bulk reads at the same time.
    pub bulk_reads: usize,
    /// The most bulk reads of one user at the same time.
    pub bulk_reads_per_user: usize,
    /// How long a bulk read waits for its turn.
    pub bulk_wait: Duration,
    /// The most sockets of a user.
    pub sockets_per_user: usize,
    /// The most sockets of this server.
    pub sockets: usize,
    /// Refused connects of an address per minute.
    pub refusals_per_minute: u32,
    /// The most tokens from blocked addresses that are checked at the same time.
    pub blocked_checks: usize,
    /// The most addresses and users whose refused connects are remembered.
    pub refused_addresses: u32,
    /// The most frames that may wait for a socket.
    pub send_queue: usize,
    /// The most bytes that may wait for a socket.
    pub send_queue_bytes: usize,
    /// The most bytes that may wait for all sockets of a user.
    pub user_bytes: usize,
    /// The most bytes that may wait for all sockets.
    pub server_bytes: usize,
    /// The largest first frame and the largest page, in bytes of JSON.
    pub page_bytes: usize,
    /// How long a write to a socket may take.
    pub write: Duration,
    /// How long an action may run.
    pub handler: Duration,
    /// The largest ephemeral event, in bytes.
    pub event_bytes: usize,
    /// The most rooms whose last message number is cached.
    pub rooms_cached: usize,
    /// The most room members that are cached for presence.
    pub members_cached: u64,
    /// The most words of 64 message numbers that are cached for deleted messages.
    pub deletions_cached: u64,
    /// The most bytes of texts that rooms hold until they are read, beyond their own.
    pub unread_text_bytes: usize,
    /// The most messages in one write to the database.
    pub batch: usize,
    /// The most messages and receipt markers that may wait for the database.
    pub write_queue: usize,
    /// The most receipt markers that may wait to be folded into members' documents. Beyond it no more are written.
    pub unfolded_marks: usize,
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

/// `[feed]`
#[derive(Clone, Debug)]
pub struct FeedConfig {
    /// The interval between two heartbeats.
    pub heartbeat: Duration,
    /// Without a heartbeat for this long the server is not ready; more than `heartbeat`.
    pub stale: Duration,
    /// Without a heartbeat for this long the stream is overdue; more than `heartbeat`, `stale` at most.
    pub overdue: Duration,
    /// Without a heartbeat for this long sockets are closed; more than `overdue`.
    pub close: Duration,
    /// The most hanging calls of the driver that are left behind.
    pub hanging: usize,
    /// The member that the change stream is read from.
    pub read_from: ReadFrom,
}

/// `feed.read_from`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReadFrom {
    /// The primary.
    Primary,
    /// A secondary, if there is one.
    Secondary,
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
