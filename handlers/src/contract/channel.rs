//! The two channels of the contract, and the messages of each of them.

use serde_json::{Map, Value, json};

use crate::Level;

/// A channel of the contract, and the Levels that clients speak on it.
pub(super) struct Channel {
    pub(super) reference: &'static str,
    pub(super) levels: &'static [Level],
}

/// A socket of one room.
pub(super) const CHAT: Channel =
    Channel { reference: "#/channels/chat", levels: &[Level::Basic, Level::Resumable] };

/// A socket of all rooms of a user.
pub(super) const INBOX: Channel = Channel { reference: "#/channels/inbox", levels: &[Level::Inbox] };

/// Every Level, the lowest first.
pub(super) const ALL: &[Level] = &[Level::Basic, Level::Resumable, Level::Inbox];

/// The field of a message that names its Levels.
const LEVELS: &str = "x-levels";

/// Describes a message that clients of these Levels send or receive.
pub(super) fn message(summary: &str, payload: &Value, levels: &[Level]) -> Value {
    let levels: Vec<_> = levels.iter().map(|level| *level as u8).collect();
    json!({ "summary": summary, "payload": payload, LEVELS: levels })
}

impl Channel {
    /// Whether clients of one of these Levels use this channel.
    pub(super) fn has_any(&self, levels: &[Level]) -> bool {
        self.levels.iter().any(|level| levels.contains(level))
    }

    /// Whether a message goes over this channel.
    fn has(&self, message: &Value) -> bool {
        let levels = message[LEVELS].as_array().map(Vec::as_slice).unwrap_or_default();
        self.levels.iter().any(|level| levels.contains(&json!(*level as u8)))
    }

    /// Lists the messages that go over this channel.
    pub(super) fn listed(&self, messages: &Map<String, Value>) -> Map<String, Value> {
        let here = messages.iter().filter(|(_, message)| self.has(message));
        let in_components = |name: &str| json!({ "$ref": format!("#/components/messages/{name}") });
        here.map(|(name, _)| (name.clone(), in_components(name))).collect()
    }

    /// Refers to a message of this channel.
    pub(super) fn reference_to(&self, name: &str) -> Value {
        json!({ "$ref": format!("{}/messages/{name}", self.reference) })
    }

    /// Describes the operation in which the server sends frames by itself: the given messages that go over this
    /// channel.
    pub(super) fn told(&self, summary: &str, said: &[String], messages: &Map<String, Value>) -> Value {
        let here = said.iter().filter(|name| messages.get(*name).is_some_and(|message| self.has(message)));
        json!({
            "action": "send",
            "channel": { "$ref": self.reference },
            "summary": summary,
            "messages": here.map(|name| self.reference_to(name)).collect::<Vec<_>>(),
        })
    }
}
