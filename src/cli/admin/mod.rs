//! Commands that send requests to the REST API of a running server. They don't open the database.
//!
//! Users can write control characters into messages. The commands escape these characters on a terminal, so that a
//! message can't control the terminal. With `--json`, a program that reads the output through a pipe gets the
//! server's answer unchanged.

#![allow(clippy::doc_markdown, reason = "the doc comments here are what --help prints")]

mod client;
mod erase;
mod export;
pub(crate) mod function;
mod history;
mod hooks;
mod lines;
mod output;
mod rooms;
mod send;
mod tail;
mod users;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Subcommand};
use parlor::config::Config;

use self::client::ApiClient;
pub(crate) use self::client::{cause, reachable};
use crate::Failure;

/// A command that talks to a running server.
#[derive(Subcommand)]
pub(crate) enum AdminCommand {
    /// List a user's rooms. The room with the latest activity is first.
    Rooms(rooms::RoomsArgs),
    /// Show a page of a room's messages.
    History(history::HistoryArgs),
    /// Show the events of a room as they happen, until Ctrl-C. The command does not mark messages as read.
    Tail(tail::TailArgs),
    /// Send a message to a room, as one of its members or as a service.
    Send(send::SendArgs),
    /// Show a user's rooms, online state and last-seen time; or close the user's sockets.
    Users(users::UsersArgs),
    /// Erase a user: the text of every message, the address, memberships and receipts. This can't be undone.
    Erase(erase::EraseArgs),
    /// Print all stored data of a user, as JSON lines.
    Export(export::ExportArgs),
    /// List the events that are set aside because a webhook failed to process them; send one again, or remove it.
    Hooks(hooks::HooksArgs),
}

/// The address and key of the server, and the format of the output.
#[derive(Args)]
#[command(next_help_heading = "Server")]
struct ServerArgs {
    /// The server's URL. By default: the configured address on this machine.
    #[arg(long, value_name = "URL")]
    url: Option<reqwest::Url>,
    /// A service key. By default: the first key of PARLOR__API__KEYS. Other users of this machine can see
    /// command-line options, but not environment variables.
    #[arg(long, value_name = "KEY")]
    key: Option<String>,
    /// A PEM file with the certificate of an authority to trust, in addition to the authorities of this machine.
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,
    /// Print the server's answer as JSON.
    #[arg(long)]
    json: bool,
}

/// Runs an admin command.
pub(crate) async fn run(config: Config, command: AdminCommand) -> Result<ExitCode, Failure> {
    match command {
        AdminCommand::Rooms(rooms) => rooms::run(&config, &rooms).await?,
        AdminCommand::History(history) => history::run(&config, &history).await?,
        AdminCommand::Tail(tail) => tail::run(&config, &tail).await?,
        AdminCommand::Send(send) => send::run(&config, send).await?,
        AdminCommand::Users(users) => users::run(&config, &users).await?,
        AdminCommand::Erase(erase) => erase::run(&config, &erase).await?,
        AdminCommand::Export(export) => export::run(&config, &export).await?,
        AdminCommand::Hooks(hooks) => hooks::run(&config, &hooks).await?,
    }
    Ok(ExitCode::SUCCESS)
}
