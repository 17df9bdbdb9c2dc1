//! A server's parts, put together.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use arc_swap::ArcSwap;
use handlers::Action;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::ServeError;
use super::database::prepare;
use super::state::{Live, Server};
use crate::actions::dispatcher::{Ports, Runtime, UnderWay};
use crate::actions::functions;
use crate::auth::Verifier;
use crate::config::Config;
use crate::http::connection_limit::Arrivals;
use crate::http::demo::Page;
use crate::http::refused_clients::Refusals;
use crate::jobs::revision_recovery;
use crate::jobs::room_cleanup::{self, Sweeper};
use crate::jobs::user_erasure::{self, Eraser};
use crate::limits::permits::Places;
use crate::limits::user_quota::Users;
use crate::presence::tracker;
use crate::realtime::change_stream::Feed;
use crate::realtime::heartbeat::Pulse;
use crate::realtime::held_bytes::Held;
use crate::realtime::hub::Hub;
use crate::realtime::presence_notifier;
use crate::realtime::room_change_notifier;
use crate::realtime::room_loader::Opener;
use crate::realtime::room_state::TextPool;
use crate::realtime::sessions::Outboxes;
use crate::store::{Store, StoreError, warn_of_small_pool};
use crate::supervisor::Supervisor;
use crate::telemetry::logging::Dropped;
use crate::telemetry::metrics::Metrics;
use crate::webhooks::{BeforeSend, Hooks};

/// What a server is made of.
pub(crate) struct Plan {
    pub(crate) config: Config,
    pub(crate) actions: &'static [Action],
    pub(crate) page: Page,
    pub(crate) log_dropped: Dropped,
}

/// Connects to the database and starts the feed, the heartbeat and the writers, all under `supervisor`.
pub(crate) async fn assemble(
    plan: Plan,
    shutdown: &CancellationToken,
    supervisor: &Supervisor,
) -> Result<(Arc<Server>, UnderWay), ServeError> {
    let Plan { config, actions, page, log_dropped } = plan;
    config.mongodb.options_without_effect().iter().for_each(|option| tracing::warn!("{option}"));
    let verifier = Verifier::new(&config.auth)?;
    let metrics = Arc::new(Metrics::new());
    let store = Store::open(&config.mongodb, config.limits.rooms_cached).await?;
    let base = Base {
        store: store.for_server(&config, &metrics).await?,
        stream_store: Store::open(&config.mongodb, config.limits.rooms_cached).await?,
        metrics: metrics.clone(),
    };
    warn_of_small_pool(&config.mongodb).await;
    prepare(&base.store, shutdown).await?;
    let pulse = Arc::new(Pulse::new(base.store.present().server(), config.feed.overdue));
    let hooks = Hooks::new(&config, pulse.server(), &base.store, &base.stream_store, &metrics)?;
    hooks.begin().await?;
    let held = Held::new(config.limits.server_bytes);
    let (hub, outboxes) = base.hear(&config, &pulse, &held, supervisor).await?;
    let (writer, receipts) = base.store.writers(&config, &metrics, supervisor).await?;
    verifier.watch(&config.auth, &metrics, supervisor.stop());
    supervisor.spawn("removed keys", wake_at_removed_keys(verifier.clone(), outboxes.clone()));
    let refusals = Refusals::new(&config, metrics.clone());
    let ports = Ports {
        store: base.store.clone(),
        writer: writer.clone(),
        receipts: receipts.clone(),
        verifier: verifier.clone(),
        audience: hub.clone(),
        pulse: pulse.clone(),
    };
    let functions = functions::configured(&config, &base.store, &metrics)?;
    let under_way = UnderWay::default();
    let runtime = Runtime::new(actions, functions, &config, ports, under_way.clone(), metrics.clone());
    runtime.ask(BeforeSend::new(&config, &metrics)?);
    base.watch_presence(&config, &pulse, supervisor);
    let Base { store, stream_store, .. } = base;
    supervisor.spawn("indexes", store.clone().keep_indexes(config.mongodb.indexes, metrics.clone()));
    supervisor.spawn("leftovers", revision_recovery::run(store.clone(), metrics.clone()));
    let server = Server {
        page,
        sweeper: Sweeper::default(),
        present: store.present(),
        store,
        hub,
        runtime: Arc::new(runtime),
        writer,
        receipts,
        eraser: Eraser::default(),
        verifier,
        users: Users::new(),
        hooks: ArcSwap::from_pointee(hooks.start(supervisor)),
        stream_store,
        outboxes,
        held,
        metrics,
        pulse,
        log_dropped,
        places: Places::default(),
        exports: Places::default(),
        arrivals: Arrivals::default(),
        admin_arrivals: Arrivals::default(),
        reloads: watch::Sender::default(),
        refusals,
        tracker: TaskTracker::new(),
        draining: AtomicBool::new(false),
        config: Arc::new(Live::from_pointee(config)),
    };
    let server = Arc::new(server);
    let (held, outboxes) = (server.held.clone(), server.outboxes.clone());
    let relief = held.relieve(outboxes, server.metrics.clone());
    supervisor.spawn("relief", relief);
    supervisor.spawn("sweeper", room_cleanup::run(server.clone()));
    supervisor.spawn("eraser", user_erasure::run(server.clone()));
    Ok((server, under_way))
}

