//! Blocks clients whose connects (WebSocket handshakes) are refused too often. Each refused connect counts against
//! one source: an address, a user, or the expired tokens of a user. After `limits.refusals_per_minute` refusals, the
//! connects of this source get status 429 for a minute.
//!
//! - A connect without a valid token may be an attempt to guess a token. This connect counts against the client's
//!   address.
//! - Many users can share an address. So the refusals of an address never block a user with a valid token. A refused
//!   connect with a valid token counts against the user, for example if the user is not a member of the room.
//! - An expired token that a known key has signed is not a guess. A connect with this token counts against the
//!   expired tokens of its user. The sender may be an attacker who has found the expired token, so the refusals must
//!   not block the user's valid token.
//!
//! Memory is bounded: above `limits.refused_addresses` sources, the least used sources are forgotten. Each server
//! counts only its own connects. If a proxy is not listed in `http.proxies`, all clients behind it count as one
//! address.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use handlers::UserId;
use moka::notification::RemovalCause;
use moka::sync::Cache;
use tokio::sync::{Semaphore, SemaphorePermit};

use super::refusal_log::RefusalLog;
use super::{Caller, TokenError};
use crate::config::Config;
use crate::protocol::client_ip;
use crate::protocol::close::Close;
use crate::telemetry::metrics::Metrics;

/// The period in which refused connects are counted, and the time for which a source is blocked.
const BLOCK_TIME: Duration = Duration::from_mins(1);

/// The source against which a refused connect counts.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum ClientSource {
    /// The connect comes from this machine, or from a proxy in `http.proxies`. Parlor never counts and never blocks
    /// these connects.
    Exempt,
    /// All clients of one address (for IPv6, of one /64) that have no valid token.
    Address(IpAddr),
    /// A user with a valid token.
    User(UserId),
    /// The clients that connect with an expired token of this user.
    OldToken(UserId),
}

impl ClientSource {
    /// Returns the source of a client whose token is not checked yet.
    pub(crate) fn from_address(address: IpAddr, config: &Config) -> Self {
        if client_ip::is_exempt(address, &config.http.proxies) {
            Self::Exempt
        } else {
            Self::Address(client_ip::network(address))
        }
    }

    /// Returns the source of a client after its token was checked. `verified` is the result of this check, or none if
    /// the client sent no token.
    pub(crate) fn with_token(self, verified: Option<&Result<Caller, TokenError>>) -> Self {
        match (self, verified) {
            (Self::Exempt, _) => Self::Exempt,
            (_, Some(Ok(caller))) => Self::User(caller.user.clone()),
            (address, Some(Err(refused))) => {
                refused.user_of_old_token().map_or(address, |user| Self::OldToken(user.clone()))
            }
            (address, None) => address,
        }
    }
}

/// A client that connects.
#[derive(Clone, Debug)]
pub(crate) struct ConnectingClient {
    address: IpAddr,
    /// The user whom a token with a known key names, even if the token has expired.
    user: Option<UserId>,
    pub(crate) source: ClientSource,
}

impl ConnectingClient {
    /// Returns a client whose token is not checked yet.
    pub(crate) fn from_address(address: IpAddr, config: &Config) -> Self {
        Self { address, user: None, source: ClientSource::from_address(address, config) }
    }

    /// Adds the result of the token's check. `None` means that there is no token.
    pub(crate) fn with_token(self, verified: Option<&Result<Caller, TokenError>>) -> Self {
        let user = match verified {
            Some(Ok(caller)) => Some(&caller.user),
            Some(Err(refused)) => refused.user_of_old_token(),
            None => None,
        };
        Self { user: user.cloned(), source: self.source.with_token(verified), ..self }
    }
}

/// The number of refused connects in the last minute, by source.
pub(crate) struct RefusedClients {
    counts: Cache<ClientSource, Arc<RefusalCount>>,
    checks: Semaphore,
    metrics: Arc<Metrics>,
    log: Option<RefusalLog>,
}

struct RefusalCount {
    refused: AtomicU32,
    since: Instant,
}

impl RefusalCount {
    fn new(refused: u32) -> Arc<Self> {
        Arc::new(Self { refused: AtomicU32::new(refused), since: Instant::now() })
    }
}

impl RefusedClients {
    pub(crate) fn new(config: &Config, metrics: Arc<Metrics>) -> Self {
        let counted = metrics.clone();
        let forgotten = move |_, _, cause| {
            if cause == RemovalCause::Size {
                counted.bound_hit("refused_addresses");
            }
        };
        let counts = Cache::builder()
            .max_capacity(config.limits.refused_addresses.into())
            .time_to_live(BLOCK_TIME)
            .eviction_listener(forgotten)
            .build();
        Self { counts, checks: Semaphore::new(config.limits.blocked_checks), metrics, log: None }
    }

    /// Also logs each refused connect, within a rate.
    pub(crate) fn with_log(self) -> Self {
        Self { log: Some(RefusalLog::new()), ..self }
    }

    /// Logs a refused connect, if refused connects are logged. `code` is a close code or an HTTP status.
    pub(crate) fn log(&self, client: &ConnectingClient, code: u16, reason: &'static str) {
        if let Some(log) = &self.log {
            log.write(code, reason, client.address, client.user.as_ref());
        }
    }

