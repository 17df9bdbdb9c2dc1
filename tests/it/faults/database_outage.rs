//! Outages: the database is unreachable, or does not answer.

use serde_json::{Value, json};

use crate::support::{
    Client, Link, PATIENCE, Server, State, chat, error, eventually_within, free_port, said,
};

/// Starts a server that soon notices an outage. The test can cut the server's link to the database.
async fn behind_a_link() -> (Link, Server) {
    let link = Link::to_the_database().await;
    let overrides = [
        ("MONGODB__SELECTION_MS", "300"),
        ("MONGODB__OPERATION_MS", "1000"),
        ("LIMITS__HANDLER_MS", "2000"),
        ("FEED__HEARTBEAT_MS", "100"),
        ("FEED__STALE_MS", "1000"),
        ("SHUTDOWN__DRAIN_SECONDS", "1"),
    ];
    let server = Server::start_over(&link.uri, &overrides).await;
    server.room(&[1, 2]).await;
    (link, server)
}

/// Sends messages until the server accepts a message. After an outage, the server needs some time to notice that the
/// database is reachable.
async fn say_until_taken(client: &mut Client) -> Value {
    let answer = async || {
        client.say("are we back?").await;
        let answer = client.next().await;
        assert!(answer["type"] == "chat_message" || answer["type"] == "error", "{answer}");
        answer
    };
    let is_taken = |answer: &Value| answer["type"] == "chat_message";
    eventually_within(2 * PATIENCE, "the server accepts a message again", answer, is_taken).await
}

#[tokio::test]
async fn a_new_socket_is_told_to_try_again_later() {
    let (link, server) = behind_a_link().await;
    server.join(1, 2).await.quiet().await;
    link.set(State::Cut);
    // The server has not read these rooms before, so it can't answer from memory.
    for query in ["firts_user=1&second_user=3/", "room_id=77"] {
        assert_eq!(server.dial_as(1, query).refused().await, 1013, "?{query}");
    }
    // The server makes the checks that need no database first. So these handshakes get the same close codes as without
    // an outage.
    assert_eq!(server.dial_as(1, "firts_user=1").refused().await, 4400);
    assert_eq!(server.dial_as(2, "firts_user=1&second_user=2").refused().await, 4003);
    assert_eq!(server.dial("/ws/chat/?firts_user=1&second_user=2").refused().await, 4001);
}

#[tokio::test]
async fn action_is_unavailable_on_a_living_socket_during_an_outage() {
    let (link, server) = behind_a_link().await;
    let mut one = server.join(1, 2).await;
    one.say_alone(1, 1, "before").await;
    // The event may arrive before the action `send` has ended. `quiet` waits until the action has ended.
    one.quiet().await;
    link.set(State::Cut);
    one.send(json!({"action": "edit", "message_id": 1, "text": "x"})).await;
    one.expect(error("unavailable", Some("edit"))).await;
    one.send(json!({"action": "delete", "message_id": 1})).await;
    one.expect(error("unavailable", Some("delete"))).await;
    one.say("lost?").await;
    let answer = one.next().await;
    // The server may notice the cut only after the write has started. Then the outcome is unknown, and the error is
    // `timeout`.
    assert!(["unavailable", "timeout"].iter().any(|code| answer["code"] == *code), "{answer}");
    one.quiet().await;

    link.set(State::Open);
    let back = say_until_taken(&mut one).await;
    let last = back["message"]["message_id"].as_i64().unwrap();
    let mut two = server.join(2, 1).await;
    two.until_kind("mark_message_as_read").await;
    two.say("welcome back").await;
    for client in [&mut one, &mut two] {
        let event = client.until_kind("chat_message").await;
        assert!(event["message"]["message_id"].as_i64() > Some(last), "{event}");
    }
}

#[tokio::test]
async fn an_action_that_the_database_doesnt_answer_is_told_so() {
    let (link, server) = behind_a_link().await;
    let mut one = server.join(1, 2).await;
    one.say_alone(1, 1, "before").await;
    // The event may arrive before the action `send` has ended. `quiet` waits until the action has ended.
    one.quiet().await;
    link.set(State::Held);
    one.send(json!({"action": "edit", "message_id": 1, "text": "x"})).await;
    let answer = one.next().await;
    assert!(["unavailable", "timeout"].iter().any(|code| answer["code"] == *code), "{answer}");
    one.quiet().await;
    link.set(State::Open);
    say_until_taken(&mut one).await;
}

#[tokio::test]
async fn a_write_that_takes_too_long_is_a_timeout() {
    let link = Link::to_the_database().await;
    let limits = [("LIMITS__HANDLER_MS", "1500"), ("MONGODB__SELECTION_MS", "100")];
    let server = Server::start_over(&link.uri, &limits).await;
    server.room(&[1, 2]).await;
    let (mut one, mut two) = (server.join(1, 2).await, server.join(2, 1).await);
    one.say("before").await;
    for client in [&mut one, &mut two] {
        client.expect_all(&said(1, 1, "before")).await;
        client.quiet().await;
    }
    link.set(State::Held);
    one.say("x").await;
    one.expect(error("timeout", Some("send"))).await;
    one.quiet().await;
    link.set(State::Open);
}

#[tokio::test]
async fn a_server_without_its_database_is_healthy_but_not_ready() {
    let link = Link::to_the_database().await;
    let admin = format!("127.0.0.1:{}", free_port());
    let server = Server::start_over(&link.uri, &[("ADMIN__LISTEN", &admin)]).await;
    server.until_status("/readyz", 200).await;
    link.set(State::Cut);
    server.until_status("/readyz", 503).await;
    assert_eq!(server.get("/healthz").await, 200);
    // Only operators may see the database's address and the database's error. So only the admin listener shows them.
    let members = link.uri.trim_start_matches("mongodb://").split('/').next().unwrap();
    let told = async |url: String| reqwest::get(url).await.unwrap().text().await.unwrap();
    let everyone = told(format!("http://{}/readyz", server.address())).await;
    assert!(everyone.contains(r#""database":"away""#) && !everyone.contains(members), "{everyone}");
    let admins = told(format!("http://{admin}/readyz")).await;
    assert!(admins.contains(members), "{admins} doesn't name {members}");
    link.set(State::Open);
    server.until_status("/readyz", 200).await;
}

#[tokio::test]
async fn writes_of_another_server_arrive_after_an_outage() {
    let (link, server) = behind_a_link().await;
    let other = server.beside().await;
    let mut one = server.join(1, 2).await;
    let mut elsewhere = other.join(1, 2).await;
    elsewhere.say("before").await;
    for client in [&mut one, &mut elsewhere] {
        client.expect(chat(1, 1, "before")).await;
    }
    link.set(State::Cut);
    for id in 2..=20 {
        elsewhere.say_alone(id, 1, "during").await;
    }
    link.set(State::Open);
    for id in 2..=20 {
        one.expect(chat(id, 1, "during")).await;
    }
}
