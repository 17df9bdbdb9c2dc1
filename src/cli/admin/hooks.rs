//! `parlor hooks`: lists the events that are set aside. Parlor sets an event aside, and no longer sends
//! it, after the webhook has failed `hooks.max_tries` times. The command can also send one of these
//! events again, or remove it.

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
pub(crate) struct HooksArgs {
    /// Only events of this hook: after_send, connected, disconnected or offline.
    #[arg(long)]
    hook: Option<String>,
    /// Only events that name this user.
    #[arg(long, value_parser = user_id)]
    user: Option<UserId>,
    /// Show events after the event with this id. The last line of a page names the id to use.
    #[arg(long, value_name = "ID")]
    after: Option<ObjectId>,
    /// The largest number of events on a page.
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u16).range(1..=200))]
    limit: u16,
    /// Send this event again, once. If the receiver accepts the event, it is removed from the list.
    #[arg(long, value_name = "ID", conflicts_with = "drop")]
    retry: Option<ObjectId>,
    /// Remove this event without sending it again.
    #[arg(long, value_name = "ID")]
    drop: Option<ObjectId>,
    #[command(flatten)]
    server: ServerArgs,
}

pub(super) async fn run(config: &Config, hooks: &HooksArgs) -> Result<(), Failure> {
    let api = ApiClient::new(config, &hooks.server)?;
    if let Some(event) = &hooks.retry {
        let path = ["hooks", "set-aside", &event.to_hex(), "retry"];
        api.post(&path, &ObjectId::new().to_hex(), &json!({})).await?;
        return Ok(());
    }
    if let Some(event) = &hooks.drop {
        api.delete(&["hooks", "set-aside", &event.to_hex()]).await?;
        return Ok(());
    }
    let mut query = vec![("limit", hooks.limit.to_string())];
    query.extend(hooks.hook.clone().map(|hook| ("hook", hook)));
    query.extend(hooks.user.as_ref().map(|user| ("user_id", user.to_string())));
    query.extend(hooks.after.map(|after| ("after", after.to_hex())));
    let answer = api.get(&["hooks", "set-aside"], &query).await?;
    if hooks.server.json {
        return Ok(output::print_json(&answer)?);
    }
    let events = answer["events"].as_array().map(Vec::as_slice).unwrap_or_default();
    let fields = ["id", "hook", "event_id", "tries", "set_aside_at", "reason"];
    let row = |event: &Value| fields.iter().map(|field| output::cell(&event[field])).collect();
    let head = ["ID", "HOOK", "EVENT", "TRIES", "SET ASIDE", "REASON"];
    output::print(&head, events.iter().map(row).collect())?;
    if let Some(next) = answer["next"].as_str() {
        writeln!(io::stdout(), "more: --after {}", output::visible(next))?;
    }
    Ok(())
}
