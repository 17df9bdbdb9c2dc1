//! Resuming an inbox connection: the client receives each missed change once, even if changes happen during the resume.

use std::collections::BTreeMap;

use reqwest::Method;
use serde_json::{Value, json};

use super::inbox;
use crate::support::{Client, SeededRng, Server, seed};

/// Opens an inbox connection with this cursor. Returns it with its first frame, `ready`.
pub(super) async fn resume(server: &Server, user: i64, cursor: &str) -> (Client, Value) {
    let token = server.token(user).sign();
    let path = format!("/ws/?since={cursor}");
    let mut client = server.dial(&path).called(format!("inbox of {user}")).token(&token).open().await;
    let ready = client.next().await;
    assert_eq!(ready["type"], "ready", "{ready}");
    (client, ready)
}

fn cursor(frame: &Value) -> String {
    frame["cursor"].as_str().unwrap_or_else(|| panic!("no cursor in {frame}")).to_owned()
}

fn room_in(ready: &Value, room: i64) -> &Value {
    let rooms = ready["rooms"].as_array().unwrap();
    rooms
        .iter()
        .find(|listed| listed["room_id"] == room)
        .unwrap_or_else(|| panic!("room {room} is not in {ready}"))
}

fn ids(messages: &Value) -> Vec<i64> {
    let messages = messages.as_array().unwrap_or_else(|| panic!("no messages: {messages}"));
    messages.iter().map(|message| message["message_id"].as_i64().unwrap()).collect()
}

async fn post(server: &Server, room: i64, text: &str) {
    let said = json!({"sender_id": 2, "text": text});
    let (status, answer) = server.call(Method::POST, &format!("/rooms/{room}/messages"), said).await;
    assert_eq!(status, 201, "{answer}");
}

async fn edit(server: &Server, room: i64, id: i64, text: &str) {
    let (status, _) =
        server.call(Method::PATCH, &format!("/rooms/{room}/messages/{id}"), json!({"text": text})).await;
    assert_eq!(status, 200);
}

async fn delete(server: &Server, room: i64, id: i64) {
    let (status, _) = server.call(Method::DELETE, &format!("/rooms/{room}/messages/{id}"), json!({})).await;
    assert_eq!(status, 204);
}

#[tokio::test]
async fn changes_since_the_cursor_are_resumed_once() {
    let server = Server::start(&[]).await;
    let (first, second, third) =
        (server.room(&[1, 2]).await, server.room(&[1, 2, 3]).await, server.room(&[1, 2, 4]).await);
    for room in [first, second, third] {
        for text in ["a", "b", "c"] {
            post(&server, room, text).await;
        }
    }
    let (client, ready) = inbox(&server, 1).await;
    drop(client);
    // The first frame already contained these messages. So a resume from the first frame's cursor must not repeat them.
    let (mut client, again) = resume(&server, 1, &cursor(&ready)).await;
    assert_eq!(again["resumed"], true);
    for room in again["rooms"].as_array().unwrap() {
        assert_eq!(
            (&room["messages"], &room["edited"], &room["deleted"]),
            (&json!([]), &json!([]), &json!([])),
            "{room}"
        );
    }
    post(&server, second, "d").await;
    let mut seen = client.until_kind("chat_message").await;
    edit(&server, second, 1, "a!").await;
    seen["cursor"] = client.until_kind("message_edited").await["cursor"].clone();
    drop(client);

    post(&server, first, "missed").await;
    edit(&server, first, 1, "edited").await;
    delete(&server, first, 2).await;
    edit(&server, second, 2, "b!").await;
    let (_, resumed) = resume(&server, 1, &cursor(&seen)).await;
    let in_first = room_in(&resumed, first);
    assert_eq!((ids(&in_first["messages"]), ids(&in_first["edited"])), (vec![4], vec![1]));
    assert_eq!((&in_first["deleted"], &in_first["unread"]), (&json!([2]), &json!(3)));
    assert_eq!(
        (&in_first["messages"][0]["text"], &in_first["edited"][0]["text"]),
        (&json!("missed"), &json!("edited"))
    );
    let in_second = room_in(&resumed, second);
    assert_eq!(
        (ids(&in_second["messages"]), ids(&in_second["edited"])),
        (vec![], vec![2]),
        "the rest was told"
    );
    let mut all = vec![first, second, third];
    all.sort_unstable();
    let mut named: Vec<i64> =
        resumed["room_ids"].as_array().unwrap().iter().map(|id| id.as_i64().unwrap()).collect();
    named.sort_unstable();
    assert_eq!(named, all);
}

