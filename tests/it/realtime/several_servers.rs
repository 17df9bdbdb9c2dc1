//! Several servers on one database behave like one server: same events, same order, one room for a pair, and message
//! ids without gaps.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use futures_util::future::join_all;
use mongodb::bson::doc;
use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{API_KEY, Client, Server, chat, ids_of, matches};

/// A client's socket, and all frames that the socket received.
struct Voice {
    client: Client,
    user: i64,
    heard: Vec<Value>,
}

impl Voice {
    async fn on(server: &Server, user: i64, peer: i64) -> Self {
        Self { client: server.join(user, peer).await, user, heard: Vec::new() }
    }

    /// Sends a message, waits for its `chat_message` event, and returns its id.
    async fn say(&mut self, text: &str) -> i64 {
        self.client.say(text).await;
        self.acknowledged(text).await
    }

    /// Receives frames until the user's own message `text` arrives. Returns its id.
    async fn acknowledged(&mut self, text: &str) -> i64 {
        loop {
            let frame = self.client.next().await;
            self.heard.push(frame.clone());
            let message = &frame["message"];
            if frame["type"] == "chat_message" && message["text"] == text && message["sender_id"] == self.user
            {
                return message["message_id"].as_i64().unwrap();
            }
        }
    }

    /// Receives frames until all other members have read the message `text`.
    async fn until_read(&mut self, text: &str) {
        let read =
            |frame: &Value| frame["type"] == "mark_message_as_read" && frame["message"]["text"] == text;
        while !self.heard.last().is_some_and(read) {
            self.heard.push(self.client.next().await);
        }
    }
}

/// Returns the texts of all `chat_message` events, in the order of the events.
fn texts(heard: &[Value]) -> Vec<&str> {
    let messages = heard.iter().filter(|frame| frame["type"] == "chat_message");
    messages.map(|frame| frame["message"]["text"].as_str().unwrap()).collect()
}

/// Sends `count` messages in groups of five, so that several frames of one socket wait in the server at a time.
async fn speak(mut voice: Voice, name: usize, count: usize) -> Voice {
    let said: Vec<_> = (0..count).map(|n| format!("{name}/{n}")).collect();
    for handful in said.chunks(5) {
        for text in handful {
            voice.client.say(text).await;
        }
        for text in handful {
            voice.acknowledged(text).await;
        }
    }
    voice
}

#[tokio::test]
async fn sockets_of_both_servers_get_the_same_events_in_order() {
    const SOCKETS: usize = 8;
    const EACH: usize = 40;
    let one = Server::start(&[("LIMITS__SEND_QUEUE", "10000")]).await;
    let two = one.beside().await;
    one.room(&[1, 2]).await;
    let mut voices = Vec::new();
    for at in 0..SOCKETS {
        let server = if at % 2 == 0 { &one } else { &two };
        // Each user has sockets on both servers.
        let user = if at % 4 < 2 { 1 } else { 2 };
        voices.push(Voice::on(server, user, 3 - user).await);
    }
    let speaking = voices.into_iter().enumerate().map(|(at, voice)| speak(voice, at, EACH));
    let mut voices = join_all(speaking).await;
    let last = voices[0].say("that is all").await;
    assert_eq!(last, i64::try_from(SOCKETS * EACH + 1).unwrap(), "numbers have no hole");

    join_all(voices.iter_mut().map(|voice| voice.until_read("that is all"))).await;
    let all: Vec<i64> = (1..=last).collect();
    let heard = &voices[0].heard;
    assert_eq!(ids_of(heard, "chat_message"), all);
    for kind in ["mark_message_as_delivered", "mark_message_as_read"] {
        // Receipt events are in order only among the messages of one sender. So the test sorts the ids before it
        // compares them.
        let mut marked = ids_of(heard, kind);
        marked.sort_unstable();
        assert_eq!(marked, all, "{kind}");
    }
    for (at, voice) in voices.iter().enumerate() {
        let prefix = format!("{at}/");
        let mine: Vec<_> = texts(heard).into_iter().filter(|text| text.starts_with(&prefix)).collect();
        let said: Vec<_> = (0..EACH).map(|n| format!("{at}/{n}")).collect();
        assert_eq!(mine, said, "the frames of socket {at} keep their order");
        assert_eq!(voice.heard.len(), heard.len());
        for (n, (here, there)) in heard.iter().zip(&voice.heard).enumerate() {
            assert_eq!(here, there, "event {n} on socket {at}");
        }
    }
}

