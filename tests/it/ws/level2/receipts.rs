//! Manual read receipts (`receipts=manual`): messages become delivered automatically, and the client sends the action
//! `read`.

use serde_json::{Value, json};

use super::{Live, mark, room};
use crate::support::{Client, Server, chat, deleted, delivered, eventually, next_error, read, said};

fn read_up_to(id: impl Into<Value>) -> Value {
    json!({"action": "read", "message_id": id.into()})
}

/// Opens a Level 1 socket of user 1, and a Level 2 socket of user 2 with manual read receipts.
async fn by_hand(overrides: &[(&str, &str)]) -> (Server, i64, Client, Live) {
    let (server, room) = room(overrides).await;
    let one = server.enter(1, room).await;
    let two = Live::by_hand(&server, 2, room).await;
    (server, room, one, two)
}

/// Sends messages of user 1, and asserts that each becomes delivered, but not read, on both sockets.
async fn say(one: &mut Client, two: &mut Live, ids: std::ops::RangeInclusive<i64>) {
    for id in ids {
        one.say("Hello").await;
        one.expect_all(&[chat(id, 1, "Hello"), delivered(id, 1, "Hello")]).await;
        two.hear_all(&[chat(id, 1, "Hello"), delivered(id, 1, "Hello")]).await;
    }
}

/// Asserts that the next frames of both sockets are the read receipts of these messages.
async fn told_read(one: &mut Client, two: &mut Live, ids: &[i64]) {
    for id in ids {
        one.expect(read(*id, 1, "Hello")).await;
        two.hear(read(*id, 1, "Hello")).await;
    }
}

/// Returns the status of each message, oldest first, as the history of a new Level 1 socket has it.
async fn statuses(server: &Server, room: i64) -> Vec<Value> {
    let mut again = server.dial_as(1, &format!("room_id={room}")).open().await;
    let history = again.history().await;
    history.into_iter().rev().map(|message| message["status"].clone()).collect()
}

#[tokio::test]
async fn delivered_is_automatic_and_read_is_said() {
    let (server, room, mut one, mut two) = by_hand(&[]).await;
    // With manual receipts, no read receipt comes between the delivery of a message and the next message.
    say(&mut one, &mut two, 1..=4).await;
    assert_eq!(statuses(&server, room).await, vec!["delivered"; 4]);
    two.send(read_up_to(3)).await;
    told_read(&mut one, &mut two, &[1, 2, 3]).await;
    assert_eq!(statuses(&server, room).await, ["read", "read", "read", "delivered"]);
    two.send(read_up_to("4")).await;
    told_read(&mut one, &mut two, &[4]).await;
    say(&mut one, &mut two, 5..=5).await;
    assert_eq!(statuses(&server, room).await, ["read", "read", "read", "read", "delivered"]);
}

#[tokio::test]
async fn waiting_messages_are_only_delivered_when_reading_is_manual() {
    let (server, room) = room(&[]).await;
    let mut one = server.enter(1, room).await;
    for id in 1..=3 {
        one.say_alone(id, 1, "Hello").await;
    }
    let mut two = Live::by_hand(&server, 2, room).await;
    for id in 1..=3 {
        one.expect(delivered(id, 1, "Hello")).await;
        two.hear(delivered(id, 1, "Hello")).await;
    }
    two.send(read_up_to(2)).await;
    told_read(&mut one, &mut two, &[1, 2]).await;
    assert_eq!(statuses(&server, room).await, ["read", "read", "delivered"]);
}

#[tokio::test]
async fn past_the_last_message_means_the_last_one() {
    let (server, room, mut one, mut two) = by_hand(&[]).await;
    // No message has the id 5 yet. So no message becomes read now, and message 5 does not become read when it is sent
    // later.
    two.send(read_up_to(5)).await;
    two.quiet().await;
    say(&mut one, &mut two, 1..=3).await;
    two.send(read_up_to(9_007_199_254_740_991_i64)).await;
    told_read(&mut one, &mut two, &[1, 2, 3]).await;
    say(&mut one, &mut two, 4..=5).await;
    assert_eq!(statuses(&server, room).await, ["read", "read", "read", "delivered", "delivered"]);
    two.send(read_up_to(5)).await;
    told_read(&mut one, &mut two, &[4, 5]).await;
}

#[tokio::test]
async fn read_receipt_never_goes_back() {
    let (server, room, mut one, mut two) = by_hand(&[]).await;
    say(&mut one, &mut two, 1..=4).await;
    two.send(read_up_to(3)).await;
    told_read(&mut one, &mut two, &[1, 2, 3]).await;
    two.send(read_up_to(1)).await;
    two.send(read_up_to(3)).await;
    two.send(read_up_to(4)).await;
    told_read(&mut one, &mut two, &[4]).await;
    assert_eq!(statuses(&server, room).await, vec!["read"; 4]);
    let (_, frame) = Live::open(&server, 1, room, "").await;
    assert_eq!(mark(&frame, 2), (4, 4), "{frame}");
}

