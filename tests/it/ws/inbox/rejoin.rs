//! A user leaves a room and enters it again. An inbox connection adds the room once for each membership, even if the
//! socket missed the changes.

use futures_util::TryStreamExt;
use mongodb::bson::{Document, Timestamp, doc};
use reqwest::Method;
use serde_json::{Value, json};

use super::inbox;
use super::resume::resume;
use crate::support::{Client, Server};

async fn add(server: &Server, room: i64, user: i64) {
    let (status, _) = server.call(Method::PUT, &format!("/rooms/{room}/members/{user}"), json!({})).await;
    assert_eq!(status, 201);
}

async fn remove(server: &Server, room: i64, user: i64) {
    let (status, _) = server.call(Method::DELETE, &format!("/rooms/{room}/members/{user}"), json!({})).await;
    assert_eq!(status, 204);
}

async fn post(server: &Server, room: i64, text: &str) {
    let said = json!({"sender_id": 2, "text": text});
    assert_eq!(server.api_post(&format!("/rooms/{room}/messages"), &said).await.0, 201);
}

/// Asserts that a first frame resumed, and returns its rooms.
fn listed(ready: &Value) -> &Vec<Value> {
    assert_eq!(ready["resumed"], true, "{ready}");
    ready["rooms"].as_array().unwrap()
}

fn cursor(frame: &Value) -> &str {
    frame["cursor"].as_str().unwrap_or_else(|| panic!("no cursor: {frame}"))
}

async fn until_removed(client: &mut Client, room: i64) -> Value {
    let removed = client.until_kind("room_removed").await;
    assert_eq!(removed["room_id"], room);
    removed
}

/// Resumes several times, on two servers. The first resume must add the room. The later resumes must have the message
/// "later" exactly once.
async fn is_added_once(servers: [&Server; 2], room: i64, since: &str, last: &str) {
    let (_, ready) = resume(servers[1], 1, since).await;
    let [added] = &listed(&ready)[..] else { panic!("one room: {ready}") };
    assert_eq!((&added["room_id"], &added["added"]), (&json!(room), &json!(true)), "{ready}");
    assert_eq!(added["last_message"]["text"], last);
    assert!(["messages", "edited", "deleted"].iter().all(|list| added.get(list).is_none()), "{added}");
    post(servers[0], room, "later").await;
    let mut since = cursor(&ready).to_owned();
    for (at, told) in [(0, vec!["later"]), (1, vec![]), (0, vec![])] {
        let (_, ready) = resume(servers[at], 1, &since).await;
        for room in listed(&ready) {
            assert_eq!(room.get("added"), None, "{ready}");
            let messages = room["messages"].as_array().unwrap().iter();
            let texts: Vec<_> = messages.map(|message| message["text"].as_str().unwrap()).collect();
            assert_eq!(texts, told, "{ready}");
        }
        assert!(told.is_empty() || listed(&ready).len() == 1, "{ready}");
        cursor(&ready).clone_into(&mut since);
    }
}

#[tokio::test]
async fn a_room_left_while_connected_is_added_when_entered_again() {
    let server = Server::start(&[]).await;
    let other = server.beside().await;
    let group = server.room(&[1, 2, 3]).await;
    post(&server, group, "before").await;
    let (mut one, _) = inbox(&server, 1).await;
    post(&server, group, "seen").await;
    one.until_kind("chat_message").await;
    remove(&server, group, 1).await;
    let removed = until_removed(&mut one, group).await;
    drop(one);
    post(&server, group, "while no member").await;
    add(&server, group, 1).await;
    is_added_once([&server, &other], group, cursor(&removed), "while no member").await;
}

#[tokio::test]
async fn a_room_left_and_entered_again_while_away_is_added() {
    let server = Server::start(&[]).await;
    let other = server.beside().await;
    let group = server.room(&[1, 2, 3]).await;
    let (mut one, _) = inbox(&server, 1).await;
    post(&server, group, "seen").await;
    let seen = one.until_kind("chat_message").await;
    drop(one);
    remove(&server, group, 1).await;
    post(&server, group, "while no member").await;
    add(&server, group, 1).await;
    is_added_once([&server, &other], group, cursor(&seen), "while no member").await;
}

#[tokio::test]
async fn a_room_entered_while_away_is_added_once() {
    let server = Server::start(&[]).await;
    let other = server.beside().await;
    let group = server.room(&[2, 3, 4]).await;
    let (one, ready) = inbox(&server, 1).await;
    drop(one);
    post(&server, group, "before").await;
    add(&server, group, 1).await;
    is_added_once([&server, &other], group, cursor(&ready), "before").await;
}

#[tokio::test]
async fn a_room_known_to_a_socket_is_not_added_when_it_resumes() {
    let server = Server::start(&[]).await;
    let other = server.beside().await;
    let group = server.room(&[2, 3, 4]).await;
    let (mut one, _) = inbox(&server, 1).await;
    post(&server, group, "before").await;
    add(&server, group, 1).await;
    let added = one.until_kind("room_added").await;
    drop(one);
    for server in [&server, &other] {
        let (_, ready) = resume(server, 1, cursor(&added)).await;
        for room in listed(&ready) {
            assert_eq!((room.get("added"), &room["messages"]), (None, &json!([])), "{ready}");
        }
    }
    // The cursor of a first frame that did not resume has the same effect.
    let (_, ready) = inbox(&other, 1).await;
    let (_, ready) = resume(&server, 1, cursor(&ready)).await;
    for room in listed(&ready) {
        assert_eq!((room.get("added"), &room["messages"]), (None, &json!([])), "{ready}");
    }
}

#[tokio::test]
async fn a_member_replaced_immediately_receives_the_new_membership() {
    let server = Server::start(&[]).await;
    let group = server.room(&[1, 2, 3]).await;
    let (mut one, _) = inbox(&server, 1).await;
    for round in 0..10 {
        post(&server, group, "unread").await;
        remove(&server, group, 1).await;
        add(&server, group, 1).await;
        until_removed(&mut one, group).await;
        let added = one.until_kind("room_added").await;
        assert_eq!(
            (&added["room_id"], &added["room"]["unread"]),
            (&json!(group), &json!(0)),
            "round {round}"
        );
    }
    one.send(json!({"action": "send", "room_id": group, "message": "here"})).await;
    assert_eq!(one.until_kind("chat_message").await["message"]["text"], "here");
}

/// Each new membership stores the time of its beginning, by the database's clock. This holds for each way to become a
/// member.
#[tokio::test]
async fn memberships_begin_by_the_databases_time() {
    let server = Server::start(&[]).await;
    let group = server.room(&[1, 2, 3]).await;
    let pair = server.room(&[1, 2]).await;
    let members = server.collection("members").await;
    let mut begun = Vec::new();
    for round in 0..3 {
        let all: Vec<Document> =
            members.find(doc! { "_id.user": 1 }).await.unwrap().try_collect().await.unwrap();
        assert_eq!(all.len(), 2);
        let beginnings = all.iter().map(|member| member.get_timestamp("joined").unwrap());
        begun.extend(beginnings.filter(|beginning| *beginning > Timestamp { time: 0, increment: 0 }));
        begun.sort_unstable();
        begun.dedup();
        assert_eq!(begun.len(), 2 * (round + 1), "{all:?}");
        remove(&server, group, 1).await;
        add(&server, group, 1).await;
        // An erasure leaves the direct room in this state, with one member missing.
        members.delete_one(doc! { "_id.room": pair, "_id.user": 1 }).await.unwrap();
        assert_eq!(server.room(&[1, 2]).await, pair);
    }
}
