//! The log lines about refused connects. They are for a first try with the embedded `mongod`: a developer sees in the
//! terminal why a client was refused.

use std::net::IpAddr;
use std::num::NonZeroU32;
use std::sync::atomic::{AtomicU64, Ordering};

use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};
use handlers::UserId;

/// The most lines in a burst, and in each minute after the burst.
const LINES_PER_MINUTE: u32 = 20;

/// Writes one line for each refused connect, within a rate.
pub(super) struct RefusalLog {
    rate: DefaultDirectRateLimiter,
    left_out: AtomicU64,
}

impl RefusalLog {
    pub(super) fn new() -> Self {
        let rate = Quota::per_minute(NonZeroU32::new(LINES_PER_MINUTE).unwrap_or(NonZeroU32::MIN));
        Self { rate: RateLimiter::direct(rate), left_out: AtomicU64::new(0) }
    }

    /// Writes the line of a refused connect. Over the rate, only counts the connect; the next line has the count.
    pub(super) fn write(&self, code: u16, reason: &'static str, address: IpAddr, user: Option<&UserId>) {
        if self.rate.check().is_err() {
            self.left_out.fetch_add(1, Ordering::Relaxed);
            return;
        }
        let left_out = Some(self.left_out.swap(0, Ordering::Relaxed)).filter(|count| *count > 0);
        // The id comes from a token, so it is quoted and escaped.
        let user = user.map(|user| tracing::field::debug(user.to_string()));
        tracing::info!(code, reason, %address, user, left_out, "refused a connect");
    }
}
