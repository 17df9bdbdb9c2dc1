//! Servers receive all changes of the database through a MongoDB change stream. The tests inject faults: the change
//! stream is lost or hangs, data is dropped, and writes fail. The database may have applied a write that failed.

mod dropped_data;
mod far_behind;
mod hanging;
mod missed_changes;
mod oversized_events;
mod secondary;

use std::collections::BTreeMap;

use futures_util::TryStreamExt;
use futures_util::future::join_all;
use mongodb::bson::{Document, doc};
use serde_json::{Value, json};
use tokio::sync::watch;

use crate::support::{Client, End, Mongod, Server, chat, deleted, edited, ids_of, matches};

/// Starts a server that notices a fault of its change stream within 500 ms. Its database connections have the name
/// `parlor` (`appName`), so that [`Mongod::fail`] hits only this server.
async fn server(mongod: &Mongod) -> Server {
    let overrides =
        [("FEED__HEARTBEAT_MS", "50"), ("FEED__STALE_MS", "500"), ("LIMITS__SEND_QUEUE", "10000")];
    let server = Server::start_over(&mongod.uri("parlor"), &overrides).await;
    server.room(&[1, 2]).await;
    server
}

/// Starts another server on the same database, without faults.
async fn unharmed(mongod: &Mongod, server: &Server) -> Server {
    server.beside_over(&mongod.uri("unharmed"), &[("LIMITS__SEND_QUEUE", "10000")]).await
}

/// Breaks the server's change stream with this error code. The server can't open the stream again until the test calls
/// [`Mongod::heal`].
async fn break_stream(mongod: &Mongod, server: &Server, code: i32) {
    server.until_status("/readyz", 200).await;
    let fault = doc! { "failCommands": ["aggregate", "getMore"], "errorCode": code };
    mongod.fail("parlor", "alwaysOn", fault).await;
    server.until_status("/readyz", 503).await;
}

/// Sends a message and waits for its `chat_message` event.
async fn say(client: &mut Client, id: i64, sender: i64, text: &str) {
    client.say(text).await;
    client.until(chat(id, sender, text)).await;
}

/// Asserts that the frames contain the wanted frames in this order. Other frames may stand between them.
fn assert_told(frames: &[Value], wanted: &[Value]) {
    let mut rest = frames.iter();
    for want in wanted {
        assert!(
            rest.any(|frame| matches(want, frame)),
            "not told, or not in its order: {want}\nof {frames:#?}"
        );
    }
}

#[tokio::test]
async fn missed_changes_arrive_after_the_streams_history_was_lost() {
    let mongod = Mongod::start().await;
    let server = server(&mongod).await;
    let other = unharmed(&mongod, &server).await;
    // The room of users 1 and 2 has sockets on both servers. User 3 writes to user 1 on the server whose stream breaks.
    // Nothing happens in the room of users 1 and 4.
    server.room(&[1, 3]).await;
    server.room(&[1, 4]).await;
    let (mut one, mut elsewhere) = (server.join(1, 2).await, other.join(1, 2).await);
    let mut quiet = server.join(1, 4).await;
    let mut theirs = server.join(3, 1).await;
    for (n, code) in (0..).zip([286, 280]) {
        let first = n * 5 + 1;
        for id in first..first + 3 {
            say(&mut elsewhere, id, 1, "before").await;
            one.until(chat(id, 1, "before")).await;
        }
        break_stream(&mongod, &server, code).await;
        // The missed changes: messages, an edit, a delete, and the receipt markers of user 2, who connects now.
        say(&mut elsewhere, first + 3, 1, "missed").await;
        say(&mut elsewhere, first + 4, 1, "missed, too").await;
        elsewhere.send(json!({"action": "edit", "message_id": first, "text": "edited"})).await;
        elsewhere.until(edited(first, "edited")).await;
        elsewhere.send(json!({"action": "delete", "message_id": first + 1})).await;
        elsewhere.until(deleted(first + 1)).await;
        let reader = other.join(2, 1).await;
        while elsewhere.until_kind("mark_message_as_read").await["message"]["message_id"] != first + 4 {}
        // The server without its change stream still accepts a message. The server's sockets receive the message after
        // the stream is open again.
        theirs.say("written, but not told yet").await;
        reader.leave().await;

        mongod.heal().await;
        let mut told = Vec::new();
        let marked = |told: &[Value]| ids_of(told, "mark_message_as_read").contains(&(first + 4));
        while !marked(&told) {
            told.push(one.next().await);
        }
        assert_eq!(ids_of(&told, "chat_message"), [first + 3, first + 4], "each once");
        assert_told(&told, &[chat(first + 3, 1, "missed"), chat(first + 4, 1, "missed, too")]);
        assert_told(&told, &[edited(first, "edited")]);
        assert_told(&told, &[deleted(first + 1)]);
        for kind in ["mark_message_as_delivered", "mark_message_as_read"] {
            assert_eq!(ids_of(&told, kind), [first, first + 2, first + 3, first + 4], "{kind}");
        }
        theirs.expect(chat(n + 1, 3, "written, but not told yet")).await;
        server.until_status("/readyz", 200).await;
    }
    // After the two faults of the stream, events reach all sockets as before.
    say(&mut one, 11, 1, "on we go").await;
    elsewhere.until(chat(11, 1, "on we go")).await;
    quiet.quiet().await;
}

