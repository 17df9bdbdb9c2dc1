//! The command line: `serve`, `token`, `room`, `check`, `health`; and in [`remote`] what a running server is asked to do.

#![allow(clippy::doc_markdown, reason = "the doc comments here are what --help prints")]

mod cli;

use std::fmt::Display;
use std::io::{self, IsTerminal, Write};
use std::path::PathBuf;
use std::pin::Pin;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use handlers::UserId;
use parlor::config::{Config, ConfigError};
use parlor::store::{NewMember, inspect};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

/// Chat beside your application: rooms and messages over WebSockets, kept in MongoDB.
///
/// Every setting is described in config/default.toml; PARLOR__SECTION__KEY in the environment sets it.
#[derive(Parser)]
#[command(version)]
struct Cli {
    /// Configuration file in TOML. It overrides the defaults, and the environment overrides both.
    #[arg(long, global = true, value_name = "FILE", env = "PARLOR_CONFIG")]
    config: Option<PathBuf>,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Subcommand)]
enum Command {
    /// Serve chat until SIGTERM or SIGINT, then drain. A second signal ends the process immediately. The default command.
    Serve,
    /// Print a token for a user, signed with auth.secret or with the secret stored in mongodb.data_dir.
    Token(Token),
    /// Create the room of these users, or find the direct room of two users, and print its id.
    Room(Room),
    /// Check configuration, database and replica set, create missing collections and indexes, and print what is wrong.
    Check,
    /// Ask the server on this machine whether it is healthy. For a container's HEALTHCHECK.
    Health,
    #[command(flatten)]
    Remote(cli::admin::Command),
}

#[derive(Args)]
struct Token {
    /// The user's id.
    #[arg(long)]
    user: UserId,
    /// The user's e-mail address.
    #[arg(long)]
    email: Option<String>,
    /// How long the token is valid: 90s, 15m, 12h, 1d.
    #[arg(long, default_value = "1d", value_parser = duration)]
    ttl: Duration,
}

#[derive(Args)]
struct Room {
    /// The users' ids, comma separated: two for their direct room, more for a new group.
    #[arg(long, required = true, value_delimiter = ',', value_name = "USER,USER,...")]
    members: Vec<UserId>,
}

/// An error for the person at the terminal, in one line.
type Failure = Box<dyn std::error::Error>;

fn main() -> ExitCode {
    let cli = Cli::parse();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return fail(&error),
    };
    let ended = runtime.block_on(run(cli));
    // All work is finished here. The database driver still closes its connections in tasks of its own. Without the runtime
    // they would panic and print a trace after the error's line. So the runtime is left to end with the process.
    std::mem::forget(runtime);
    match ended {
        Ok(code) => code,
        Err(error) if is_unread(&*error) => ExitCode::SUCCESS,
        Err(error) => fail(&error),
    }
}

