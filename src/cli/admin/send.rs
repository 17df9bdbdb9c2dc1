//! `parlor send`: sends a message to a room.

use std::io::{self, Read as _, Write as _};

use bson::oid::ObjectId;
use clap::Args;
use handlers::{RoomId, UserId};
use parlor::config::Config;
use serde_json::json;

use super::{ApiClient, ServerArgs, output};
use crate::Failure;
use crate::cli::user_id;

/// The longest text that is read from stdin, in bytes. No server accepts a text of this length, so
/// the command does not read more.
const MAX_STDIN_BYTES: u64 = 1 << 20;

#[derive(Args)]
pub(crate) struct SendArgs {
    /// The room's id.
    #[arg(long)]
    room: RoomId,
    /// The sender's user id.
    #[arg(long, value_parser = user_id)]
    user: UserId,
    /// Send the message as a service. The sender then need not be a member of the room.
    #[arg(long)]
    service: bool,
    /// The text. By default, the text is read from stdin, without its last newline.
    text: Option<String>,
    #[command(flatten)]
    server: ServerArgs,
}

pub(super) async fn run(config: &Config, send: SendArgs) -> Result<(), Failure> {
    let api = ApiClient::new(config, &send.server)?;
    let text = match send.text {
        Some(text) => text,
        None => read_stdin()?,
    };
    let sender_kind = if send.service { "service" } else { "user" };
    let body = json!({ "sender_id": send.user, "text": text, "as": sender_kind });
    let path = ["rooms", &send.room.to_string(), "messages"];
    let answer = api.post(&path, &ObjectId::new().to_hex(), &body).await?;
    if send.server.json {
        return Ok(output::print_json(&answer)?);
    }
    writeln!(io::stdout(), "{}", output::cell(&answer["message_id"]))?;
    Ok(())
}

fn read_stdin() -> Result<String, Failure> {
    let mut text = String::new();
    io::stdin().take(MAX_STDIN_BYTES).read_to_string(&mut text)?;
    if text.ends_with('\n') {
        text.pop();
    }
    Ok(text)
}