#[tokio::test]
async fn changes_from_both_sides_are_told_alike() {
    let one = Server::start(&[("LIMITS__SEND_QUEUE", "10000")]).await;
    let two = one.beside().await;
    one.room(&[1, 2]).await;
    let (mut here, mut there) = (Voice::on(&one, 1, 2).await, Voice::on(&two, 2, 1).await);
    let change = async |voice: &mut Voice| {
        for n in 0..30 {
            let id = voice.say(&format!("{} says {n}", voice.user)).await;
            for text in ["better", "best"] {
                voice.client.send(json!({"action": "edit", "message_id": id, "text": text})).await;
            }
            if n % 3 == 0 {
                voice.client.send(json!({"action": "delete", "message_id": id})).await;
            }
        }
    };
    tokio::join!(change(&mut here), change(&mut there));
    // The server handles the frames of one socket in order. So the event of this message shows that the server has
    // handled all earlier frames of user 2.
    there.say("mine are done").await;
    here.say("that is all").await;
    tokio::join!(here.until_read("that is all"), there.until_read("that is all"));
    assert_eq!(here.heard, there.heard);
    let count = |kind: &str| here.heard.iter().filter(|frame| frame["type"] == kind).count();
    assert_eq!(
        (count("chat_message"), count("message_edited"), count("message_deleted"), count("error")),
        (62, 120, 20, 0)
    );
}

#[tokio::test]
async fn a_pairs_room_that_both_make_at_once_is_one() {
    let one = Server::start(&[]).await;
    let two = one.beside().await;
    // An answer from each server shows that both servers work.
    tokio::join!(one.room(&[100, 101]), two.room(&[100, 101]));
    for user in (1..20).step_by(2) {
        let body = json!({"members": [{"user_id": user}, {"user_id": user + 1}]}).to_string();
        let calls = (0..6).map(|n| [&one, &two][n % 2].post_room(Some(API_KEY), &body));
        let answers = join_all(calls).await;
        let made = answers.iter().filter(|(status, _)| *status == 201).count();
        let found = answers.iter().filter(|(status, _)| *status == 200).count();
        assert_eq!((made, found), (1, answers.len() - 1), "{answers:?}");
        assert!(answers.iter().all(|(_, body)| body["room_id"] == answers[0].1["room_id"]), "{answers:?}");
        // Only one of the concurrent requests makes the room. The other requests must leave no members behind.
        let members = one.collection("members").await;
        let of_user = members.count_documents(doc! { "_id.user": user }).await.unwrap();
        assert_eq!(of_user, 1, "user {user} is a member of one room");
    }
    let (mut here, mut there) = (one.join(1, 2).await, two.join(2, 1).await);
    here.say("one room").await;
    for client in [&mut here, &mut there] {
        client.expect(chat(1, 1, "one room")).await;
    }
}

/// Returns the final state of a room, computed from all its events. The state has the form of the history's array,
/// without the times.
fn state(events: &[Value]) -> Vec<Value> {
    let mut messages: Vec<Value> = Vec::new();
    for event in events {
        let id = event.get("message_id").unwrap_or(&event["message"]["message_id"]).clone();
        let at = messages.iter().position(|message| message["message_id"] == id);
        match (event["type"].as_str().unwrap(), at) {
            ("chat_message", None) => messages.push(event["message"].clone()),
            ("message_edited", Some(at)) => messages[at]["text"] = event["text"].clone(),
            ("message_deleted", Some(at)) => drop(messages.remove(at)),
            ("mark_message_as_delivered" | "mark_message_as_read", Some(at)) => {
                messages[at]["status"] = event["message"]["status"].clone();
            }
            _ => panic!("{event} makes no sense after what was before it"),
        }
    }
    messages.iter().rev().take(50).map(essence).collect()
}

