//! `parlor tail`: prints the events of a room as they happen.

use std::io::{self, ErrorKind, Write as _};
use std::time::Duration;

use clap::Args;
use handlers::RoomId;
use parlor::config::Config;
use reqwest::{Method, Response};
use serde_json::Value;

use super::client::ApiRefusal;
use super::lines::{AnswerLines, NextLine};
use super::{ApiClient, ServerArgs, output};
use crate::Failure;

/// The pause before a broken stream is opened again. A stream breaks during a deploy or a network failure, for
/// example.
const PAUSE: Duration = Duration::from_secs(1);

/// The number of attempts to open a stream before `tail` ends.
const TRIES: u32 = 60;

/// The number of messages on a page of the history. A reopened stream starts with only the newest messages of the room.
/// If more messages were sent while the stream was broken, the command loads the older messages in pages.
const PAGE: usize = 200;

#[derive(Args)]
pub(crate) struct TailArgs {
    /// The room's id.
    #[arg(long)]
    room: RoomId,
    /// The number of earlier messages to show first, up to 50.
    #[arg(long, default_value_t = 10, value_name = "MESSAGES")]
    last: usize,
    #[command(flatten)]
    server: ServerArgs,
}

/// The reason why a stream ended.
enum TailEnd {
    /// The program that reads this command's output has ended.
    Unread,
    /// The connection to the server broke off.
    Broken,
}

pub(super) async fn run(config: &Config, tail: &TailArgs) -> Result<(), Failure> {
    let api = ApiClient::new(config, &tail.server)?;
    let mut shown = ShownMessages { tail, newest: None };
    let mut stream = open(&api, tail).await?;
    loop {
        if let TailEnd::Unread = shown.follow(&api, stream).await? {
            return Ok(());
        }
        writeln!(io::stderr(), "parlor: the stream broke off; trying again")?;
        stream = reopen(&api, tail).await?;
    }
}

async fn open(api: &ApiClient, tail: &TailArgs) -> Result<Response, Failure> {
    let path = ["rooms", &tail.room.to_string(), "events"];
    api.answer(api.request(Method::GET, &path, &[])?).await
}

async fn reopen(api: &ApiClient, tail: &TailArgs) -> Result<Response, Failure> {
    for _ in 1..TRIES {
        tokio::time::sleep(PAUSE).await;
        match open(api, tail).await {
            Ok(stream) => return Ok(stream),
            // A repeated request would be refused too, for example because the room was deleted or the service
            // key was removed.
            Err(error) if error.downcast_ref::<ApiRefusal>().is_some_and(ApiRefusal::is_final) => {
                return Err(error);
            }
            Err(_) => {}
        }
    }
    open(api, tail).await
}

/// The state of the output: which messages were printed.
struct ShownMessages<'a> {
    tail: &'a TailArgs,
    /// The id of the newest message that was printed. None before the first history.
    newest: Option<i64>,
}

impl ShownMessages<'_> {
    async fn follow(&mut self, api: &ApiClient, stream: Response) -> Result<TailEnd, Failure> {
        let mut lines = AnswerLines::of(stream);
        while let NextLine::Line(line) = lines.next().await? {
            // A blank line has no event. The server sends blank lines to show that the connection still works.
            if line.trim_ascii().is_empty() {
                continue;
            }
            let event: Value = serde_json::from_slice(&line)?;
            let missed = self.missed(api, &event).await?;
            let shown = missed.iter().try_for_each(|message| self.show_message(message));
            match shown.and_then(|()| self.show(&event)) {
                Err(error) if error.kind() == ErrorKind::BrokenPipe => return Ok(TailEnd::Unread),
                shown => shown?,
            }
        }
        Ok(TailEnd::Broken)
    }

    /// Finds messages that were sent while the stream was broken. If `event` is the history of a reopened
    /// stream, returns the messages between the last printed message and this history, oldest first. Otherwise
    /// returns an empty list.
    async fn missed(&self, api: &ApiClient, event: &Value) -> Result<Vec<Value>, Failure> {
        let mut missed = Vec::new();
        let oldest = event["messages"].as_array().and_then(|all| all.last()).and_then(id);
        let (Some(mut newest), Some(oldest)) = (self.newest, oldest) else { return Ok(missed) };
        let room = self.tail.room.to_string();
        while newest + 1 < oldest {
            let after = [("after", newest.to_string()), ("limit", PAGE.to_string())];
            let page = api.get(&["rooms", &room, "messages"], &after).await?;
            let messages = page["messages"].as_array().cloned().unwrap_or_default();
            let last = messages.last().and_then(id);
            missed.extend(messages.into_iter().filter(|message| id(message) < Some(oldest)));
            let Some(last) = last else { break };
            newest = last;
        }
        Ok(missed)
    }

    fn show(&mut self, event: &Value) -> io::Result<()> {
        if event["type"] == "history" {
            return self.show_history(event);
        }
        if event["type"] == "chat_message" {
            self.newest = self.newest.max(id(&event["message"]));
        }
        if self.tail.server.json { output::print_json(event) } else { print(event) }
    }

    fn show_message(&mut self, message: &Value) -> io::Result<()> {
        self.show(&serde_json::json!({ "type": "chat_message", "message": message }))
    }

    /// Prints the last `--last` messages of the history of the first stream. For a reopened stream, prints only
    /// the messages that were not printed before.
    fn show_history(&mut self, history: &Value) -> io::Result<()> {
        let messages = history["messages"].as_array().map(Vec::as_slice).unwrap_or_default();
        let shown = match self.newest {
            None => messages.len().min(self.tail.last),
            newest => messages.iter().take_while(|message| id(message) > newest).count(),
        };
        for message in messages[..shown].iter().rev() {
            self.show_message(message)?;
        }
        self.newest = self.newest.max(messages.first().and_then(id)).or(Some(0));
        Ok(())
    }
}

fn id(message: &Value) -> Option<i64> {
    message["message_id"].as_i64()
}

/// Prints an event as one line of text.
fn print(event: &Value) -> io::Result<()> {
    let message = &event["message"];
    let text = |value: &Value| output::visible(value.as_str().unwrap_or_default());
    let mut out = io::stdout();
    match event["type"].as_str().unwrap_or_default() {
        "chat_message" => writeln!(
            out,
            "{}  #{} {}: {}",
            text(&message["created_at"]),
            output::cell(&message["message_id"]),
            output::cell(&message["sender_id"]),
            text(&message["text"])
        ),
        "mark_message_as_delivered" => writeln!(out, "#{} delivered", output::cell(&message["message_id"])),
        "mark_message_as_read" => writeln!(out, "#{} read", output::cell(&message["message_id"])),
        "message_edited" => {
            writeln!(out, "#{} edited: {}", output::cell(&event["message_id"]), text(&event["text"]))
        }
        "message_deleted" => writeln!(out, "#{} deleted", output::cell(&event["message_id"])),
        _ => writeln!(out, "{}", output::visible(&event.to_string())),
    }
}
