//! Connecting: the accepted URLs, and every close code of a socket.

use std::time::Duration;

use mongodb::bson::doc;
use serde_json::{Value, json};

use crate::support::{
    Server, chat, encoded, eventually, eventually_some, matches, now, room_of_two, room_with_one_socket, said,
};

#[tokio::test]
async fn room_is_opened_by_all_spellings_of_the_url() {
    let server = Server::start(&[]).await;
    let room = server.room(&[1, 2]).await;
    server.join(1, 2).await.say_alone(1, 1, "here").await;
    for path in ["/ws/chat/", "/ws/chat"] {
        for query in [
            "firts_user=1&second_user=2/",
            "firts_user=1&second_user=2",
            "firts_user=1/&second_user=2/",
            "first_user=1&second_user=2",
            "second_user=2&firts_user=1",
            "firts_user=%31&second_user=%32",
            "firts_user=1&second_user=2&nobody_knows=this",
            &format!("room_id={room}"),
            &format!("room_id={room}/"),
            &format!("room_id={room}&firts_user=1"),
            &format!("first_user=1&room_id={room}"),
        ] {
            let token = server.token(1).sign();
            let mut one = server.dial(&format!("{path}?{query}")).token(&token).open().await;
            assert_eq!(one.history().await[0]["text"], "here", "{path}?{query}");
        }
    }
}

#[tokio::test]
async fn an_id_that_is_missing_or_malformed_is_4400() {
    let server = Server::start(&[]).await;
    let room = server.room(&[1, 2]).await;
    let long = "x".repeat(129);
    for query in [
        "",
        "firts_user=1",
        "second_user=2",
        "firts_user=&second_user=2",
        "firts_user=1&second_user=",
        "firts_user=1&second_user=/",
        "firts_user=1&second_user=%00",
        "firts_user=1&second_user=a%0Ab",
        "firts_user=1&second_user=%FF",
        &format!("firts_user=1&second_user={long}"),
        "firts_user=1&second_user=1",
        "firts_user=1&second_user=1/",
        "firts_user=1&second_user=%31",
        "firts_user=1&firts_user=1&second_user=2",
        "first_user=1&first_user=1&second_user=2",
        "firts_user=1&first_user=1&second_user=2",
        "firts_user=1&second_user=2&second_user=2",
        "room_id=",
        "room_id=x",
        "room_id=1.5",
        "room_id=9007199254740992",
        &format!("room_id={room}//"),
        &format!("room_id={room}&room_id={room}"),
        &format!("room_id={room}&second_user=2"),
        &format!("room_id={room}&firts_user="),
        &format!("room_id={room}&firts_user=1&first_user=1"),
    ] {
        assert_eq!(server.dial_as(1, query).refused().await, 4400, "?{query}");
    }
}

#[tokio::test]
async fn wrong_caller_and_non_member_are_4003() {
    let server = Server::start(&[]).await;
    let room = server.room(&[1, 2]).await;
    for (user, query) in [
        (2, "firts_user=1&second_user=2".to_owned()),
        (3, "first_user=1&second_user=2".to_owned()),
        (2, format!("room_id={room}&firts_user=1")),
        (3, format!("room_id={room}")),
        (3, format!("room_id={room}&firts_user=3")),
    ] {
        assert_eq!(server.dial_as(user, &query).refused().await, 4003, "user {user} by ?{query}");
    }
}

#[tokio::test]
async fn a_room_that_nobody_made_is_4004() {
    let server = Server::start(&[]).await;
    server.room(&[1, 2]).await;
    server.room(&[1, 3, 4]).await;
    let longest = encoded(&"ü".repeat(64));
    for query in [
        "firts_user=1&second_user=9".to_owned(),
        "firts_user=1&second_user=02".to_owned(),
        "firts_user=1&second_user=2//".to_owned(),
        // A group has both users as members, but a group is not the direct room of this pair.
        "firts_user=1&second_user=3".to_owned(),
        format!("firts_user=1&second_user={longest}"),
        "room_id=9007199254740991".to_owned(),
    ] {
        assert_eq!(server.dial_as(1, &query).refused().await, 4004, "?{query}");
    }
}

