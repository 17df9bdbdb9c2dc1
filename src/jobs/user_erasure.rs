//! Erases users in the background, a batch at a time. Any server can continue an erasure that another one started.
//!
//! As soon as an erasure is noted, every server closes the sockets of the user and refuses new ones, and no room
//! accepts the user. The memberships are removed first, so that no new messages arrive while the messages are removed.
//! A second pass follows when all actions that were running at that time must have ended. If one of them let the user
//! into a room, a last pass removes their messages there. The erasure counts as under way until the last pass is over.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;

use crate::config::live::LiveConfig;
use crate::store::{Erasure, Store, StoreError};
use crate::telemetry::metrics::Metrics;

/// Interval at which the job looks for erasures that another server did not finish, or that failed.
const INTERVAL: Duration = Duration::from_secs(2);

/// Documents in one batch. A batch takes a fraction of a second, so that chat continues beside it.
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
                linger: config.longest_action() + config.presence.grace,
            };
            if let Err(error) = run.process_queue().await {
                self.metrics.count_fault("erasure");
                tracing::warn!(%error, "could not erase a user; trying again");
            }
            // In both cases the job looks again, soon enough for an erasure whose first pass has just ended.
            let _ = tokio::time::timeout(INTERVAL.min(run.linger), self.trigger.0.notified()).await;
        }
    }
}

struct ErasureRun {
    store: Store,
    /// How long another server may take for a batch before this one continues. If a batch takes longer, two servers do
    /// it, which does no harm.
    lease: Duration,
    /// The time after which all actions of the user have ended, and the offline record is written.
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
            // A user that joined a room meanwhile may have been there, and is found for the last time now.
            Some(1..) if !erasure.looked => self.store.erasure_looked(erasure, self.linger).await,
            Some(_) if !is_offline => self.store.erasure_looked(erasure, self.linger).await,
            Some(_) => {
                self.store.end_erasure(erasure).await?;
                tracing::info!("a user was erased");
                Ok(())
            }
        }
    }

    /// Removes memberships and messages. Returns the number of rooms the user was in; none if another server has the
    /// erasure now.
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

    /// Removes the messages. Returns false if another server has the erasure now.
    async fn erase_messages(&self, erasure: &Erasure) -> Result<bool, StoreError> {
        while self.store.erase_messages(&erasure.user, BATCH).await? > 0 {
            if !self.store.hold_erasure(erasure, self.lease).await? {
                return Ok(false);
            }
        }
        Ok(true)
    }
}
