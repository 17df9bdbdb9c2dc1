//! Runs one server: starts it, serves clients until the shutdown, and closes all sockets.

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

/// Runs a server with the built-in actions until `shutdown`. See [`App::serve`].
///
/// # Errors
/// The same as for [`App::serve`].
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

/// Describes a server that now accepts connections.
#[derive(Clone, Copy, Debug)]
pub struct ServerReady {
    /// Whether the server serves the demo page (the messenger).
    pub page: bool,
    /// Whether clients connect over TLS.
    pub tls: bool,
    /// The address of the admin listener, which serves the metrics. None if `admin.listen` is not set.
    pub admin: Option<SocketAddr>,
}

impl App {
    /// Creates a server with the built-in actions.
    pub fn new(config: Config) -> Self {
        // The channel's sender is dropped immediately, so this receiver never receives a configuration.
        let reloads = mpsc::channel(1).1;
        let log_dropped = DroppedLines::default();
        Self { config, actions: handlers::ACTIONS, reloads, log_dropped, ready: Box::new(|_| ()) }
    }

    /// Replaces the built-in actions by these actions.
    #[must_use]
    pub fn actions(self, actions: &'static [Action]) -> Self {
        Self { actions, ..self }
    }

    /// While the server runs, applies each configuration that the channel delivers. If the channel delivers an error,
    /// a configuration could not be read. The server logs and counts this error, and keeps the current configuration.
    #[must_use]
    pub fn reloads(self, reloads: mpsc::Receiver<Result<Config, ConfigError>>) -> Self {
        Self { reloads, ..self }
    }

    /// Adds the number of dropped log lines to the server's metrics. Lines are dropped when the log's queue is full.
    #[must_use]
    pub fn log_dropped(self, log_dropped: DroppedLines) -> Self {
        Self { log_dropped, ..self }
    }

    /// Calls `ready` when the server accepts connections.
    #[must_use]
    pub fn on_ready(self, ready: impl FnOnce(ServerReady) + Send + 'static) -> Self {
        Self { ready: Box::new(ready), ..self }
    }

    /// Serves on `listener` until `shutdown`. Until the database is available, new connections stay in the listener's
    /// backlog. After `shutdown` the server accepts no new socket and no new frame. It finishes and answers the started
    /// actions, closes the sockets with 1012, and writes the receipts. These steps together take at most
    /// `shutdown.drain_seconds` and one second. Then the embedded `mongod` ends.
    ///
    /// # Errors
    /// The configuration can't be used, the database isn't available within 30 s, or a required background task
    /// panicked. After this panic, the server drains as it does after `shutdown`, and then returns the error.
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
        let plan = ServerPlan { config, actions, page, embedded, log_dropped };
        // The future is large. It is boxed, so that its memory is freed before the server runs.
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
        // A panic in this task can only come from a new configuration that is not applied yet. The server then
        // continues with its current configuration, so the supervisor does not watch this task.
        tokio::spawn(stop.clone().run_until_cancelled_owned(reload.run(reloads)));
        if let Some(certificate) = &certificate {
            supervisor.spawn("certificate", certificate.clone().watch(server_config.clone(), metrics));
        }
        let serving = RunningServer { routes, limiter: clients_limiter, config: server_config, draining };
        serving.listen(ClientListener { clients, certificate }, shutdown, &supervisor).await
    }
}

/// The open listeners of a server.
struct ServerListeners {
    clients: TcpListener,
    admin: Option<TcpListener>,
}

/// The listener for clients. It has a certificate if the server uses TLS.
struct ClientListener {
    clients: TcpListener,
    certificate: Option<Arc<Certificate>>,
}

/// Listens on a configured address.
///
/// # Errors
/// The address can't be used. The error names the environment variable `variable`, which sets the address.
pub async fn listen_on(address: SocketAddr, variable: &str) -> Result<TcpListener, StartError> {
    let listener = TcpListener::bind(address).await;
    listener.map_err(|error| StartError::new(format!("can't listen on {address}: {error}; set {variable}")))
}

/// A server that is ready to accept connections.
struct RunningServer {
    routes: Routes,
    limiter: ConnectionLimiter,
    config: Arc<LiveConfig>,
    draining: ShutdownSequence,
}

impl RunningServer {
    /// Accepts connections until `shutdown`, or until a required background task panics. Then drains: finishes the
    /// started actions and closes the sockets.
    async fn listen(
        self,
        entrance: ClientListener,
        shutdown: CancellationToken,
        supervisor: &Supervisor,
    ) -> Result<(), StartError> {
        let ClientListener { clients: listener, certificate } = entrance;
        // Accepted connections inherit TCP_NODELAY and the buffer's size from the listener. Without TCP_NODELAY, a
        // small frame waits up to 41 ms for the previous frame's acknowledgement. With the system's default size, the
        // frames for one slow client may fill megabytes of the kernel's memory.
        let socket = socket2::SockRef::from(&listener);
        socket.set_tcp_nodelay(true)?;
        socket.set_send_buffer_size(self.config.load().sockets.send_buffer_bytes as usize)?;
        let acceptor = TcpAcceptor::try_from(listener)?;
        let (handle, accepting) = match certificate {
            // The task `certificate` replaces the certificate when its files change. salvo requires a stop token, but
            // Parlor never cancels it.
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

    /// Serves the HTTP requests of a listener in a separate task.
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

/// Returns an HTTP server that admits connections through the limiter, and limits the time and size of every request.
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

// A module must not import a module of a higher layer. The module of `StartError` is in a lower layer than the
// modules of these errors, so the conversions stand here.
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