/// Returns the fields of a message that can be computed from its events.
fn essence(message: &Value) -> Value {
    json!({
        "message_id": message["message_id"], "text": message["text"], "sender_id": message["sender_id"],
        "status": message["status"],
    })
}

/// Sends, edits and deletes messages until `stop` is set. Then sends a last message.
async fn chatter(mut voice: Voice, stop: Arc<AtomicBool>) -> Voice {
    for n in 0.. {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        let id = voice.say(&format!("{n}")).await;
        voice.client.send(json!({"action": "edit", "message_id": id, "text": format!("{n} edited")})).await;
        if n % 4 == 3 {
            voice.client.send(json!({"action": "delete", "message_id": id - 1})).await;
        }
    }
    voice.say("that is all").await;
    voice
}

#[tokio::test]
async fn history_and_events_are_complete_under_concurrent_sends() {
    let one = Server::start(&[("LIMITS__SEND_QUEUE", "10000")]).await;
    let two = one.beside_over(crate::support::shared_uri(), &[("LIMITS__SEND_QUEUE", "10000")]).await;
    one.room(&[1, 2]).await;
    let voice = Voice::on(&one, 1, 2).await;
    let stop = Arc::new(AtomicBool::new(false));
    let chatting = tokio::spawn(chatter(voice, stop.clone()));

    let mut joined = Vec::new();
    for n in 0..24 {
        let (server, user) = ([&two, &one][n % 2], [2, 1, 2][n % 3]);
        let mut client = server.connect(user, 3 - user).await;
        let history = client.history().await;
        joined.push((history, Voice { client, user, heard: Vec::new() }));
    }
    stop.store(true, Ordering::Relaxed);
    let mut voice = chatting.await.unwrap();
    voice.until_read("that is all").await;
    let witness = voice.heard;
    for (n, (history, mut voice)) in joined.into_iter().enumerate() {
        let over = |message: &Value| message["text"] == "that is all" && message["status"] == "read";
        if !history.first().is_some_and(over) {
            voice.until_read("that is all").await;
        }
        let (before, after) = witness.split_at(witness.len().checked_sub(voice.heard.len()).unwrap());
        for (at, (here, there)) in after.iter().zip(&voice.heard).enumerate() {
            assert!(matches(here, there), "join {n}, event {at}: expected\n  {here}\ngot\n  {there}");
        }
        let history: Vec<_> = history.iter().map(essence).collect();
        assert_eq!(history, state(before), "join {n}: the array is what was before its events");
    }
}

#[tokio::test]
async fn rooms_keep_numbering_when_a_server_opens_many_at_once() {
    let one = Server::start(&[]).await;
    let two = one.beside().await;
    let rooms = join_all((0..40).map(async |n| one.room(&[2 * n + 1, 2 * n + 2]).await)).await;
    for (server, n) in [(&one, 1), (&two, 2), (&one, 3)] {
        let said = join_all(rooms.iter().zip(0..).map(|(room, at)| async move {
            let path = format!("/api/v1/rooms/{room}/messages");
            let body = json!({"sender_id": 2 * at + 1, "text": "hello"}).to_string();
            let (status, _, body) = server.request(Method::POST, &path, Some(API_KEY), &body).await;
            (status, serde_json::from_str::<Value>(&body).unwrap()["message_id"].as_i64())
        }));
        assert_eq!(said.await, vec![(201, Some(n)); rooms.len()]);
    }
}

#[tokio::test]
async fn room_keeps_numbering_when_all_its_messages_are_deleted() {
    let one = Server::start(&[]).await;
    let two = one.beside().await;
    one.room(&[1, 2]).await;
    let mut voice = Voice::on(&one, 1, 2).await;
    assert_eq!(voice.say("never mind").await, 1);
    voice.client.send(json!({"action": "delete", "message_id": 1})).await;
    voice.client.until_kind("message_deleted").await;

    let mut voice = Voice::on(&two, 2, 1).await;
    assert_eq!(voice.say("what was it?").await, 2);
}
