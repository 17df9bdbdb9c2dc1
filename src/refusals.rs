//! Addresses whose connects are refused too often: they are answered 429 for a minute, before anything is looked at.
//!
//! It promises bounded memory, whoever comes from however many addresses: where there are too many, those that were
//! seen least are forgotten. It counts by server; so does a proxy that isn't listed count as the one address it is.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use moka::notification::RemovalCause;
use moka::sync::Cache;

use crate::address;
use crate::config::Config;
use crate::metrics::Metrics;

/// Over how long refused connects are counted, and how long no more are heard.
const WHILE: Duration = Duration::from_mins(1);

/// Who was refused in the last minute, and how often.
pub(crate) struct Refusals(Cache<IpAddr, Arc<Count>>);

struct Count {
    refused: AtomicU32,
    since: Instant,
}

impl Count {
    fn new(refused: u32) -> Arc<Self> {
        Arc::new(Self { refused: AtomicU32::new(refused), since: Instant::now() })
    }
}

impl Refusals {
    pub(crate) fn new(config: &Config, metrics: Arc<Metrics>) -> Self {
        let forgotten = move |_, _, cause| {
            if cause == RemovalCause::Size {
                metrics.limit("refused_addresses");
            }
        };
        Self(
            Cache::builder()
                .max_capacity(config.limits.refused_addresses.into())
                .time_to_live(WHILE)
                .eviction_listener(forgotten)
                .build(),
        )
    }

    /// One more of this address was refused. With the last one it may have, its minute begins anew.
    pub(crate) fn add(&self, address: IpAddr, config: &Config) {
        if address::is_exempt(address, &config.http.proxies) {
            return;
        }
        let network = address::network(address);
        let count = self.0.get_with(network, || Count::new(0));
        let refused = count.refused.fetch_add(1, Ordering::Relaxed).saturating_add(1);
        if refused == config.limits.refusals_per_minute {
            self.0.insert(network, Count::new(refused));
        }
    }

    /// For how long this address is not to be listened to, if it isn't.
    pub(crate) fn wait(&self, address: IpAddr, config: &Config) -> Option<Duration> {
        if address::is_exempt(address, &config.http.proxies) {
            return None;
        }
        let count = self.0.get(&address::network(address))?;
        let over = count.refused.load(Ordering::Relaxed) >= config.limits.refusals_per_minute;
        over.then(|| WHILE.saturating_sub(count.since.elapsed()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::Now;

    fn config(settings: &[(&str, &str)]) -> Config {
        let env = settings.iter().map(|(key, value)| (format!("PARLOR__{key}"), (*value).to_owned()));
        Config::load(None, env).unwrap()
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn an_address_that_was_refused_too_often_waits() {
        let config = config(&[("LIMITS__REFUSALS_PER_MINUTE", "2"), ("HTTP__PROXIES", "10.0.0.0/8")]);
        let refusals = Refusals::new(&config, Arc::new(Metrics::new()));
        for (address, neighbour, stranger) in [
            ("203.0.113.1", "203.0.113.1", "203.0.113.2"),
            ("2001:db8:1:2::1", "2001:db8:1:2:ffff::9", "2001:db8:1:3::1"),
        ] {
            refusals.add(ip(address), &config);
            assert_eq!(refusals.wait(ip(address), &config), None);
            refusals.add(ip(address), &config);
            let wait = refusals.wait(ip(neighbour), &config).unwrap();
            assert!(wait > Duration::from_secs(50) && wait <= WHILE, "{wait:?}");
            assert_eq!(refusals.wait(ip(stranger), &config), None);
        }
        for exempt in ["127.0.0.1", "::1", "10.1.2.3"] {
            for _ in 0..5 {
                refusals.add(ip(exempt), &config);
            }
            assert_eq!(refusals.wait(ip(exempt), &config), None, "{exempt}");
        }
    }

    #[test]
    fn more_addresses_than_are_remembered_are_forgotten_and_counted() {
        let config = config(&[("LIMITS__REFUSED_ADDRESSES", "10")]);
        let metrics = Arc::new(Metrics::new());
        let refusals = Refusals::new(&config, metrics.clone());
        for n in 0..100 {
            refusals.add(ip(&format!("203.0.113.{n}")), &config);
        }
        refusals.0.run_pending_tasks();
        assert!(refusals.0.entry_count() <= 10);
        let now =
            Now { heartbeat: None, write_queue: 0, receipts: 0, connections: 0, marks: 0, log_dropped: 0 };
        let page = metrics.render(now, crate::http::negotiation::MetricsFormat::OpenMetrics);
        assert!(page.contains("limits_hit_total{bound=\"refused_addresses\"} 90"));
    }
}
