//! Messages in the HTTP API: writing, reading in pages, editing and deleting. Sockets must receive these messages like
//! any other message.

use std::collections::BTreeSet;

use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{Server, chat, deleted, delivered, edited, listed, matches, read, room_of_two};

async fn post(server: &Server, room: i64, sender: impl Into<Value>, text: &str) -> (u16, Value) {
    let body = json!({"sender_id": sender.into(), "text": text});
    server.api_post(&format!("/rooms/{room}/messages"), &body).await
}

fn ids(page: &Value) -> Vec<i64> {
    let messages = page["messages"].as_array().unwrap();
    messages.iter().map(|message| message["message_id"].as_i64().unwrap()).collect()
}

#[tokio::test]
async fn a_member_s_message_is_heard_like_any_other_on_every_server() {
    let (server, mut one, mut two) = room_of_two(&[]).await;
    let other = server.beside().await;
    let mut elsewhere = other.join(2, 1).await;
    let (status, made) = post(&other, 1, 1, "Hello\n日本").await;
    assert_eq!(status, 201, "{made}");
    for client in [&mut one, &mut two, &mut elsewhere] {
        let heard = client.expect(chat(1, 1, "Hello\n日本")).await;
        for (field, value) in heard["message"].as_object().unwrap() {
            assert_eq!(&made[field], value, "{field} of {made}");
        }
        client.expect_all(&[delivered(1, 1, "Hello\n日本"), read(1, 1, "Hello\n日本")]).await;
    }
    assert_eq!(made["sender_email"], "user1@example.com");
    // The next message from a socket has the next id.
    one.say("and this").await;
    two.expect(chat(2, 1, "and this")).await;
}

#[tokio::test]
async fn a_service_says_it_as_whom_it_likes_and_needs_no_membership() {
    let (server, mut one, mut two) = room_of_two(&[]).await;
    let path = "/rooms/1/messages";
    let body = json!({"sender_id": "bot:weather", "text": "It rains", "as": "service"});
    let (status, made) = server.api_post(path, &body).await;
    assert_eq!((status, &made["sender_id"]), (201, &json!("bot:weather")), "{made}");
    assert_eq!(made["sender_email"], Value::Null);
    for client in [&mut one, &mut two] {
        client.expect(chat(1, "bot:weather", "It rains")).await;
        client.expect(delivered(1, "bot:weather", "It rains")).await;
        client.expect(read(1, "bot:weather", "It rains")).await;
    }
    // Without `"as": "service"`, the server refuses the sender "bot:weather", because this sender is no member. With
    // `"as": "service"`, a message has an e-mail address if its sender is a member.
    let (status, refused) = post(&server, 1, "bot:weather", "It rains").await;
    assert_eq!((status, &refused["code"]), (403, &json!("not_member")), "{refused}");
    let (status, made) =
        server.api_post(path, &json!({"sender_id": "1", "text": "mine", "as": "service"})).await;
    assert_eq!((status, &made["sender_email"]), (201, &json!("user1@example.com")), "{made}");
    one.expect(chat(2, 1, "mine")).await;
}

#[tokio::test]
async fn invalid_message_is_refused_and_not_written() {
    let (server, mut one, _two) = room_of_two(&[("LIMITS__TEXT_CHARS", "5")]).await;
    for (body, named) in [
        (json!({"text": "hi"}), "sender_id"),
        (json!({"sender_id": 1}), "text"),
        (json!({"sender_id": 1.5, "text": "hi"}), "user's id"),
        (json!({"sender_id": "", "text": "hi"}), "user's id"),
        (json!({"sender_id": 1, "text": 5}), "text"),
        (json!({"sender_id": 1, "text": ""}), "white space"),
        (json!({"sender_id": 1, "text": " \n\u{2003}"}), "white space"),
        (json!({"sender_id": 1, "text": "a\u{0}"}), "U+0000"),
        (json!({"sender_id": 1, "text": "sixsix"}), "longer than 5"),
        (json!({"sender_id": 1, "text": "hi", "as": "root"}), "root"),
    ] {
        let (status, refused) = server.api_post("/rooms/1/messages", &body).await;
        assert_eq!((status, &refused["code"]), (400, &json!("invalid_request")), "{body}: {refused}");
        assert!(refused["detail"].as_str().unwrap().contains(named), "{body}: {refused}");
    }
    for (body, code) in [("[]", "bad_json"), ("{", "bad_json"), ("", "bad_json")] {
        let request = server.api(Method::POST, "/rooms/1/messages").body(body);
        let (status, refused) = server.ask(request).await;
        assert_eq!((status, &refused["code"]), (400, &json!(code)), "{body}: {refused}");
    }
    let (status, refused) = post(&server, 77, 1, "hi").await;
    assert_eq!((status, &refused["code"]), (404, &json!("not_found")), "{refused}");
    let (status, refused) = server.api_post("/rooms/x/messages", &json!({})).await;
    assert_eq!((status, &refused["code"]), (400, &json!("invalid_request")), "{refused}");
    one.quiet().await;
    assert_eq!(server.api_get("/rooms/1/messages").await, (200, json!({"messages": [], "has_more": false})));
}

