//! What is unread: the server's own count, told when a mark or a delete changes it.

use serde_json::{Value, json};

use super::inbox;
use crate::support::{Client, Server};

async fn unread(client: &mut Client) -> Value {
    let told = client.until_kind("unread").await;
    json!([told["room_id"], told["unread"], told["read"]])
}

#[tokio::test]
async fn reading_is_told_to_all_of_the_readers_own_sockets() {
    let server = Server::start(&[]).await;
    let other = server.beside().await;
    let room = server.room(&[1, 2]).await;
    let mut two = server.join(2, 1).await;
    for text in ["a", "b", "c"] {
        two.say(text).await;
    }
    two.until_kind("chat_message").await;
    let (mut phone, _) = inbox(&server, 1).await;
    let (mut laptop, _) = inbox(&other, 1).await;
    phone.send(json!({"action": "read", "room_id": room, "message_id": 2})).await;
    assert_eq!(unread(&mut phone).await, json!([room, 1, 2]));
    assert_eq!(unread(&mut laptop).await, json!([room, 1, 2]));
    laptop.send(json!({"action": "read", "room_id": room, "message_id": 99})).await;
    assert_eq!(unread(&mut phone).await, json!([room, 0, 3]));
    assert_eq!(unread(&mut laptop).await, json!([room, 0, 3]));
    let (_, ready) = inbox(&server, 1).await;
    assert_eq!((&ready["rooms"][0]["unread"], &ready["rooms"][0]["read"]), (&json!(0), &json!(3)));
}

#[tokio::test]
async fn a_room_that_is_open_is_read_until_it_is_closed() {
    let server = Server::start(&[]).await;
    let room = server.room(&[1, 2]).await;
    let mut two = server.join(2, 1).await;
    two.say("before").await;
    two.until_kind("chat_message").await;
    let (mut one, _) = inbox(&server, 1).await;
    one.send(json!({"action": "open", "room_id": room})).await;
    assert_eq!(unread(&mut one).await, json!([room, 0, 1]));
    two.say("meanwhile").await;
    assert_eq!(unread(&mut one).await, json!([room, 0, 2]));
    two.until_kind("mark_message_as_read").await;
    one.send(json!({"action": "close", "room_id": room})).await;
    one.send(json!({"action": "ping"})).await;
    one.until_kind("pong").await;
    two.say("after").await;
    one.until_kind("mark_message_as_delivered").await;
    let (_, ready) = inbox(&server, 1).await;
    assert_eq!((&ready["rooms"][0]["unread"], &ready["rooms"][0]["read"]), (&json!(1), &json!(2)));
}

#[tokio::test]
async fn a_message_that_is_deleted_is_unread_no_more() {
    let server = Server::start(&[]).await;
    let room = server.room(&[1, 2]).await;
    let mut two = server.join(2, 1).await;
    for text in ["a", "b"] {
        two.say(text).await;
    }
    let (mut one, ready) = inbox(&server, 1).await;
    assert_eq!(ready["rooms"][0]["room_id"], room);
    one.send(json!({"action": "ping"})).await;
    one.until_kind("pong").await;
    two.send(json!({"action": "delete", "message_id": 1})).await;
    assert_eq!(one.until_kind("message_deleted").await["message_id"], 1);
    assert_eq!(unread(&mut one).await, json!([room, 1, 0]));
}
