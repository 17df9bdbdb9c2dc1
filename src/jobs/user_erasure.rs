//! Erases users in the background, one batch of documents at a time. Any server can continue an erasure that another
//! server started.
//!
//! An erasure starts with a document in the database. From then on every server closes the user's sockets, refuses new
//! sockets, and adds the user to no room. The erasure usually has two or three passes:
//!
//! - The first pass removes the memberships, and then the text and the sender of the user's messages. Without a
//!   membership, the user can't write new messages during the pass.
//! - The second pass starts later, after the longest time that an action may run. Therefore all actions that were
//!   running during the first pass have ended. The second pass removes everything that these actions wrote.
//! - A third pass follows if the second pass found a membership. This pass handles the messages that the user wrote in
//!   the room of that membership. If the user is still recorded as online after a pass, another pass follows.
//!
//! The erasure counts as unfinished until the last pass has ended.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;

use crate::config::live::LiveConfig;
use crate::store::{Erasure, Store, StoreError};
use crate::telemetry::metrics::Metrics;

/// The interval at which the job searches for erasures that failed, or that another server did not finish.
const INTERVAL: Duration = Duration::from_secs(2);

/// The number of documents in one batch. A batch takes a fraction of a second. Therefore the erasure does not delay
/// chat messages noticeably.
const BATCH: i64 = 500;

/// Wakes the erasure job before its next interval.
#[derive(Clone, Debug, Default)]
pub(crate) struct ErasureTrigger(Arc<Notify>);

impl ErasureTrigger {
    /// Wakes the job, because the erasure of a user was requested.
    pub(crate) fn wake(&self) {
        self.0.notify_one();
    }
}

/// The background job that erases users.
pub(crate) struct UserErasure {
    pub(crate) config: Arc<LiveConfig>,
    pub(crate) store: Store,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) trigger: ErasureTrigger,
}

impl UserErasure {
    /// Erases users when triggered, and every [`INTERVAL`]. Never returns.
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
            // `linger` is the wait before the second pass. If this wait is shorter than the interval, the job wakes up
            // in time for the second pass.
            let _ = tokio::time::timeout(INTERVAL.min(run.linger), self.trigger.0.notified()).await;
        }
    }
}

struct ErasureRun {
    store: Store,
    /// The time after which another server may take over the erasure, counted from the last batch. If a batch takes
    /// longer than this time, two servers may run the same batch. This does no harm.
    lease: Duration,
    /// The wait between two passes. After this time, all actions of the user have ended, and the user is recorded as
    /// offline.
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
            // This pass found a membership. The user joined this room after the first pass and may have written
            // messages in it. Therefore one more pass follows.
            Some(1..) if !erasure.looked => self.store.erasure_looked(erasure, self.linger).await,
            Some(_) if !is_offline => self.store.erasure_looked(erasure, self.linger).await,
            Some(_) => {
                self.store.end_erasure(erasure).await?;
                tracing::info!("a user was erased");
                Ok(())
            }
        }
    }

    /// Removes the user's memberships and other data, and the text and the sender of the user's messages. Returns the
    /// number of memberships that were removed. Returns `None` only if the erasure was requested again, or if another
    /// server has finished it.
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
        self.store.erase_state(user).await?;
        Ok(self.erase_messages(erasure).await?.then_some(rooms))
    }

    /// Removes the text and the sender of the user's messages. Returns false only if the erasure was requested again,
    /// or if another server has finished it.
    async fn erase_messages(&self, erasure: &Erasure) -> Result<bool, StoreError> {
        while self.store.erase_messages(&erasure.user, BATCH).await? > 0 {
            if !self.store.hold_erasure(erasure, self.lease).await? {
                return Ok(false);
            }
        }
        Ok(true)
    }
}
