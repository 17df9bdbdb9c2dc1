//! What a function answers: `{"send":{"message":"..."}}`, `{"event":{...}}`, `{"reply":{...}}`, several of them, or
//! none. All else is malformed, misspelt names too: nothing that a function says is passed over.

use std::fmt;

use handlers::{Draft, Fields};
use serde::{Deserialize, Serialize};

use crate::signal::{BadEvent, CustomEvent};

/// What is to be done.
pub(super) struct Answer {
    /// As the caller.
    pub(super) send: Option<Draft>,
    /// To the room.
    pub(super) event: Option<CustomEvent>,
    /// To the caller's socket: the frame.
    pub(super) reply: Option<String>,
}

/// What is wrong with an answer. Says where, never what stands there.
#[derive(Debug)]
pub(super) enum Malformed {
    /// Not an object of JSON.
    NotJson,
    /// A field that is unknown, or given twice.
    Field(String),
    /// `send`, `event` or `reply` is not an object.
    NotObject(&'static str),
    Send(serde_json::Error),
    Event(BadEvent),
    Reply(serde_json::Error),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Send {
    message: Draft,
}

/// A reply that has no `type` of its own has its action's name, as Parlor's own answers do.
#[derive(Serialize)]
struct Typed<'a> {
    r#type: &'a str,
    #[serde(flatten)]
    fields: &'a Fields<'a>,
}

/// Reads the answer of the function `name`, whose event's frame may have `event_bytes`.
pub(super) fn read(name: &str, body: &[u8], event_bytes: usize) -> Result<Answer, Malformed> {
    let body = str::from_utf8(body).map_err(|_| Malformed::NotJson)?;
    let fields = Fields::parse(body).map_err(|_| Malformed::NotJson)?;
    if let Some(odd) = fields.names().find(|name| !matches!(*name, "send" | "event" | "reply")) {
        return Err(Malformed::Field(odd.to_owned()));
    }
    let part = |name: &'static str| {
        fields.once(name).map_err(|_| Malformed::Field(name.to_owned()))?;
        let json = fields.get(name);
        json.map(|json| Fields::parse(json).map_err(|_| Malformed::NotObject(name))).transpose()
    };
    let send = match part("send")? {
        Some(_) => {
            fields.get("send").map(serde_json::from_str::<Send>).transpose().map_err(Malformed::Send)?
        }
        None => None,
    };
    let event = part("event")?.map(|fields| CustomEvent::new(name, &fields, event_bytes));
    Ok(Answer {
        send: send.map(|send| send.message),
        event: event.transpose().map_err(Malformed::Event)?,
        reply: part("reply")?.map(|fields| reply(name, &fields)).transpose()?,
    })
}

fn reply(name: &str, fields: &Fields<'_>) -> Result<String, Malformed> {
    if let Some(twice) = fields.names().find(|name| fields.once(name).is_err()) {
        return Err(Malformed::Field(twice.to_owned()));
    }
    let typed = fields.names().any(|name| name == "type");
    let frame = if typed {
        serde_json::to_string(fields)
    } else {
        serde_json::to_string(&Typed { r#type: name, fields })
    };
    frame.map_err(Malformed::Reply)
}

impl fmt::Display for Malformed {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotJson => to.write_str("its answer is not an object of JSON"),
            Self::Field(name) => {
                let shown: String = name.chars().take(64).collect();
                write!(to, "its answer has a field {shown:?} that is unknown or given twice")
            }
            Self::NotObject(name) => write!(to, "`{name}` in its answer is not an object"),
            Self::Send(error) => write!(to, "`send` in its answer can't be done: {error}"),
            Self::Event(error) => write!(to, "`event` in its answer can't be told: {error}"),
            Self::Reply(error) => write!(to, "`reply` in its answer can't be written: {error}"),
        }
    }
}
