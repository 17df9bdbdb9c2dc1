//! What the server is told at its start: `config/default.toml`, a file over it, the environment over both.
//!
//! It promises that a [`Config`] that [`Config::load`] gave is whole and within its bounds: an unknown key or
//! a bad value refuses, and the refusal names the key, what is wrong, and where it stands. No secret is ever
//! in a refusal, nor in what `Debug` shows. What the values mean is told once, in `config/default.toml`.
//!
//! A running server takes over what [`Config::renewed`] lets it of a new one.
//!
//! It leaves to others to make a secret where none was given ([`keep_own_secret`](crate::auth::keep_own_secret)), and
//! to honour what a connection string says itself.

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
pub use self::hooks::{HookSettings, Hooks, OnFailure};
pub(crate) use self::key::{Key, Keys, Location, NamedKey, algorithm, jwk, safe};
use self::layers::Values;
pub use self::outbound::{Function, Receiver};
pub use self::ranges::{MIN_API_KEY_CHARS, MIN_SECRET_BYTES};
pub(crate) use self::reload::Renewal;

/// All of it. Fields are named as in `config/default.toml`, less the unit where the type has one.
#[derive(Clone, Debug)]
pub struct Config {
    /// Address and port to serve on; port 0 takes a free one.
    pub listen: SocketAddr,
    /// The database.
    pub mongodb: Mongodb,
    /// What those who run it see.
    pub admin: Admin,
    /// Tokens.
    pub auth: Auth,
    /// The REST API.
    pub api: Api,
    /// Rooms.
    pub rooms: Rooms,
    /// The HTTP surface.
    pub http: Http,
    /// TLS.
    pub tls: Tls,
    /// What clients, sockets and actions may take up.
    pub limits: Limits,
    /// What calls of each action may take, by its name.
    pub actions: BTreeMap<&'static str, handlers::Limits>,
    /// Actions of the application's own, by their names.
    pub functions: BTreeMap<String, Function>,
    /// What the application is asked and told.
    pub hooks: Hooks,
    /// Sockets as such.
    pub sockets: Sockets,
    /// The change feed.
    pub feed: Feed,
    /// Who is connected.
    pub presence: Presence,
    /// The end.
    pub shutdown: Shutdown,
    /// The chat page.
    pub page: Page,
    /// The log.
    pub log: Log,
    /// Traces.
    pub traces: Traces,
    /// All of it as it was given, for [`Config::renewed`] to compare with.
    given: Values,
}

/// `[admin]`
#[derive(Clone, Debug)]
pub struct Admin {
    /// Where metrics and probes are served; nowhere if none.
    pub listen: Option<SocketAddr>,
    /// TCP connections there, at once.
    pub connections: usize,
    /// The same of one address.
    pub connections_per_address: usize,
}

/// `[mongodb]`
#[derive(Clone, Debug)]
pub struct Mongodb {
    /// Connection string; none: a private mongod. Secret, for it may hold a password.
    pub uri: Option<Secret>,
    /// Database name.
    pub database: String,
    /// Directory of the private mongod and of the kept secret.
    pub data_dir: PathBuf,
    /// Binary of the private mongod; none: it is looked for.
    pub mongod: Option<PathBuf>,
    /// Cache of the private mongod, in MiB.
    pub cache_mib: u32,
    /// Connections to each server, at most.
    pub pool_size: u32,
    /// Between two looks whether the indexes are there.
    pub indexes: Duration,
    /// How long an operation waits for a server.
    pub selection: Duration,
    /// How long an operation may take in all.
    pub operation: Duration,
}

