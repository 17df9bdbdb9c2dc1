//! The accepted ranges of the configuration's numbers, except for sections that have their own module. This module also
//! has the function that reads all values of the configuration.

use std::ops::RangeInclusive;

use handlers::{ACTIONS, Action};

use super::layers::Values;
use super::{
    AdminConfig, ApiConfig, AuthConfig, Config, ConfigError, DirectRooms, FeedConfig, FunctionConfig,
    FunctionFilesConfig, HooksConfig, HttpConfig, LimitsConfig, LogConfig, LogFormat, MongodbConfig,
    PageConfig, PageEnabled, PresenceConfig, RoomsConfig, Secret, ShutdownConfig, SocketsConfig, TlsConfig,
    TlsFiles, TracesConfig,
};

/// The least length of a shared secret, in bytes: the length of the hash that HS256 uses (RFC 7518, 3.2).
pub const MIN_SECRET_BYTES: usize = 32;

/// The least length of a service key of the REST API, in characters.
pub const MIN_API_KEY_CHARS: usize = 32;

pub(super) type NumberRange = RangeInclusive<u32>;

/// A frame below the minimum is too small for any action. No message needs a frame above the maximum.
pub(super) const FRAME_BYTES: NumberRange = 64..=1 << 24;
pub(super) const PER_MINUTE: NumberRange = 1..=1_000_000;
pub(super) const IN_FLIGHT: NumberRange = 1..=1_000_000;
/// Zero means that Parlor requires no minimum speed of a client's reads.
const BYTES_PER_SECOND: NumberRange = 0..=1 << 20;
pub(super) const WAIT_MS: NumberRange = 10..=600_000;
const SWEEP_SECONDS: NumberRange = 1..=86_400;
const SILENCE_SECONDS: NumberRange = 1..=3_600;
/// Linux itself has a minimum of 4,608 bytes, and uses half of the buffer for its own data. The maximum fits into an
/// `int`, the type of this socket option.
const SEND_BUFFER_BYTES: NumberRange = 4_096..=1 << 30;
/// Zero means that no silent socket is probed with a ping.
const PROBE_MS: NumberRange = 0..=60_000;
const UNREAD_MS: NumberRange = 10..=60_000;
const CONNECTIONS: NumberRange = 1..=1_000_000;
/// Zero means no limit.
const CONNECTIONS_PER_ADDRESS: NumberRange = 0..=1_000_000;
/// The minimum is the size of the HTTP library's read buffer.
const HEAD_BYTES: NumberRange = 8_192..=1_048_576;
const REQUEST_MS: NumberRange = 100..=600_000;
/// Zero means that Parlor does not read the rest of a request's body after it has answered the request.
const DISCARD_BYTES: NumberRange = 0..=1 << 30;
const DISCARD_MS: NumberRange = 10..=60_000;
/// With fewer than four connections, requests for metrics could use all connections, and a health probe would get none.
const ADMIN_CONNECTIONS: NumberRange = 4..=10_000;
pub(super) const WATCH_MS: NumberRange = 10..=3_600_000;
/// Parlor remembers an idempotency key for this time. If Parlor forgot the key sooner than the minimum, a backend that
/// retries a request after an outage would execute the request twice. The maximum is 30 days.
const IDEMPOTENCY_SECONDS: NumberRange = 60..=2_592_000;
const EXPORTS: NumberRange = 1..=1_000;
const BODY_BYTES: NumberRange = 65_536..=1 << 24;
pub(super) const FEED_MS: NumberRange = 10..=600_000;
/// Zero means that a user counts as offline as soon as the user's last socket is closed. The maximum is far longer than
/// the reload of a web page, which closes and reopens a socket.
const GRACE_MS: NumberRange = 0..=600_000;
/// A log line has a few hundred bytes, so a full queue has at most a few hundred megabytes.
const QUEUE_LINES: NumberRange = 1..=1_000_000;
/// Zero means that a shutdown does not wait for running work.
const DRAIN_SECONDS: NumberRange = 0..=3_600;

