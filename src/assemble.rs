//! A server's parts, put together.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use arc_swap::ArcSwap;
use handlers::Action;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::arrivals::Arrivals;
use crate::auth::Verifier;
use crate::config::Config;
use crate::database::prepare;
use crate::erasure::Eraser;
use crate::feed::Feed;
use crate::hooks::{BeforeSend, Hooks};
use crate::hub::Hub;
use crate::metrics::Metrics;
use crate::opener::Opener;
use crate::page::Page;
use crate::places::Places;
use crate::pulse::Pulse;
use crate::refusals::Refusals;
use crate::registry::Outboxes;
use crate::runtime::{Ports, Runtime, UnderWay};
use crate::serve::ServeError;
use crate::server::{Live, Server};
use crate::store::{Store, StoreError};
use crate::supervisor::Supervisor;
use crate::sweeper::Sweeper;
use crate::users::Users;
use crate::{erasure, functions, leftovers, presence, sweeper};

/// Connects to the database and starts the feed, the heartbeat and the writers, all under `supervisor`.
pub(crate) async fn assemble(
    config: Config,
    actions: &'static [Action],
    page: Page,
    shutdown: &CancellationToken,
    supervisor: &Supervisor,
) -> Result<(Arc<Server>, UnderWay), ServeError> {
    let verifier = Verifier::new(&config.auth)?;
    let store = Store::open(&config.mongodb, config.limits.rooms_cached).await?;
    let stream_store = Store::open(&config.mongodb, config.limits.rooms_cached).await?;
    prepare(&store, shutdown).await?;

    let metrics = Arc::new(Metrics::new());
    let (hub, wanted) = Hub::new(metrics.clone());
    let hub = Arc::new(hub);
    supervisor.spawn("deferred frames", hub.clone().wake_deferred());
    let opener = Opener { store: store.clone(), hub: hub.clone(), metrics: metrics.clone() };
    supervisor.spawn("opener", opener.run(wanted));
    let pulse = Arc::new(Pulse::new(store.present().server()));
    let outboxes = Outboxes::default();
    let hooks = Hooks::new(&config, pulse.server(), &store, &stream_store, &metrics)?;
    hooks.begin().await?;
    let changes = presence::tell::Changes::default();
    let teller = presence::tell::Teller {
        changes: changes.clone(),
        store: store.clone(),
        hub: hub.clone(),
        metrics: metrics.clone(),
    };
    supervisor.spawn("presence teller", teller.run());
    let feed = Feed {
        stream_store: stream_store.clone(),
        read_from: config.feed.read_from,
        store: store.clone(),
        hub: hub.clone(),
        outboxes: outboxes.clone(),
        numbers: store.numbers(),
        metrics: metrics.clone(),
        pulse: pulse.clone(),
        presence: changes,
    };
    let stream = feed.open().await.map_err(StoreError::from)?;
    feed.begin().await?;
    supervisor.spawn("feed", feed.run(stream));
    supervisor.spawn("heartbeat", pulse.clone().run(store.clone(), config.feed.heartbeat, metrics.clone()));
    let (writer, receipts) = store.writers(&config, &metrics, supervisor).await?;
    let under_way = UnderWay::default();
    verifier.watch(&config.auth, &metrics, supervisor.stop());
    let refusals = Refusals::new(&config, metrics.clone());
    let functions = functions::configured(&config, &store, &metrics)?;
    let runtime = Runtime::new(
        actions,
        functions,
        &config,
        Ports {
            store: store.clone(),
            writer: writer.clone(),
            receipts: receipts.clone(),
            verifier: verifier.clone(),
            audience: hub.clone(),
        },
        under_way.clone(),
        metrics.clone(),
    );
    runtime.ask(BeforeSend::new(&config, &metrics)?);
    let present = store.present();
    let task = presence::Task {
        present: present.clone(),
        store: store.clone(),
        pulse: pulse.clone(),
        settings: config.presence.clone(),
        batch: config.limits.batch,
        metrics: metrics.clone(),
    };
    task.start(supervisor);
    supervisor.spawn("leftovers", leftovers::run(store.clone(), metrics.clone()));
    let server = Server {
        page,
        sweeper: Sweeper::default(),
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
        present,
        outboxes,
        metrics,
        pulse,
        places: Places::default(),
        exports: Places::default(),
        arrivals: Arrivals::default(),
        refusals,
        tracker: TaskTracker::new(),
        draining: AtomicBool::new(false),
        config: Arc::new(Live::from_pointee(config)),
    };
    let server = Arc::new(server);
    supervisor.spawn("sweeper", sweeper::run(server.clone()));
    supervisor.spawn("eraser", erasure::run(server.clone()));
    Ok((server, under_way))
}
