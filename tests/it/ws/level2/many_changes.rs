//! Resuming after many changes, and after concurrent changes on two servers.

use serde_json::{Value, json};

use super::{Live, Told, delete, edit, id_of, missed, room};
use crate::support::{Client, Server, chat, deleted, shared_uri};

const ROOMY: [(&str, &str); 1] = [("LIMITS__SEND_QUEUE", "10000")];

/// Sends messages with these ids without waiting between them. Then waits for the last one.
async fn say(one: &mut Live, ids: std::ops::RangeInclusive<i64>) {
    for id in ids.clone() {
        one.say(&format!("number {id}")).await;
    }
    let last = *ids.end();
    one.hear_until(chat(last, 1, &format!("number {last}"))).await;
}

#[tokio::test]
async fn resume_shows_a_thousand_messages_and_leaves_more_to_history() {
    let (server, room) = room(&ROOMY).await;
    let mut one = Live::fresh(&server, 1, room).await;
    one.say_alone(1, 1, "before").await;
    let cursor = one.cursor.clone();
    say(&mut one, 2..=1001).await;
    let (_, frame) = Live::open(&server, 1, room, &cursor).await;
    let all: Vec<i64> = (2..=1001).collect();
    assert_eq!((super::ids(&frame["messages"]), &frame["has_more"]), (all.clone(), &json!(false)));

    say(&mut one, 1002..=1041).await;
    one.send(edit(1, "older, edited")).await;
    one.send(edit(2, "new, edited")).await;
    one.send(edit(1041, "left out, edited")).await;
    one.send(delete(1040)).await;
    one.hear_until(deleted(1040)).await;
    let (mut late, frame) = Live::open(&server, 1, room, &cursor).await;
    assert_eq!((&frame["resumed"], &frame["has_more"]), (&json!(true), &json!(true)));
    assert_eq!(super::ids(&frame["messages"]), all, "the oldest of the new ones");
    assert_eq!(frame["messages"][0]["text"], "new, edited");
    assert_eq!(super::texts(&frame["edited"]), [(1, "older, edited".to_owned())]);
    assert_eq!(frame["deleted"], json!([]), "it has never been told of");

    late.send(json!({"action": "history", "after": 1001, "limit": 200})).await;
    let rest = late.next().await;
    let left: Vec<i64> = (1002..=1041).filter(|id| *id != 1040).collect();
    assert_eq!((super::ids(&rest["messages"]), &rest["has_more"]), (left, &json!(false)));
    assert_eq!(rest["messages"][38]["text"], "left out, edited");
    one.say("and on").await;
    late.hear(chat(1042, 1, "and on")).await;
}

#[tokio::test]
async fn a_thousand_are_counted_without_those_that_are_deleted() {
    let (server, room) = room(&ROOMY).await;
    let mut one = Live::fresh(&server, 1, room).await;
    let cursor = one.cursor.clone();
    say(&mut one, 1..=1010).await;
    for id in 1..=10 {
        one.send(delete(100 * id)).await;
    }
    one.hear_until(deleted(1000)).await;
    let (_, frame) = Live::open(&server, 1, room, &cursor).await;
    let kept: Vec<i64> = (1..=1010).filter(|id| id % 100 != 0).collect();
    assert_eq!((super::ids(&frame["messages"]), &frame["has_more"]), (kept, &json!(false)));
    assert_eq!(frame["deleted"], json!([]), "what is new and deleted is not told");
}

/// Edits each of these messages and deletes every third of them, without waiting between the frames. Then waits until
/// the delete of `last` has arrived.
async fn change(client: &mut Client, ids: &[i64], last: i64) {
    for (n, id) in ids.iter().enumerate() {
        client.send(edit(*id, &format!("{id} edited"))).await;
        if n % 3 == 0 {
            client.send(delete(*id)).await;
        }
    }
    client.send(delete(last)).await;
    while client.until_kind("message_deleted").await["message_id"] != last {}
}

