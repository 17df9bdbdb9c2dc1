//! A client's copy of its rooms, and its requests for their history.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::support::{Client, End};

/// The texts of each room's messages: room id, then message id.
pub(super) type History = BTreeMap<i64, BTreeMap<i64, String>>;

#[derive(Default)]
struct Room {
    messages: BTreeMap<i64, String>,
    /// The greatest message id that the client has received.
    newest: i64,
    /// The message id of the last `chat_message` event on this socket, or `None` before the first one.
    live: Option<i64>,
}

/// A client's copy of its rooms.
#[derive(Default)]
pub(super) struct Copy {
    rooms: BTreeMap<i64, Room>,
    /// The cursor for the next resume.
    pub(super) cursor: String,
    /// The number of first frames with `"resumed":false`.
    pub(super) anew: usize,
}

impl Copy {
    /// Applies a first frame. Returns false if the server did not resume. In this case the client must read all rooms
    /// again.
    pub(super) fn begin(&mut self, ready: &Value) -> bool {
        assert_eq!(ready["type"], "ready", "{ready}");
        if ready["resumed"] != true {
            return false;
        }
        for listed in ready["rooms"].as_array().unwrap() {
            assert_ne!(listed["has_more"], true, "{listed}");
            let id = listed["room_id"].as_i64().unwrap();
            let all = |key: &str| listed[key].as_array().unwrap_or_else(|| panic!("no {key}: {listed}"));
            let room = self.rooms.entry(id).or_default();
            for message in all("messages") {
                room.add(message);
            }
            for message in all("edited") {
                room.edit(message);
            }
            for gone in all("deleted") {
                room.delete(gone);
            }
        }
        self.note(ready);
        true
    }

    /// Replaces the copy after a first frame that did not resume: reads the history of each room. Events that arrive
    /// during the reads are applied after all histories.
    pub(super) async fn begin_anew(&mut self, ready: &Value, client: &mut Client) -> Result<(), End> {
        *self = Self { anew: self.anew + 1, ..Self::default() };
        let (mut rooms, mut meanwhile) = (BTreeMap::new(), Vec::new());
        for listed in ready["rooms"].as_array().unwrap() {
            let id = listed["room_id"].as_i64().unwrap();
            let messages = history(client, id, |frame| meanwhile.push(frame)).await?;
            // The pages are loaded after the first frame, so they may contain newer messages. The events of these newer
            // messages also arrive. `add` accepts only an id above `newest`, so `newest` is the last message id in the
            // first frame.
            let newest = listed["last_message"]["message_id"].as_i64().unwrap_or_default();
            rooms.insert(id, Room { messages, newest, live: None });
        }
        self.rooms = rooms;
        self.note(ready);
        for frame in &meanwhile {
            self.hear(frame);
        }
        Ok(())
    }

    /// Stores the cursor of a first frame. Also clears `live`: the first event of a new socket need not directly follow
    /// the last event of the previous socket.
    fn note(&mut self, ready: &Value) {
        ready["cursor"].as_str().unwrap().clone_into(&mut self.cursor);
        self.rooms.values_mut().for_each(|room| room.live = None);
    }

    /// Applies an event to the copy.
    pub(super) fn hear(&mut self, frame: &Value) {
        let Some(cursor) = frame["cursor"].as_str() else {
            return assert!(frame["type"] == "presence" || frame["type"] == "pong", "{frame}");
        };
        cursor.clone_into(&mut self.cursor);
        let room = self.rooms.entry(frame["room_id"].as_i64().unwrap()).or_default();
        match frame["type"].as_str().unwrap() {
            "chat_message" => room.hear(&frame["message"]),
            "message_edited" => room.edit(frame),
            "message_deleted" => room.delete(&frame["message_id"]),
            "mark_message_as_delivered" | "mark_message_as_read" | "unread" => {}
            other => panic!("{other} is not expected here: {frame}"),
        }
    }

    pub(super) fn rooms(&self) -> Vec<i64> {
        self.rooms.keys().copied().collect()
    }

    pub(super) fn messages(&self) -> History {
        self.rooms.iter().map(|(id, room)| (*id, room.messages.clone())).collect()
    }
}

impl Room {
    /// Applies a new message. Its id must be greater than all earlier ids.
    fn add(&mut self, message: &Value) {
        let (id, text) = parts(message);
        assert!(id > self.newest, "told after {}, twice or too late: {message}", self.newest);
        self.newest = id;
        self.messages.insert(id, text);
    }

    /// Applies a `chat_message` event. Its id must directly follow the id of the previous event on the same socket.
    fn hear(&mut self, message: &Value) {
        self.add(message);
        let before = self.live.replace(self.newest);
        assert!(before.is_none_or(|before| before + 1 == self.newest), "a hole after {before:?}: {message}");
    }

    fn edit(&mut self, message: &Value) {
        let (id, text) = parts(message);
        // The copy lacks the message if the message was deleted before the client loaded the room's history.
        assert!(id <= self.newest, "it was never told of: {message}");
        if let Some(known) = self.messages.get_mut(&id) {
            *known = text;
        }
    }

    fn delete(&mut self, id: &Value) {
        let id = id.as_i64().unwrap();
        assert!(id <= self.newest, "{id} was never told of");
        self.messages.remove(&id);
    }
}

fn parts(message: &Value) -> (i64, String) {
    (message["message_id"].as_i64().unwrap(), message["text"].as_str().unwrap().to_owned())
}

/// Reads a room's messages page by page. Passes all frames that are not pages to `other`.
pub(super) async fn history(
    client: &mut Client,
    room: i64,
    mut other: impl FnMut(Value),
) -> Result<BTreeMap<i64, String>, End> {
    let (mut messages, mut after) = (BTreeMap::new(), 0);
    loop {
        client.try_send(json!({"action": "history", "room_id": room, "after": after, "limit": 200})).await;
        let page = loop {
            let frame = client.next_or_end().await?;
            if frame["type"] == "history" {
                break frame;
            }
            assert_ne!(frame["type"], "error", "{frame}");
            other(frame);
        };
        messages.extend(page["messages"].as_array().unwrap().iter().map(parts));
        after = messages.keys().next_back().copied().unwrap_or(after);
        if page["has_more"] == false {
            return Ok(messages);
        }
    }
}