impl Config {
    /// Reads every value, and checks that the value is in its range. [`Config::check`] checks the values that depend
    /// on each other.
    pub(super) fn read(values: &mut Values, given: Values) -> Result<Self, ConfigError> {
        let listen = "an address and port such as \"127.0.0.1:8001\"";
        Ok(Self {
            listen: values.parsed("listen", listen, |text| text.parse().ok())?,
            admin: AdminConfig {
                listen: values.parsed("admin.listen", listen, |text| match text {
                    "" => Some(None),
                    address => address.parse().ok().map(Some),
                })?,
                connections: values.number("admin.connections", ADMIN_CONNECTIONS)?,
                connections_per_address: values.number("admin.connections_per_address", ADMIN_CONNECTIONS)?,
            },
            mongodb: MongodbConfig::read(values)?,
            auth: AuthConfig::read(values)?,
            api: ApiConfig {
                keys: values.list("api.keys")?.into_iter().map(Secret).collect(),
                docs: values.parsed("api.docs", "\"on\" or \"off\"", |text| match text {
                    "on" => Some(true),
                    "off" => Some(false),
                    _ => None,
                })?,
                idempotency: values.seconds("api.idempotency_seconds", IDEMPOTENCY_SECONDS)?,
                exports: values.number("api.exports", EXPORTS)?,
                body_bytes: values.number("api.body_bytes", BODY_BYTES)?,
            },
            rooms: RoomsConfig::read(values)?,
            http: HttpConfig::read(values)?,
            tls: TlsConfig {
                files: TlsFiles::read(values)?,
                watch: values.millis("tls.watch_ms", WATCH_MS)?,
            },
            limits: LimitsConfig::read(values)?,
            actions: ACTIONS.iter().map(|action| read_action(values, action)).collect::<Result<_, _>>()?,
            functions: FunctionConfig::read_all(values)?,
            function_default: FunctionConfig::read_default(values)?,
            function_files: FunctionFilesConfig::read(values)?,
            hooks: HooksConfig::read(values)?,
            sockets: SocketsConfig {
                ping: values.seconds("sockets.ping_seconds", SILENCE_SECONDS)?,
                dead: values.seconds("sockets.dead_seconds", SILENCE_SECONDS)?,
                last_frames: values.millis("sockets.last_frames_ms", WAIT_MS)?,
                probe: values.millis("sockets.probe_ms", PROBE_MS)?,
                min_bytes_per_second: values.number("sockets.min_bytes_per_second", BYTES_PER_SECOND)?,
                send_buffer_bytes: values.number("sockets.send_buffer_bytes", SEND_BUFFER_BYTES)?,
                unread: values.millis("sockets.unread_ms", UNREAD_MS)?,
            },
            feed: FeedConfig::read(values)?,
            presence: PresenceConfig {
                grace: values.millis("presence.grace_ms", GRACE_MS)?,
                silence: values.millis("presence.silence_ms", FEED_MS)?,
            },
            shutdown: ShutdownConfig { drain: values.seconds("shutdown.drain_seconds", DRAIN_SECONDS)? },
            page: PageConfig {
                enabled: values.parsed("page.enabled", "\"auto\", \"on\" or \"off\"", |text| match text {
                    "auto" => Some(PageEnabled::Auto),
                    "on" => Some(PageEnabled::On),
                    "off" => Some(PageEnabled::Off),
                    _ => None,
                })?,
            },
            log: LogConfig {
                filter: values.text("log.filter")?,
                format: values.parsed("log.format", "\"text\" or \"json\"", |text| match text {
                    "text" => Some(LogFormat::Text),
                    "json" => Some(LogFormat::Json),
                    _ => None,
                })?,
                queue_lines: values.number("log.queue_lines", QUEUE_LINES)?,
            },
            traces: TracesConfig { otlp: values.optional("traces.otlp")? },
            given,
        })
    }
}

impl HttpConfig {
    fn read(values: &mut Values) -> Result<Self, ConfigError> {
        Ok(Self {
            origins: values.list("http.origins")?.iter().map(|text| Self::normal(text)).collect(),
            proxies: Self::read_proxies(values)?,
            connections: values.number("http.connections", CONNECTIONS)?,
            connections_per_address: Some(
                values.number("http.connections_per_address", CONNECTIONS_PER_ADDRESS)?,
            )
            .filter(|most| *most > 0),
            head_bytes: values.number("http.head_bytes", HEAD_BYTES)?,
            request: values.millis("http.request_ms", REQUEST_MS)?,
            discard_bytes: values.number("http.discard_bytes", DISCARD_BYTES)?,
            discard: values.millis("http.discard_ms", DISCARD_MS)?,
        })
    }
}

impl RoomsConfig {
    fn read(values: &mut Values) -> Result<Self, ConfigError> {
        Ok(Self {
            direct: values.parsed("rooms.direct", "\"api\" or \"on_connect\"", |text| match text {
                "api" => Some(DirectRooms::Api),
                "on_connect" => Some(DirectRooms::OnConnect),
                _ => None,
            })?,
            sweep: values.seconds("rooms.sweep_seconds", SWEEP_SECONDS)?,
        })
    }
}

/// Reads the section `[actions.<name>]`. The action's `SPEC` declares the defaults. Zero means that the action has no
/// limit of its own, and only the limits of `[limits]` apply.
fn read_action(
    values: &mut Values,
    action: &Action,
) -> Result<(&'static str, handlers::Limits), ConfigError> {
    let mut read = |key: &str, bounds: &NumberRange| {
        let number: u32 = values.number(&format!("actions.{}.{key}", action.name), 0..=*bounds.end())?;
        Ok(Some(number).filter(|number| *number > 0))
    };
    let per_minute = read("per_minute", &PER_MINUTE)?;
    let burst = read("burst", &PER_MINUTE)?;
    let max_bytes = read("max_bytes", &FRAME_BYTES)?.map(|bytes| bytes as usize);
    let timeout_ms = read("timeout_ms", &WAIT_MS)?;
    let max_in_flight = values.number(&format!("actions.{}.max_in_flight", action.name), IN_FLIGHT)?;
    let message = action.spec.limits.message;
    Ok((action.name, handlers::Limits { message, per_minute, burst, max_bytes, timeout_ms, max_in_flight }))
}
