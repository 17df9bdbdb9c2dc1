//! A Level 2 client that loses its connection many times ends with exactly the room's content. The client gets no event
//! twice.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::{Live, Told, delete, edit, id_of, text_of};
use crate::support::{Client, SeededRng, Server, deleted, edited, encoded, seed, shared_uri};

/// The number of changes that each of the two writers makes.
const CHANGES: usize = 90;

const ROOMY: [(&str, &str); 1] = [("LIMITS__SEND_QUEUE", "10000")];

/// Returns the text of a writer's last message.
fn done(user: i64) -> String {
    format!("{user} is done")
}

/// Sends, edits and deletes messages, and waits for the event of each change. No two texts are equal.
async fn write(mut client: Client, user: i64, mut rng: SeededRng) {
    let mut own: Vec<i64> = Vec::new();
    for n in 0..CHANGES {
        let text = format!("{user}/{n}");
        let at = rng.below(own.len().max(1));
        match rng.below(10) {
            0..=3 if !own.is_empty() => {
                client.send(edit(own[at], &text)).await;
                client.until(edited(own[at], &text)).await;
            }
            4..=5 if !own.is_empty() => {
                let id = own.swap_remove(at);
                client.send(delete(id)).await;
                client.until(deleted(id)).await;
            }
            _ => own.push(say(&mut client, &text).await),
        }
    }
    say(&mut client, &done(user)).await;
}

/// Sends `text` and returns its message id.
async fn say(client: &mut Client, text: &str) -> i64 {
    client.say(text).await;
    loop {
        let event = client.until_kind("chat_message").await;
        if event["message"]["text"] == text {
            return id_of(&event);
        }
    }
}

/// A client's copy of a room.
#[derive(Default)]
struct Known {
    messages: BTreeMap<i64, String>,
    newest: i64,
}

impl Known {
    fn learn(&mut self, told: Told) {
        for (id, text) in told.messages {
            self.add(id, text);
        }
        for (id, text) in told.edited {
            self.edit(id, text);
        }
        for id in told.deleted {
            self.delete(id);
        }
    }

    fn hear(&mut self, event: &Value) {
        match event["type"].as_str().unwrap() {
            "chat_message" => self.add(id_of(event), text_of(&event["message"])),
            "message_edited" => self.edit(id_of(event), text_of(event)),
            "message_deleted" => self.delete(id_of(event)),
            "mark_message_as_delivered" | "mark_message_as_read" => {}
            other => panic!("{other} is no event"),
        }
    }

    fn add(&mut self, id: i64, text: String) {
        assert!(id > self.newest, "{id} comes after {}: twice, or too late", self.newest);
        self.newest = id;
        self.messages.insert(id, text);
    }

    fn edit(&mut self, id: i64, text: String) {
        let before = self.messages.insert(id, text.clone());
        assert!(before.is_some(), "{id} was edited to {text:?} and had never been told of");
        assert_ne!(before, Some(text), "{id} was told to be edited, twice");
    }

    fn delete(&mut self, id: i64) {
        assert!(self.messages.remove(&id).is_some(), "{id} was deleted, and is not known or already gone");
    }

    fn has_all(&self) -> bool {
        [1, 2].iter().all(|user| self.messages.values().any(|text| *text == done(*user)))
    }
}

/// Follows the room, with random disconnects, until both writers are done. Returns the client's copy and its last
/// cursor.
async fn follow(servers: [&Server; 2], room: i64, mut cursor: String, mut rng: SeededRng) -> (Known, String) {
    let mut known = Known::default();
    let mut cuts = 0;
    while !known.has_all() {
        let server = servers[rng.below(2)];
        if rng.below(8) == 0 {
            // This socket is dropped before the client has read anything from it.
            let query = format!("room_id={room}&since={}", encoded(&cursor));
            drop(server.dial_as(3, &query).open().await);
        }
        let (mut live, frame) = Live::open(server, 3, room, &cursor).await;
        assert_eq!((&frame["resumed"], &frame["has_more"]), (&json!(true), &json!(false)), "{frame}");
        known.learn(Told::by(&frame));
        for _ in 0..rng.below(16) {
            if known.has_all() {
                break;
            }
            known.hear(&live.next().await);
        }
        cursor.clone_from(&live.cursor);
        cuts += 1;
        // The socket is dropped here, without a close frame.
    }
    assert!(cuts > 10, "it was cut off {cuts} times only");
    (known, cursor)
}

#[tokio::test]
async fn client_state_equals_the_room_after_random_disconnects() {
    let seed = seed();
    let here = Server::start(&ROOMY).await;
    let there = here.beside_over(shared_uri(), &ROOMY).await;
    let room = here.room(&[1, 2, 3]).await;
    let start = Live::fresh(&here, 3, room).await.cursor;
    let (one, two) = (here.enter(1, room).await, there.enter(2, room).await);
    let ((known, cursor), (), ()) = tokio::join!(
        follow([&here, &there], room, start, SeededRng::of(seed)),
        write(one, 1, SeededRng::of(seed ^ 1)),
        write(two, 2, SeededRng::of(seed ^ 2)),
    );
    let (status, page) = here.api_get(&format!("/rooms/{room}/messages?after=0&limit=200")).await;
    assert_eq!((status, &page["has_more"]), (200, &json!(false)));
    let all: BTreeMap<_, _> = super::texts(&page["messages"]).into_iter().collect();
    assert_eq!(known.messages, all, "with the seed {seed}");
    let (_, frame) = Live::open(&there, 3, room, &cursor).await;
    assert_eq!(Told::by(&frame), Told::default(), "with the seed {seed}");
}

#[tokio::test]
async fn first_frame_and_events_hold_each_edit_once() {
    const EDITS: usize = 300;
    let (server, room) = super::room(&ROOMY).await;
    let there = server.beside_over(shared_uri(), &ROOMY).await;
    let mut one = server.enter(1, room).await;
    one.say_alone(1, 1, "0").await;
    let mut cursor = Live::fresh(&server, 1, room).await.cursor;
    let writing = async {
        for version in 1..=EDITS {
            one.send(edit(1, &version.to_string())).await;
            one.expect(edited(1, &version.to_string())).await;
        }
    };
    let reading = async {
        let mut seen = 0;
        while seen < EDITS {
            let (mut live, frame) = Live::open([&server, &there][seen % 2], 1, room, &cursor).await;
            for (_, text) in Told::by(&frame).edited {
                let version = text.parse().unwrap();
                assert!(version > seen, "version {version} was told after version {seen}: {frame}");
                seen = version;
            }
            for version in seen + 1..=EDITS.min(seen + 3) {
                live.hear(edited(1, &version.to_string())).await;
                seen = version;
            }
            cursor.clone_from(&live.cursor);
        }
    };
    tokio::join!(writing, reading);
}
