//! `parlor users`: prints a user's state, or closes the user's sockets.

use std::io::{self, Write as _};

use bson::oid::ObjectId;
use clap::Args;
use handlers::UserId;
use parlor::config::Config;
use serde_json::{Value, json};

use super::{ApiClient, ServerArgs, output};
use crate::Failure;
use crate::cli::user_id;

#[derive(Args)]
pub(crate) struct UsersArgs {
    /// The user's id.
    #[arg(long, value_parser = user_id)]
    user: UserId,
    /// Close all of the user's sockets, on every server. A client with a valid token may reconnect.
    #[arg(long)]
    disconnect: bool,
    #[command(flatten)]
    server: ServerArgs,
}

pub(super) async fn run(config: &Config, users: &UsersArgs) -> Result<(), Failure> {
    let api = ApiClient::new(config, &users.server)?;
    let user = users.user.to_string();
    if users.disconnect {
        let path = ["users", &user, "disconnect"];
        api.post(&path, &ObjectId::new().to_hex(), &json!({})).await?;
        output::note("closing the user's sockets on every server");
        return Ok(());
    }
    let answer = api.get(&["users", &user], &[]).await?;
    if users.server.json {
        return Ok(output::print_json(&answer)?);
    }
    let online = if answer["online"] == true { "online" } else { "offline" };
    let seen = answer["last_seen"].as_str().map_or_else(String::new, |at| format!(", last seen {at}"));
    writeln!(io::stdout(), "{} is {online}{}", output::visible(&user), output::visible(&seen))?;
    let rooms = answer["rooms"].as_array().map(Vec::as_slice).unwrap_or_default();
    let fields = ["room_id", "role", "email", "delivered", "read"];
    let row = |room: &Value| fields.iter().map(|field| output::cell(&room[field])).collect();
    output::print(&["ROOM", "ROLE", "EMAIL", "DELIVERED", "READ"], rooms.iter().map(row).collect())?;
    Ok(())
}
