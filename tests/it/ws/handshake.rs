//! The HTTP side of opening a socket: subprotocol, headers, and refusals without an upgrade.

use crate::support::{Server, room_with_one_socket};

const TARGET: &str = "/ws/chat/?firts_user=1&second_user=2/";

#[tokio::test]
async fn subprotocol_answer_repeats_the_clients_spelling_of_bearer() {
    let (server, _one) = room_with_one_socket(&[]).await;
    let token = server.token(1).sign();
    for bearer in ["Bearer", "bearer", "BEARER", "bEaReR"] {
        for offer in [
            format!("{bearer}, {token}"),
            format!("{bearer},{token}"),
            format!("{token}, {bearer}"),
            format!("  {token} ,  {bearer} "),
        ] {
            let mut one = server.dial(TARGET).protocols(&offer).open().await;
            assert_eq!(one.protocol.as_deref(), Some(bearer), "offered {offer}");
            one.history().await;
        }
    }
}

#[tokio::test]
async fn refusal_answers_bearer_so_that_browsers_see_its_code() {
    let (server, _one) = room_with_one_socket(&[]).await;
    let good = server.token(1).sign();
    for (target, offer, code) in [
        (TARGET, "bearer, not-a-token".to_owned(), 4001),
        (TARGET, "not-a-token, bearer".to_owned(), 4001),
        (TARGET, "bearer".to_owned(), 4001),
        ("/ws/chat/", format!("bearer, {good}"), 4400),
        ("/ws/chat/?firts_user=2&second_user=1", format!("bearer, {good}"), 4003),
        ("/ws/chat/?firts_user=1&second_user=9", format!("{good}, bearer"), 4004),
    ] {
        let mut refused = server.dial(target).protocols(&offer).open().await;
        assert_eq!(refused.protocol.as_deref(), Some("bearer"), "{target} with {offer}");
        assert_eq!(refused.closed().await.0, code, "{target} with {offer}");
    }
}

#[tokio::test]
async fn authorization_header_is_accepted_without_a_subprotocol() {
    let (server, _one) = room_with_one_socket(&[]).await;
    let token = server.token(1).sign();
    let mut one = server.dial(TARGET).authorization(&token).open().await;
    assert_eq!(one.protocol, None);
    one.history().await;
    assert_eq!(server.dial(TARGET).authorization("not-a-token").refused().await, 4001);
    assert_eq!(server.dial(TARGET).header("authorization", token).refused().await, 4001);
}

#[tokio::test]
async fn subprotocol_wins_over_the_authorization_header() {
    let (server, _one) = room_with_one_socket(&[]).await;
    let (one, two) = (server.token(1).sign(), server.token(2).sign());
    server.dial(TARGET).token(&one).authorization(&two).open().await.history().await;
    server.dial(TARGET).token(&one).authorization("not-a-token").open().await.history().await;
    assert_eq!(server.dial(TARGET).token(&two).authorization(&one).refused().await, 4003);
    assert_eq!(server.dial(TARGET).token("not-a-token").authorization(&one).refused().await, 4001);
}

#[tokio::test]
async fn a_token_in_the_url_is_never_read() {
    let (server, _one) = room_with_one_socket(&[]).await;
    let token = server.token(1).sign();
    for name in ["token", "access_token", "jwt", "bearer", "Bearer", "authorization"] {
        let target = format!("/ws/chat/?firts_user=1&second_user=2&{name}={token}");
        assert_eq!(server.dial(&target).refused().await, 4001, "{name}=");
    }
}

#[tokio::test]
async fn a_get_without_upgrade_is_426() {
    let (server, _one) = room_with_one_socket(&[]).await;
    for target in [TARGET, "/ws/chat?firts_user=1&second_user=2", "/ws/chat/", "/ws/chat"] {
        assert_eq!(server.get(target).await, 426, "{target}");
    }
}

#[tokio::test]
async fn an_origin_outside_the_list_is_403() {
    let origins = "https://app.example.com,http://localhost:3000";
    let (server, _without_origin) = room_with_one_socket(&[("HTTP__ORIGINS", origins)]).await;
    let token = server.token(1).sign();
    for origin in ["https://app.example.com", "http://localhost:3000"] {
        server.dial(TARGET).token(&token).header("origin", origin).open().await.history().await;
    }
    for origin in [
        "https://evil.example.com",
        "http://app.example.com",
        "https://app.example.com.evil.example",
        "https://app.example.com:8443",
        "http://localhost:3001",
        "null",
    ] {
        let dial = server.dial(TARGET).token(&token).header("origin", origin);
        assert_eq!(dial.rejected().await, 403, "Origin: {origin}");
    }
}

#[tokio::test]
async fn origins_are_all_accepted_without_a_list() {
    let (server, _one) = room_with_one_socket(&[]).await;
    let token = server.token(1).sign();
    server.dial(TARGET).token(&token).header("origin", "https://anyone.example").open().await.history().await;
}

#[tokio::test]
async fn socket_over_the_servers_limit_is_503() {
    let server = Server::start(&[("LIMITS__SOCKETS", "1")]).await;
    server.room(&[1, 2]).await;
    let mut one = server.join(1, 2).await;
    let token = server.token(2).sign();
    let dial = server.dial("/ws/chat/?firts_user=2&second_user=1").token(&token);
    assert_eq!(dial.rejected().await, 503);
    one.quiet().await;
}
