//! Erases users in the background, a batch at a time: what one server began and didn't end another goes on with.
//!
//! From the moment that an erasure is noted every server closes the user's sockets, and refuses new ones; no room takes
//! the user in. The memberships go first, so nothing new comes while the messages go. What was under way at that moment is
//! looked for once more, when it must have ended; if that let the user into a room, what they did there, a last time. The
//! erasure counts as under way until the last look is over.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;

use crate::config::live::LiveConfig;
use crate::store::{Erasure, Store, StoreError};
use crate::telemetry::metrics::Metrics;

/// How often it is looked for erasures that others have not come to the end of, or that failed.
const INTERVAL: Duration = Duration::from_secs(2);

/// Documents in one go: a fraction of a second, so that chat goes on beside it.
const BATCH: i64 = 500;

/// Starts the erasure before its next interval.
#[derive(Clone, Debug, Default)]
pub(crate) struct ErasureTrigger(Arc<Notify>);

impl ErasureTrigger {
    /// Starts the erasure: a user is to be erased.
    pub(crate) fn wake(&self) {
        self.0.notify_one();
    }
}

/// Erases users in the background.
pub(crate) struct UserErasure {
    pub(crate) config: Arc<LiveConfig>,
    pub(crate) store: Store,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) trigger: ErasureTrigger,
}

impl UserErasure {
    /// Erases when triggered and every [`INTERVAL`]. Never returns.
    pub(crate) async fn run(self) {
        loop {
            let config = self.config.load_full();
            let run = ErasureRun {
                store: self.store.clone(),
                lease: config.mongodb.operation,
                linger: config.action_over() + config.presence.grace,
            };
            if let Err(error) = run.process_queue().await {
                self.metrics.fault("erasure");
                tracing::warn!(%error, "could not erase a user; trying again");
            }
            // Either way it looks again, and soon enough for an erasure that was swept just now.
            let _ = tokio::time::timeout(INTERVAL.min(run.linger), self.trigger.0.notified()).await;
        }
    }
}

struct ErasureRun {
    store: Store,
    /// How long a server that doesn't go on is waited for. If a batch takes longer, two servers do it, which harms nothing.
    lease: Duration,
    /// How long what a user was doing may still take, and it to be noted that they are gone.
    linger: Duration,
}

impl ErasureRun {
    async fn process_queue(&self) -> Result<(), StoreError> {
        while let Some(erasure) = self.store.take_erasure(self.lease).await? {
            if erasure.swept {
                self.final_pass(&erasure).await?;
            } else {
                self.sweep(&erasure).await?;
            }
        }
        Ok(())
    }

    async fn sweep(&self, erasure: &Erasure) -> Result<(), StoreError> {
        if self.erase(erasure).await?.is_some() {
            self.store.erasure_swept(erasure, self.linger).await?;
        }
        Ok(())
    }

    async fn final_pass(&self, erasure: &Erasure) -> Result<(), StoreError> {
        let is_offline = self.store.erase_presence(&erasure.user).await?;
        match self.erase(erasure).await? {
            None => Ok(()),
            // Whoever came into a room meanwhile may have been there, and is seen for the last time by now.
            Some(1..) if !erasure.looked => self.store.erasure_looked(erasure, self.linger).await,
            Some(_) if !is_offline => self.store.erasure_looked(erasure, self.linger).await,
            Some(_) => {
                self.store.end_erasure(erasure).await?;
                tracing::info!("a user was erased");
                Ok(())
            }
        }
    }

    /// Gives how many rooms the user was in; none where another server has it now.
    async fn erase(&self, erasure: &Erasure) -> Result<Option<usize>, StoreError> {
        let user = &erasure.user;
        let mut rooms = 0;
        loop {
            let left = self.store.erase_memberships(user, BATCH).await?;
            if left == 0 {
                break;
            }
            rooms += left;
            if !self.store.hold_erasure(erasure, self.lease).await? {
                return Ok(None);
            }
        }
        self.store.erase_answers(user).await?;
        self.store.erase_set_aside(user).await?;
        self.store.erase_signals(user).await?;
        Ok(self.erase_messages(erasure).await?.then_some(rooms))
    }

    /// False where another server has it now.
    async fn erase_messages(&self, erasure: &Erasure) -> Result<bool, StoreError> {
        while self.store.erase_messages(&erasure.user, BATCH).await? > 0 {
            if !self.store.hold_erasure(erasure, self.lease).await? {
                return Ok(false);
            }
        }
        Ok(true)
    }
}
