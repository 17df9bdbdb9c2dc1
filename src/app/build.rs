//! Builds a server: constructs every part, and passes to each part the parts that it uses.

use std::sync::Arc;

use arc_swap::ArcSwap;
use handlers::Action;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::database::prepare;
use super::realtime_parts::RealtimeParts;
use super::reload::Reloader;
use super::shutdown::ShutdownSequence;
use crate::actions::dispatcher::{InFlightCalls, Ports, Runtime};
use crate::actions::functions;
use crate::auth::Verifier;
use crate::auth::refused_clients::RefusedClients;
use crate::config::Config;
use crate::config::live::LiveConfig;
use crate::error::StartError;
use crate::functions::loader::FunctionLoader;
use crate::functions::target::LoadedFunctions;
use crate::http::api;
use crate::http::connection_limit::{ConnectionLimiter, ListenerKind, OpenConnections};
use crate::http::demo::{self, DemoPage};
use crate::http::health::Readiness;
use crate::http::metrics_page::MetricsPage;
use crate::http::router::Routes;
use crate::http::unread_body::UnreadBody;
use crate::http::upgrade::UpgradeServices;
use crate::jobs::revision_recovery;
use crate::jobs::room_cleanup::{CleanupTrigger, RoomCleanup};
use crate::jobs::user_erasure::{ErasureTrigger, UserErasure};
use crate::lifecycle::Lifecycle;
use crate::limits::permits::Permits;
use crate::limits::user_quota::UserQuotas;
use crate::presence::tracker::PresenceTracker;
use crate::realtime::heartbeat::Heartbeat;
use crate::realtime::held_bytes::HeldBytes;
use crate::realtime::relief;
use crate::realtime::room_reader::RoomReader;
use crate::realtime::sessions::Sessions;
use crate::store::{Store, warn_of_small_pool};
use crate::supervisor::Supervisor;
use crate::telemetry::logging::DroppedLines;
use crate::telemetry::metrics::Metrics;
use crate::webhooks::{BeforeSend, WebhookServices, Webhooks};
use crate::ws;

/// The inputs from which a server is built.
pub(crate) struct ServerPlan {
    pub(crate) config: Config,
    pub(crate) actions: &'static [Action],
    pub(crate) page: DemoPage,
    /// Whether the database is the embedded `mongod`.
    pub(crate) embedded: bool,
    pub(crate) log_dropped: DroppedLines,
}

/// A built server. Its background tasks run, but it does not listen yet.
pub(crate) struct BuiltServer {
    pub(crate) routes: Routes,
    pub(crate) clients: ConnectionLimiter,
    pub(crate) admin: ConnectionLimiter,
    pub(crate) reload: Reloader,
    pub(crate) shutdown: ShutdownSequence,
}

