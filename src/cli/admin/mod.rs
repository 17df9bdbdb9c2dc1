//! Commands that send requests to the REST API of a running server. They don't access the database.
//!
//! The commands escape control characters in users' texts. Otherwise a message could control the reader's
//! terminal. `--json` prints the server's answer unchanged, for programs.

#![allow(clippy::doc_markdown, reason = "the doc comments here are what --help prints")]

mod client;
mod erase;
mod export;
mod history;
mod hooks;
mod lines;
mod output;
mod rooms;
mod send;
mod tail;
mod users;

use std::process::ExitCode;

use clap::{Args, Subcommand};
use parlor::config::Config;

use self::client::ApiClient;
pub(crate) use self::client::reachable;
use crate::Failure;

/// A command for a running server.
#[derive(Subcommand)]
pub(crate) enum AdminCommand {
    /// List a user's rooms, the latest activity first.
    Rooms(rooms::RoomsArgs),
    /// Show a room's messages by pages.
    History(history::HistoryArgs),
    /// Show the events of a room live, until Ctrl-C. The command does not mark messages as read.
    Tail(tail::TailArgs),
    /// Send a message to a room, as one of its members or as a service.
    Send(send::SendArgs),
    /// Show a user: rooms, whether online, when last seen; or close the user's sockets.
    Users(users::UsersArgs),
    /// Erase a user: the text of every message, the address, memberships and receipts. This can't be undone.
    Erase(erase::EraseArgs),
    /// Print all stored data of a user, as JSON lines.
    Export(export::ExportArgs),
    /// List the events that webhooks failed to process and that are set aside; send one again, or drop it.
    Hooks(hooks::HooksArgs),
}

/// The server to ask, and the format of the output.
#[derive(Args)]
#[command(next_help_heading = "Server")]
struct ServerArgs {
    /// The server's URL. By default the configured address on this machine.
    #[arg(long, value_name = "URL")]
    url: Option<reqwest::Url>,
    /// A service key; by default the first one of PARLOR__API__KEYS. Other users of this machine
    /// can see options, but not this variable.
    #[arg(long, value_name = "KEY")]
    key: Option<String>,
    /// Print the server's answer as JSON.
    #[arg(long)]
    json: bool,
}

/// Runs a command.
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