/// Sends messages until `enough` is set, and returns their number.
async fn chatter(mut client: Client, enough: watch::Receiver<bool>) -> i64 {
    for id in 1.. {
        client.say("on and on").await;
        client.until(chat(id, 1, "on and on")).await;
        if *enough.borrow() {
            return id;
        }
    }
    0
}

#[tokio::test]
async fn changes_are_not_missed_while_the_stream_reopens() {
    let mongod = Mongod::start().await;
    let server = server(&mongod).await;
    let other = unharmed(&mongod, &server).await;
    let mut one = server.join(1, 2).await;
    let enough = watch::Sender::new(false);
    let chatting = tokio::spawn(chatter(other.join(1, 2).await, enough.subscribe()));
    for _ in 0..4 {
        break_stream(&mongod, &server, 286).await;
        mongod.heal().await;
        server.until_status("/readyz", 200).await;
    }
    enough.send_replace(true);
    let last = chatting.await.unwrap();
    for id in 1..=last {
        one.expect(chat(id, 1, "on and on")).await;
    }
}

/// The stream hangs for 2 s before it fails, so the server does not know yet that the stream is lost. A socket that
/// joins during this time must get each message once: in its history or as an event.
#[tokio::test]
async fn joining_socket_gets_events_once_while_the_stream_hangs() {
    let mongod = Mongod::start().await;
    let server = server(&mongod).await;
    let other = unharmed(&mongod, &server).await;
    let mut early = server.join(1, 2).await;
    let mut elsewhere = other.join(1, 2).await;
    say(&mut elsewhere, 1, 1, "before").await;
    early.until(chat(1, 1, "before")).await;
    let hangs = doc! {
        "failCommands": ["getMore"], "blockConnection": true, "blockTimeMS": 2000, "errorCode": 286,
    };
    mongod.fail("parlor", doc! { "times": 1 }, hangs).await;
    mongod.held_up().await;
    say(&mut elsewhere, 2, 1, "while it hangs").await;
    let mut late = server.connect(1, 2).await;
    assert_eq!(late.history().await.len(), 2);
    early.until(chat(2, 1, "while it hangs")).await;
    say(&mut elsewhere, 3, 1, "after").await;
    let told = late.until(chat(3, 1, "after")).await;
    assert_eq!(ids_of(&told, "chat_message"), [3]);
}

