//! An example of each message, so that a reader of the contract sees whole frames.

use serde_json::{Map, Value, json};

/// Payloads by the names of their messages. A test holds each of them to its schema.
const EXAMPLES: &str = include_str!("examples.json");

/// Adds to each message its examples.
pub(super) fn add(messages: &mut Map<String, Value>) {
    let examples: Map<String, Value> = serde_json::from_str(EXAMPLES).unwrap_or_default();
    for (name, payloads) in examples {
        if let Some(Value::Object(message)) = messages.get_mut(&name) {
            let payloads = payloads.as_array().into_iter().flatten();
            let examples = payloads.map(|payload| json!({ "payload": payload })).collect();
            message.insert("examples".to_owned(), Value::Array(examples));
        }
    }
}