#[tokio::test]
async fn own_and_deleted_messages_are_not_marked() {
    let (_server, _room, mut one, mut two) = by_hand(&[]).await;
    say(&mut one, &mut two, 1..=1).await;
    two.say("of two").await;
    one.expect(chat(2, 2, "of two")).await;
    // User 1 has the room open on Level 1, with automatic receipts. So user 2's message becomes delivered and read
    // immediately.
    let [sent, marks @ ..] = said(2, 2, "of two");
    one.expect_all(&marks).await;
    two.hear(sent).await;
    two.hear_all(&marks).await;
    say(&mut one, &mut two, 3..=4).await;
    one.send(super::delete(3)).await;
    one.expect(deleted(3)).await;
    two.hear(deleted(3)).await;
    two.send(read_up_to(4)).await;
    told_read(&mut one, &mut two, &[1, 4]).await;
    one.quiet().await;
    two.quiet().await;
}

#[tokio::test]
async fn message_is_read_when_all_others_of_a_group_read_it() {
    let server = Server::start(&[]).await;
    let there = server.beside().await;
    let room = server.room(&[1, 2, 3]).await;
    let mut one = Live::fresh(&server, 1, room).await;
    let mut two = Live::by_hand(&server, 2, room).await;
    let mut three = Live::by_hand(&there, 3, room).await;
    for id in 1..=3 {
        one.say("Hello").await;
        for live in [&mut one, &mut two, &mut three] {
            live.hear_all(&[chat(id, 1, "Hello"), delivered(id, 1, "Hello")]).await;
        }
    }
    two.send(read_up_to(3)).await;
    let marker = async || mark(&Live::open(&server, 1, room, &one.cursor).await.1, 2);
    eventually("the marker of user 2 is stored", marker, |marker| *marker == (3, 3)).await;
    // User 2's receipt causes no event, because user 3 has not read the messages. The receipt of user 3 is the next
    // event of all sockets.
    three.send(read_up_to(2)).await;
    for live in [&mut one, &mut two, &mut three] {
        live.hear_all(&[read(1, 1, "Hello"), read(2, 1, "Hello")]).await;
    }
    let (_, frame) = Live::open(&server, 1, room, &one.cursor).await;
    assert_eq!((mark(&frame, 2), mark(&frame, 3)), ((3, 3), (3, 2)), "{frame}");
}

#[tokio::test]
async fn a_message_id_that_is_none_is_refused() {
    let (server, room, mut one, mut two) = by_hand(&[]).await;
    say(&mut one, &mut two, 1..=1).await;
    for bad in [json!(-1), json!(1.5), json!("x"), json!([1]), json!(9_007_199_254_740_992_i64)] {
        two.send(read_up_to(bad)).await;
        next_error(&mut two, "invalid_request", "read", "message_id").await;
    }
    two.send(json!({"action": "read"})).await;
    next_error(&mut two, "invalid_request", "read", "message_id").await;
    assert_eq!(statuses(&server, room).await, ["delivered"]);
}

#[tokio::test]
async fn an_open_room_on_level_1_is_read_also_beside_one_by_hand() {
    let (server, room, mut one, mut two) = by_hand(&[]).await;
    say(&mut one, &mut two, 1..=1).await;
    let mut beside = server.enter(2, room).await;
    told_read(&mut one, &mut two, &[1]).await;
    beside.until(read(1, 1, "Hello")).await;
    one.say("Hello").await;
    one.expect_all(&said(2, 1, "Hello")).await;
}

#[tokio::test]
async fn receipts_are_automatic_by_default() {
    let (server, room) = room(&[]).await;
    let mut one = Live::fresh(&server, 1, room).await;
    let mut two = Live::fresh(&server, 2, room).await;
    one.say("Hello").await;
    for live in [&mut one, &mut two] {
        live.hear_all(&said(1, 1, "Hello")).await;
    }
}

#[tokio::test]
async fn statuses_follow_from_the_markers_of_a_first_frame() {
    let (server, room, mut one, mut two) = by_hand(&[]).await;
    let cursor = Live::fresh(&server, 1, room).await.cursor;
    say(&mut one, &mut two, 1..=2).await;
    two.send(read_up_to(1)).await;
    told_read(&mut one, &mut two, &[1]).await;
    two.client.leave().await;
    for since in ["", &cursor] {
        let (_, frame) = Live::open(&server, 1, room, since).await;
        assert_eq!(mark(&frame, 2), (2, 1), "{frame}");
        for message in frame["messages"].as_array().unwrap() {
            let id = message["message_id"].as_i64().unwrap();
            let (delivered, read) = mark(&frame, 2);
            let status = if id <= read {
                "read"
            } else if id <= delivered {
                "delivered"
            } else {
                "send"
            };
            assert_eq!(message["status"], status, "{frame}");
        }
        let mut members: Vec<_> =
            frame["marks"].as_array().unwrap().iter().map(|mark| mark["user_id"].as_i64()).collect();
        members.sort_unstable();
        assert_eq!(members, [Some(1), Some(2)], "every member's");
    }
}
