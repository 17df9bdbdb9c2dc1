//! The ranges of all numbers, and reading all values.

use std::ops::RangeInclusive;
use std::time::Duration;

use handlers::{ACTIONS, Action};

use super::layers::Values;
use super::{
    AdminConfig, ApiConfig, AuthConfig, Config, ConfigError, DirectRooms, FeedConfig, FunctionConfig,
    HooksConfig, HttpConfig, LimitsConfig, LogConfig, LogFormat, MongodbConfig, PageConfig, PageEnabled,
    PresenceConfig, ReadFrom, RoomsConfig, Secret, ShutdownConfig, SocketsConfig, TlsConfig, TlsFiles,
    TracesConfig,
};

/// The shortest shared secret, in bytes: as long as the hash of HS256 (RFC 7518, 3.2).
pub const MIN_SECRET_BYTES: usize = 32;

/// The shortest service key of the REST API, in characters.
pub const MIN_API_KEY_CHARS: usize = 32;

/// The largest configuration or key file that is read, in bytes.
pub(super) const MAX_FILE_BYTES: u64 = 1 << 20;

pub(super) type NumberRange = RangeInclusive<u32>;

/// mongod refuses less than 256 MiB.
const CACHE_MIB: NumberRange = 256..=1_048_576;
const POOL_SIZE: NumberRange = 1..=10_000;
/// A shorter time would fail operations at an ordinary network pause. A longer one is a mistyped unit.
const DATABASE_MS: NumberRange = 10..=600_000;
/// The longest text fits well into MongoDB's 16 MiB per document, and so does its change event.
const TEXT_CHARS: NumberRange = 1..=100_000;
/// A smaller frame holds no action. A larger one is more than the longest message needs.
pub(super) const FRAME_BYTES: NumberRange = 64..=1 << 24;
/// One means that a message may not be fragmented.
const MESSAGE_FRAGMENTS: NumberRange = 1..=65_536;
pub(super) const PER_MINUTE: NumberRange = 1..=1_000_000;
pub(super) const IN_FLIGHT: NumberRange = 1..=1_000_000;
/// More than there are descriptors and ports.
const SOCKETS: NumberRange = 1..=1_000_000;
const BLOCKED_CHECKS: NumberRange = 1..=1_000;
const ADDRESSES: NumberRange = 1..=10_000_000;
/// Each has a database connection.
const BULK_READS: NumberRange = 1..=10_000;
/// With less, one first frame of a large account would use up a minute's budget.
const DOCUMENTS: NumberRange = 1_000..=1_000_000_000;
const SEND_QUEUE: NumberRange = 1..=100_000;
/// The least that holds one event with the longest text.
const QUEUE_BYTES: NumberRange = 65_536..=1 << 30;
/// The least that holds one message with the longest text, and the data of its room.
const PAGE_BYTES: NumberRange = 65_536..=1 << 26;
/// With zero, a client may take any time.
const BYTES_PER_SECOND: NumberRange = 0..=1 << 20;
pub(super) const WAIT_MS: NumberRange = 10..=600_000;
const TEXT_BYTES: NumberRange = 0..=1 << 30;
const ROOMS_CACHED: NumberRange = 1..=100_000_000;
/// MongoDB accepts at most 100,000 writes in one command.
const BATCH: NumberRange = 1..=100_000;
const WRITE_QUEUE: NumberRange = 1..=10_000_000;
const UNFOLDED_MARKS: NumberRange = 1..=10_000_000;
const SWEEP_SECONDS: NumberRange = 1..=86_400;
const SILENCE_SECONDS: NumberRange = 1..=3_600;
/// Linux has a minimum of 4,608 and uses half of the buffer itself. The maximum is that of an `int`.
const SEND_BUFFER_BYTES: NumberRange = 4_096..=1 << 30;
/// With zero, no socket is probed.
const PROBE_MS: NumberRange = 0..=60_000;
const UNREAD_MS: NumberRange = 10..=60_000;
const CONNECTIONS: NumberRange = 1..=1_000_000;
/// Zero means no limit.
const CONNECTIONS_PER_ADDRESS: NumberRange = 0..=1_000_000;
/// The least is what the HTTP library reads at a time.
const HEAD_BYTES: NumberRange = 8_192..=1_048_576;
const REQUEST_MS: NumberRange = 100..=600_000;
/// With zero, nothing more is read.
const DISCARD_BYTES: NumberRange = 0..=1 << 30;
const DISCARD_MS: NumberRange = 10..=60_000;
/// With fewer, a scrape and a probe would block each other.
const ADMIN_CONNECTIONS: NumberRange = 4..=10_000;
/// An issuer is asked neither every second nor only once a week.
const REFRESH_SECONDS: NumberRange = 10..=86_400;
const REFETCH_MS: NumberRange = 10..=600_000;
const FETCH_MS: NumberRange = 100..=60_000;
const FETCH_BYTES: NumberRange = 1_024..=1 << 24;
/// Zero means no limit. At most 100 years.
const LIFETIME_SECONDS: NumberRange = 0..=3_153_600_000;
/// The least holds a token of three short claims under any algorithm. A token larger than a head is never read.
const TOKEN_BYTES: NumberRange = 1_024..=1_048_576;
const WATCH_MS: NumberRange = 10..=3_600_000;
/// With less, a client that retries after an outage would repeat its request. At most 30 days.
const IDEMPOTENCY_SECONDS: NumberRange = 60..=2_592_000;
const EXPORTS: NumberRange = 1..=1_000;
const BODY_BYTES: NumberRange = 65_536..=1 << 24;
const FEED_MS: NumberRange = 10..=600_000;
const INDEXES_SECONDS: NumberRange = 1..=86_400;
/// Zero is derived from the other settings.
const OVERDUE_MS: NumberRange = 0..=600_000;
/// Each holds a connection, and some memory.
const HANGING: NumberRange = 1..=100;
/// Zero does not wait. A longer time is no grace any more.
const GRACE_MS: NumberRange = 0..=600_000;
/// Lines of a few hundred bytes each.
const QUEUE_LINES: NumberRange = 1..=1_000_000;
/// Zero does not wait.
const DRAIN_SECONDS: NumberRange = 0..=3_600;

