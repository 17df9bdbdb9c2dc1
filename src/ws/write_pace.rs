//! Measures how fast a client reads. Each write has a time limit. But a client could read a few bytes just before each
//! limit, and so keep frames waiting for hours. Therefore a client for which frames wait must read at least
//! `sockets.min_bytes_per_second`, on average since the frames began to wait.

use std::time::{Duration, Instant};

/// The time since which at least one frame has been waiting for the client without a break, and the number of bytes
/// written since then. None if no frame waits.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct WritePace(Option<BehindSince>);

#[derive(Clone, Copy, Debug)]
struct BehindSince {
    since: Instant,
    bytes: usize,
}

impl WritePace {
    /// Returns how long a write of `bytes` bytes may take. The client has the time `grace`, plus one second for each
    /// `rate` bytes. The bytes of this write and of all writes since the frames began to wait are counted.
    pub(super) fn wait(&mut self, bytes: usize, rate: u32, grace: Duration, now: Instant) -> Duration {
        let behind = self.0.get_or_insert(BehindSince { since: now, bytes: 0 });
        let taken = behind.bytes.saturating_add(bytes);
        let allowed = grace.saturating_add(time_for(taken, rate));
        allowed.saturating_sub(now.saturating_duration_since(behind.since))
    }

    /// Records a successful write.
    pub(super) fn wrote(&mut self, bytes: usize) {
        if let Some(behind) = &mut self.0 {
            behind.bytes = behind.bytes.saturating_add(bytes);
        }
    }

    /// Records that no frame waits for the client.
    pub(super) fn caught_up(&mut self) {
        self.0 = None;
    }
}

fn time_for(bytes: usize, rate: u32) -> Duration {
    let millis = (bytes as u64).saturating_mul(1000) / u64::from(rate.max(1));
    Duration::from_millis(millis)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn client_may_take_as_long_as_rate_and_grace_allow() {
        let (mut pace, start, grace) = (WritePace::default(), Instant::now(), Duration::from_secs(10));
        let after = |seconds| start + Duration::from_secs(seconds);
        assert_eq!(pace.wait(2_000, 1_000, grace, start), Duration::from_secs(12));
        pace.wrote(2_000);
        assert_eq!(pace.wait(1_000, 1_000, grace, after(11)), Duration::from_secs(2));
        assert_eq!(pace.wait(1_000, 1_000, grace, after(20)), Duration::ZERO);
        pace.caught_up();
        assert_eq!(pace.wait(0, 1_000, grace, after(20)), grace);
    }
}
