//! A server lost its change stream, by which it receives all changes in the database. A room then has too many missed
//! changes to send. The server closes the room's sockets. Each client gets the current state when it reconnects.

use mongodb::bson::oid::ObjectId;
use mongodb::bson::{DateTime, Document, doc};

use super::{break_stream, say};
use crate::support::{Client, End, Mongod, Server, chat, eventually_some};

/// One more than the largest number of missed messages that a server sends to a room's sockets.
const TOO_MANY: i64 = 1001;

/// Writes [`TOO_MANY`] messages into the database, with ids from `first` on, as if another server had written them.
async fn written(mongod: &Mongod, server: &Server, room: i64, first: i64) {
    let messages = mongod.database(&server.database().name).await.collection::<Document>("messages");
    let now = DateTime::now();
    let message = |n: i64| {
        doc! {
            "_id": { "room": room, "n": n }, "sender": 2_i64, "text": "missed",
            "created_at": now, "updated_at": now, "write_id": ObjectId::new(),
        }
    };
    messages.insert_many((first..first + TOO_MANY).map(message)).await.unwrap();
}

/// Connects user 1 again, as soon as the server's limit of sockets allows it.
async fn come_back(server: &Server) -> Client {
    let dial = async || server.dial_as(1, "firts_user=1&second_user=2/").open_unless(503).await;
    eventually_some("the closed socket's permit is returned", dial).await
}

#[tokio::test]
async fn reconnecting_client_gets_events_while_another_still_leaves() {
    let mongod = Mongod::start().await;
    let overrides = [
        ("FEED__HEARTBEAT_MS", "50"),
        ("FEED__STALE_MS", "500"),
        ("LIMITS__SEND_QUEUE", "10000"),
        ("LIMITS__SOCKETS", "2"),
        ("LIMITS__WRITE_MS", "60000"),
        ("SOCKETS__SEND_BUFFER_BYTES", "8192"),
    ];
    let server = Server::start_over(&mongod.uri("parlor"), &overrides).await;
    let room = server.room(&[1, 2]).await;
    let mut one = server.join(1, 2).await;
    let mut deaf = server.dial_as(2, "firts_user=2&second_user=1/").receive_buffer(4096).open().await;
    // User 2's client does not read. The texts are so large that the server's writes to this socket stall.
    let text = "x".repeat(4096);
    for id in 1..=40 {
        say(&mut one, id, 1, &text).await;
    }
    break_stream(&mongod, &server, 286).await;
    written(&mongod, &server, room, 41).await;
    mongod.heal().await;
    server.until_status("/readyz", 200).await;
    assert_eq!(one.hear_out().await.1, End::Closed(1012));

    let mut back = come_back(&server).await;
    let last = 40 + TOO_MANY;
    assert_eq!(back.history().await[0]["message_id"], last);
    let third = server.dial_as(1, "firts_user=1&second_user=2/");
    assert_eq!(third.rejected().await, 503, "the one that doesn't read still has its place");
    for id in last + 1..=last + 3 {
        back.say("does anyone hear me?").await;
        back.until(chat(id, 1, "does anyone hear me?")).await;
    }
    assert_eq!(deaf.closed_in_the_end().await, 1012);
}