#[tokio::test]
async fn pages_go_both_ways_and_pass_over_what_is_deleted() {
    let server = Server::start(&[]).await;
    let room = server.room(&[1, 2]).await;
    for n in 1..=7 {
        assert_eq!(post(&server, room, 1 + n % 2, &format!("text {n}")).await.0, 201);
    }
    assert_eq!(server.api_delete(&format!("/rooms/{room}/messages/5")).await.0, 204);
    for (query, expected, more) in [
        ("", &[7, 6, 4, 3, 2, 1][..], false),
        ("?limit=3", &[7, 6, 4], true),
        ("?before=4", &[3, 2, 1], false),
        ("?before=6&limit=2", &[4, 3], true),
        ("?before=1", &[], false),
        ("?before=9007199254740991&limit=1", &[7], true),
        ("?after=0&limit=2", &[1, 2], true),
        ("?after=3", &[4, 6, 7], false),
        ("?after=4&limit=2", &[6, 7], false),
        ("?after=7", &[], false),
        ("?limit=200", &[7, 6, 4, 3, 2, 1], false),
    ] {
        let (status, page) = server.api_get(&format!("/rooms/{room}/messages{query}")).await;
        assert_eq!(
            (status, ids(&page), &page["has_more"]),
            (200, expected.to_vec(), &json!(more)),
            "{query}"
        );
    }
    // The page contains the same messages, with the same fields, as the first frame of a socket.
    let (_, page) = server.api_get(&format!("/rooms/{room}/messages")).await;
    let history = server.connect(1, 2).await.history().await;
    assert_eq!(page["messages"], json!(history));
    assert!(matches(&listed(7, 2, "text 7", "send"), &history[0]), "{history:?}");
}

#[tokio::test]
async fn a_page_that_makes_no_sense_is_400_and_one_of_no_room_404() {
    let server = Server::start(&[]).await;
    server.room(&[1, 2]).await;
    for query in [
        "before=1&after=1",
        "limit=0",
        "limit=201",
        "limit=x",
        "limit=",
        "limit=-1",
        "limit=99999999999999999999",
        "before=0",
        "before=-1",
        "before=9007199254740992",
        "after=1.5",
        "after=1&after=2",
    ] {
        let (status, refused) = server.api_get(&format!("/rooms/1/messages?{query}")).await;
        assert_eq!((status, &refused["code"]), (400, &json!("invalid_request")), "{query}: {refused}");
    }
    assert_eq!(server.api_get("/rooms/77/messages").await.0, 404);
}

#[tokio::test]
async fn a_service_edits_and_deletes_whoever_wrote_it() {
    let (server, mut one, mut two) = room_of_two(&[]).await;
    one.say("frist").await;
    for client in [&mut one, &mut two] {
        client.expect_all(&[chat(1, 1, "frist"), delivered(1, 1, "frist"), read(1, 1, "frist")]).await;
    }
    let patch =
        |n: &str, body: Value| server.api(Method::PATCH, &format!("/rooms/1/messages/{n}")).json(&body);
    let (status, now) = server.ask(patch("1", json!({"text": "first"}))).await;
    assert_eq!((status, &now["text"], &now["sender_id"]), (200, &json!("first"), &json!(1)), "{now}");
    assert_eq!(now["status"], "read");
    assert!(now["updated_at"].as_str() > now["created_at"].as_str(), "{now}");
    for client in [&mut one, &mut two] {
        client.expect(edited(1, "first")).await;
    }
    for (n, body, status, code) in [
        ("2", json!({"text": "x"}), 404, "not_found"),
        ("0", json!({"text": "x"}), 400, "invalid_request"),
        ("x", json!({"text": "x"}), 400, "invalid_request"),
        ("1", json!({"text": ""}), 400, "invalid_request"),
        ("1", json!({}), 400, "invalid_request"),
        ("1", json!({"text": "é".repeat(4097)}), 400, "invalid_request"),
    ] {
        let (answered, refused) = server.ask(patch(n, body)).await;
        assert_eq!((answered, &refused["code"]), (status, &json!(code)), "{n}: {refused}");
    }
    assert_eq!(server.api_delete("/rooms/1/messages/1").await, (204, Value::Null));
    for client in [&mut one, &mut two] {
        client.expect(deleted(1)).await;
    }
    for (path, status) in [("1/messages/1", 404), ("1/messages/9", 404), ("77/messages/1", 404)] {
        let (answered, refused) = server.api_delete(&format!("/rooms/{path}")).await;
        assert_eq!((answered, &refused["code"]), (status, &json!("not_found")), "{path}: {refused}");
    }
    assert_eq!(server.ask(patch("1", json!({"text": "again"}))).await.0, 404);
    one.quiet().await;
}

#[tokio::test]
async fn numbers_have_no_hole_whoever_writes_at_once() {
    let server = Server::start(&[]).await;
    let room = server.room(&[1, 2]).await;
    let other = server.beside().await;
    let posts = (0..40).map(|n| {
        let server = if n % 2 == 0 { &server } else { &other };
        async move { post(server, room, 1, &format!("text {n}")).await }
    });
    let made = futures_util::future::join_all(posts).await;
    assert!(made.iter().all(|(status, _)| *status == 201), "{made:?}");
    let numbers: BTreeSet<_> = made.iter().map(|(_, made)| made["message_id"].as_i64().unwrap()).collect();
    assert_eq!(numbers, (1..=40).collect());
    let (_, page) = server.api_get(&format!("/rooms/{room}/messages?after=0")).await;
    for (_, made) in &made {
        let at = usize::try_from(made["message_id"].as_i64().unwrap()).unwrap() - 1;
        assert_eq!(page["messages"][at]["text"], made["text"]);
    }
}
