//! Builders for the frames that tests expect, so that each frame's form stands in one place.

use serde_json::{Value, json};

/// In an expected frame, this text stands for any time in the protocol's format.
pub(crate) const TIME: &str = "<a time>";

/// In an expected frame, this text stands for any string that is not empty.
pub(crate) const WORDS: &str = "<some words>";

/// Returns whether a frame has exactly the expected keys and values. [`TIME`] stands for any time, and [`WORDS`] for
/// any text that is not empty.
pub(crate) fn matches(expected: &Value, frame: &Value) -> bool {
    match (expected, frame) {
        (Value::String(open), Value::String(text)) if open == TIME => is_time(text),
        (Value::String(open), Value::String(text)) if open == WORDS => !text.is_empty(),
        (Value::Object(expected), Value::Object(frame)) => {
            expected.len() == frame.len()
                && expected.iter().all(|(key, value)| frame.get(key).is_some_and(|it| matches(value, it)))
        }
        (Value::Array(expected), Value::Array(frame)) => {
            expected.len() == frame.len() && expected.iter().zip(frame).all(|(a, b)| matches(a, b))
        }
        _ => expected == frame,
    }
}

/// Returns whether a text is a time in RFC 3339, in UTC with milliseconds and `Z`.
fn is_time(text: &str) -> bool {
    let form = "0000-00-00T00:00:00.000Z";
    text.len() == form.len()
        && text.bytes().zip(form.bytes()).all(|(byte, wanted)| match wanted {
            b'0' => byte.is_ascii_digit(),
            _ => byte == wanted,
        })
}

/// Returns an event of this type that contains the whole message.
fn carrying(event: &str, status: &str, id: i64, sender: &Value, text: &str) -> Value {
    json!({"type": event, "message": {
        "text": text, "message_id": id, "sender_id": sender, "status": status,
        "created_at": TIME, "updated_at": TIME,
    }})
}

pub(crate) fn chat(id: i64, sender: impl Into<Value>, text: &str) -> Value {
    carrying("chat_message", "send", id, &sender.into(), text)
}

pub(crate) fn delivered(id: i64, sender: impl Into<Value>, text: &str) -> Value {
    carrying("mark_message_as_delivered", "delivered", id, &sender.into(), text)
}

pub(crate) fn read(id: i64, sender: impl Into<Value>, text: &str) -> Value {
    carrying("mark_message_as_read", "read", id, &sender.into(), text)
}

/// Returns the three events of a message when every other member has the room open: `chat_message`, delivered, and
/// read.
pub(crate) fn said(id: i64, sender: i64, text: &str) -> [Value; 3] {
    [chat(id, sender, text), delivered(id, sender, text), read(id, sender, text)]
}

pub(crate) fn edited(id: i64, text: &str) -> Value {
    json!({"type": "message_edited", "message_id": id, "text": text})
}

pub(crate) fn deleted(id: i64) -> Value {
    json!({"type": "message_deleted", "message_id": id})
}

/// Returns a message as the history lists it. The sender's email is `user<sender>@example.com`.
pub(crate) fn listed(id: i64, sender: i64, text: &str, status: &str) -> Value {
    json!({
        "message_id": id, "text": text, "sender_id": sender, "sender_email": format!("user{sender}@example.com"),
        "status": status, "created_at": TIME, "updated_at": TIME,
    })
}

/// Returns an error frame. The frame has the field `action` if `action` is given.
pub(crate) fn error(code: &str, action: Option<&str>) -> Value {
    match action {
        Some(action) => json!({"type": "error", "code": code, "message": WORDS, "action": action}),
        None => json!({"type": "error", "code": code, "message": WORDS}),
    }
}

/// Asserts that the very next frame is an error with this code and action, whose message names `field`.
pub(crate) async fn next_error(client: &mut super::Client, code: &str, action: &str, field: &str) {
    let frame = client.expect(error(code, Some(action))).await;
    let message = frame["message"].as_str().unwrap_or_default();
    assert!(message.contains(field), "the message should name {field}: {frame}");
}

/// Returns the message ids of all events of this kind, in the order of the events.
pub(crate) fn ids_of(frames: &[Value], kind: &str) -> Vec<i64> {
    let of_kind = frames.iter().filter(|frame| frame["type"] == kind);
    of_kind.filter_map(|frame| frame["message"]["message_id"].as_i64()).collect()
}
