//! One server, from its configuration to its last closed socket.

pub(crate) mod build;
pub(crate) mod database;
pub mod open_files;
mod realtime_parts;
pub(crate) mod reload;
pub(crate) mod shutdown;

use std::net::SocketAddr;
use std::sync::Arc;

use handlers::Action;
use salvo::Server as HttpServer;
use salvo::conn::Acceptor;
use salvo::conn::rustls::RustlsAcceptor;
use salvo::conn::tcp::TcpAcceptor;
use salvo::fuse::FuseConfig;
use salvo::server::ServerHandle;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use self::build::{BuiltServer, ServerPlan, assemble};
use self::database::{START_TIMEOUT, embed, silent_stream, stopped_early};
use self::reload::Reloader;
use self::shutdown::ShutdownSequence;
use crate::auth::AuthError;
use crate::config::live::LiveConfig;
use crate::config::url::UnusableUrl;
use crate::config::{Config, ConfigError};
use crate::error::StartError;
use crate::http::connection_limit::{ConnectionGate, ConnectionLimiter};
use crate::http::demo::{self, DemoPage};
use crate::http::router::Routes;
use crate::http::tls::Certificate;
use crate::mongod::MongodError;
use crate::store::StoreError;
use crate::supervisor::Supervisor;
use crate::telemetry::logging::DroppedLines;

/// Serves until `shutdown`, then drains. Uses Parlor's own actions. See [`App`].
///
/// # Errors
/// As [`App::serve`].
pub async fn serve(
    config: Config,
    listener: TcpListener,
    shutdown: CancellationToken,
) -> Result<(), StartError> {
    Box::pin(App::new(config).serve(listener, shutdown)).await
}

/// A server that is not started yet.
pub struct App {
    config: Config,
    actions: &'static [Action],
    reloads: mpsc::Receiver<Result<Config, ConfigError>>,
    log_dropped: DroppedLines,
    ready: Box<dyn FnOnce(ServerReady) + Send>,
}

/// Describes a server that accepts connections.
#[derive(Clone, Copy, Debug)]
pub struct ServerReady {
    /// Whether the demo page is served.
    pub page: bool,
    /// Whether TLS is used.
    pub tls: bool,
    /// The address of metrics, if they are served.
    pub admin: Option<SocketAddr>,
}

impl App {
    /// Creates a server with Parlor's own actions.
    pub fn new(config: Config) -> Self {
        // The sender is dropped, so no reload ever comes.
        let reloads = mpsc::channel(1).1;
        let log_dropped = DroppedLines::default();
        Self { config, actions: handlers::ACTIONS, reloads, log_dropped, ready: Box::new(|_| ()) }
    }

    /// Replaces the actions.
    #[must_use]
    pub fn actions(self, actions: &'static [Action]) -> Self {
        Self { actions, ..self }
    }

    /// Applies each configuration that is received here while the server runs. If one could not be read, the error is
    /// logged and counted.
    #[must_use]
    pub fn reloads(self, reloads: mpsc::Receiver<Result<Config, ConfigError>>) -> Self {
        Self { reloads, ..self }
    }

    /// Counts the dropped log lines in the server's metrics.
    #[must_use]
    pub fn log_dropped(self, log_dropped: DroppedLines) -> Self {
        Self { log_dropped, ..self }
    }

    /// Calls `ready` once connections are accepted.
    #[must_use]
    pub fn on_ready(self, ready: impl FnOnce(ServerReady) + Send + 'static) -> Self {
        Self { ready: Box::new(ready), ..self }
    }

    /// Serves on `listener` until `shutdown`. Connects wait in its backlog until the database is available. After
    /// `shutdown` no new socket and no new frame is accepted, started actions are finished and answered, sockets are
    /// closed with 1012, and receipts are written, all within `shutdown.drain_seconds` and a second. Then the embedded
    /// `mongod` ends.
    ///
    /// # Errors
    /// The configuration can't be used, the database isn't available within 30 s, or a task panicked that the server
    /// needs. In the last case the server has drained, as at `shutdown`.
    pub async fn serve(
        mut self,
        listener: TcpListener,
        shutdown: CancellationToken,
    ) -> Result<(), StartError> {
        for warning in self.config.warnings() {
            tracing::warn!("{warning}");
        }
        let admin = match self.config.admin.listen {
            Some(address) => Some(listen_on(address, "PARLOR__ADMIN__LISTEN").await?),
            None => None,
        };
        let embedded = shutdown.run_until_cancelled(Box::pin(embed(&mut self.config))).await;
        let private = embedded.ok_or_else(stopped_early)??;
        let ended =
            self.serve_on(ServerListeners { clients: listener, admin }, shutdown, private.is_some()).await;
        if let Some(database) = private {
            database.stop().await;
        }
        ended
    }

