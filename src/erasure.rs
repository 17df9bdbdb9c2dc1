//! Erases users in the background, a batch at a time: what one server began and didn't end another goes on with.
//!
//! A user leaves their rooms first, and their sockets are closed; so nothing new comes while the messages go. What was
//! under way at that moment is looked for once more, when it must have come to its end.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;

use crate::config::Config;
use crate::metrics::Metrics;
use crate::signal::Signal;
use crate::store::{Erasure, Store, StoreError};

/// How often it is looked for erasures that others have not come to the end of, or that failed.
const PERIOD: Duration = Duration::from_secs(10);

/// Documents in one go: a fraction of a second, so that chat goes on beside it.
const BATCH: i64 = 500;

/// The one that erases on this server.
pub(crate) struct Eraser {
    store: Store,
    metrics: Arc<Metrics>,
    wanted: Notify,
    /// How long one batch may take, and a server that doesn't go on is waited for.
    lease: Duration,
    /// How long what a user was doing may still take.
    linger: Duration,
}

impl Eraser {
    pub(crate) fn new(store: Store, config: &Config, metrics: Arc<Metrics>) -> Self {
        let lease = config.mongodb.operation * 3;
        let linger = config.limits.handler + config.mongodb.operation;
        Self { store, metrics, wanted: Notify::new(), lease, linger }
    }

    /// Looks for what is to be done now rather than soon.
    pub(crate) fn wake(&self) {
        self.wanted.notify_one();
    }

    /// Erases, for ever.
    pub(crate) async fn run(self: Arc<Self>) {
        loop {
            if let Err(error) = self.work_off().await {
                self.metrics.fault("erasure");
                tracing::warn!(%error, "erasing a user failed; trying again");
            }
            // Either way round: it is looked again, and soon enough for what was swept just now.
            let _ = tokio::time::timeout(PERIOD.min(self.linger), self.wanted.notified()).await;
        }
    }

    async fn work_off(&self) -> Result<(), StoreError> {
        while let Some(erasure) = self.store.take_erasure(self.lease).await? {
            if erasure.swept {
                self.look_again(&erasure).await?;
            } else {
                self.sweep(&erasure).await?;
            }
        }
        Ok(())
    }

    async fn sweep(&self, erasure: &Erasure) -> Result<(), StoreError> {
        let user = &erasure.user;
        while self.store.erase_memberships(user, BATCH).await? > 0 {
            if !self.store.hold_erasure(erasure, self.lease).await? {
                return Ok(());
            }
        }
        self.store.signal(&Signal::Disconnect { user: user.clone() }).await?;
        self.store.erase_answers(user).await?;
        if self.erase_messages(erasure).await? {
            self.store.erasure_swept(erasure, self.linger).await?;
            tracing::info!("a user was erased");
        }
        Ok(())
    }

    async fn look_again(&self, erasure: &Erasure) -> Result<(), StoreError> {
        self.store.erase_answers(&erasure.user).await?;
        self.store.erase_presence(&erasure.user).await?;
        if self.erase_messages(erasure).await? {
            self.store.end_erasure(erasure).await?;
        }
        Ok(())
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
