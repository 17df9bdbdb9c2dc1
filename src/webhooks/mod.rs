//! Webhooks: the application's servers receive events from Parlor, and are asked before a message is written:
//! `[hooks]`.
//!
//! [`before_send`] is asked in the middle of a `send`, and is the only hook that a
//! sender waits for. The other hooks receive events of committed changes from the database's change stream, and cost
//! the sender nothing. Their guarantees:
//!
//! - At least once. A hook's position in the stream is stored in the database, and moves on only past events that the
//!   receiver has answered with 2xx. After any other answer the event is sent again, with growing pauses. If the
//!   receiver refuses an event while it accepts others, the event is set aside after some tries ([`retry_budget`]): it
//!   is stored, listed, and can be sent again manually.
//! - In order within a room, or for one user: the next event waits for the one before it. Rooms don't wait for each
//!   other. The `connected` and `disconnected` events of a user have one order across both hooks, because both are
//!   read from one stream.
//! - By one server at a time, which holds a lease in the database. If it dies, another server continues from the
//!   stored position, so some events come twice, with the same `id`.
//! - A hook never waits for another one: each has its own stream, position and lease. Only `connected` and
//!   `disconnected` share them, because the events of a user have one order.
//! - Bounded memory, however long a receiver is unavailable: the stream is read no further than `hooks.window` events
//!   past the oldest undelivered one.
//!
//! If the database no longer has the changes after a hook's position, this is logged and counted, and the events are
//! rebuilt from the collections ([`backfill`]).

pub(crate) mod backfill;
pub(crate) mod before_send;
pub(crate) mod deliver;
pub(crate) mod dispatcher;
pub(crate) mod event;
pub(crate) mod reader;
pub(crate) mod resend;
pub(crate) mod retry_budget;
pub(crate) mod window;

use std::sync::Arc;
use std::time::Duration;

use bson::oid::ObjectId;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub(crate) use self::before_send::BeforeSend;
use self::dispatcher::{Dispatcher, HookTarget};
use self::event::EventSource;
pub(crate) use self::event::HookKind;
pub(crate) use self::resend::ResendOutcome;
use crate::config::url::UnusableUrl;
use crate::config::{self, Config};
use crate::outbound::Receiver;
use crate::store::{Store, StoreError};
use crate::supervisor::Supervisor;
use crate::telemetry::metrics::Metrics;

/// How long a shutdown waits for the leases to be released.
const STOP_GRACE: Duration = Duration::from_secs(1);

/// The configured webhooks, before they run.
pub(crate) struct Webhooks {
    dispatchers: Vec<Dispatcher>,
}

impl Webhooks {
    /// Creates the webhooks as configured. A hook without a URL is off.
    ///
    /// # Errors
    /// A URL can't be used.
    pub(crate) fn new(
        config: &Config,
        server: ObjectId,
        store: &Store,
        stream_store: &Store,
        metrics: &Arc<Metrics>,
    ) -> Result<Self, UnusableUrl> {
        let hooks = &config.hooks;
        let mut dispatchers = Vec::new();
        for source in EventSource::ALL {
            let targets = source.kinds().iter().filter_map(|kind| target(*kind, hooks, metrics));
            let targets: Vec<_> = targets.collect::<Result<_, _>>()?;
            if !targets.is_empty() {
                dispatchers.push(Dispatcher {
                    source,
                    targets,
                    settings: hooks.settings.clone(),
                    server,
                    store: store.clone(),
                    stream_store: stream_store.clone(),
                    metrics: metrics.clone(),
                });
            }
        }
        Ok(Self { dispatchers })
    }

    /// Stores a position in the stream for each hook that has none: events from now on are delivered.
    pub(crate) async fn begin(&self) -> Result<(), StoreError> {
        for dispatcher in &self.dispatchers {
            dispatcher.begin().await?;
        }
        Ok(())
    }

    /// Starts the delivery.
    pub(crate) fn start(self, supervisor: &Supervisor) -> RunningWebhooks {
        let targets = self.dispatchers.iter().flat_map(|dispatcher| dispatcher.targets.clone()).collect();
        let running =
            RunningWebhooks { stop: CancellationToken::new(), tracker: TaskTracker::new(), targets };
        for dispatcher in self.dispatchers {
            let name = dispatcher.source.name();
            running.tracker.spawn(supervisor.clone().run_guarded(name, dispatcher.run(running.stop.clone())));
        }
        running.tracker.close();
        running
    }
}

/// Returns the receiver of a hook; none if it has no URL.
fn target(
    kind: HookKind,
    hooks: &config::HooksConfig,
    metrics: &Arc<Metrics>,
) -> Option<Result<HookTarget, UnusableUrl>> {
    let settings = match kind {
        HookKind::AfterSend => &hooks.after_send,
        HookKind::Connected => &hooks.connected,
        HookKind::Disconnected => &hooks.disconnected,
        HookKind::Offline => &hooks.offline,
    };
    let settings = settings.as_ref()?;
    let receiver = Receiver::new(&format!("hooks.{}", kind.name()), settings, metrics);
    metrics.hook_begins(kind.name());
    let permits = Arc::new(Semaphore::new(settings.max_in_flight));
    Some(receiver.map(|receiver| HookTarget { kind, receiver: Arc::new(receiver), permits }))
}

/// The running webhooks. They stop when this is dropped.
pub(crate) struct RunningWebhooks {
    stop: CancellationToken,
    tracker: TaskTracker,
    targets: Vec<HookTarget>,
}

impl RunningWebhooks {
    /// Stops the delivery and releases the leases, so that other servers can continue immediately.
    pub(crate) async fn end(&self) {
        self.stop.cancel();
        if tokio::time::timeout(STOP_GRACE, self.tracker.wait()).await.is_err() {
            tracing::warn!("could not release the leases of the hooks in time; they run out by themselves");
        }
    }
}

impl Drop for RunningWebhooks {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}