#[tokio::test]
async fn resumed_ready_lists_recent_rooms_without_changes() {
    let server = Server::start(&[]).await;
    let room = server.room(&[1, 2]).await;
    let (mut one, _) = inbox(&server, 1).await;
    post(&server, room, "hello").await;
    let had = cursor(&one.until_kind("mark_message_as_delivered").await);
    let (_, ready) = resume(&server, 1, &had).await;
    assert_eq!((&ready["resumed"], &ready["room_ids"]), (&json!(true), &json!([room])), "{ready}");
    let listed = room_in(&ready, room);
    for list in ["messages", "edited", "deleted"] {
        assert_eq!(listed[list], json!([]), "{ready}");
    }
    assert_eq!((&listed["has_more"], listed.get("added")), (&json!(false), None), "{ready}");
}

#[tokio::test]
async fn a_cursor_is_good_on_a_server_that_knows_nothing_of_it() {
    let server = Server::start(&[]).await;
    let room = server.room(&[1, 2]).await;
    let quiet = server.room(&[1, 3]).await;
    post(&server, room, "a").await;
    let (mut client, _) = inbox(&server, 1).await;
    post(&server, room, "b").await;
    let seen = client.until_kind("chat_message").await;
    drop(client);
    post(&server, room, "c").await;
    let fresh = server.beside().await;
    let (_, resumed) = resume(&fresh, 1, &cursor(&seen)).await;
    assert_eq!(resumed["resumed"], true);
    assert_eq!(ids(&room_in(&resumed, room)["messages"]), [3]);
    let elsewhere = resumed["rooms"].as_array().unwrap().iter().find(|listed| listed["room_id"] == quiet);
    assert!(elsewhere.is_none_or(|room| room["messages"] == json!([]) || room["added"] == true), "{resumed}");
}

#[tokio::test]
async fn rooms_that_came_and_went_meanwhile_are_known() {
    let server = Server::start(&[]).await;
    let (left, kept) = (server.room(&[1, 2, 3]).await, server.room(&[1, 2]).await);
    let (client, ready) = inbox(&server, 1).await;
    drop(client);
    server.call(Method::DELETE, &format!("/rooms/{left}/members/1"), json!({})).await;
    let new = server.room(&[1, 4]).await;
    let (mut client, resumed) = resume(&server, 1, &cursor(&ready)).await;
    assert_eq!(room_in(&resumed, new)["added"], true);
    assert!(!resumed["rooms"].as_array().unwrap().iter().any(|room| room["room_id"] == left));
    let mut named: Vec<i64> =
        resumed["room_ids"].as_array().unwrap().iter().map(|id| id.as_i64().unwrap()).collect();
    named.sort_unstable();
    assert_eq!(named, [kept, new]);
    client.send(json!({"action": "send", "room_id": left, "message": "x"})).await;
    assert_eq!(client.until_kind("error").await["code"], "not_found");
}

#[tokio::test]
async fn a_cursor_that_is_none_gives_the_plain_start() {
    let server = Server::start(&[]).await;
    let room = server.room(&[1, 2]).await;
    for bad in
        ["", "nonsense", "u1", "r1.1.2.3", "u1.4294967295.1", "u1.1.1.1-2", "u1.1.1.1-999999-999999", "%00"]
    {
        let (_, ready) = resume(&server, 1, bad).await;
        assert_eq!(
            (&ready["resumed"], &ready["rooms"][0]["room_id"]),
            (&json!(false), &json!(room)),
            "{bad}"
        );
    }
}

/// A client's copy of its rooms: the text of each message that is not deleted.
#[derive(Default)]
struct Known {
    rooms: BTreeMap<i64, BTreeMap<i64, String>>,
    cursor: String,
}

impl Known {
    fn put(&mut self, room: i64, message: &Value, new: bool) {
        let id = message["message_id"].as_i64().unwrap();
        let text = message["text"].as_str().unwrap().to_owned();
        let before = self.rooms.entry(room).or_default().insert(id, text);
        assert!(!new || before.is_none(), "message {id} of room {room} was told twice");
    }

