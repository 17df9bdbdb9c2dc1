//! The field `client_id`: a repeated send makes no second message, on any socket. The answer has the current state of
//! the first message.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::{Live, delete, edit, id_of, room, with_ref};
use crate::support::{Client, Server, chat, deleted, edited, next_error, said, shared_uri};

/// Returns a `send` frame with a `client_id`, so that a client may repeat it.
fn message(text: &str, client_id: &str) -> Value {
    json!({"action": "send", "message": text, "client_id": client_id})
}

/// Returns the answer to a repeated send: the first message in its current form, without a cursor.
fn again(id: i64, sender: i64, text: &str, status: &str) -> Value {
    let mut answer = chat(id, sender, text);
    answer["message"]["status"] = json!(status);
    answer
}

/// Repeats a send, and asserts that this socket's next frame is the answer.
async fn repeat(client: &mut Client, frame: Value, answer: Value) {
    client.send(with_ref(frame, "again")).await;
    client.expect(with_ref(answer, "again")).await;
}

#[tokio::test]
async fn a_repeated_message_is_answered_to_its_sender_alone() {
    let (server, room) = room(&[]).await;
    let mut one = Live::fresh(&server, 1, room).await;
    let mut two = Live::fresh(&server, 2, room).await;
    one.send(with_ref(message("Hello", "a"), "first")).await;
    one.hear(with_ref(chat(1, 1, "Hello"), "first")).await;
    one.hear_all(&said(1, 1, "Hello")[1..]).await;
    repeat(&mut one, message("Hello", "a"), again(1, 1, "Hello", "read")).await;
    // A repeated send with another text does not change the text of the message.
    repeat(&mut one, message("Something else", "a"), again(1, 1, "Hello", "read")).await;
    one.send(message("Hello", "a")).await;
    one.expect(again(1, 1, "Hello", "read")).await;

    // The repeated sends cause no events for other sockets, and use no message ids.
    one.send(message("Hello", "b")).await;
    two.hear_all(&said(1, 1, "Hello")).await;
    two.hear_all(&said(2, 1, "Hello")).await;
    one.hear_all(&said(2, 1, "Hello")).await;
    two.quiet().await;
}

#[tokio::test]
async fn a_repeated_message_is_answered_as_it_is_now() {
    let (server, room) = room(&[]).await;
    let mut one = Live::fresh(&server, 1, room).await;
    one.send(message("first", "a")).await;
    let made = one.hear(chat(1, 1, "first")).await["message"].clone();
    repeat(&mut one, message("first", "a"), again(1, 1, "first", "send")).await;
    one.send(edit(1, "second")).await;
    one.hear(edited(1, "second")).await;
    one.send(message("first", "a")).await;
    let now = one.expect(again(1, 1, "second", "send")).await["message"].clone();
    assert_eq!(now["created_at"], made["created_at"]);
    assert!(now["updated_at"].as_str() > made["updated_at"].as_str(), "{now} was edited");
    one.send(delete(1)).await;
    one.hear(deleted(1)).await;
    repeat(&mut one, message("first", "a"), deleted(1)).await;
    one.send(message("first", "a")).await;
    one.expect(deleted(1)).await;
    one.say_alone(2, 1, "another").await;
}

#[tokio::test]
async fn send_may_be_repeated_on_any_socket_and_server() {
    let (mut server, room) = room(&[]).await;
    let other = server.beside().await;
    let mut one = Live::fresh(&server, 1, room).await;
    one.send(message("once", "a")).await;
    one.hear(chat(1, 1, "once")).await;
    let answer = again(1, 1, "once", "send");
    for mut socket in [
        Live::fresh(&server, 1, room).await.client,
        Live::fresh(&other, 1, room).await.client,
        // A Level 1 socket must also get this answer.
        other.enter(1, room).await,
    ] {
        repeat(&mut socket, message("once", "a"), answer.clone()).await;
    }
    one.quiet().await;

    server.shut_down();
    assert_eq!(one.closed().await.0, 1012);
    server.ended().await;
    let restarted = other.beside().await;
    let mut one = Live::fresh(&restarted, 1, room).await;
    repeat(&mut one, message("once", "a"), answer).await;
    one.say_alone(2, 1, "another").await;
}

#[tokio::test]
async fn client_id_counts_only_for_its_sender_and_room() {
    let (server, room) = room(&[]).await;
    let other = server.room(&[1, 3]).await;
    let mut one = Live::fresh(&server, 1, room).await;
    one.send(message("of one", "a")).await;
    one.hear(chat(1, 1, "of one")).await;
    one.send(message("another id", "A")).await;
    one.hear(chat(2, 1, "another id")).await;
    let mut elsewhere = Live::fresh(&server, 1, other).await;
    elsewhere.send(message("in another room", "a")).await;
    elsewhere.hear(chat(1, 1, "in another room")).await;
    let mut two = Live::fresh(&server, 2, room).await;
    two.send(message("of two", "a")).await;
    two.hear_until(chat(3, 2, "of two")).await;
    // Without a `client_id` each send makes another message.
    elsewhere.say_alone(2, 1, "same").await;
    elsewhere.say_alone(3, 1, "same").await;
}