impl Config {
    /// Reads every value within its own range. [`Config::check`] checks the values together.
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

/// By default, how long after a missed heartbeat the stream is overdue.
const HEARTBEAT_GRACE: Duration = Duration::from_secs(1);

impl FeedConfig {
    fn read(values: &mut Values) -> Result<Self, ConfigError> {
        let heartbeat = values.millis("feed.heartbeat_ms", FEED_MS)?;
        let stale = values.millis("feed.stale_ms", FEED_MS)?;
        let overdue = values.millis("feed.overdue_ms", OVERDUE_MS)?;
        let by_default = (heartbeat + HEARTBEAT_GRACE).min(stale);
        Ok(Self {
            heartbeat,
            stale,
            overdue: if overdue.is_zero() { by_default } else { overdue },
            close: values.millis("feed.close_ms", FEED_MS)?,
            hanging: values.number("feed.hanging", HANGING)?,
            read_from: values.parsed(
                "feed.read_from",
                "\"primary\" or \"secondary\"",
                |text| match text {
                    "primary" => Some(ReadFrom::Primary),
                    "secondary" => Some(ReadFrom::Secondary),
                    _ => None,
                },
            )?,
        })
    }
}

impl MongodbConfig {
    fn read(values: &mut Values) -> Result<Self, ConfigError> {
        let uri = values.optional("mongodb.uri")?.map(Secret);
        Ok(Self {
            database: Self::read_database(values, uri.as_ref())?,
            uri,
            data_dir: values.text("mongodb.data_dir")?.into(),
            mongod: values.optional("mongodb.mongod")?.map(Into::into),
            cache_mib: values.number("mongodb.cache_mib", CACHE_MIB)?,
            pool_size: values.number("mongodb.pool_size", POOL_SIZE)?,
            indexes: values.seconds("mongodb.indexes_seconds", INDEXES_SECONDS)?,
            selection: values.millis("mongodb.selection_ms", DATABASE_MS)?,
            operation: values.millis("mongodb.operation_ms", DATABASE_MS)?,
        })
    }
}

impl AuthConfig {
    fn read(values: &mut Values) -> Result<Self, ConfigError> {
        Ok(Self {
            secret: values.optional("auth.secret")?.map(Secret),
            public_key: values.optional("auth.public_key")?,
            jwks: values.optional("auth.jwks")?,
            discovery: values.optional("auth.discovery")?,
            refresh: values.seconds("auth.refresh_seconds", REFRESH_SECONDS)?,
            refetch: values.millis("auth.refetch_ms", REFETCH_MS)?,
            fetch: values.millis("auth.fetch_ms", FETCH_MS)?,
            fetch_bytes: values.number("auth.fetch_bytes", FETCH_BYTES)?,
            algorithms: Self::read_algorithms(values)?,
            issuer: values.optional("auth.issuer")?,
            audience: values.optional("auth.audience")?,
            types: values.list("auth.types")?,
            require: values.required_claims(),
            max_lifetime: Some(values.seconds("auth.max_lifetime_seconds", LIFETIME_SECONDS)?)
                .filter(|most| !most.is_zero()),
            token_bytes: values.number("auth.token_bytes", TOKEN_BYTES)?,
            user_claim: values.text("auth.user_claim")?,
            email_claim: values.text("auth.email_claim")?,
            secret_is_own: false,
        })
    }
}

impl LimitsConfig {
    fn read(values: &mut Values) -> Result<Self, ConfigError> {
        Ok(Self {
            text_chars: values.number("limits.text_chars", TEXT_CHARS)?,
            frame_bytes: values.number("limits.frame_bytes", FRAME_BYTES)?,
            message_fragments: values.number("limits.message_fragments", MESSAGE_FRAGMENTS)?,
            frames_per_minute: values.number("limits.frames_per_minute", PER_MINUTE)?,
            rooms_per_minute: values.number("limits.rooms_per_minute", PER_MINUTE)?,
            addresses_per_minute: values.number("limits.addresses_per_minute", PER_MINUTE)?,
            messages_per_minute: values.number("limits.messages_per_minute", PER_MINUTE)?,
            connects_per_minute: values.number("limits.connects_per_minute", PER_MINUTE)?,
            documents_per_minute: values.number("limits.documents_per_minute", DOCUMENTS)?,
            bulk_reads: values.number("limits.bulk_reads", BULK_READS)?,
            bulk_reads_per_user: values.number("limits.bulk_reads_per_user", BULK_READS)?,
            bulk_wait: values.millis("limits.bulk_wait_ms", WAIT_MS)?,
            sockets_per_user: values.number("limits.sockets_per_user", SOCKETS)?,
            sockets: values.number("limits.sockets", SOCKETS)?,
            refusals_per_minute: values.number("limits.refusals_per_minute", PER_MINUTE)?,
            blocked_checks: values.number("limits.blocked_checks", BLOCKED_CHECKS)?,
            refused_addresses: values.number("limits.refused_addresses", ADDRESSES)?,
            send_queue: values.number("limits.send_queue", SEND_QUEUE)?,
            send_queue_bytes: values.number("limits.send_queue_bytes", QUEUE_BYTES)?,
            user_bytes: values.number("limits.user_bytes", QUEUE_BYTES)?,
            server_bytes: values.number("limits.server_bytes", QUEUE_BYTES)?,
            page_bytes: values.number("limits.page_bytes", PAGE_BYTES)?,
            write: values.millis("limits.write_ms", WAIT_MS)?,
            handler: values.millis("limits.handler_ms", WAIT_MS)?,
            event_bytes: values.number("limits.event_bytes", FRAME_BYTES)?,
            rooms_cached: values.number("limits.rooms_cached", ROOMS_CACHED)?,
            members_cached: values.number("limits.members_cached", ROOMS_CACHED)?,
            deletions_cached: values.number("limits.deletions_cached", ROOMS_CACHED)?,
            unread_text_bytes: values.number("limits.unread_text_bytes", TEXT_BYTES)?,
            batch: values.number("limits.batch", BATCH)?,
            write_queue: values.number("limits.write_queue", WRITE_QUEUE)?,
            unfolded_marks: values.number("limits.unfolded_marks", UNFOLDED_MARKS)?,
        })
    }
}

/// Reads `[actions.<name>]`. The defaults are declared beside the action's function. Zero means that the general limit
/// applies.
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
