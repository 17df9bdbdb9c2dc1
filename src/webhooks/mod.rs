//! The application's own servers, told what happens here, and asked before it does: `[hooks]`.
//!
//! [`before_send`](crate::webhooks::before_send) is asked in the middle of a `send`, and is all that a sender waits for. The others hear of what is
//! done already, and cost whoever does it nothing: they read the database's change stream. What they promise:
//!
//! - At least once. A hook's place in the stream is kept in the database and moves on only behind what the receiver
//!   has answered with 2xx; whatever it answers else is sent again, with pauses that grow. An event that the receiver
//!   can't take while it takes others is set aside after some tries ([`patience`]): it is kept, listed, and can be sent
//!   again by hand.
//! - In order within a room, or of one user: the next event waits for the one before it. Rooms don't wait for each
//!   other. A user's `connected` and `disconnected` have one order, over both hooks: they are read from one stream.
//! - By one server at a time, which holds a lease in the database. When it dies another goes on from the place
//!   that was kept, so that some events come twice, with the same `id`.
//! - One hook never waits for another: each has a stream, a place, a lease of its own. Only `connected` and
//!   `disconnected` share them, since the order of a user's events is one.
//! - Bounded memory, however long a receiver is away: the stream is read no further than `hooks.window` events past
//!   the oldest that isn't told.
//!
//! Where the database no longer has what came after a hook's place, that is logged, counted, and what can still be
//! told is read from the collections ([`backfill`](crate::webhooks::backfill)).

pub(crate) mod backfill;
pub(crate) mod before_send;
pub(crate) mod deliver;
pub(crate) mod dispatcher;
pub(crate) mod event;
pub(crate) mod patience;
pub(crate) mod reader;
pub(crate) mod resend;
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

/// How long the end waits for the leases to be given back.
const STOP_GRACE: Duration = Duration::from_secs(1);

/// What tells the hooks that are configured.
pub(crate) struct Webhooks {
    dispatchers: Vec<Dispatcher>,
}

impl Webhooks {
    /// As configured; a hook without a URL is none.
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

    /// Gives each hook a place in the stream, where it has none: what happens from now on is told.
    pub(crate) async fn begin(&self) -> Result<(), StoreError> {
        for dispatcher in &self.dispatchers {
            dispatcher.begin().await?;
        }
        Ok(())
    }

    /// Begins to tell them.
    pub(crate) fn start(self, supervisor: &Supervisor) -> RunningWebhooks {
        let targets = self.dispatchers.iter().flat_map(|dispatcher| dispatcher.targets.clone()).collect();
        let running =
            RunningWebhooks { stop: CancellationToken::new(), tracker: TaskTracker::new(), targets };
        for dispatcher in self.dispatchers {
            let name = dispatcher.source.name();
            running.tracker.spawn(supervisor.clone().hold(name, dispatcher.run(running.stop.clone())));
        }
        running.tracker.close();
        running
    }
}

/// Where the events of a hook are told; none where it has no URL.
fn target(
    kind: HookKind,
    hooks: &config::Hooks,
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

/// Hooks that are being told, until this is dropped.
pub(crate) struct RunningWebhooks {
    stop: CancellationToken,
    tracker: TaskTracker,
    targets: Vec<HookTarget>,
}

impl RunningWebhooks {
    /// Leaves them to other servers, at once: nobody waits for a lease to run out.
    pub(crate) async fn end(&self) {
        self.stop.cancel();
        if tokio::time::timeout(STOP_GRACE, self.tracker.wait()).await.is_err() {
            tracing::warn!("the hooks' leases could not be given back in time; they run out");
        }
    }
}

impl Drop for RunningWebhooks {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}
