//! The status of a message (`send`, `delivered`, `read`), and the users who receive its changes.

use serde_json::{Value, json};

use crate::support::{Client, Server, chat, deleted, delivered, edited, ids_of, read, room_with_one_socket};
use crate::support::{room_of_two, said};

const DELIVERED: &str = "mark_message_as_delivered";
const READ: &str = "mark_message_as_read";

/// Checks the frames that a client receives after a user with unread messages connects. Each of the messages `ids` must
/// have one delivered event, and later one read event. In both kinds of events, the oldest message is first.
fn assert_marked(frames: &[Value], ids: &[i64]) {
    assert_eq!(ids_of(frames, DELIVERED), ids, "delivered, oldest first");
    assert_eq!(ids_of(frames, READ), ids, "read, oldest first");
    assert_eq!(frames.len(), 2 * ids.len(), "and nothing else");
    for id in ids {
        let at = |kind: &str| {
            frames.iter().position(|frame| frame["type"] == kind && frame["message"]["message_id"] == *id)
        };
        assert!(at(DELIVERED) < at(READ), "message {id} is read after it is delivered");
    }
}

async fn statuses(server: &Server, user: i64, peer: i64) -> Vec<Value> {
    let history = server.connect(user, peer).await.history().await;
    history.into_iter().map(|message| message["status"].clone()).collect()
}

#[tokio::test]
async fn a_message_waits_while_its_reader_is_away() {
    let (server, mut one) = room_with_one_socket(&[]).await;
    one.say_alone(1, 1, "are you there?").await;
    one.say_alone(2, 1, "hello?").await;
    one.quiet().await;
    assert_eq!(statuses(&server, 1, 2).await, ["send", "send"]);
}

#[tokio::test]
async fn waiting_messages_are_read_when_their_reader_connects() {
    let (server, mut one) = room_with_one_socket(&[]).await;
    for id in 1..=3 {
        one.say_alone(id, 1, "waiting").await;
    }
    let mut second = server.join(1, 2).await;
    let mut two = server.connect(2, 1).await;
    assert_eq!(two.history().await.len(), 3);
    for client in [&mut one, &mut second, &mut two] {
        let frames = client.take(6).await;
        assert_marked(&frames, &[1, 2, 3]);
    }
    assert_eq!(statuses(&server, 1, 2).await, ["read", "read", "read"]);
}

#[tokio::test]
async fn read_status_is_not_sent_twice() {
    let (server, mut one, mut two) = room_of_two(&[]).await;
    one.say("first").await;
    one.expect_all(&said(1, 1, "first")).await;
    two.expect_all(&said(1, 1, "first")).await;
    let mut again = server.join(2, 1).await;
    one.say("second").await;
    for client in [&mut one, &mut two, &mut again] {
        client.expect_all(&said(2, 1, "second")).await;
    }
    for client in [&mut one, &mut two, &mut again] {
        client.quiet().await;
    }
}

#[tokio::test]
async fn a_deleted_message_that_waited_is_not_marked() {
    let (server, mut one) = room_with_one_socket(&[]).await;
    for id in 1..=3 {
        one.say_alone(id, 1, "waiting").await;
    }
    one.send(json!({"action": "delete", "message_id": 2})).await;
    one.expect(deleted(2)).await;
    let _two = server.join(2, 1).await;
    assert_marked(&one.take(4).await, &[1, 3]);
}

#[tokio::test]
async fn the_newest_200_waiting_messages_at_most_are_told() {
    const WAITING: i64 = 230;
    let (server, mut one) = room_with_one_socket(&[]).await;
    for _ in 1..=WAITING {
        one.say("waiting").await;
    }
    one.until(chat(WAITING, 1, "waiting")).await;
    let mut two = server.join(2, 1).await;
    let newest: Vec<i64> = (WAITING - 199..=WAITING).collect();
    for client in [&mut one, &mut two] {
        assert_marked(&client.take(400).await, &newest);
        client.quiet().await;
    }

    // The older messages became read as well, although no event was sent for them. The test deletes the newest
    // messages, so that the history shows the older ones.
    for id in 31..=WAITING {
        one.send(json!({"action": "delete", "message_id": id})).await;
    }
    one.until(deleted(WAITING)).await;
    assert_eq!(statuses(&server, 1, 2).await, vec!["read"; 30]);
}

#[tokio::test]
async fn an_author_never_marks_their_own_message() {
    let (server, mut one) = room_with_one_socket(&[]).await;
    let mut second = server.join(1, 2).await;
    one.say("to myself").await;
    for client in [&mut one, &mut second] {
        client.expect(chat(1, 1, "to myself")).await;
    }
    let mut third = server.join(1, 2).await;
    second.say("and again").await;
    for client in [&mut one, &mut second, &mut third] {
        client.expect(chat(2, 1, "and again")).await;
        client.quiet().await;
    }
    assert_eq!(statuses(&server, 1, 2).await, ["send", "send"]);
}

