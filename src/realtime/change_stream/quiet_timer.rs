//! Measures how long a change stream has been silent.

use std::time::Duration;

use tokio::time::MissedTickBehavior;

/// Measures how long the stream has been silent. The timer reads no clock while events arrive.
pub(super) struct QuietTimer {
    ticks: tokio::time::Interval,
    quiet: u32,
}

impl QuietTimer {
    /// A silence of more than this many ticks is [long](Self::is_long).
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

    /// Restarts the measurement, because an event arrived.
    pub(super) fn ends(&mut self) {
        self.quiet = 0;
    }
}
