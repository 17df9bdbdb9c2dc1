//! A client that writes all the time. If a frame gets no answer, the client sends this frame again to any running
//! server.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Value, json};
use tokio::sync::Semaphore;

use super::Servers;
use super::client_copy::History;
use crate::support::{Client, End, SeededRng};

/// The record of one writer. At the end of the test, the rooms must agree with this record.
#[derive(Default)]
pub(super) struct Written {
    /// All messages that were not deleted, in their last acknowledged form.
    pub(super) messages: History,
    /// The message id of each `client_id`, by room id.
    pub(super) made: BTreeMap<(i64, String), i64>,
    /// The number of repeated frames.
    pub(super) again: usize,
}

pub(super) struct Writer {
    user: i64,
    rooms: Vec<i64>,
    servers: Servers,
    rng: SeededRng,
    client: Option<Client>,
    asked: usize,
    /// The messages that the writer may still change, as room id and message id.
    own: Vec<(i64, i64)>,
    written: Written,
}

impl Writer {
    pub(super) fn of(user: i64, rooms: Vec<i64>, servers: &Servers, rng: SeededRng) -> Self {
        let (own, written) = (Vec::new(), Written::default());
        Self { user, rooms, servers: servers.clone(), rng, client: None, asked: 0, own, written }
    }

    /// Sends, edits or deletes a message for each permit in `changes`. No two texts are equal.
    pub(super) async fn write(mut self, changes: Arc<Semaphore>) -> Written {
        for n in 0.. {
            let Ok(change) = changes.acquire().await else { break };
            change.forget();
            let text = format!("{}/{n}", self.user);
            match self.rng.below(10) {
                0..=3 if !self.own.is_empty() => self.edit(text).await,
                4..=5 if !self.own.is_empty() => self.delete().await,
                _ => self.say(text).await,
            }
        }
        self.written
    }

    async fn say(&mut self, text: String) {
        let room = self.rooms[self.rng.below(self.rooms.len())];
        let send = json!({"action": "send", "room_id": room, "message": text, "client_id": text});
        let (told, _) = self.ask(send).await;
        assert_eq!(
            (&told["type"], &told["message"]["text"]),
            (&json!("chat_message"), &json!(text)),
            "{told}"
        );
        let id = told["message"]["message_id"].as_i64().unwrap();
        self.own.push((room, id));
        self.written.made.insert((room, text.clone()), id);
        self.written.messages.entry(room).or_default().insert(id, text);
    }

    async fn edit(&mut self, text: String) {
        let at = self.rng.below(self.own.len());
        let (room, id) = self.own[at];
        let edit = json!({"action": "edit", "room_id": room, "message_id": id, "text": text});
        let (told, once) = self.ask(edit).await;
        assert_eq!((&told["type"], &told["text"]), (&json!("message_edited"), &json!(text)), "{told}");
        if !once {
            // The first try of this edit failed or had no answer, so the server may still apply it later. Therefore the
            // writer does not change this message again.
            self.own.swap_remove(at);
        }
        self.written.messages.entry(room).or_default().insert(id, text);
    }

    async fn delete(&mut self) {
        let at = self.rng.below(self.own.len());
        let (room, id) = self.own.swap_remove(at);
        let (told, once) = self.ask(json!({"action": "delete", "room_id": room, "message_id": id})).await;
        let gone = told["type"] == "message_deleted" || !once && told["code"] == "not_found";
        assert!(gone, "{told}");
        self.written.messages.entry(room).or_default().remove(&id);
    }

    /// Sends a frame until its answer is neither `unavailable` nor `timeout`. Returns the answer, and whether the frame
    /// was sent only once.
    async fn ask(&mut self, mut frame: Value) -> (Value, bool) {
        for tries in 1.. {
            self.asked += 1;
            frame["ref"] = self.asked.to_string().into();
            match self.try_to_ask(&frame).await {
                Some(answer) if ["unavailable", "timeout"].iter().all(|code| answer["code"] != *code) => {
                    return (answer, tries == 1);
                }
                Some(_) => {}
                None => self.client = None,
            }
            self.written.again += 1;
        }
        unreachable!("it is tried for ever")
    }

    /// Sends the frame once. Returns its answer, or `None` if the socket ended before the answer.
    async fn try_to_ask(&mut self, frame: &Value) -> Option<Value> {
        if self.client.is_none() {
            let wanted = self.rng.below(2);
            let mut client = self.servers.dial(wanted, self.user, "").await.1.open_if_there().await?;
            client.next_or_end().await.ok()?;
            self.client = Some(client);
        }
        let client = self.client.as_mut()?;
        if !client.try_send(frame.clone()).await {
            return None;
        }
        loop {
            match client.next_or_end().await {
                Ok(answer) if answer["ref"] == frame["ref"] => return Some(answer),
                Ok(_) => {}
                Err(End::Closed(_) | End::Lost) => return None,
            }
        }
    }
}
