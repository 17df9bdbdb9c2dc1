//! `/rooms/{id}/events` sends a room's events as JSON Lines, for services and for the terminal.

use std::time::Duration;

use reqwest::Method;
use serde_json::json;

use crate::support::{Lines, Mongod, Server, chat, deleted, edited, listed, matches, room_of_two};

const PATH: &str = "/rooms/1/events";

#[tokio::test]
async fn room_events_start_at_the_history_and_mark_nothing_read() {
    let server = Server::start(&[]).await;
    server.room(&[1, 2]).await;
    let other = server.beside().await;
    let mut one = server.join(1, 2).await;
    one.say_alone(1, 1, "before").await;
    let mut lines = Lines::of(other.api(Method::GET, PATH)).await;
    let first = lines.line().await;
    assert_eq!(first["type"], "history");
    assert!(matches(&listed(1, 1, "before", "send"), &first["messages"][0]), "{first}");
    one.say_alone(2, 1, "after").await;
    assert!(matches(&chat(2, 1, "after"), &lines.line().await));
    one.send(json!({"action": "edit", "message_id": 1, "text": "edited"})).await;
    assert_eq!(lines.line().await, edited(1, "edited"));
    one.send(json!({"action": "delete", "message_id": 1})).await;
    assert_eq!(lines.line().await, deleted(1));
    one.expect_all(&[edited(1, "edited"), deleted(1)]).await;
    one.quiet().await;
    let _two = server.join(2, 1).await;
    // User 2 connects only now, so the messages become delivered and read. The HTTP stream sends the same receipt
    // events as the sockets.
    for kind in ["mark_message_as_delivered", "mark_message_as_read"] {
        assert_eq!(one.next().await["type"], kind);
        assert_eq!(lines.line().await["type"], kind);
    }
}

#[tokio::test]
async fn event_stream_counts_as_a_socket_and_ends_with_the_server() {
    let (mut server, one, two) = room_of_two(&[("LIMITS__SOCKETS", "3")]).await;
    assert_eq!(server.api_get("/rooms/77/events").await.0, 404);
    let mut lines = Lines::of(server.api(Method::GET, PATH)).await;
    assert_eq!(lines.line().await["type"], "history");
    let (status, refused) = server.api_get(PATH).await;
    assert_eq!((status, &refused["code"]), (503, &json!("busy")), "{refused}");
    drop((one, two));
    server.shut_down();
    assert!(lines.rest().await.iter().all(|line| line["type"] != "history"));
    server.ended().await;
}

/// User 2 reads a message on another server while this server's change stream hangs. This server's history shows the
/// state before user 2's receipts. So after the history, this server must send the receipts as events.
#[tokio::test]
async fn a_mark_of_while_the_stream_hung_is_told_after_the_history() {
    let mongod = Mongod::start().await;
    let server = Server::start_over(&mongod.uri("parlor"), &[]).await;
    let other = server.beside_over(&mongod.uri("other"), &[]).await;
    server.room(&[1, 2]).await;
    let mut one = server.join(1, 2).await;
    one.say_alone(1, 1, "hello").await;
    mongod.hold_up("parlor", "getMore", Duration::from_secs(3)).await;
    mongod.held_up().await;
    let mut two = other.connect(2, 1).await;
    two.history().await;
    let kinds = ["mark_message_as_delivered", "mark_message_as_read"];
    for kind in kinds {
        two.until_kind(kind).await;
    }
    let mut lines = Lines::of(server.api(Method::GET, PATH)).await;
    let first = lines.line().await;
    assert!(
        matches(&listed(1, 1, "hello", "send"), &first["messages"][0]),
        "the stream still hangs: {first}"
    );
    for kind in kinds {
        assert_eq!(lines.line().await["type"], kind);
    }
}
