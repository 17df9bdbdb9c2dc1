//! The two channels of the contract, `/ws/chat/` and `/ws/`, and the messages that go over each of them.

use serde_json::{Map, Value, json};

use crate::Level;

/// A channel of the contract, and the Levels (connection modes) of the clients that use it.
pub(super) struct Channel {
    pub(super) reference: &'static str,
    pub(super) levels: &'static [Level],
}

/// The channel `/ws/chat/`: a socket of one room.
pub(super) const CHAT: Channel =
    Channel { reference: "#/channels/chat", levels: &[Level::Basic, Level::Resumable] };

/// The channel `/ws/`: a socket of all rooms of a user.
pub(super) const INBOX: Channel = Channel { reference: "#/channels/inbox", levels: &[Level::Inbox] };

/// Every Level, the lowest first.
pub(super) const ALL: &[Level] = &[Level::Basic, Level::Resumable, Level::Inbox];

/// The name of the field that lists the Levels of a message.
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

    /// Returns a reference to a message of this channel.
    pub(super) fn reference_to(&self, name: &str) -> Value {
        json!({ "$ref": format!("{}/messages/{name}", self.reference) })
    }

    /// Describes the operation in which the server sends frames by itself. `said` names the frames of all channels. The
    /// operation lists only the frames that go over this channel.
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