/// Applies the changes of a first frame to a client's complete copy of a room.
fn apply(room: &mut Vec<(i64, String)>, told: &Told) {
    room.extend(told.messages.iter().cloned());
    for (id, text) in &told.edited {
        let known = room.iter_mut().find(|(other, _)| other == id);
        known.unwrap_or_else(|| panic!("{id} was edited and is not known")).1.clone_from(text);
    }
    room.retain(|(id, _)| !told.deleted.contains(id));
}

#[tokio::test]
async fn concurrent_changes_are_equal_for_live_and_resumed_sockets() {
    const EACH: i64 = 20;
    let (here, room) = room(&ROOMY).await;
    let there = here.beside_over(shared_uri(), &ROOMY).await;
    let (mut one, mut two) = (here.enter(1, room).await, there.enter(2, room).await);
    let mut follower = Live::fresh(&here, 1, room).await;
    for id in 1..=2 * EACH + 2 {
        let sender = 1 + id % 2;
        let speaker = if sender == 1 { &mut one } else { &mut two };
        speaker.say("as it was").await;
        follower.hear_until(chat(id, sender, "as it was")).await;
    }
    let start = follower.cursor.clone();
    let known: Vec<_> = (1..=2 * EACH + 2).map(|id| (id, "as it was".to_owned())).collect();

    let own = |user: i64| (1..=2 * EACH).filter(move |id| 1 + id % 2 == user).collect::<Vec<_>>();
    let (of_one, of_two) = (own(1), own(2));
    // The delete of a user's last message shows that all changes of this user are done.
    tokio::join!(change(&mut one, &of_one, 2 * EACH + 2), change(&mut two, &of_two, 2 * EACH + 1));
    let mut events = Vec::new();
    let last = |events: &[Value], id: i64| {
        events.iter().any(|event| event["type"] == "message_deleted" && id_of(event) == id)
    };
    while !(last(&events, 2 * EACH + 1) && last(&events, 2 * EACH + 2)) {
        events.push(follower.next().await);
    }

    let heard = Told::after(&events);
    assert_eq!(heard.deleted.len(), 16, "seven of each user, and the last of each");
    let mut end = known.clone();
    apply(&mut end, &heard);
    for server in [&here, &there] {
        assert_eq!(missed(server, room, &start).await, heard, "since before the first change");
        for (at, event) in events.iter().enumerate() {
            let mut seen = known.clone();
            apply(&mut seen, &Told::after(&events[..=at]));
            let told = missed(server, room, event["cursor"].as_str().unwrap()).await;
            assert_eq!(told, Told::after(&events[at + 1..]), "since event {at}, {event}");
            apply(&mut seen, &told);
            assert_eq!(seen, end, "since event {at}, {event}");
        }
    }
    assert_shown(&here, room, &end).await;
}

/// Asserts that a Level 1 socket also shows the room as `end`. The room must have fewer than 50 messages.
async fn assert_shown(server: &Server, room: i64, end: &[(i64, String)]) {
    let mut late = server.dial_as(1, &format!("room_id={room}")).open().await;
    let mut history = super::texts(&json!(late.history().await));
    history.reverse();
    assert_eq!(history, end);
}

#[tokio::test]
async fn concurrent_edits_of_a_message_leave_one_change() {
    let (here, room) = room(&ROOMY).await;
    let there = here.beside_over(shared_uri(), &ROOMY).await;
    let mut follower = Live::fresh(&here, 1, room).await;
    follower.say_alone(1, 1, "0").await;
    follower.say_alone(2, 1, "0").await;
    let start = follower.cursor.clone();
    let (mut near, mut far) = (here.enter(1, room).await, there.enter(1, room).await);
    for n in 1..=20 {
        near.send(edit(1 + n % 2, &format!("here {n}"))).await;
        far.send(edit(1 + n % 2, &format!("there {n}"))).await;
    }
    let mut events = Vec::new();
    while events.len() < 40 {
        events.push(follower.next().await);
    }
    let heard = Told::after(&events);
    assert_eq!(heard.edited.len(), 2);
    for server in [&here, &there] {
        assert_eq!(missed(server, room, &start).await, heard);
        for (at, event) in events.iter().enumerate() {
            let told = missed(server, room, event["cursor"].as_str().unwrap()).await;
            assert_eq!(told, Told::after(&events[at + 1..]), "since event {at}, {event}");
        }
    }
}