/// `[auth]`
#[derive(Clone, Debug)]
pub struct Auth {
    /// Secret of the HS* algorithms, [`MIN_SECRET_BYTES`] or more.
    pub secret: Option<Secret>,
    /// Public key of the others: PEM, or the path of a PEM file.
    pub public_key: Option<String>,
    /// Key set (RFC 7517): the path of a file, or a URL.
    pub jwks: Option<String>,
    /// Issuer whose discovery document names the key set.
    pub discovery: Option<String>,
    /// Between two looks at the key set of a URL.
    pub refresh: Duration,
    /// Between two looks that a token with an unknown key causes, and after one that failed.
    pub refetch: Duration,
    /// How long one look may take, and how long a connect waits for it.
    pub fetch: Duration,
    /// The largest document that is read there, in bytes.
    pub fetch_bytes: usize,
    /// Accepted algorithms; none: the first one that fits the key.
    pub algorithms: Vec<Algorithm>,
    /// Required `iss`; none: any or none.
    pub issuer: Option<String>,
    /// Required `aud`; none: any or none.
    pub audience: Option<String>,
    /// Accepted `typ` values of a header; none: any that doesn't say that the token is something else.
    pub types: Vec<String>,
    /// Claims with the values that they must have, or contain.
    pub require: BTreeMap<String, String>,
    /// The longest time from `iat` to `exp`; none: any.
    pub max_lifetime: Option<Duration>,
    /// Longest token that is read, in bytes.
    pub token_bytes: usize,
    /// Claim with the user's id, before `sub`.
    pub user_claim: String,
    /// Claim with the user's e-mail address.
    pub email_claim: String,
    /// The secret is the one that was made at first start: no key was given.
    pub(crate) secret_is_own: bool,
}

/// `[api]`
#[derive(Clone, Debug)]
pub struct Api {
    /// Service keys, [`MIN_API_KEY_CHARS`] or more each; none: the API is closed.
    pub keys: Vec<Secret>,
    /// Whether the page to read and try it is served.
    pub docs: bool,
    /// How long an `Idempotency-Key` is good for.
    pub idempotency: Duration,
    /// Exports of users at once.
    pub exports: usize,
    /// The largest body of a request, in bytes.
    pub body_bytes: usize,
}

/// `[rooms]`
#[derive(Clone, Debug)]
pub struct Rooms {
    /// How two users come to their direct room.
    pub direct: Direct,
    /// How often it is looked for what is left of deleted rooms.
    pub sweep: Duration,
}

/// `rooms.direct`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direct {
    /// By the API alone.
    Api,
    /// Also by connecting.
    OnConnect,
}

/// `[http]`
#[derive(Clone, Debug)]
pub struct Http {
    /// Accepted origins, in lower case and without a default port, as browsers send them; none: any.
    pub origins: Vec<String>,
    /// Who may say by `X-Forwarded-For` whom a request is from.
    pub proxies: Vec<IpNet>,
    /// TCP connections that are not sockets, at once.
    pub connections: usize,
    /// The same of one address; none: any number.
    pub connections_per_address: Option<usize>,
    /// The largest request head, in bytes.
    pub head_bytes: usize,
    /// How long a request's head, its body, or a stalled answer may each take.
    pub request: Duration,
    /// How much of a body that nobody reads is read and dropped, in bytes.
    pub discard_bytes: usize,
    /// How long that may take.
    pub discard: Duration,
}

/// `[tls]`
#[derive(Clone, Debug)]
pub struct Tls {
    /// Certificate and its key, by their paths; none: plain HTTP.
    pub files: Option<TlsFiles>,
    /// Between two looks at them.
    pub watch: Duration,
}

/// `tls.certificate` and `tls.key`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsFiles {
    /// Chain in PEM, the server's own certificate first.
    pub certificate: PathBuf,
    /// Private key in PEM.
    pub key: PathBuf,
}

/// `[limits]`
#[derive(Clone, Debug)]
pub struct Limits {
    /// Longest text, in code points.
    pub text_chars: usize,
    /// Largest frame from a client, in bytes.
    pub frame_bytes: usize,
    /// Fragments that a message may come in.
    pub message_fragments: u32,
    /// Frames a user may send in a minute.
    pub frames_per_minute: u32,
    /// Rooms a user may make in a minute by connecting.
    pub rooms_per_minute: u32,
    /// Changes of a user's address in a minute.
    pub addresses_per_minute: u32,
    /// Messages a user may send in a minute.
    pub messages_per_minute: u32,
    /// Connects of a user in a minute.
    pub connects_per_minute: u32,
    /// Documents that a user's connects and pages of rooms may read in a minute.
    pub documents_per_minute: u32,
    /// Bulk reads at the same time.
    pub bulk_reads: usize,
    /// The same of one user.
    pub bulk_reads_per_user: usize,
    /// How long a bulk read waits for its turn.
    pub bulk_wait: Duration,
    /// Sockets a user may have open.
    pub sockets_per_user: usize,
    /// Sockets in all.
    pub sockets: usize,
    /// Refused connects of an address in a minute.
    pub refusals_per_minute: u32,
    /// Tokens from addresses that are not listened to, checked at once.
    pub blocked_checks: usize,
    /// Addresses and users whose refused connects are remembered.
    pub refused_addresses: u32,
    /// Frames that may wait for a socket.
    pub send_queue: usize,
    /// Bytes that may wait for a socket.
    pub send_queue_bytes: usize,
    /// Bytes that may wait for all sockets of a user.
    pub user_bytes: usize,
    /// Bytes that may wait for all sockets.
    pub server_bytes: usize,
    /// The largest first frame and the largest page, in bytes of JSON.
    pub page_bytes: usize,
    /// How long a write to a socket may take.
    pub write: Duration,
    /// How long an action may run.
    pub handler: Duration,
    /// Largest event that isn't stored, in bytes.
    pub event_bytes: usize,
    /// Rooms whose last message number is kept.
    pub rooms_cached: usize,
    /// Members of rooms that are kept for who is online.
    pub members_cached: u64,
    /// Words of 64 message numbers that are kept of deleted messages.
    pub deletions_cached: u64,
    /// Texts that rooms keep beyond their own until they are read, in bytes.
    pub unread_text_bytes: usize,
    /// Messages in a write to the database.
    pub batch: usize,
    /// Messages and marks that may wait for the database.
    pub write_queue: usize,
    /// Marks that may wait to be folded into members' documents, at most; over it no more are written.
    pub unfolded_marks: usize,
}

