//! What a function answers: `{"send":{"message":"..."}}`, `{"event":{...}}`, `{"reply":{...}}`, several of them, or
//! none. All else is malformed, misspelt names too: nothing that a function says is passed over.

use std::fmt;

use handlers::{Draft, Fields};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::protocol::ephemeral::{BadEvent, CustomEvent};

/// What is said of a fault within a part, at most, in characters.
const FAULT_CHARS: usize = 200;

/// What Parlor writes into a reply itself: it would stand there twice.
const RESERVED: [&str; 2] = ["ref", "room_id"];

/// What is to be done.
pub(crate) struct FunctionAnswer {
    /// As the caller.
    pub(crate) send: Option<Draft>,
    /// To the room.
    pub(crate) event: Option<CustomEvent>,
    /// To the caller's socket: the frame.
    pub(crate) reply: Option<String>,
}

/// What is wrong with an answer. Says where, never what stands there.
#[derive(Debug)]
pub(crate) enum MalformedAnswer {
    /// Not an object of JSON.
    NotJson,
    /// A field that is unknown, reserved, or given twice.
    Field(String),
    /// `send`, `event` or `reply` is not an object.
    NotObject(&'static str),
    /// A number in it is beyond all that a double can be.
    Number(&'static str),
    Send(serde_json::Error),
    Event(BadEvent),
    Reply(serde_json::Error),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SendPart {
    message: Draft,
}

/// A reply that has no `type` of its own has its action's name, as Parlor's own answers do.
#[derive(Serialize)]
struct TypedReply<'a> {
    r#type: &'a str,
    #[serde(flatten)]
    fields: &'a Fields<'a>,
}

/// Reads the answer of the function `name`, whose event's frame may have `event_bytes`.
pub(crate) fn read(name: &str, body: &[u8], event_bytes: usize) -> Result<FunctionAnswer, MalformedAnswer> {
    let body = str::from_utf8(body).map_err(|_| MalformedAnswer::NotJson)?;
    let fields = Fields::parse(body).map_err(|_| MalformedAnswer::NotJson)?;
    if let Some(odd) = fields.names().find(|name| !matches!(*name, "send" | "event" | "reply")) {
        return Err(MalformedAnswer::Field(odd.to_owned()));
    }
    let part = |name: &'static str| {
        fields.once(name).map_err(|_| MalformedAnswer::Field(name.to_owned()))?;
        let json = fields.get(name);
        let Some(json) = json else { return Ok(None) };
        let fields = Fields::parse(json).map_err(|_| MalformedAnswer::NotObject(name))?;
        // JSON by its grammar, but many a client's parser takes no part of a frame that has such a number.
        serde_json::from_str::<Value>(json).map_err(|_| MalformedAnswer::Number(name))?;
        Ok(Some(fields))
    };
    let send = match part("send")? {
        Some(_) => fields
            .get("send")
            .map(serde_json::from_str::<SendPart>)
            .transpose()
            .map_err(MalformedAnswer::Send)?,
        None => None,
    };
    let event = part("event")?.map(|fields| CustomEvent::new(name, &fields, event_bytes));
    Ok(FunctionAnswer {
        send: send.map(|send| send.message),
        event: event.transpose().map_err(MalformedAnswer::Event)?,
        reply: part("reply")?.map(|fields| reply(name, &fields)).transpose()?,
    })
}

fn reply(name: &str, fields: &Fields<'_>) -> Result<String, MalformedAnswer> {
    if let Some(odd) = fields.names().find(|name| RESERVED.contains(name) || fields.once(name).is_err()) {
        return Err(MalformedAnswer::Field(odd.to_owned()));
    }
    let typed = fields.names().any(|name| name == "type");
    let frame = if typed {
        serde_json::to_string(fields)
    } else {
        serde_json::to_string(&TypedReply { r#type: name, fields })
    };
    frame.map_err(MalformedAnswer::Reply)
}

impl fmt::Display for MalformedAnswer {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotJson => to.write_str("its answer is not an object of JSON"),
            Self::Field(name) => {
                let shown: String = name.chars().take(64).collect();
                write!(to, "its answer has a field {shown:?} that is unknown, reserved or given twice")
            }
            Self::NotObject(name) => write!(to, "`{name}` in its answer is not an object"),
            Self::Number(name) => write!(to, "`{name}` in its answer has a number that is out of range"),
            Self::Send(error) => write!(to, "`send` in its answer can't be done: {}", short(error)),
            Self::Event(error) => write!(to, "`event` in its answer can't be told: {error}"),
            Self::Reply(error) => write!(to, "`reply` in its answer can't be written: {}", short(error)),
        }
    }
}

/// What the parser says, which repeats a name that it doesn't know, however long that is.
fn short(error: &serde_json::Error) -> String {
    error.to_string().chars().take(FAULT_CHARS).collect()
}