    fn begin(&mut self, ready: &Value) {
        let resumed = ready["resumed"] == true;
        assert!(resumed || self.cursor.is_empty(), "it is not resumed: {ready}");
        for room in ready["rooms"].as_array().unwrap() {
            let id = room["room_id"].as_i64().unwrap();
            let none = vec![];
            let all = |key: &str| room[key].as_array().unwrap_or(&none).clone();
            assert_ne!(room["has_more"], true, "{room}");
            for message in all("messages") {
                self.put(id, &message, true);
            }
            for message in all("edited") {
                self.put(id, &message, false);
            }
            for gone in all("deleted") {
                self.rooms.entry(id).or_default().remove(&gone.as_i64().unwrap());
            }
        }
        self.cursor = cursor(ready);
    }

    /// Applies all frames that have arrived so far.
    async fn hear_what_came(&mut self, client: &mut Client) {
        client.send(json!({"action": "ping"})).await;
        loop {
            let frame = client.next().await;
            if frame["type"] == "pong" {
                return;
            }
            self.hear(&frame);
        }
    }

    fn hear(&mut self, frame: &Value) {
        let room = frame["room_id"].as_i64().unwrap_or_default();
        match frame["type"].as_str().unwrap() {
            "chat_message" => self.put(room, &frame["message"], true),
            "message_edited" => self.put(room, frame, false),
            "message_deleted" => {
                self.rooms.entry(room).or_default().remove(&frame["message_id"].as_i64().unwrap());
            }
            _ => {}
        }
        if let Some(cursor) = frame["cursor"].as_str() {
            cursor.clone_into(&mut self.cursor);
        }
    }
}

/// The test prints the seed of its random numbers. `PARLOR_IT_SEED` sets another seed.
#[tokio::test]
async fn client_state_equals_the_rooms_after_random_disconnects() {
    let seed = seed();
    let mut rng = SeededRng::of(seed);
    let limits = [("LIMITS__MESSAGES_PER_MINUTE", "100000"), ("LIMITS__FRAMES_PER_MINUTE", "100000")];
    let server = Server::start(&limits).await;
    let servers = [&server, &server.beside().await];
    let mut rooms = Vec::new();
    for other in 2..=5 {
        rooms.push(server.room(&[1, other]).await);
    }
    let mut writers = Vec::new();
    for (at, other) in (2..=5).enumerate() {
        let token = servers[at % 2].token(other).sign();
        writers.push(
            servers[at % 2].dial("/ws/?since=").called(format!("writer {other}")).token(&token).open().await,
        );
        writers[at].next().await;
    }
    let mut known = Known::default();
    for round in 0..60 {
        let (mut client, ready) = resume(servers[rng.below(2)], 1, &known.cursor).await;
        known.begin(&ready);
        for n in 0..rng.below(12) {
            let at = rng.below(4);
            let (writer, room) = (&mut writers[at], rooms[at]);
            let id = 1 + rng.below(40);
            writer.send(match rng.below(4) {
                0 => json!({"action": "edit", "room_id": room, "message_id": id, "text": format!("edit {round}/{n}")}),
                1 if rng.below(3) == 0 => json!({"action": "delete", "room_id": room, "message_id": id}),
                _ => json!({"action": "send", "room_id": room, "message": format!("{round}/{n}")}),
            }).await;
            if rng.below(3) == 0 {
                known.hear_what_came(&mut client).await;
            }
        }
        // The socket is dropped without a close frame, at a random point.
        drop(client);
    }
    for writer in &mut writers {
        writer.send(json!({"action": "ping"})).await;
        writer.until_kind("pong").await;
    }
    let (mut client, ready) = resume(&server, 1, &known.cursor).await;
    known.begin(&ready);
    for room in &rooms {
        let mut there = BTreeMap::new();
        let mut after = 0;
        loop {
            client.send(json!({"action": "history", "room_id": room, "after": after, "limit": 200})).await;
            let page = client.until_kind("history").await;
            for message in page["messages"].as_array().unwrap() {
                after = message["message_id"].as_i64().unwrap();
                there.insert(after, message["text"].as_str().unwrap().to_owned());
            }
            if page["has_more"] == false {
                break;
            }
        }
        assert_eq!(known.rooms.remove(room).unwrap_or_default(), there, "room {room}, seed {seed}");
    }
}
