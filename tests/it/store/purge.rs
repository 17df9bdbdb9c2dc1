//! An operator purges old messages directly in the database. Message ids continue, and counts cover only the messages
//! that are left.

use mongodb::bson::{Bson, Document, doc};
use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{Client, Server, eventually};

async fn post(server: &Server, room: i64, text: &str) -> i64 {
    let said = json!({"sender_id": 2, "text": text});
    let (status, posted) = server.api_post(&format!("/rooms/{room}/messages"), &said).await;
    assert_eq!(status, 201, "{posted}");
    assert_eq!(posted["status"], "send");
    posted["message_id"].as_i64().unwrap()
}

/// Returns the range of the keys of a room's messages, up to message `n`.
fn up_to(room: i64, n: impl Into<Bson>) -> Document {
    doc! { "$gte": { "room": room, "n": Bson::MinKey }, "$lte": { "room": room, "n": n.into() } }
}

/// Purges the messages of a room that were created before this time, as docs/operate/backup.md (Retention) describes
/// it.
async fn purge(server: &Server, room: i64, before: mongodb::bson::DateTime) {
    let messages = server.collection("messages").await;
    let old = doc! { "_id": up_to(room, Bson::MaxKey), "created_at": { "$lt": before } };
    let last = messages.find_one(old).sort(doc! { "_id": -1 }).await.unwrap();
    let Some(last) = last else { return };
    let n = last.get_document("_id").unwrap().get_i64("n").unwrap();
    let noted = doc! { "$max": { "purged_to": n } };
    server.collection("rooms").await.update_one(doc! { "_id": room }, noted).await.unwrap();
    messages.delete_many(doc! { "_id": up_to(room, n) }).await.unwrap();
}

/// Returns the time at which a message was created.
async fn made_at(server: &Server, room: i64, n: i64) -> mongodb::bson::DateTime {
    let messages = server.collection("messages").await;
    let found = messages.find_one(doc! { "_id": { "room": room, "n": n } }).await.unwrap().unwrap();
    *found.get_datetime("created_at").unwrap()
}

async fn inbox(server: &Server, user: i64, since: &str) -> (Client, Value) {
    let token = server.token(user).sign();
    let mut client = server.dial(&format!("/ws/?since={since}")).token(&token).open().await;
    let ready = client.next().await;
    assert_eq!(ready["type"], "ready", "{ready}");
    (client, ready)
}

fn ids(messages: &Value) -> Vec<i64> {
    let messages = messages.as_array().unwrap_or_else(|| panic!("no messages: {messages}"));
    messages.iter().map(|message| message["message_id"].as_i64().unwrap()).collect()
}

#[tokio::test]
async fn unread_counts_what_a_purge_has_left() {
    let server = Server::start(&[]).await;
    let room = server.room(&[1, 2]).await;
    for n in 1..=30 {
        assert_eq!(post(&server, room, &n.to_string()).await, n);
    }
    let first_kept = made_at(&server, room, 21).await;
    // Messages 20 and 21 may have the same time. In this case the purge keeps both messages.
    purge(&server, room, first_kept).await;
    let (status, page) = server.api_get(&format!("/rooms/{room}/messages?after=0&limit=200")).await;
    assert_eq!((status, &page["has_more"]), (200, &json!(false)));
    let left = ids(&page["messages"]);
    assert!(left.len() >= 10 && left.last() == Some(&30), "{left:?}");
    let (mut one, ready) = inbox(&server, 1, "").await;
    assert_eq!(ready["rooms"][0]["unread"], json!(left.len()), "{ready}");
    let (_, listed) = server.api_get("/rooms?user_id=1").await;
    assert_eq!(listed["rooms"][0]["unread"], json!(left.len()), "{listed}");
    // After a `read`, the server counts the unread messages again. This count must also cover only the messages that
    // are left.
    one.send(json!({"action": "read", "room_id": room, "message_id": 25})).await;
    assert_eq!(one.until_kind("unread").await["unread"], 5);
    one.send(json!({"action": "read", "room_id": room, "message_id": 999})).await;
    let told = one.until_kind("unread").await;
    assert_eq!((&told["unread"], &told["read"]), (&json!(0), &json!(30)));
    assert_eq!(post(&server, room, "more").await, 31);
}

