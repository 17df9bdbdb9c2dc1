//! `parlor rooms`: prints a page of a user's rooms.

use std::io::{self, Write as _};

use clap::Args;
use handlers::UserId;
use parlor::config::Config;
use serde_json::Value;

use super::{ApiClient, ServerArgs, output};
use crate::Failure;
use crate::cli::user_id;

#[derive(Args)]
pub(crate) struct RoomsArgs {
    /// The user whose rooms are shown.
    #[arg(long, value_parser = user_id)]
    user: UserId,
    /// Show the next page. The value stands at the end of the previous page's output.
    #[arg(long, value_name = "NEXT")]
    before: Option<String>,
    /// The largest number of rooms.
    #[arg(long, value_name = "ROOMS")]
    limit: Option<u32>,
    #[command(flatten)]
    server: ServerArgs,
}

pub(super) async fn run(config: &Config, rooms: &RoomsArgs) -> Result<(), Failure> {
    let api = ApiClient::new(config, &rooms.server)?;
    let mut query = vec![("user_id", rooms.user.to_string())];
    query.extend(rooms.before.clone().map(|before| ("before", before)));
    query.extend(rooms.limit.map(|limit| ("limit", limit.to_string())));
    let answer = api.get(&["rooms"], &query).await?;
    if rooms.server.json {
        return Ok(output::print_json(&answer)?);
    }
    let rooms = answer["rooms"].as_array().map(Vec::as_slice).unwrap_or_default();
    let row = |room: &Value| {
        let members = room["members"].as_array().map(Vec::as_slice).unwrap_or_default();
        let members: Vec<_> = members.iter().map(|member| output::cell(&member["user_id"])).collect();
        vec![
            output::cell(&room["room_id"]),
            output::cell(&room["kind"]),
            output::cell(&room["name"]),
            output::cell(&room["unread"]),
            output::beginning(&members.join(", ")),
            room["last_message"]["text"].as_str().map_or_else(|| "-".to_owned(), output::beginning),
        ]
    };
    let rows = rooms.iter().map(row).collect();
    output::print(&["ROOM", "KIND", "NAME", "UNREAD", "MEMBERS", "LAST MESSAGE"], rows)?;
    if let Some(next) = answer["next"].as_str() {
        writeln!(io::stdout(), "more with --before {}", output::visible(next))?;
    }
    Ok(())
}
