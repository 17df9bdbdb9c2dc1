//! `parlor send`

use std::io::{self, Read as _, Write as _};

use bson::oid::ObjectId;
use clap::Args;
use handlers::{RoomId, UserId};
use parlor::config::Config;
use serde_json::json;

use super::{Api, Asked, output};
use crate::Failure;

/// The longest text that is read from stdin, in bytes: more than any server accepts.
const MAX_STDIN_BYTES: u64 = 1 << 20;

#[derive(Args)]
pub(crate) struct Send {
    /// The room's id.
    #[arg(long)]
    room: RoomId,
    /// The sender.
    #[arg(long)]
    user: UserId,
    /// Send it as a service: the sender needn't be a member of the room.
    #[arg(long)]
    service: bool,
    /// The text. By default all of stdin, without its last newline.
    text: Option<String>,
    #[command(flatten)]
    asked: Asked,
}

pub(super) async fn run(config: &Config, send: Send) -> Result<(), Failure> {
    let api = Api::new(config, &send.asked)?;
    let text = match send.text {
        Some(text) => text,
        None => read_stdin()?,
    };
    let by = if send.service { "service" } else { "user" };
    let body = json!({ "sender_id": send.user, "text": text, "as": by });
    let path = ["rooms", &send.room.to_string(), "messages"];
    let answer = api.post(&path, &ObjectId::new().to_hex(), &body).await?;
    if send.asked.json {
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