#[tokio::test]
async fn the_checks_run_in_their_order() {
    let server = Server::start(&[]).await;
    let bad = server.token(1).secret("another secret that is long enough, too").sign();
    let good = server.token(1).sign();
    for (query, token, code) in [
        ("firts_user=2&second_user=2", &bad, 4400),
        ("firts_user=2&second_user=2", &good, 4400),
        ("firts_user=2&second_user=3", &bad, 4001),
        ("firts_user=2&second_user=3", &good, 4003),
        ("firts_user=2&room_id=77", &good, 4003),
        ("firts_user=1&second_user=3", &good, 4004),
        ("firts_user=1&room_id=77", &good, 4004),
    ] {
        let dial = server.dial(&format!("/ws/chat/?{query}")).token(token);
        assert_eq!(dial.refused().await, code, "?{query}");
    }
}

#[tokio::test]
async fn a_user_id_is_a_number_or_a_string_as_promised() {
    let server = Server::start(&[]).await;
    for (user, on_the_wire) in [
        ("7", json!(7)),
        ("9007199254740991", json!(9_007_199_254_740_991_i64)),
        ("9007199254740992", json!("9007199254740992")),
        ("007", json!("007")),
        ("1.0", json!("1.0")),
        ("+1", json!("+1")),
        ("٣", json!("٣")),
        ("auth0|65f1", json!("auth0|65f1")),
        ("0b8f6b3e-7a4c-4a55-9a35-0d9f8e0f3b1c", json!("0b8f6b3e-7a4c-4a55-9a35-0d9f8e0f3b1c")),
        ("a/b", json!("a/b")),
        ("two words & more", json!("two words & more")),
    ] {
        server.room_of(vec![json!({"user_id": user}), json!({"user_id": "the other"})]).await;
        server.join(user, "the other").await.say_alone(1, on_the_wire, "hi").await;
    }
}

#[tokio::test]
async fn a_number_and_its_digits_are_one_user() {
    let server = Server::start(&[]).await;
    server.room(&[7, 8]).await;
    for token in [json!(7), json!("7")] {
        server.join(token, 8).await.quiet().await;
    }
}

#[tokio::test]
async fn a_tokens_address_becomes_the_members() {
    let server = Server::start(&[]).await;
    server.room_of(vec![json!({"user_id": 1}), json!({"user_id": 2, "email": "of@the.room"})]).await;
    let query = "firts_user=1&second_user=2/";
    let mut one = server.dial_as(1, query).open().await;
    one.history().await;
    one.say_alone(1, 1, "hi").await;
    let mut again = server.dial_as(1, query).open().await;
    assert_eq!(again.history().await[0]["sender_email"], Value::Null);

    let token = server.token(1).with("email", "one@example.com").sign();
    let mut told = server.dial(&format!("/ws/chat/?{query}")).token(&token).open().await;
    assert_eq!(told.history().await[0]["sender_email"], "one@example.com");
    // The server stores the email in the background.
    let address = async || server.dial_as(1, query).open().await.history().await[0]["sender_email"].clone();
    eventually("later sockets show the address", address, |address| *address == "one@example.com").await;
}

#[tokio::test]
async fn a_socket_is_closed_with_4001_when_its_token_expires() {
    let (server, _one) = room_with_one_socket(&[]).await;
    // The token expired three seconds ago. The server accepts a token for five seconds after its expiry.
    let ends = now().as_secs() - 3 + 5;
    let token = server.token(1).with("exp", ends - 5).sign();
    let mut dying = server.dial("/ws/chat/?firts_user=1&second_user=2/").token(&token).open().await;
    dying.history().await;
    let (code, reason) = dying.closed().await;
    let late = now().as_secs_f64() - Duration::from_secs(ends).as_secs_f64();
    assert_eq!(code, 4001);
    assert!(!reason.is_empty(), "4001 came without a reason");
    assert!((0.0..=25.0).contains(&late), "closed {late:.3} s after the token and its leeway ended");
}