#[tokio::test]
async fn connecting_marks_the_others_messages_and_not_ones_own() {
    let server = Server::start(&[]).await;
    server.room(&[1, 2]).await;
    // User 1 writes on another server, which is then shut down. So no server has a socket of user 1 when user 2
    // connects.
    let mut other = server.beside().await;
    let mut one = other.join(1, 2).await;
    one.say_alone(1, 1, "from one").await;
    other.shut_down();
    assert_eq!(one.closed().await.0, 1012);
    other.ended().await;
    let mut two = server.join(2, 1).await;
    two.expect_all(&[delivered(1, 1, "from one"), read(1, 1, "from one")]).await;
    two.say("from two").await;
    two.expect(chat(2, 2, "from two")).await;
    let mut one = server.connect(1, 2).await;
    one.history().await;
    for client in [&mut one, &mut two] {
        client.expect_all(&[delivered(2, 2, "from two"), read(2, 2, "from two")]).await;
        client.quiet().await;
    }
}

#[tokio::test]
async fn a_status_never_goes_back() {
    let (server, mut one, mut two) = room_of_two(&[]).await;
    one.say("read").await;
    one.expect_all(&said(1, 1, "read")).await;
    two.expect_all(&said(1, 1, "read")).await;
    two.leave().await;
    one.send(json!({"action": "edit", "message_id": 1, "text": "changed"})).await;
    one.expect(edited(1, "changed")).await;
    assert_eq!(statuses(&server, 1, 2).await, ["read"]);
    let mut two = server.join(2, 1).await;
    assert_eq!(statuses(&server, 1, 2).await, ["read"]);
    for client in [&mut one, &mut two] {
        client.quiet().await;
    }
}

#[tokio::test]
async fn a_status_changes_no_time_and_an_edit_does() {
    let (server, mut one) = room_with_one_socket(&[]).await;
    let sent = one.say_alone(1, 1, "first").await["message"].clone();
    one.send(json!({"action": "edit", "message_id": 1, "text": "second"})).await;
    one.expect(edited(1, "second")).await;
    let edited_at = server.connect(1, 2).await.history().await[0]["updated_at"].clone();
    assert!(edited_at.as_str() > sent["updated_at"].as_str(), "{edited_at} comes after {sent}");

    let _two = server.join(2, 1).await;
    for expected in [delivered(1, 1, "second"), read(1, 1, "second")] {
        let frame = one.expect(expected).await;
        assert_eq!(frame["message"]["created_at"], sent["created_at"]);
        assert_eq!(frame["message"]["updated_at"], edited_at);
    }
    let message = server.connect(1, 2).await.history().await[0].clone();
    assert_eq!((&message["status"], &message["updated_at"]), (&json!("read"), &edited_at));
}

#[tokio::test]
async fn status_is_the_lowest_of_the_other_members_in_a_group() {
    let server = Server::start(&[]).await;
    let room = server.room(&[1, 2, 3, 4]).await;
    let mut one = server.enter(1, room).await;
    let mut two = server.enter(2, room).await;
    one.say("hello all").await;
    let mut there: Vec<&mut Client> = vec![&mut one, &mut two];
    for client in &mut there {
        client.expect(chat(1, 1, "hello all")).await;
    }
    // While the fourth member is offline, no status event may arrive. So the next event on all sockets must be the next
    // message.
    let mut three = server.enter(3, room).await;
    three.say("hello").await;
    for client in [&mut one, &mut two, &mut three] {
        client.expect(chat(2, 3, "hello")).await;
    }
    let mut four = server.enter(4, room).await;
    for client in [&mut one, &mut two, &mut three, &mut four] {
        assert_marked(&client.take(4).await, &[1, 2]);
        client.quiet().await;
    }
}

#[tokio::test]
async fn status_is_sent_once_when_a_whole_group_is_online() {
    let server = Server::start(&[]).await;
    let room = server.room(&[1, 2, 3]).await;
    let mut clients = Vec::new();
    for user in 1..=3 {
        clients.push(server.enter(user, room).await);
    }
    for (id, author) in [(1, 1), (2, 2), (3, 3), (4, 1)] {
        clients[usize::try_from(author).unwrap() - 1].say("hello").await;
        for client in &mut clients {
            client.expect_all(&said(id, author, "hello")).await;
        }
    }
}

#[tokio::test]
async fn statuses_are_sent_once_in_a_stream_of_messages() {
    const MESSAGES: i64 = 200;
    let (_server, mut one, mut two) = room_of_two(&[]).await;
    for _ in 0..MESSAGES {
        one.say("quick").await;
    }
    let ids: Vec<i64> = (1..=MESSAGES).collect();
    let count = usize::try_from(MESSAGES).unwrap() * 3;
    let first = one.take(count).await;
    let marks: Vec<_> = first.iter().filter(|frame| frame["type"] != "chat_message").cloned().collect();
    assert_eq!(ids_of(&first, "chat_message"), ids);
    assert_marked(&marks, &ids);
    assert_eq!(first, two.take(count).await, "both sockets hear the same");
}

#[tokio::test]
async fn a_reader_on_another_server_counts_as_well() {
    let server = Server::start(&[]).await;
    let other = server.beside().await;
    server.room(&[1, 2]).await;
    let mut one = server.join(1, 2).await;
    one.say_alone(1, 1, "waiting").await;
    let mut two = other.join(2, 1).await;
    for client in [&mut one, &mut two] {
        client.expect_all(&[delivered(1, 1, "waiting"), read(1, 1, "waiting")]).await;
    }
}
