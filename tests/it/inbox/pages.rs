//! Pages of rooms: what an answer shows is delivered once it is written, and not before.

use serde_json::json;
use tokio::time::timeout;

use super::inbox;
use crate::support::{Metered, PATIENCE, Server};

/// Rooms of user 1, each with a message of another's. The first frame shows 50 of them.
const ROOMS: i64 = 70;

/// How far user 1 has got in a room.
async fn delivered_in(server: &Server, room: i64) -> i64 {
    let (status, room) = server.api_get(&format!("/rooms/{room}")).await;
    assert_eq!(status, 200, "{room}");
    let members = room["members"].as_array().unwrap();
    members.iter().find(|member| member["user_id"] == 1).unwrap()["delivered"].as_i64().unwrap()
}

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
async fn what_a_page_shows_is_delivered() {
    let server = Server::start(&[]).await;
    let rooms = rooms(&server).await;
    let (mut one, ready) = inbox(&server, 1).await;
    let last = &ready["rooms"][49];
    assert_eq!(delivered_in(&server, rooms[0]).await, 0);
    let page = json!({"action": "rooms", "before": last["last_activity"], "before_room": last["room_id"]});
    one.send(page).await;
    let more = one.until_kind("rooms").await;
    assert_eq!(more["rooms"].as_array().unwrap().len(), 20);
    let delivered = async { while delivered_in(&server, rooms[0]).await == 0 {} };
    timeout(PATIENCE, delivered).await.expect("it was shown");
}

#[tokio::test]
async fn what_a_page_would_have_shown_is_not() {
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
    // It doesn't take the answer, and is closed in the middle of it.
    metered.until("parlor_limits_hit_total{bound=\"write_ms\"}", 1).await;
    metered.until("parlor_sockets", 0).await;
    // A mark that had been raised would have been written in that half second.
    assert_eq!(delivered_in(&server, rooms[0]).await, 0);
}