/// Returns whether the reader of stdout has closed it, as `head` does after its lines. That is not a failure.
fn is_unread(error: &(dyn std::error::Error + 'static)) -> bool {
    error.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
}

/// How long the last line may wait for the reader of stderr.
const LAST_LINE_PATIENCE: Duration = Duration::from_secs(1);

fn fail(error: &dyn Display) -> ExitCode {
    let line = format!("parlor: {error}\n");
    // If stderr is closed, or full and not read, the line is lost.
    parlor::telemetry::logging::for_at_most(LAST_LINE_PATIENCE, move || {
        drop(io::stderr().write_all(line.as_bytes()));
    });
    ExitCode::FAILURE
}

async fn run(cli: Cli) -> Result<ExitCode, Failure> {
    let mut env = Vec::new();
    for (name, value) in std::env::vars_os() {
        // Variables of other programs may have any value.
        if let Some(name) = name.into_string().ok().filter(|name| name.starts_with("PARLOR__")) {
            let value = value.into_string().map_err(|_| format!("{name}: its value is not UTF-8"))?;
            env.push((name, value));
        }
    }
    let file = cli.config;
    let load = |env| Config::load(file.as_deref(), env);
    let done: Pin<Box<dyn Future<Output = Result<ExitCode, Failure>>>> =
        match cli.command.unwrap_or(Command::Serve) {
            Command::Serve => return Box::pin(serve(load(env.clone())?, file, env)).await,
            // A file that has become invalid since the start does not make the server unhealthy.
            Command::Health => Box::pin(health(Config::load_unchecked(file.as_deref(), env)?)),
            Command::Token(token) => return print_token(load(env)?, &token),
            Command::Room(room) => Box::pin(make_room(load(env)?, room)),
            Command::Check => Box::pin(check(load(env)?)),
            Command::Remote(command) => Box::pin(cli::admin::run(load(env)?, command)),
        };
    // Signals without a handler do not end the first process of a container.
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let ended_by =
        |signal: SignalKind| Ok(ExitCode::from(128_u8.saturating_add(signal.as_raw_value().try_into()?)));
    tokio::select! {
        done = done => done,
        _ = terminate.recv() => ended_by(SignalKind::terminate()),
        _ = interrupt.recv() => ended_by(SignalKind::interrupt()),
    }
}

async fn serve(
    config: Config,
    file: Option<PathBuf>,
    env: Vec<(String, String)>,
) -> Result<ExitCode, Failure> {
    let log = parlor::telemetry::logging::init(&config)?;
    // The default hook writes to stderr directly, and would wait for its reader.
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

/// Returns a channel that receives the configuration, read again at each SIGHUP. A signal during a reload takes effect
/// after it. If the terminal itself hung up, the server shuts down.
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

fn print_token(mut config: Config, token: &Token) -> Result<ExitCode, Failure> {
    parlor::auth::keep_own_secret(&mut config)?;
    let token = parlor::auth::sign(&config.auth, &token.user, token.email.as_deref(), token.ttl)?;
    writeln!(io::stdout(), "{token}")?;
    Ok(ExitCode::SUCCESS)
}

async fn make_room(config: Config, room: Room) -> Result<ExitCode, Failure> {
    let members: Vec<_> =
        room.members.into_iter().map(|user_id| NewMember { user_id, email: None }).collect();
    parlor::http::api::check_members(&members)?;
    let _log = parlor::telemetry::logging::init(&config)?;
    let (store, embedded) = parlor::open_store(config).await?;
    let made = match store.prepare().await {
        Ok(()) => store.make_room(&members).await,
        Err(error) => Err(error),
    };
    if let Some(embedded) = embedded {
        embedded.stop().await;
    }
    writeln!(io::stdout(), "{}", made?.id)?;
    Ok(ExitCode::SUCCESS)
}

async fn check(config: Config) -> Result<ExitCode, Failure> {
    let mut out = io::stdout();
    writeln!(out, "ok     configuration")?;
    for option in config.mongodb.options_without_effect() {
        writeln!(out, "ok     {option}")?;
    }
    for warning in config.warnings() {
        writeln!(out, "WARN   {warning}")?;
    }
    let _log = parlor::telemetry::logging::init(&config)?;
    let (store, embedded) = parlor::open_store(config).await?;
    let looked = async {
        let advice = inspect(&store).await?;
        // The findings say more than an error of this step.
        let prepared = store.prepare().await;
        Ok::<_, parlor::store::StoreError>((advice, prepared))
    };
    let looked = looked.await;
    if let Some(embedded) = embedded {
        embedded.stop().await;
    }
    let (advice, prepared) = looked?;
    for advice in &advice {
        writeln!(out, "{}  {}", if advice.fatal { "FAULT" } else { "ok   " }, advice.finding)?;
    }
    prepared?;
    writeln!(out, "ok     collections and indexes")?;
    let faulty = advice.iter().any(|advice| advice.fatal);
    Ok(if faulty { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// How long the server may take to answer.
const HEALTH_PATIENCE: Duration = Duration::from_secs(5);

/// Asks `/healthz`. A server with TLS is asked at its admin listener, which has none.
async fn health(config: Config) -> Result<ExitCode, Failure> {
    let address = match (&config.tls.files, config.admin.listen) {
        (None, _) => config.listen,
        (Some(_), Some(admin)) => admin,
        (Some(_), None) => return Err("with TLS, health is checked at admin.listen, which is not set".into()),
    };
    let address = cli::admin::reachable(address);
    let ask = async {
        let mut stream = TcpStream::connect(address).await?;
        stream
            .write_all(
                format!("GET /healthz HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n").as_bytes(),
            )
            .await?;
        let mut answer = String::new();
        stream.take(4096).read_to_string(&mut answer).await?;
        Ok::<_, io::Error>(answer)
    };
    let answer =
        tokio::time::timeout(HEALTH_PATIENCE, ask).await.map_err(|_| format!("{address} does not answer"))?;
    let answer = answer.map_err(|error| format!("{address} does not answer: {error}"))?;
    if answer.starts_with("HTTP/1.1 200") {
        Ok(ExitCode::SUCCESS)
    } else {
        Err("the server is not healthy".into())
    }
}

/// Parses a number and its unit: s, m, h or d.
fn duration(text: &str) -> Result<Duration, String> {
    let (number, unit) = text.split_at(text.len() - text.chars().next_back().map_or(0, char::len_utf8));
    let seconds = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3600,
        "d" => 86_400,
        _ => return Err("a number and a unit are needed: 90s, 15m, 12h, 1d".to_owned()),
    };
    let number: u64 = number.parse().map_err(|_| format!("{number:?} is not a whole number"))?;
    number.checked_mul(seconds).map(Duration::from_secs).ok_or_else(|| "the duration is too large".to_owned())
}