/// Has every socket look whether the key of its token is still in force, whenever keys were removed.
async fn wake_at_removed_keys(verifier: Verifier, outboxes: Outboxes) {
    loop {
        verifier.keys_removed().await;
        outboxes.wake();
    }
}

/// What everything else stands on.
struct Base {
    store: Store,
    stream_store: Store,
    metrics: Arc<Metrics>,
}

impl Base {
    /// Begins to hear what happens in the database, and to tell the hub of it.
    async fn hear(
        &self,
        config: &Config,
        pulse: &Arc<Pulse>,
        held: &Held,
        supervisor: &Supervisor,
    ) -> Result<(Arc<Hub>, Outboxes), ServeError> {
        let Self { store, stream_store, metrics } = self;
        let (hub, wanted) =
            Hub::new(held.clone(), TextPool::new(config.limits.unread_text_bytes), metrics.clone());
        let hub = Arc::new(hub);
        supervisor.spawn("deferred frames", hub.clone().wake_deferred());
        let opener = Opener { store: store.clone(), hub: hub.clone(), metrics: metrics.clone() };
        supervisor.spawn("opener", opener.run(wanted));
        let changes = room_change_notifier::Changes::default();
        let teller = room_change_notifier::Teller {
            changes: changes.clone(),
            store: store.clone(),
            hub: hub.clone(),
            metrics: metrics.clone(),
        };
        supervisor.spawn("room changes", teller.run());
        let coming = presence_notifier::Changes::default();
        let teller = presence_notifier::Teller {
            changes: coming.clone(),
            store: store.clone(),
            hub: hub.clone(),
            metrics: metrics.clone(),
        };
        supervisor.spawn("presence teller", teller.run());
        let outboxes = Outboxes::default();
        let feed = Feed {
            stream_store: stream_store.clone(),
            settings: config.feed.clone(),
            store: store.clone(),
            hub: hub.clone(),
            outboxes: outboxes.clone(),
            numbers: store.numbers(),
            metrics: metrics.clone(),
            pulse: pulse.clone(),
            changes,
            presence: coming,
        };
        let stream = feed.open().await.map_err(StoreError::from)?;
        feed.begin().await?;
        supervisor.spawn("feed", feed.run(stream));
        let heartbeat = pulse.clone().run(store.clone(), config.feed.heartbeat, metrics.clone());
        supervisor.spawn("heartbeat", heartbeat);
        let silence = pulse.clone().watch(config.feed.close, outboxes.clone(), metrics.clone());
        supervisor.spawn("silence", silence);
        Ok((hub, outboxes))
    }

    /// Begins to write who is here.
    fn watch_presence(&self, config: &Config, pulse: &Arc<Pulse>, supervisor: &Supervisor) {
        let task = tracker::Task {
            present: self.store.present(),
            store: self.store.clone(),
            pulse: pulse.clone(),
            settings: config.presence.clone(),
            batch: config.limits.batch,
            metrics: self.metrics.clone(),
        };
        task.start(supervisor);
    }
}