/// Connects to the database, and starts the background tasks under `supervisor`. Builds every part of the server, and
/// passes the parts to each other: each part gets the parts that it uses.
#[allow(clippy::too_many_lines, reason = "the whole composition stands on one page")]
pub(crate) async fn assemble(
    plan: ServerPlan,
    shutdown: &CancellationToken,
    supervisor: &Supervisor,
) -> Result<BuiltServer, StartError> {
    let ServerPlan { config, actions, page, embedded, log_dropped } = plan;
    config.mongodb.options_without_effect().iter().for_each(|option| tracing::warn!("{option}"));
    let verifier = Verifier::new(&config.auth)?;
    let metrics = Arc::new(Metrics::new());
    let lifecycle = Lifecycle::default();

    // The database and the change stream.
    let store = Store::open(&config.mongodb, config.limits.rooms_cached).await?;
    let store = store.for_server(&config, &metrics).await?;
    let stream_store = Store::open(&config.mongodb, config.limits.rooms_cached).await?;
    warn_of_small_pool(&config.mongodb).await;
    prepare(&store, shutdown).await?;
    let heartbeat = Arc::new(Heartbeat::new(store.peers().server(), config.feed.overdue));
    let function_loader = Arc::new(FunctionLoader::new(&config.function_files, &metrics));
    let loaded = LoadedFunctions::default();
    function_loader.look(&config, true).await;
    let files = function_loader.functions(&config, &store, &loaded).await.map_err(StartError::new)?;
    let of_hooks = WebhookServices {
        server: heartbeat.server(),
        store: store.clone(),
        stream_store: stream_store.clone(),
        metrics: metrics.clone(),
    };
    let hooks = Webhooks::new(&config, &files, &of_hooks)?;
    hooks.begin().await?;
    let held = HeldBytes::new(config.limits.server_bytes);
    let base =
        RealtimeParts { store: store.clone(), stream_store: stream_store.clone(), metrics: metrics.clone() };
    let (hub, outboxes) = base.start_realtime(&config, &heartbeat, &held, supervisor).await?;
    let (writer, receipts) = store.writers(&config, &metrics, supervisor).await?;
    let present = PresenceTracker::default();
    base.start_presence(&config, &present, &heartbeat, supervisor);

    // Actions.
    verifier.watch(&config.auth, &metrics, supervisor.stop());
    supervisor.spawn("removed keys", wake_at_removed_keys(verifier.clone(), outboxes.clone()));
    let refusals = RefusedClients::new(&config, metrics.clone());
    let refusals = Arc::new(if embedded { refusals.with_log() } else { refusals });
    let ports = Ports {
        store: store.clone(),
        writer: writer.clone(),
        receipts: receipts.clone(),
        verifier: verifier.clone(),
        audience: hub.clone(),
        heartbeat: heartbeat.clone(),
    };
    let functions = functions::configured(&config, &files, &store, &metrics)?;
    let under_way = InFlightCalls::default();
    let runtime = Runtime::new(actions, functions, &config, ports, under_way.clone(), metrics.clone());
    runtime.set_before_send(BeforeSend::new(&config, &files, &metrics)?);
    files.apply();
    let runtime = Arc::new(runtime);

    // Background jobs.
    let indexes = config.mongodb.indexes;
    let config = Arc::new(LiveConfig::from_pointee(config));
    let (cleanup, erasure) = (CleanupTrigger::default(), ErasureTrigger::default());
    supervisor.spawn("indexes", store.clone().keep_indexes(indexes, metrics.clone()));
    supervisor.spawn("leftovers", revision_recovery::run(store.clone(), metrics.clone()));
    supervisor.spawn("relief", relief::relieve(held.clone(), outboxes.clone(), metrics.clone()));
    let sweeper = RoomCleanup {
        config: config.clone(),
        store: store.clone(),
        metrics: metrics.clone(),
        trigger: cleanup.clone(),
    };
    supervisor.spawn("sweeper", sweeper.run());
    let eraser = UserErasure {
        config: config.clone(),
        store: store.clone(),
        metrics: metrics.clone(),
        trigger: erasure.clone(),
    };
    supervisor.spawn("eraser", eraser.run());
    let hooks = Arc::new(ArcSwap::from_pointee(hooks.start(supervisor)));

    // Connections and requests.
    let (connections, admin_connections) =
        (Arc::<OpenConnections>::default(), Arc::<OpenConnections>::default());
    let permits = Permits::default();
    let reloads = watch::Sender::default();
    let room_reader = RoomReader {
        config: config.clone(),
        store: store.clone(),
        hub: hub.clone(),
        metrics: metrics.clone(),
    };
    let sessions = ws::services::SocketServices {
        config: config.clone(),
        metrics: metrics.clone(),
        lifecycle: lifecycle.clone(),
        refusals: refusals.clone(),
        runtime: runtime.clone(),
        store: store.clone(),
        receipts: receipts.clone(),
        hub: hub.clone(),
        room_reader: room_reader.clone(),
        outboxes: outboxes.clone(),
        held,
        present,
        users: UserQuotas::new(),
        heartbeat: heartbeat.clone(),
    };
    let upgrade = UpgradeServices {
        config: config.clone(),
        metrics: metrics.clone(),
        lifecycle: lifecycle.clone(),
        verifier: verifier.clone(),
        refusals,
        connections: connections.clone(),
        permits: permits.clone(),
        sessions: Arc::new(sessions),
    };
    let api = api::ApiServices {
        config: config.clone(),
        metrics: metrics.clone(),
        lifecycle: lifecycle.clone(),
        store: store.clone(),
        writer,
        receipts: receipts.clone(),
        hub,
        room_reader,
        outboxes: outboxes.clone(),
        permits,
        exports: Permits::default(),
        loader: function_loader.clone(),
        hooks: hooks.clone(),
        cleanup,
        erasure,
        reloads: reloads.clone(),
    };
    let demo =
        demo::DemoServices { config: config.clone(), store: store.clone(), verifier: verifier.clone(), page };
    let readiness = Readiness {
        config: config.clone(),
        lifecycle: lifecycle.clone(),
        heartbeat: heartbeat.clone(),
        store: store.clone(),
        verifier: verifier.clone(),
    };
    let metrics_page = MetricsPage {
        metrics: metrics.clone(),
        heartbeat: heartbeat.clone(),
        runtime: runtime.clone(),
        receipts: receipts.clone(),
        connections: connections.clone(),
        store: store.clone(),
        log_dropped,
    };
    let limiter = |kind, connections: &Arc<OpenConnections>| ConnectionLimiter {
        kind,
        config: config.clone(),
        metrics: metrics.clone(),
        connections: connections.clone(),
    };
    Ok(BuiltServer {
        clients: limiter(ListenerKind::Clients, &connections),
        admin: limiter(ListenerKind::Admin, &admin_connections),
        routes: Routes {
            upgrade: Arc::new(upgrade),
            api: Arc::new(api),
            demo: Arc::new(demo),
            readiness: Arc::new(readiness),
            metrics_page: Arc::new(metrics_page),
            unread: UnreadBody { config: config.clone(), metrics: metrics.clone() },
        },
        shutdown: ShutdownSequence {
            config: config.clone(),
            lifecycle,
            under_way,
            outboxes,
            hooks: hooks.clone(),
            heartbeat: heartbeat.clone(),
            receipts,
            store: store.clone(),
        },
        reload: Reloader {
            config,
            metrics,
            store,
            of_hooks,
            verifier,
            runtime,
            heartbeat,
            hooks,
            reloads,
            loader: function_loader,
            loaded,
            certificate: None,
            supervisor: supervisor.clone(),
        },
    })
}

/// Runs as a background task. When a key that verifies tokens is removed, wakes every socket. A woken socket closes
/// if a removed key signed its token.
async fn wake_at_removed_keys(verifier: Verifier, outboxes: Sessions) {
    loop {
        verifier.keys_removed().await;
        outboxes.wake();
    }
}
