//! `parlor serve`: runs the server until a signal ends it. On SIGHUP, reloads the configuration.

use std::io::{self, IsTerminal};
use std::path::PathBuf;
use std::process::ExitCode;

use parlor::config::{Config, ConfigError};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::Failure;

/// Runs the server until SIGTERM or SIGINT. Then the server drains: it finishes the started actions and closes its
/// sockets. A second signal ends the process immediately.
pub(crate) async fn run(
    config: Config,
    file: Option<PathBuf>,
    env: Vec<(String, String)>,
) -> Result<ExitCode, Failure> {
    let log = parlor::telemetry::logging::init(&config)?;
    // The default panic hook writes directly to stderr. If stderr is a full pipe that no program reads, this write
    // would block.
    std::panic::set_hook(Box::new(|panic| {
        let place = panic.location().map(ToString::to_string).unwrap_or_default();
        let text = panic.payload_as_str().map_or("without a text", parlor::telemetry::logging::discreet);
        tracing::error!(place, "panicked: {text}");
    }));
    parlor::app::open_files::raise(&config);
    let listener = parlor::listen_on(config.listen, "PARLOR__LISTEN").await?;
    let address = listener.local_addr()?;
    let shutdown = CancellationToken::new();
    let reloads = reloads(signal(SignalKind::hangup())?, file, env, shutdown.clone());
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let signalled = shutdown.clone();
    let second = tokio::spawn(async move {
        tokio::select! { _ = terminate.recv() => {}, _ = interrupt.recv() => {} }
        signalled.cancel();
        tokio::select! { _ = terminate.recv() => {}, _ = interrupt.recv() => {} }
    });
    let app =
        parlor::app::App::new(config).reloads(reloads).log_dropped(log.dropped()).on_ready(move |ready| {
            if let Some(admin) = ready.admin {
                tracing::info!("metrics at http://{admin}/metrics");
            }
            let what = if ready.page { "chat is open at" } else { "serving on" };
            let scheme = if ready.tls { "https" } else { "http" };
            tracing::info!("{what} {scheme}://{address}/");
        });
    tokio::select! {
        ended = app.serve(listener, shutdown) => ended?,
        _ = second => return Err("ended immediately by a second signal".into()),
    }
    Ok(ExitCode::SUCCESS)
}

/// Starts a task that reads the configuration on each SIGHUP, and sends it to the returned channel. If a SIGHUP arrives
/// during a reload, another reload follows. The system also sends a SIGHUP when the server's terminal is closed. In
/// this case the server shuts down.
fn reloads(
    mut hangup: Signal,
    file: Option<PathBuf>,
    env: Vec<(String, String)>,
    shutdown: CancellationToken,
) -> mpsc::Receiver<Result<Config, ConfigError>> {
    let at_terminal = io::stderr().is_terminal();
    let (sender, reloads) = mpsc::channel(1);
    tokio::spawn(async move {
        while hangup.recv().await.is_some() {
            if at_terminal && !io::stderr().is_terminal() {
                return shutdown.cancel();
            }
            if sender.send(Config::load(file.as_deref(), env.clone())).await.is_err() {
                return;
            }
        }
    });
    reloads
}
