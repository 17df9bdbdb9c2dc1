//! Parses the command line and runs the subcommand; see [`cli`].

#![allow(clippy::doc_markdown, reason = "the doc comments here are what --help prints")]

mod cli;

use std::fmt::Display;
use std::io::{self, Write};
use std::path::PathBuf;
use std::pin::Pin;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Parser, Subcommand};
use parlor::config::{Config, is_like_a_setting};
use tokio::signal::unix::{SignalKind, signal};

use self::cli::{admin, check, function, health, room, serve, token};

/// Chat beside your application: rooms and messages over WebSockets, kept in MongoDB.
///
/// Every setting is described in config/default.toml. The environment variable PARLOR__SECTION__KEY sets it.
#[derive(Parser)]
#[command(version)]
struct Cli {
    /// Configuration file in TOML. Its settings override the defaults. Environment variables override both.
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
    Token(token::TokenArgs),
    /// Create the room of these users, or find the direct room of two users, and print its id.
    Room(room::RoomArgs),
    /// Check configuration, database and replica set, create missing collections and indexes, and print what is wrong.
    Check,
    /// Ask the server on this machine whether it is healthy. For a container's HEALTHCHECK.
    Health,
    /// Create, try and list function files: actions and hooks in JavaScript.
    Function(function::FunctionArgs),
    #[command(flatten)]
    Admin(admin::AdminCommand),
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
    // All work is finished here, but the database driver still closes its connections in tasks of its own. If the
    // runtime were dropped, these tasks would panic and print a trace after the line of the error. So the runtime is
    // not dropped: it ends with the process.
    std::mem::forget(runtime);
    match ended {
        Ok(code) => code,
        Err(error) if is_unread(&*error) => ExitCode::SUCCESS,
        Err(error) => fail(&error),
    }
}

/// Returns whether a write failed because the reader of stdout has closed the pipe. The program `head`, for example,
/// closes the pipe after its last line. The command then counts as successful.
fn is_unread(error: &(dyn std::error::Error + 'static)) -> bool {
    error.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
}

/// The longest time that the write of the error's line to stderr may take.
const LAST_LINE_TIMEOUT: Duration = Duration::from_secs(1);

fn fail(error: &dyn Display) -> ExitCode {
    let line = format!("parlor: {error}\n");
    // If stderr is closed, or if no program reads from a full pipe, the line is lost.
    parlor::telemetry::logging::for_at_most(LAST_LINE_TIMEOUT, move || {
        drop(io::stderr().write_all(line.as_bytes()));
    });
    ExitCode::FAILURE
}

async fn run(cli: Cli) -> Result<ExitCode, Failure> {
    let mut env = Vec::new();
    for (name, value) in std::env::vars_os() {
        // Variables of other programs may have names or values that are not UTF-8. Therefore only the values of
        // Parlor's variables are decoded.
        let Ok(name) = name.into_string() else { continue };
        if name.starts_with("PARLOR__") {
            let value = value.into_string().map_err(|_| format!("{name}: its value is not UTF-8"))?;
            env.push((name, value));
        } else if is_like_a_setting(&name) {
            // The name may be a misspelt name of a setting, which `Config::load` then reports. The check needs only the
            // name.
            env.push((name, String::new()));
        }
    }
    let file = cli.config;
    let load = |env| Config::load(file.as_deref(), env);
    let done: Pin<Box<dyn Future<Output = Result<ExitCode, Failure>>>> =
        match cli.command.unwrap_or(Command::Serve) {
            Command::Serve => return Box::pin(serve::run(load(env.clone())?, file, env)).await,
            // The configuration file may have become invalid since the server's start, but the server is still healthy.
            // Therefore this command does not check the configuration.
            Command::Health => Box::pin(health::run(Config::load_unchecked(file.as_deref(), env)?)),
            Command::Token(args) => return token::run(load(env)?, &args),
            Command::Room(args) => Box::pin(room::run(load(env)?, args)),
            Command::Check => Box::pin(check::run(load(env)?)),
            Command::Function(args) => Box::pin(function::run(load(env)?, args)),
            Command::Admin(command) => Box::pin(admin::run(load(env)?, command)),
        };
    // In a container, this process may have the process id 1. The kernel does not end a process with this id by SIGTERM
    // or SIGINT unless the process has handlers for these signals.
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let ended_by =
        |signal: SignalKind| Ok(ExitCode::from(128_u8.saturating_add(signal.as_raw_value().try_into()?)));
    tokio::select! {
        done = done => done,
        _ = terminate.recv() => ended_by(SignalKind::terminate()),
        _ = interrupt.recv() => ended_by(SignalKind::interrupt()),
    }
}
