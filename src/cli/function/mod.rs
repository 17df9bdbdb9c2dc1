//! `parlor function`: creates, tries and lists function files.

#![allow(clippy::doc_markdown, reason = "the doc comments here are what --help prints")]

mod create;
mod trial;

use std::process::ExitCode;

use clap::{Args, Subcommand};
use parlor::config::Config;

use crate::Failure;
use crate::cli::admin::function::{self, ListArgs};

#[derive(Args)]
pub(crate) struct FunctionArgs {
    #[command(subcommand)]
    command: FunctionCommand,
}

#[derive(Subcommand)]
enum FunctionCommand {
    /// Create a function file that works, with a call to try it.
    New(create::NewArgs),
    /// Call a function file once, without a server: the same engine and limits, with a room in memory.
    Test(trial::TestArgs),
    /// List the function files that a running server has found, with their versions and errors.
    List(ListArgs),
}

pub(crate) async fn run(config: Config, args: FunctionArgs) -> Result<ExitCode, Failure> {
    match args.command {
        FunctionCommand::New(new) => create::run(&config, &new)?,
        FunctionCommand::Test(test) => return trial::run(&config, test).await,
        FunctionCommand::List(list) => function::run(&config, &list).await?,
    }
    Ok(ExitCode::SUCCESS)
}