#[tokio::test]
async fn joining_socket_gets_events_once_while_the_stream_is_lost() {
    let mongod = Mongod::start().await;
    let server = server(&mongod).await;
    let other = unharmed(&mongod, &server).await;
    server.room(&[1, 3]).await;
    let mut early = server.join(1, 2).await;
    let mut elsewhere = other.join(1, 2).await;
    let mut third = other.join(1, 3).await;
    say(&mut elsewhere, 1, 1, "before").await;
    early.until(chat(1, 1, "before")).await;
    break_stream(&mongod, &server, 286).await;
    for id in 2..=3 {
        say(&mut elsewhere, id, 1, "missed by some").await;
        say(&mut third, id - 1, 1, "missed by some").await;
    }
    // One socket joins a room that is already open on this server. Another socket joins a room that no socket of this
    // server has open.
    let mut late = server.connect(1, 2).await;
    assert_eq!(late.history().await.len(), 3);
    let mut late_third = server.connect(1, 3).await;
    assert_eq!(late_third.history().await.len(), 2);
    for id in 4..=5 {
        say(&mut elsewhere, id, 1, "missed by all").await;
        say(&mut third, id - 1, 1, "missed by all").await;
    }
    mongod.heal().await;
    server.until_status("/readyz", 200).await;
    say(&mut elsewhere, 6, 1, "after").await;
    say(&mut third, 5, 1, "after").await;
    for (client, wanted) in
        [(&mut early, vec![2, 3, 4, 5, 6]), (&mut late, vec![4, 5, 6]), (&mut late_third, vec![3, 4, 5])]
    {
        // The server may also close the socket instead of sending the missed events. The client then reconnects and
        // reads the history again.
        let mut told = Vec::new();
        let ended = loop {
            match client.next_or_end().await {
                Ok(frame) => told.push(frame),
                Err(end) => break Some(end),
            }
            if ids_of(&told, "chat_message").last() == wanted.last() {
                break None;
            }
        };
        let ids = ids_of(&told, "chat_message");
        match ended {
            None => assert_eq!(ids, wanted),
            Some(end) => {
                assert_eq!(end, End::Closed(1012));
                assert!(wanted.starts_with(&ids), "{ids:?}");
            }
        }
    }
}

#[tokio::test]
async fn a_stream_that_ends_with_its_database_is_opened_anew() {
    let mongod = Mongod::start().await;
    let server = server(&mongod).await;
    let mut one = server.join(1, 2).await;
    say(&mut one, 1, 1, "before").await;
    // The dropped database also ends the stream, with the event `invalidate`.
    mongod.database(&server.database().name).await.drop().await.unwrap();
    // Without its unique indexes the server makes no direct room, because a pair of users could get two rooms. So
    // `made` repeats its request.
    dropped_data::made(&server, [5, 6]).await;
    let mut five = server.join(5, 6).await;
    server.until_status("/readyz", 200).await;
    say(&mut five, 1, 5, "a new beginning").await;
}

/// Returns the ids of all stored messages, by their text.
async fn stored(mongod: &Mongod, server: &Server) -> BTreeMap<String, Vec<i64>> {
    let messages = mongod.database(&server.database().name).await.collection::<Document>("messages");
    let all: Vec<Document> = messages.find(doc! {}).await.unwrap().try_collect().await.unwrap();
    let mut numbers = BTreeMap::<_, Vec<_>>::new();
    for message in all {
        let n = message.get_document("_id").unwrap().get_i64("n").unwrap();
        numbers.entry(message.get_str("text").unwrap().to_owned()).or_default().push(n);
    }
    numbers
}