    /// Counts a refused connect. When the count reaches `limits.refusals_per_minute`, a block of one minute starts.
    pub(crate) fn count(&self, source: &ClientSource, config: &Config) {
        if *source == ClientSource::Exempt {
            return;
        }
        let count = self.counts.get_with_by_ref(source, || RefusalCount::new(0));
        let refused = count.refused.fetch_add(1, Ordering::Relaxed).saturating_add(1);
        if refused == config.limits.refusals_per_minute {
            self.counts.insert(source.clone(), RefusalCount::new(refused));
        }
    }

    /// Records a refused connect in the metrics and the log. If the client caused the refusal, also counts the connect
    /// against the source.
    pub(crate) fn record(&self, client: &ConnectingClient, config: &Config, close: Close) {
        self.metrics.connect(close.label());
        self.log(client, close.code(), close.reason());
        if close.is_client_error() {
            self.count(&client.source, config);
        }
    }

    /// Returns the remaining time of the source's block. Returns none if the source is not blocked.
    pub(crate) fn blocked_for(&self, source: &ClientSource, config: &Config) -> Option<Duration> {
        let count = self.counts.get(source)?;
        let over = count.refused.load(Ordering::Relaxed) >= config.limits.refusals_per_minute;
        over.then(|| BLOCK_TIME.saturating_sub(count.since.elapsed()))
    }

    /// Waits for a permit to check a token from a blocked address. Many connects from blocked addresses may arrive at
    /// the same time. The permits limit the number of concurrent checks, and so the CPU time for these checks.
    pub(crate) async fn acquire_check(&self) -> Option<SemaphorePermit<'_>> {
        if let Ok(permit) = self.checks.try_acquire() {
            return Some(permit);
        }
        self.metrics.bound_hit("blocked_checks");
        // The semaphore is never closed.
        self.checks.acquire().await.ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::metrics::Gauges;

    fn config(settings: &[(&str, &str)]) -> Config {
        let env = settings.iter().map(|(key, value)| (format!("PARLOR__{key}"), (*value).to_owned()));
        Config::load(None, env).unwrap()
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn address_is_blocked_when_refused_too_often() {
        let config = config(&[("LIMITS__REFUSALS_PER_MINUTE", "2"), ("HTTP__PROXIES", "10.0.0.0/8")]);
        let refusals = RefusedClients::new(&config, Arc::new(Metrics::new()));
        for (address, neighbour, stranger) in [
            ("203.0.113.1", "203.0.113.1", "203.0.113.2"),
            ("2001:db8:1:2::1", "2001:db8:1:2:ffff::9", "2001:db8:1:3::1"),
        ] {
            let [address, neighbour, stranger] =
                [address, neighbour, stranger].map(|text| ClientSource::from_address(ip(text), &config));
            refusals.count(&address, &config);
            assert_eq!(refusals.blocked_for(&address, &config), None);
            refusals.count(&address, &config);
            let wait = refusals.blocked_for(&neighbour, &config).unwrap();
            assert!(wait > Duration::from_secs(50) && wait <= BLOCK_TIME, "{wait:?}");
            assert_eq!(refusals.blocked_for(&stranger, &config), None);
        }
        for exempt in ["127.0.0.1", "::1", "10.1.2.3"] {
            let exempt = ClientSource::from_address(ip(exempt), &config);
            for _ in 0..5 {
                refusals.count(&exempt, &config);
            }
            assert_eq!(refusals.blocked_for(&exempt, &config), None, "{exempt:?}");
        }
    }

    #[test]
    fn valid_and_expired_tokens_do_not_count_for_the_address() {
        let config = config(&[("LIMITS__REFUSALS_PER_MINUTE", "1")]);
        let refusals = RefusedClients::new(&config, Arc::new(Metrics::new()));
        let mut auth = config.auth.clone();
        auth.secret = Some(crate::config::Secret::new("a secret of these tests, 32 bytes long"));
        let verifier = crate::auth::Verifier::new(&auth).unwrap();
        let user = UserId::Int(7);
        let good = crate::auth::sign(&auth, &user, None, Duration::from_mins(1)).unwrap();
        let address = || ClientSource::from_address(ip("203.0.113.1"), &config);
        let source = |token: &str| address().with_token(Some(&verifier.verify(token)));
        assert_eq!(source(&good), ClientSource::User(user.clone()));
        assert_eq!(source(&format!("{good}x")), address());
        assert_eq!(address().with_token(None), address());
        let old = ClientSource::OldToken(user);
        for one in [address(), old, source(&good)] {
            assert_eq!(refusals.blocked_for(&one, &config), None, "{one:?} has a count of its own");
            refusals.count(&one, &config);
            assert!(refusals.blocked_for(&one, &config).is_some());
        }
    }

    #[test]
    fn least_used_address_is_forgotten_when_the_cache_is_full() {
        let config = config(&[("LIMITS__REFUSED_ADDRESSES", "10")]);
        let metrics = Arc::new(Metrics::new());
        let refusals = RefusedClients::new(&config, metrics.clone());
        for n in 0..100 {
            refusals.count(&ClientSource::from_address(ip(&format!("203.0.113.{n}")), &config), &config);
        }
        refusals.counts.run_pending_tasks();
        assert!(refusals.counts.entry_count() <= 10);
        let now =
            Gauges { heartbeat: None, write_queue: 0, receipts: 0, connections: 0, marks: 0, log_dropped: 0 };
        let page = metrics.render(now, crate::telemetry::metrics::format::MetricsFormat::OpenMetrics);
        assert!(page.contains("limits_hit_total{bound=\"refused_addresses\"} 90"));
    }
}