/// All messages of a room are purged, and `purged_to` in the room is not set. The server still learns the last message
/// id from the members' receipt markers and the clients' cursors.
#[tokio::test]
async fn numbers_go_on_after_what_members_had_is_purged() {
    let server = Server::start(&[]).await;
    let group = server.room(&[1, 2, 3]).await;
    let (mut one, _) = inbox(&server, 1, "").await;
    let mut two = server.dial_as(2, &format!("room_id={group}&since=")).open().await;
    two.until_kind("resumed").await;
    for n in 1..=5 {
        assert_eq!(post(&server, group, &n.to_string()).await, n);
    }
    let edit = json!({"text": "5!"});
    assert_eq!(server.call(Method::PATCH, &format!("/rooms/{group}/messages/5"), edit).await.0, 200);
    let seen = one.until_kind("message_edited").await;
    let seen_by_two = two.until_kind("message_edited").await;
    let path = format!("/rooms/{group}");
    let members = async || server.api_get(&path).await.1["members"].as_array().unwrap().clone();
    let is_delivered = |members: &Vec<Value>| members.iter().any(|member| member["delivered"] == 5);
    eventually("the messages are delivered", members, is_delivered).await;
    drop((one, two));
    server.collection("messages").await.delete_many(doc! { "_id.room": group }).await.unwrap();

    let fresh = server.beside().await;
    let (status, _) = fresh.call(Method::PUT, &format!("/rooms/{group}/members/4"), json!({})).await;
    assert_eq!(status, 201);
    let cursor = seen["cursor"].as_str().unwrap();
    let (_, ready) = inbox(&fresh, 1, cursor).await;
    assert_eq!(ready["resumed"], true, "{ready}");
    // User 3 is the first user who opens the room on this server. The server must not treat the room as a room that
    // never had a message.
    fresh.enter(3, group).await;
    assert_eq!(post(&fresh, group, "next").await, 6);
    let (_, ready) = inbox(&server, 1, cursor).await;
    assert_eq!(ready["resumed"], true, "{ready}");
    let in_group = &ready["rooms"][0];
    assert_eq!((ids(&in_group["messages"]), &in_group["unread"]), (vec![6], &json!(1)), "{ready}");
    assert_eq!(in_group["last_message"]["status"], "send");
    let (_, ready) = inbox(&server, 4, "").await;
    assert_eq!(ready["rooms"][0]["unread"], 1, "{ready}");
    let since = seen_by_two["cursor"].as_str().unwrap();
    let mut two = fresh.dial_as(2, &format!("room_id={group}&since={since}")).open().await;
    let resumed = two.until_kind("resumed").await;
    assert_eq!((&resumed["resumed"], ids(&resumed["messages"])), (&json!(true), vec![6]), "{resumed}");
}

/// No member has received the purged messages. Only `purged_to` in the room still shows the last message id.
#[tokio::test]
async fn numbers_go_on_after_a_purge_of_what_nobody_had() {
    let server = Server::start(&[]).await;
    let room = server.room(&[1, 2]).await;
    for n in 1..=3 {
        assert_eq!(post(&server, room, &n.to_string()).await, n);
    }
    purge(&server, room, mongodb::bson::DateTime::MAX).await;
    let left = server.collection("messages").await.count_documents(doc! {}).await.unwrap();
    assert_eq!(left, 0);
    // The older `mongo` shell writes a number as a double.
    let noted = doc! { "$set": { "purged_to": 3.0 } };
    server.collection("rooms").await.update_one(doc! { "_id": room }, noted).await.unwrap();
    let fresh = server.beside().await;
    let mut one = fresh.connect(1, 2).await;
    assert!(one.history().await.is_empty());
    assert_eq!(post(&fresh, room, "next").await, 4);
    assert_eq!(one.until_kind("chat_message").await["message"]["message_id"], 4);
    let (_, ready) = inbox(&fresh, 1, "").await;
    assert_eq!(ready["rooms"][0]["last_message"]["message_id"], 4, "{ready}");
}