    async fn serve_on(
        self,
        listeners: ServerListeners,
        shutdown: CancellationToken,
        embedded: bool,
    ) -> Result<(), StartError> {
        let Self { config, actions, reloads, log_dropped, ready } = self;
        config.check()?;
        let certificate = config.tls.files.as_ref().map(Certificate::load).transpose()?.map(Arc::new);
        let ServerListeners { clients, admin } = listeners;
        let stop = CancellationToken::new();
        let _stop_on_return = stop.clone().drop_guard();
        let supervisor = Supervisor::new(stop.clone());
        let loopback = clients.local_addr()?.ip().is_loopback();
        let page = DemoPage {
            on: demo::is_on(&config, embedded),
            tokens: demo::may_make_tokens(&config, embedded && loopback),
        };
        let plan = ServerPlan { config, actions, page, log_dropped };
        // Boxed, because it is large and ends before the long wait begins.
        let BuiltServer {
            routes,
            clients: clients_limiter,
            admin: admin_limiter,
            reload,
            shutdown: draining,
        } = Box::pin(assemble(plan, &shutdown, &supervisor)).await?;
        let server_config = reload.config.clone();
        if page.tokens {
            demo::make_room(&reload.store).await?;
        }
        let round =
            tokio::time::timeout(START_TIMEOUT, reload.heartbeat.wait_for_round_trip(&reload.store)).await;
        round.map_err(|_| silent_stream())??;
        let address = admin.as_ref().map(TcpListener::local_addr).transpose()?;
        if let Some(admin) = admin {
            let http = bounded(TcpAcceptor::try_from(admin)?, admin_limiter);
            tokio::spawn(stop.clone().run_until_cancelled_owned(http.try_serve(routes.admin())));
        }
        ready(ServerReady { page: page.on, tls: certificate.is_some(), admin: address });
        let metrics = reload.metrics.clone();
        let reload = Reloader { certificate: certificate.clone(), ..reload };
        // A panic there comes from a file that is not in use yet: the server goes on unchanged.
        tokio::spawn(stop.clone().run_until_cancelled_owned(reload.run(reloads)));
        if let Some(certificate) = &certificate {
            supervisor.spawn("certificate", certificate.clone().watch(server_config.clone(), metrics));
        }
        let serving = RunningServer { routes, limiter: clients_limiter, config: server_config, draining };
        serving.listen(ClientListener { clients, certificate }, shutdown, &supervisor).await
    }
}

/// The listeners of a server.
struct ServerListeners {
    clients: TcpListener,
    admin: Option<TcpListener>,
}

/// The listener for clients, and its certificate if it speaks TLS.
struct ClientListener {
    clients: TcpListener,
    certificate: Option<Arc<Certificate>>,
}

/// Listens on a configured address.
///
/// # Errors
/// The address can't be used. The error names `variable`, which sets it.
pub async fn listen_on(address: SocketAddr, variable: &str) -> Result<TcpListener, StartError> {
    let listener = TcpListener::bind(address).await;
    listener.map_err(|error| StartError::new(format!("can't listen on {address}: {error}; set {variable}")))
}

/// A server that listens.
struct RunningServer {
    routes: Routes,
    limiter: ConnectionLimiter,
    config: Arc<LiveConfig>,
    draining: ShutdownSequence,
}

impl RunningServer {
    /// Accepts connections until `shutdown`, or until a task panics that the server needs. Then drains.
    async fn listen(
        self,
        entrance: ClientListener,
        shutdown: CancellationToken,
        supervisor: &Supervisor,
    ) -> Result<(), StartError> {
        let ClientListener { clients: listener, certificate } = entrance;
        // Accepted connections inherit both options. Without the first, a small frame waits up to 41 ms for the
        // acknowledgement of the one before it. Without the second, a slow reader holds megabytes in the kernel.
        let socket = socket2::SockRef::from(&listener);
        socket.set_tcp_nodelay(true)?;
        socket.set_send_buffer_size(self.config.load().sockets.send_buffer_bytes as usize)?;
        let acceptor = TcpAcceptor::try_from(listener)?;
        let (handle, accepting) = match certificate {
            // The certificate has its own watcher; salvo's stop signal has no effect here.
            Some(certificate) => {
                let stop = CancellationToken::new();
                self.accept(RustlsAcceptor::new(acceptor, certificate.current(), stop))
            }
            None => self.accept(acceptor),
        };
        let lost = tokio::select! {
            () = shutdown.cancelled() => None,
            lost = supervisor.wait_for_panic() => Some(lost),
        };

        self.draining.drain(handle, accepting).await;
        match lost {
            Some(task) => {
                let reason = format!("a required task panicked: {task}");
                Err(StartError::new(reason))
            }
            None => Ok(()),
        }
    }

    /// Serves a listener in a task.
    fn accept<A>(&self, acceptor: A) -> (ServerHandle, JoinHandle<std::io::Result<()>>)
    where
        A: Acceptor + Send + 'static,
    {
        let most = self.config.load().http.connections;
        let http = bounded(acceptor, self.limiter.clone()).max_connections(most);
        let handle = http.handle();
        (handle, tokio::spawn(http.try_serve(self.routes.clients())))
    }
}

/// Returns a listener whose connections pass the limiter and have the same limits of time and size.
fn bounded<A>(acceptor: A, limiter: ConnectionLimiter) -> HttpServer<A>
where
    A: Acceptor + Send,
{
    let config = limiter.config.load_full();
    let limits = &config.http;
    let fuse = FuseConfig::default()
        .with_tls_handshake_timeout(limits.request)
        .with_http1_header_timeout(limits.request)
        .with_request_body_timeout(limits.request)
        .with_write_stall_timeout(limits.request);
    let mut http = HttpServer::new(acceptor).fuse_policy(ConnectionGate { limiter, fuse });
    http.http1_mut().max_buf_size(limits.head_bytes);
    http
}

// `StartError` lies below the modules whose errors it takes, so the conversions stand here.
macro_rules! from_error {
    ($($error:ty),+) => {$(
        impl From<$error> for StartError {
            fn from(error: $error) -> Self {
                Self::new(error.to_string())
            }
        }
    )+};
}

from_error! { ConfigError, UnusableUrl, AuthError, StoreError, std::io::Error, MongodError }