#[tokio::test]
async fn a_write_that_fails_half_way_is_done_once_and_told_once() {
    let mongod = Mongod::start().await;
    let server = server(&mongod).await;
    let mut one = server.join(1, 2).await;
    let confirmed_by_none = |code| doc! { "code": code, "errmsg": "made to fail" };
    let mut id = 0;
    for (fault, data) in [
        ("the connection breaks", doc! { "closeConnection": true }),
        ("the primary has stepped down", doc! { "errorCode": 10107 }),
        ("the primary is shutting down", doc! { "errorCode": 91 }),
        ("it was interrupted by a step-down", doc! { "errorCode": 11602 }),
        ("a router can't reach the shard", doc! { "errorCode": 6 }),
        ("a router's time was up", doc! { "errorCode": 262 }),
        // In the next two cases the database applies the write, but can't confirm it, so the server does not know the
        // result.
        ("no majority in time", doc! { "writeConcernError": confirmed_by_none(64) }),
        ("no majority, shutting down", doc! { "writeConcernError": confirmed_by_none(91) }),
    ] {
        // The server repeats a failed write, and the fault hits the first `times` attempts. A later attempt may find
        // the message that an earlier attempt has stored.
        for times in [1, 2, 5] {
            id += 1;
            let mut data = data.clone();
            data.insert("failCommands", ["insert"].as_slice());
            mongod.fail("parlor", doc! { "times": times }, data).await;
            let text = format!("{fault}, {times} times");
            one.say_alone(id, 1, &text).await;
            mongod.heal().await;
            assert_eq!(stored(&mongod, &server).await.remove(&text), Some(vec![id]), "{text}");
        }
    }
    one.quiet().await;
}

#[tokio::test]
async fn refused_write_is_an_internal_error_and_the_next_succeeds() {
    let mongod = Mongod::start().await;
    let server = server(&mongod).await;
    let mut one = server.join(1, 2).await;
    // The error codes are `Unauthorized` and `DocumentValidationFailure`.
    for (n, code) in (1..).zip([13, 121]) {
        let fault = doc! { "failCommands": ["insert"], "errorCode": code };
        mongod.fail("parlor", doc! { "times": 1 }, fault).await;
        one.say("refused").await;
        let answer = one.next().await;
        assert_eq!((&answer["type"], &answer["code"]), (&json!("error"), &json!("internal")), "{answer}");
        one.say_alone(n, 1, "taken").await;
    }
    assert!(!stored(&mongod, &server).await.contains_key("refused"));
}

#[tokio::test]
async fn faults_at_random_lose_and_double_nothing() {
    const EACH: usize = 15;
    let mongod = Mongod::start().await;
    let server = server(&mongod).await;
    let other = unharmed(&mongod, &server).await;
    let mut witness = other.join(2, 1).await;
    let mut next = 1;
    for (round, data) in [
        doc! { "closeConnection": true },
        doc! { "errorCode": 10107 },
        doc! { "writeConcernError": { "code": 64, "errmsg": "made to fail" } },
    ]
    .into_iter()
    .enumerate()
    {
        let mut clients = Vec::new();
        for name in 0..6 {
            // Half of the clients write through the server without faults.
            clients.push((name, [&server, &other][name % 2].join(1, 2).await));
        }
        let mut data = data;
        data.insert("failCommands", ["insert"].as_slice());
        mongod.fail("parlor", doc! { "activationProbability": 0.4 }, data).await;
        let said = join_all(clients.into_iter().map(async |(name, mut client)| {
            let mut said = Vec::new();
            for n in 0..EACH {
                let text = format!("{round}/{name}/{n}");
                let frame = client.say_and_hear(&text, &mut Vec::new()).await.unwrap();
                let id = frame["message"]["message_id"].as_i64().unwrap_or_else(|| panic!("{text}: {frame}"));
                said.push((text, vec![id]));
            }
            said
        }))
        .await;
        mongod.heal().await;
        let mut stored = stored(&mongod, &server).await;
        stored.retain(|text, _| text.starts_with(&format!("{round}/")));
        assert_eq!(stored, said.into_iter().flatten().collect());
        let mut numbers: Vec<i64> = stored.into_values().flatten().collect();
        numbers.sort_unstable();
        let end = next + i64::try_from(numbers.len()).unwrap();
        let all: Vec<_> = (next..end).collect();
        assert_eq!(numbers, all, "no hole, no double");
        let mut heard = Vec::new();
        while heard.len() < all.len() {
            heard.push(witness.until_kind("chat_message").await["message"]["message_id"].as_i64().unwrap());
        }
        assert_eq!(heard, all, "each was told once, in its order");
        next = end;
    }
}
