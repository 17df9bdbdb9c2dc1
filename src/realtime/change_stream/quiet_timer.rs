//! Measures how long a change stream has been silent.

use std::time::Duration;

use tokio::time::MissedTickBehavior;

/// Measures how long nothing was received. It uses a clock only while nothing is received.
pub(super) struct QuietTimer {
    ticks: tokio::time::Interval,
    quiet: u32,
}

impl QuietTimer {
    /// After this many ticks a quiet time is [long](Self::is_long).
    const LONG: u32 = 4;

    pub(super) fn new(long: Duration) -> Self {
        let mut ticks = tokio::time::interval(long / Self::LONG);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Self { ticks, quiet: 0 }
    }

    pub(super) async fn tick(&mut self) {
        self.ticks.tick().await;
        self.quiet = self.quiet.saturating_add(1);
    }

    pub(super) fn is_long(&self) -> bool {
        self.quiet > Self::LONG
    }

    /// Restarts the measurement: something was received.
    pub(super) fn ends(&mut self) {
        self.quiet = 0;
    }
}
