//! Parses the answer of a function. The answer has any of these parts: `{"send":{"message":"..."}}`,
//! `{"event":{...}}` and `{"reply":{...}}`. Or it has only `{"reject":"..."}`. An answer with an unknown field is malformed. So a misspelt name of a
//! part causes an error, and Parlor does not ignore the part.

use std::fmt;

use handlers::{Draft, Fields, UserId};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::protocol::ephemeral::{CustomEvent, InvalidEvent};

/// The most characters of an error text about one part of the answer. Longer texts are cut.
const FAULT_CHARS: usize = 200;

/// The fields that Parlor itself adds to a reply. A reply that already has one of these fields is malformed, because
/// the field would appear twice.
const RESERVED: [&str; 2] = ["ref", "room_id"];

/// A valid answer of a function.
pub(crate) struct FunctionAnswer {
    /// Why the function refuses the call. If it is set, the other parts are not.
    pub(crate) reject: Option<String>,
    /// The message to send to the room.
    pub(crate) send: Option<SendPart>,
    /// The event to publish to the room.
    pub(crate) event: Option<CustomEvent>,
    /// The frame to send to the caller's socket.
    pub(crate) reply: Option<String>,
}

/// The reason why an answer is malformed, with the part that is wrong. The text of this error contains field names
/// of the answer, but no values.
#[derive(Debug)]
pub(crate) enum MalformedAnswer {
    /// The answer is not a JSON object.
    NotJson,
    /// The answer has a field that is unknown, reserved, or given twice.
    Field(String),
    /// `send`, `event` or `reply` is not an object.
    NotObject(&'static str),
    /// `reject` is not a text, or it is not the only part.
    Reject,
    /// The part with this name has a number that is beyond the range of a double (IEEE 754).
    Number(&'static str),
    Send(serde_json::Error),
    Event(InvalidEvent),
    Reply(serde_json::Error),
}

/// The message that a function sends.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct SendPart {
    pub(crate) message: Draft,
    /// The sender. None: the caller.
    #[serde(default, rename = "as")]
    pub(crate) sender: Option<UserId>,
}

/// A reply with a `type`. If the function sends a reply without `type`, Parlor sets `type` to the name of the action.
#[derive(Serialize)]
struct TypedReply<'a> {
    r#type: &'a str,
    #[serde(flatten)]
    fields: &'a Fields<'a>,
}

/// Parses the answer of the function `name`. The frame of the answer's event may have at most `event_bytes` bytes.
pub(crate) fn read(name: &str, body: &[u8], event_bytes: usize) -> Result<FunctionAnswer, MalformedAnswer> {
    let body = str::from_utf8(body).map_err(|_| MalformedAnswer::NotJson)?;
    let fields = Fields::parse(body).map_err(|_| MalformedAnswer::NotJson)?;
    if let Some(odd) = fields.names().find(|name| !matches!(*name, "send" | "event" | "reply" | "reject")) {
        return Err(MalformedAnswer::Field(odd.to_owned()));
    }
    if let Some(reason) = fields.get("reject") {
        let reason = serde_json::from_str(reason).ok().filter(|_| fields.names().count() == 1);
        let reject = Some(reason.ok_or(MalformedAnswer::Reject)?);
        return Ok(FunctionAnswer { reject, send: None, event: None, reply: None });
    }
    let part = |name: &'static str| {
        fields.once(name).map_err(|_| MalformedAnswer::Field(name.to_owned()))?;
        let json = fields.get(name);
        let Some(json) = json else { return Ok(None) };
        let fields = Fields::parse(json).map_err(|_| MalformedAnswer::NotObject(name))?;
        // A number beyond the range of a double is valid JSON. But the JSON parsers of many clients reject a frame that
        // contains this number.
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
        reject: None,
        send,
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
            Self::Reject => to.write_str("`reject` in its answer must be a text and the only field"),
            Self::Number(name) => write!(to, "`{name}` in its answer has a number that is out of range"),
            Self::Send(error) => write!(to, "`send` in its answer can't be done: {}", short(error)),
            Self::Event(error) => write!(to, "`event` in its answer can't be sent: {error}"),
            Self::Reply(error) => write!(to, "`reply` in its answer can't be written: {}", short(error)),
        }
    }
}

/// Returns the parser's message, cut to [`FAULT_CHARS`]. For an unknown field, the parser's message contains the
/// field's name, which can be long.
fn short(error: &serde_json::Error) -> String {
    error.to_string().chars().take(FAULT_CHARS).collect()
}