#[tokio::test]
async fn a_user_with_too_many_sockets_is_4029_until_one_is_gone() {
    let (server, one) =
        room_with_one_socket(&[("LIMITS__SOCKETS_PER_USER", "2"), ("SOCKETS__PROBE_MS", "0")]).await;
    let mut other = server.join(1, 2).await;
    let query = "firts_user=1&second_user=2/";
    assert_eq!(server.dial_as(1, query).refused().await, 4029);
    server.join(2, 1).await.quiet().await;
    other.quiet().await;

    one.leave().await;
    // The server notices the disconnect in the background.
    let open = async || {
        let mut next = server.dial_as(1, query).open().await;
        match next.refused_or_history().await {
            None => Some(next),
            Some(code) => {
                assert_eq!(code, 4029);
                None
            }
        }
    };
    let mut next = eventually_some("the user's socket is accepted", open).await;
    next.quiet().await;
}

#[tokio::test]
async fn a_socket_that_reads_too_slowly_is_4008_and_the_others_go_on() {
    let small = [("LIMITS__SEND_QUEUE", "8"), ("SOCKETS__SEND_BUFFER_BYTES", "8192")];
    // The write limit is so long that the queue overflows first.
    let server = Server::start(&[&small[..], &[("LIMITS__WRITE_MS", "60000")]].concat()).await;
    server.room(&[1, 2]).await;
    let mut one = server.join(1, 2).await;
    let query = "firts_user=2&second_user=1/";
    let mut slow = server.dial_as(2, query).receive_buffer(4096).open().await;
    let text = "𐍈".repeat(4096);
    for id in 1..=40 {
        one.say(&text).await;
        one.until(chat(id, 1, &text)).await;
    }
    assert_eq!(slow.closed_in_the_end().await, 4008);
}

#[tokio::test]
async fn a_server_that_goes_away_closes_with_1012_and_ends() {
    let (mut server, mut one, mut two) = room_of_two(&[]).await;
    one.say("before").await;
    one.expect_all(&said(1, 1, "before")).await;
    two.expect_all(&said(1, 1, "before")).await;
    server.shut_down();
    for client in [&mut one, &mut two] {
        let (code, reason) = client.closed().await;
        assert_eq!(code, 1012);
        assert!(!reason.is_empty(), "1012 came without a reason");
    }
    server.ended().await;
}

#[tokio::test]
async fn a_room_that_cant_be_decoded_is_1011() {
    let server = Server::start(&[]).await;
    let room = server.room(&[1, 2]).await;
    let broken = doc! {"$set": {"kind": 5, "name": 5, "created_at": "yesterday"}};
    server.collection("rooms").await.update_one(doc! {"_id": room}, broken).await.unwrap();
    let broken = doc! {"$set": {"role": 5, "delivered": "x", "read": "x", "email": 5}};
    server.collection("members").await.update_many(doc! {"_id.room": room}, broken).await.unwrap();
    assert_eq!(server.dial_as(1, "firts_user=1&second_user=2/").refused().await, 1011);
}

#[tokio::test]
async fn events_reach_every_socket_of_a_user_and_of_no_other_room() {
    let (server, mut one, mut two) = room_of_two(&[]).await;
    server.room(&[1, 3]).await;
    let mut second = server.join(1, 2).await;
    let mut elsewhere = server.join(1, 3).await;
    two.say("hi").await;
    for client in [&mut one, &mut second, &mut two] {
        client.expect_all(&said(1, 2, "hi")).await;
    }
    elsewhere.say("apart").await;
    let frame = elsewhere.next().await;
    assert!(matches(&chat(1, 1, "apart"), &frame), "message ids count within their room: {frame}");
    one.quiet().await;
}
