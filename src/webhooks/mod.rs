//! Webhooks (`[hooks]`): Parlor asks the application's server before a message is written, and reports events to the
//! application's server. A function file may take the place of the server.
//!
//! Only the hook [`before_send`] is asked during a `send` or an `edit`. So only this hook makes a sender wait. The
//! other hooks receive events about committed changes. Parlor reads these events from the database's change stream: the
//! ordered list of all committed changes. The delivery of these events has these guarantees:
//!
//! - At least once. The database stores a position in the stream for each hook. The position moves past an event only
//!   after the receiver has answered the event with 2xx, or after the event was set aside. After any other answer, the
//!   event is sent again, with growing pauses.
//! - One bad event does not block a hook for ever. If the receiver refuses one event but accepts other events, Parlor
//!   sets the event aside after some tries ([`retry_budget`]). Parlor stores a set-aside event. An operator can list
//!   the set-aside events and send them again.
//! - In order within a room, or for one user. An event waits until the previous event of its room or user is delivered.
//!   Rooms don't wait for each other.
//! - By one server at a time. Only the server that holds the lease delivers. A lease is a record in the database with
//!   an end time. If the holder of the lease dies, another server continues from the stored position. Some events are
//!   then sent twice, with the same `id`.
//! - A slow hook does not delay another hook. Each hook has its own stream, position and lease. The hooks `connected`
//!   and `disconnected` are the only exception. They share one stream, position and lease, so that the events of one
//!   user stay in order.
//! - Bounded memory. Even if a receiver is unavailable for hours, memory holds at most `hooks.window` undelivered
//!   events for each stream.
//!
//! The database keeps the stream's history for a limited time only. If the stream no longer has the changes after a
//! hook's position, Parlor logs and counts the error. Parlor then rebuilds the events from the collections
//! ([`backfill`]).

pub(crate) mod backfill;
pub(crate) mod before_send;
pub(crate) mod deliver;
pub(crate) mod dispatcher;
pub(crate) mod event;
pub(crate) mod reader;
pub(crate) mod resend;
pub(crate) mod retry_budget;
pub(crate) mod window;

use std::collections::{BTreeMap, BTreeSet};
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
use crate::functions::target::{NextFunctions, Target};
use crate::outbound::Receiver;
use crate::store::{Store, StoreError};
use crate::supervisor::Supervisor;
use crate::telemetry::metrics::Metrics;

/// The longest time that a shutdown waits for the release of the leases.
const STOP_GRACE: Duration = Duration::from_secs(1);

/// The parts of the server that webhooks use.
#[derive(Clone)]
pub(crate) struct WebhookServices {
    /// This server's id. The lease's document stores this id as the holder.
    pub(crate) server: ObjectId,
    pub(crate) store: Store,
    /// A store with separate database connections, for change streams.
    pub(crate) stream_store: Store,
    pub(crate) metrics: Arc<Metrics>,
}

/// The configured webhooks before their start.
pub(crate) struct Webhooks {
    dispatchers: Vec<Dispatcher>,
}

impl Webhooks {
    /// Creates the webhooks from the configuration and the function files. A hook without a URL and without a file is
    /// off. Each file has a stream, a position and a lease of its own.
    ///
    /// # Errors
    /// Fails if a configured URL is invalid, or can't be used on this machine.
    pub(crate) fn new(
        config: &Config,
        files: &NextFunctions,
        services: &WebhookServices,
    ) -> Result<Self, UnusableUrl> {
        let (hooks, metrics) = (&config.hooks, &services.metrics);
        let page_bytes = config.limits.page_bytes;
        let mut dispatchers = Vec::new();
        let dispatcher = |source, name, targets| Dispatcher {
            source,
            name,
            targets,
            settings: hooks.settings.clone(),
            services: services.clone(),
        };
        for source in EventSource::ALL {
            let targets = source.kinds().iter().filter_map(|kind| target(*kind, hooks, page_bytes, metrics));
            let targets: Vec<_> = targets.collect::<Result<_, _>>()?;
            if !targets.is_empty() {
                dispatchers.push(dispatcher(source, source.name().into(), targets));
            }
            let mut of_files: BTreeMap<Arc<str>, Vec<HookTarget>> = BTreeMap::new();
            for kind in source.kinds() {
                for (file, receiver) in files.targets(kind.export()) {
                    let name: Arc<str> = format!("{}:{}", kind.name(), file.name()).into();
                    metrics.hook_begins(name.to_string());
                    let permits = Arc::new(Semaphore::new(file.config().receiver.max_in_flight));
                    let receiver = Arc::new(receiver);
                    let target = HookTarget { kind: *kind, name, receiver, page_bytes, permits };
                    of_files.entry(file.name().clone()).or_default().push(target);
                }
            }
            for (file, targets) in of_files {
                dispatchers.push(dispatcher(source, format!("{}:{file}", source.name()).into(), targets));
            }
        }
        Ok(Self { dispatchers })
    }

    /// Returns the names of all hooks.
    pub(crate) fn names(&self) -> BTreeSet<Arc<str>> {
        self.targets().map(|target| target.name.clone()).collect()
    }

    fn targets(&self) -> impl Iterator<Item = &HookTarget> {
        self.dispatchers.iter().flat_map(|dispatcher| &dispatcher.targets)
    }

    /// Stores the current end of the stream as the position of each source that has no position. Earlier events are not
    /// sent.
    pub(crate) async fn begin(&self) -> Result<(), StoreError> {
        for dispatcher in &self.dispatchers {
            dispatcher.begin().await?;
        }
        Ok(())
    }

    /// Starts one task for each source. The task delivers the source's events.
    pub(crate) fn start(self, supervisor: &Supervisor) -> RunningWebhooks {
        let targets = self.targets().cloned().collect();
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

/// Returns the receiver and the permits of a hook. None if the hook has no URL.
fn target(
    kind: HookKind,
    hooks: &config::HooksConfig,
    page_bytes: usize,
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
    let target = |receiver| HookTarget {
        kind,
        name: kind.name().into(),
        receiver: Arc::new(Target::Http(Box::new(receiver))),
        page_bytes,
        permits,
    };
    Some(receiver.map(target))
}

/// The running webhooks. When this value is dropped, the webhooks stop.
pub(crate) struct RunningWebhooks {
    stop: CancellationToken,
    tracker: TaskTracker,
    targets: Vec<HookTarget>,
}

impl RunningWebhooks {
    /// Returns the names of all hooks.
    pub(crate) fn names(&self) -> BTreeSet<Arc<str>> {
        self.targets.iter().map(|target| target.name.clone()).collect()
    }

    /// Stops the delivery and releases the leases, so that other servers can continue immediately. Waits for
    /// [`STOP_GRACE`] at most.
    pub(crate) async fn end(&self) {
        self.stop.cancel();
        if tokio::time::timeout(STOP_GRACE, self.tracker.wait()).await.is_err() {
            tracing::warn!("could not release the leases of the hooks in time; the leases end by themselves");
        }
    }
}

impl Drop for RunningWebhooks {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}