#[tokio::test]
async fn a_client_id_has_1_to_64_characters() {
    let (server, room) = room(&[]).await;
    let mut one = Live::fresh(&server, 1, room).await;
    for bad in [
        json!(""),
        json!("x".repeat(65)),
        json!("é".repeat(65)),
        json!(5),
        json!(["a"]),
        json!({}),
        json!(true),
    ] {
        one.send(json!({"action": "send", "message": "x", "client_id": bad})).await;
        next_error(&mut one, "invalid_request", "send", "client_id").await;
    }
    // The last id is so long that the database's error quotes only its beginning: 150 bytes, which end in the middle of
    // a character.
    let all_good =
        ["x".repeat(64), "é".repeat(64), " ".to_owned(), "5".to_owned(), "$a.b".to_owned(), "😀".repeat(64)];
    for (id, good) in (1..).zip(all_good) {
        one.send(message("good", &good)).await;
        one.hear(chat(id, 1, "good")).await;
        repeat(&mut one, message("good", &good), again(id, 1, "good", "send")).await;
    }
}

#[tokio::test]
async fn a_message_that_was_refused_leaves_its_client_id_free() {
    let (server, room) = room(&[]).await;
    let mut one = Live::fresh(&server, 1, room).await;
    one.send(message(" ", "a")).await;
    assert_eq!(one.next().await["code"], "invalid_request");
    one.send(message("good", "a")).await;
    one.hear(chat(1, 1, "good")).await;
}

#[tokio::test]
async fn send_is_answered_when_repeated_immediately() {
    let (server, room) = room(&[]).await;
    let mut one = Live::fresh(&server, 1, room).await;
    for name in ["first", "second", "third"] {
        one.send(with_ref(message("Hello", "a"), name)).await;
    }
    let mut answers = BTreeMap::new();
    for _ in 0..3 {
        let frame = one.next().await;
        assert_eq!((id_of(&frame), &frame["message"]["text"]), (1, &json!("Hello")), "{frame}");
        answers.insert(frame["ref"].as_str().unwrap_or_default().to_owned(), frame.get("cursor").is_some());
    }
    let expected = [("first", true), ("second", false), ("third", false)];
    assert_eq!(answers, expected.map(|(name, event)| (name.to_owned(), event)).into());
    one.say_alone(2, 1, "another").await;
}

/// Sends this number of messages, each with its own `client_id` and `ref`. Reads until each has an answer and an event.
/// Returns each message's id, and the number of events.
async fn send_all(one: &mut Live, server: &str, count: usize) -> (BTreeMap<usize, i64>, usize) {
    for n in 0..count {
        let name = format!("{server} {n}");
        one.send(with_ref(message(&format!("number {n}"), &format!("id-{n}")), &name)).await;
    }
    let (mut answers, mut events) = (BTreeMap::new(), 0);
    while answers.len() < count || events < count {
        let frame = one.next().await;
        assert_eq!(frame["type"], "chat_message", "{frame}");
        events += usize::from(frame.get("cursor").is_some());
        if let Some(name) = frame.get("ref") {
            let name = name.as_str().unwrap();
            let n = name.strip_prefix(server).unwrap_or_else(|| panic!("another's ref: {frame}"));
            let n: usize = n.trim().parse().unwrap();
            assert_eq!(frame["message"]["text"], format!("number {n}"), "{frame}");
            assert!(answers.insert(n, id_of(&frame)).is_none(), "answered twice: {frame}");
        }
    }
    (answers, events)
}

#[tokio::test]
async fn send_makes_one_message_when_sent_to_two_servers_concurrently() {
    const MESSAGES: usize = 40;
    let roomy = [("LIMITS__SEND_QUEUE", "10000")];
    let (here, room) = room(&roomy).await;
    let there = here.beside_over(shared_uri(), &roomy).await;
    let (mut one, mut other) = (Live::fresh(&here, 1, room).await, Live::fresh(&there, 1, room).await);
    let ((numbers, events), (others, _)) =
        tokio::join!(send_all(&mut one, "here", MESSAGES), send_all(&mut other, "there", MESSAGES));
    assert_eq!(numbers, others, "both senders are told the same numbers");
    assert_eq!(events, MESSAGES, "each message is told once");
    assert_once(&here, room, MESSAGES).await;
    let next = i64::try_from(MESSAGES).unwrap() + 1;
    one.say("another").await;
    for live in [&mut one, &mut other] {
        live.hear(chat(next, 1, "another")).await;
    }
}

/// Asserts that the room has this number of messages, all with different texts and without a gap in their ids.
async fn assert_once(server: &Server, room: i64, count: usize) {
    let (_, page) = server.api_get(&format!("/rooms/{room}/messages?after=0&limit=200")).await;
    let stored = super::texts(&page["messages"]);
    assert!(stored.iter().map(|(id, _)| *id).eq(1..=i64::try_from(count).unwrap()), "{stored:?}");
    let mut texts: Vec<_> = stored.into_iter().map(|(_, text)| text).collect();
    texts.sort_unstable();
    texts.dedup();
    assert_eq!(texts.len(), count);
}
