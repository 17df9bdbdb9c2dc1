//! `parlor history`: prints a page of a room's messages.

use clap::Args;
use handlers::RoomId;
use parlor::config::Config;
use serde_json::Value;

use super::{ApiClient, ServerArgs, output};
use crate::Failure;

#[derive(Args)]
pub(crate) struct HistoryArgs {
    /// The room's id.
    #[arg(long)]
    room: RoomId,
    /// Show messages before the message with this id. By default, show the newest messages.
    #[arg(long, value_name = "MESSAGE", conflicts_with = "after")]
    before: Option<u64>,
    /// Show messages after the message with this id. With 0, show the first messages of the room.
    #[arg(long, value_name = "MESSAGE")]
    after: Option<u64>,
    /// The largest number of messages, 1 to 200.
    #[arg(long, default_value_t = 50, value_name = "MESSAGES")]
    limit: u32,
    #[command(flatten)]
    server: ServerArgs,
}

pub(super) async fn run(config: &Config, history: &HistoryArgs) -> Result<(), Failure> {
    let api = ApiClient::new(config, &history.server)?;
    let mut query = vec![("limit", history.limit.to_string())];
    query.extend(history.before.map(|before| ("before", before.to_string())));
    query.extend(history.after.map(|after| ("after", after.to_string())));
    let answer = api.get(&["rooms", &history.room.to_string(), "messages"], &query).await?;
    if history.server.json {
        return Ok(output::print_json(&answer)?);
    }
    let messages = answer["messages"].as_array().map(Vec::as_slice).unwrap_or_default();
    let mut rows: Vec<_> = messages.iter().map(row).collect();
    // Without --after, the answer has the newest message first. The command prints the newest
    // message last, as readers of a chat expect.
    if history.after.is_none() {
        rows.reverse();
    }
    output::print(&["MESSAGE", "TIME", "SENDER", "STATUS", "TEXT"], rows)?;
    Ok(())
}

fn row(message: &Value) -> Vec<String> {
    vec![
        output::cell(&message["message_id"]),
        output::cell(&message["created_at"]),
        output::cell(&message["sender_id"]),
        output::cell(&message["status"]),
        message["text"].as_str().map_or_else(String::new, output::visible),
    ]
}
