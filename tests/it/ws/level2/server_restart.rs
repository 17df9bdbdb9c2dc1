//! After a server was shut down or killed: cursors stay valid, and a repeated send is stored once.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::{Live, Told, delete, edit, id_of, missed, room, text_of};
use crate::support::{Program, deleted, edited};

#[tokio::test]
async fn a_cursor_is_good_after_a_restart() {
    let (mut server, room) = room(&[]).await;
    let mut one = Live::fresh(&server, 1, room).await;
    let first = one.cursor.clone();
    for id in 1..=3 {
        one.say_alone(id, 1, "before").await;
    }
    let second = one.cursor.clone();
    one.send(edit(1, "edited before")).await;
    one.hear(edited(1, "edited before")).await;
    let third = one.cursor.clone();
    server.shut_down();
    assert_eq!(one.closed().await.0, 1012);
    server.ended().await;

    let again = server.beside().await;
    let mut one = Live::fresh(&again, 1, room).await;
    one.send(delete(2)).await;
    one.hear(deleted(2)).await;
    one.say_alone(4, 1, "after").await;
    let after = (4, "after".to_owned());
    let changed = (1, "edited before".to_owned());
    let messages = vec![changed.clone(), (3, "before".to_owned()), after.clone()];
    assert_eq!(missed(&again, room, &first).await, Told { messages, ..Told::default() });
    let told = Told { messages: vec![after.clone()], edited: vec![changed], deleted: vec![2] };
    assert_eq!(missed(&again, room, &second).await, told);
    let told = Told { messages: vec![after], edited: vec![], deleted: vec![2] };
    assert_eq!(missed(&again, room, &third).await, told);
}

/// Returns a `send` frame whose text, `client_id` and `ref` contain the number.
fn numbered(n: usize) -> Value {
    json!({"action": "send", "message": format!("number {n}"), "client_id": format!("id-{n}"), "ref": n.to_string()})
}

#[tokio::test]
async fn repeated_sends_are_stored_once_after_a_killed_server() {
    const MESSAGES: usize = 120;
    let mut program = Program::start(&[("LIMITS__SEND_QUEUE", "10000")]).await;
    let room = program.room(&[1, 2]).await;
    let mut one = Live::fresh(&program, 1, room).await;
    for n in 1..=MESSAGES {
        one.send(numbered(n)).await;
    }
    let mut acknowledged = BTreeMap::new();
    while acknowledged.len() < MESSAGES / 3 {
        let event = one.next().await;
        acknowledged.insert(text_of(&event["message"]), id_of(&event));
    }
    let cursor = one.cursor.clone();
    let seen = id_of_last(&acknowledged);
    program.signal("KILL");
    for event in one.hear_out().await.0 {
        acknowledged.insert(text_of(&event["message"]), id_of(&event));
    }
    assert_eq!(program.exit_code().await, None);

    let again = program.again().await;
    let mut one = Live::open(&again, 1, room, &cursor).await.0;
    for n in 1..=MESSAGES {
        one.send(numbered(n)).await;
    }
    let mut answers = BTreeMap::new();
    while answers.len() < MESSAGES {
        let frame = one.next().await;
        if let Some(name) = frame.get("ref") {
            let n: usize = name.as_str().unwrap().parse().unwrap();
            assert_eq!(frame["message"]["text"], format!("number {n}"), "{frame}");
            assert!(answers.insert(n, id_of(&frame)).is_none(), "answered twice: {frame}");
        }
    }
    for (text, id) in &acknowledged {
        let n: usize = text.trim_start_matches("number ").parse().unwrap();
        assert_eq!(answers[&n], *id, "{text} was acknowledged before");
    }
    let (_, page) = again.api_get(&format!("/rooms/{room}/messages?after=0&limit=200")).await;
    let mut stored: Vec<_> = super::texts(&page["messages"]);
    assert!(stored.iter().map(|(id, _)| *id).eq(1..=i64::try_from(MESSAGES).unwrap()), "{stored:?}");
    let told = missed(&again, room, &cursor).await;
    let after = stored.split_off(usize::try_from(seen).unwrap());
    assert_eq!(told, Told { messages: after, ..Told::default() });
    stored.extend(told.messages);
    stored.sort_by_key(|(_, text)| text.trim_start_matches("number ").parse::<usize>().unwrap());
    let said: Vec<_> = (1..=MESSAGES).map(|n| format!("number {n}")).collect();
    assert_eq!(stored.into_iter().map(|(_, text)| text).collect::<Vec<_>>(), said, "each is there once");
}

/// Returns the id of the newest acknowledged message.
fn id_of_last(acknowledged: &BTreeMap<String, i64>) -> i64 {
    *acknowledged.values().max().unwrap()
}
