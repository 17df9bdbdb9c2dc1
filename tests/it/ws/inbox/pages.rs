//! Pages of rooms on an inbox connection. Each room is shown once. The last messages of the shown rooms become
//! delivered only after the server has written the page to the socket.

use std::collections::BTreeSet;

use mongodb::bson::{DateTime, doc};
use serde_json::{Value, json};

use super::inbox;
use crate::support::{Client, Metered, Server, error, eventually};

/// The number of rooms of user 1. Each has a message of another user. The first frame shows 50 of them.
const ROOMS: i64 = 70;

/// Returns user 1's marker `delivered` in a room.
async fn delivered_in(server: &Server, room: i64) -> i64 {
    let (status, room) = server.api_get(&format!("/rooms/{room}")).await;
    assert_eq!(status, 200, "{room}");
    let members = room["members"].as_array().unwrap();
    members.iter().find(|member| member["user_id"] == 1).unwrap()["delivered"].as_i64().unwrap()
}

/// Makes the rooms of user 1, each with a message of another user. Returns the rooms' ids.
async fn rooms(server: &Server) -> Vec<i64> {
    let text = "x".repeat(4000);
    let mut made = Vec::new();
    for other in 2..2 + ROOMS {
        let room = server.room(&[1, other]).await;
        let message = json!({"sender_id": other, "text": text});
        assert_eq!(server.api_post(&format!("/rooms/{room}/messages"), &message).await.0, 201);
        made.push(room);
    }
    made
}

#[tokio::test]
async fn messages_of_a_page_become_delivered() {
    let server = Server::start(&[]).await;
    let rooms = rooms(&server).await;
    let (mut one, ready) = inbox(&server, 1).await;
    let last = &ready["rooms"][49];
    assert_eq!(delivered_in(&server, rooms[0]).await, 0);
    let page = json!({"action": "rooms", "before": last["last_activity"], "before_room": last["room_id"]});
    one.send(page).await;
    let more = one.until_kind("rooms").await;
    assert_eq!(more["rooms"].as_array().unwrap().len(), 20);
    let delivered = async || delivered_in(&server, rooms[0]).await;
    eventually("the shown messages are delivered", delivered, |count| *count > 0).await;
}

#[tokio::test]
async fn messages_of_an_unsent_page_are_not_delivered() {
    let metered = Metered::new();
    let overrides = [metered.setting(), ("SOCKETS__SEND_BUFFER_BYTES", "8192"), ("LIMITS__WRITE_MS", "500")];
    let server = Server::start(&overrides).await;
    let rooms = rooms(&server).await;
    let token = server.token(1).sign();
    let mut deaf = server.dial("/ws/?since=").token(&token).receive_buffer(4096).open().await;
    let ready = deaf.next().await;
    let last = &ready["rooms"][49];
    deaf.send(json!({"action": "rooms", "before": last["last_activity"], "before_room": last["room_id"]}))
        .await;
    // The client doesn't read the answer, so the server closes the socket before it has written all of the answer.
    metered.until("parlor_limits_hit_total{bound=\"write_ms\"}", 1).await;
    metered.until("parlor_sockets", 0).await;
    // The server waited for the write for 500 ms. If the server had raised the marker `delivered`, it would have stored
    // the marker during this time.
    assert_eq!(delivered_in(&server, rooms[0]).await, 0);
}

/// The number of rooms with the same last activity, to the millisecond: more than two pages.
const ALIKE: i64 = 130;

/// Makes rooms of user 1 that all have the same last activity.
async fn rooms_of_one_millisecond(server: &Server) -> BTreeSet<i64> {
    let mut made = BTreeSet::new();
    for other in 2..2 + ALIKE {
        made.insert(server.room(&[1, other]).await);
    }
    let same = doc! { "$set": { "joined_at": DateTime::now() } };
    server.collection("members").await.update_many(doc! {}, same).await.unwrap();
    made
}

fn ids(page: &Value) -> Vec<i64> {
    let rooms = page["rooms"].as_array().unwrap_or_else(|| panic!("no rooms: {page}"));
    rooms.iter().map(|room| room["room_id"].as_i64().unwrap()).collect()
}

/// Requests a page by the action `rooms`, and returns the answer.
async fn page(client: &mut Client, mut frame: Value) -> Value {
    frame["action"] = "rooms".into();
    client.send(frame).await;
    client.until_kind("rooms").await
}

#[tokio::test]
async fn rooms_of_one_millisecond_are_each_shown_once_by_next() {
    let server = Server::start(&[]).await;
    let made = rooms_of_one_millisecond(&server).await;
    let (mut one, first) = inbox(&server, 1).await;
    let (mut last, mut seen) = (first.clone(), Vec::new());
    loop {
        seen.extend(ids(&last));
        assert_eq!(last["has_more"], json!(last["next"].is_string()), "{last}");
        if last["has_more"] == false {
            break;
        }
        last = page(&mut one, json!({"next": last["next"]})).await;
    }
    assert_eq!((seen.len(), seen.into_iter().collect::<BTreeSet<_>>()), (made.len(), made));
    // The value `next` of a page also works on another socket and on another server. A client may use the same `next`
    // more than once.
    let other = server.beside().await;
    let (mut two, _) = inbox(&other, 1).await;
    let again = page(&mut two, json!({"next": first["next"]})).await;
    assert_eq!(ids(&again), ids(&page(&mut one, json!({"next": first["next"]})).await));
}

#[tokio::test]
async fn rooms_of_one_millisecond_are_all_shown_by_before_alone() {
    let server = Server::start(&[]).await;
    let made = rooms_of_one_millisecond(&server).await;
    let (mut one, first) = inbox(&server, 1).await;
    for fresh in [false, true] {
        if fresh {
            // A new socket has received no page yet. So the page begins with the first room.
            one = inbox(&server, 1).await.0;
            let before = json!({"before": "9999-12-31T23:59:59.999Z"});
            assert_eq!(ids(&page(&mut one, before).await), ids(&first));
        }
        let (mut last, mut seen) = (first.clone(), BTreeSet::new());
        for _ in 0..ALIKE {
            seen.extend(ids(&last));
            if last["has_more"] == false {
                break;
            }
            let before = last["rooms"].as_array().unwrap().last().unwrap()["last_activity"].clone();
            last = page(&mut one, json!({"before": before})).await;
        }
        assert_eq!(last["has_more"], false, "it comes to an end");
        assert_eq!(seen, made);
    }
    // After the last page, the server forgets the socket's position among the rooms of this millisecond. So a page with
    // `before` shows these rooms again, from the first room on.
    let shown = page(&mut one, json!({"before": first["rooms"][0]["last_activity"]})).await;
    assert_eq!(ids(&shown), ids(&first));
}

#[tokio::test]
async fn a_next_that_is_none_is_an_invalid_request() {
    let server = Server::start(&[]).await;
    server.room(&[1, 2]).await;
    let (mut one, ready) = inbox(&server, 1).await;
    assert_eq!((&ready["has_more"], ready.get("next")), (&json!(false), None));
    let time = &ready["rooms"][0]["last_activity"];
    for bad in [
        json!({"next": ""}),
        json!({"next": "5"}),
        json!({"next": "x-1"}),
        json!({"next": "1-0"}),
        json!({"next": 5}),
        json!({"next": "5-1", "before": time}),
    ] {
        let mut frame = bad;
        frame["action"] = "rooms".into();
        one.send(frame).await;
        one.expect(error("invalid_request", Some("rooms"))).await;
    }
}
