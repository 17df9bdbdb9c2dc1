//! Adds example frames to the messages of the contract. A reader of the contract then sees whole frames, not only
//! schemas.

use serde_json::{Map, Value, json};

/// The example payloads, grouped by the names of their messages. A test checks each payload against the schema of its
/// message.
const EXAMPLES: &str = include_str!("examples.json");

/// Adds the examples to the messages that `examples.json` names.
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