/// `[sockets]`
#[derive(Clone, Debug)]
pub struct Sockets {
    /// Silence before a ping.
    pub ping: Duration,
    /// Silence after a ping before the socket is closed.
    pub dead: Duration,
    /// How long the frames of a client that can't be written to any more are still executed.
    pub last_frames: Duration,
    /// How long a user's silent socket has to answer when a new one needs its place; zero: it keeps it.
    pub probe: Duration,
    /// The least that a client takes of what waits for it.
    pub min_bytes_per_second: u32,
    /// Kernel send buffer, in bytes.
    pub send_buffer_bytes: u32,
    /// Between two counts of what is unread in a room, for one socket.
    pub unread: Duration,
}

/// `[feed]`
#[derive(Clone, Debug)]
pub struct Feed {
    /// Between two heartbeats.
    pub heartbeat: Duration,
    /// Without a heartbeat for this long the server is not ready; more than `heartbeat`.
    pub stale: Duration,
    /// Without a heartbeat for this long the stream is overdue; more than `heartbeat`, `stale` at most.
    pub overdue: Duration,
    /// Without a heartbeat for this long sockets are closed; more than `overdue`.
    pub close: Duration,
    /// Calls of the driver that hang and are left behind, at most.
    pub hanging: usize,
    /// Whose change stream it is.
    pub read_from: ReadFrom,
}

/// `feed.read_from`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReadFrom {
    /// The primary's.
    Primary,
    /// A secondary's, where there is one.
    Secondary,
}

/// `[presence]`
#[derive(Clone, Debug)]
pub struct Presence {
    /// From a user's last socket to their being gone.
    pub grace: Duration,
    /// A heartbeat that stands still for so long is a dead server's.
    pub silence: Duration,
}

/// `[shutdown]`
#[derive(Clone, Debug)]
pub struct Shutdown {
    /// How long the end waits for what is under way; zero: not at all.
    pub drain: Duration,
}

/// `[page]`
#[derive(Clone, Debug)]
pub struct Page {
    /// Whether it is served.
    pub enabled: PageEnabled,
}

/// `page.enabled`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PageEnabled {
    /// With the private mongod only.
    Auto,
    /// Always.
    On,
    /// Never.
    Off,
}

/// `[log]`
#[derive(Clone, Debug)]
pub struct Log {
    /// Directives of `tracing_subscriber::EnvFilter`.
    pub filter: String,
    /// What a line looks like.
    pub format: LogFormat,
    /// Lines that wait to be written, at most.
    pub queue_lines: usize,
}

/// `log.format`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// An object a line.
    Json,
}

/// `[traces]`
#[derive(Clone, Debug)]
pub struct Traces {
    /// Base URL of an OpenTelemetry collector over HTTP; none: no traces.
    pub otlp: Option<String>,
}

/// A text that is never shown: it has no `Display`, and its `Debug` says nothing of it.
#[derive(Clone)]
pub struct Secret(String);

impl Secret {
    /// Takes a text as it is; how long it must be depends on what it is for.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text itself, for the one place that needs it.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        to.write_str("Secret(..)")
    }
}
