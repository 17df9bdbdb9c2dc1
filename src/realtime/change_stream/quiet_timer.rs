//! Measures how long a change stream has been silent.

use std::time::Duration;

use tokio::time::MissedTickBehavior;

/// Counts the ticks since the last event of the stream. An event only resets the count, which is cheaper than reading a
/// clock for each event.
pub(super) struct QuietTimer {
    ticks: tokio::time::Interval,
    quiet: u32,
}

impl QuietTimer {
    /// The number of ticks in the duration that is passed to [`new`](Self::new). A silence of more than this number of
    /// ticks is [long](Self::is_long).
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
