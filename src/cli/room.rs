//! `parlor room`: creates a room, or finds the direct room of two users.

use std::io::{self, Write};
use std::process::ExitCode;

use clap::Args;
use handlers::UserId;
use parlor::config::Config;
use parlor::store::NewMember;

use crate::Failure;
use crate::cli::user_id;

#[derive(Args)]
pub(crate) struct RoomArgs {
    /// The users' ids, separated by commas. Two ids: their direct room. More ids: a new group.
    #[arg(long, required = true, value_delimiter = ',', value_parser = user_id, value_name = "USER,USER,...")]
    members: Vec<UserId>,
}

/// Creates a room with these users as members, and prints the room's id. If there are two users and they already
/// have a direct room, prints the id of this room instead.
pub(crate) async fn run(config: Config, room: RoomArgs) -> Result<ExitCode, Failure> {
    let members: Vec<_> =
        room.members.into_iter().map(|user_id| NewMember { user_id, email: None }).collect();
    parlor::http::api::check_members(&members)?;
    let _log = parlor::telemetry::logging::init(&config)?;
    let (store, embedded) = parlor::open_store(config).await?;
    let made = async {
        store.prepare().await?;
        store.make_room(&members).await
    };
    let made = match made.await {
        Ok(room) => Ok(room),
        Err(error) => Err(store.diagnose(&error).await.text),
    };
    if let Some(embedded) = embedded {
        embedded.stop().await;
    }
    writeln!(io::stdout(), "{}", made?.id)?;
    Ok(ExitCode::SUCCESS)
}
