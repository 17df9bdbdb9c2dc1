//! Paths with dots, empty segments or malformed percent-encoding. Clients and proxies may rewrite such paths. Therefore
//! the server must refuse them. The server must also refuse user ids that can't stand in a path.

use mongodb::bson::{DateTime, Document, doc};
use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{API_KEY, PATIENCE, RawConnection, Server, eventually_within};

/// Sends a request with exactly this path, over a raw connection. HTTP client libraries would rewrite the path. Returns
/// the status of the answer.
async fn status(server: &Server, method: &str, path: &str, body: &str) -> u16 {
    let mut raw = RawConnection::to(server.address()).await;
    let head = format!(
        "{method} /api/v1{path} HTTP/1.1\r\nHost: parlor\r\nAuthorization: Bearer {API_KEY}\r\nConnection: close\r\n\
         Content-Length: {}\r\n\r\n{body}",
        body.len()
    );
    raw.say(head.as_bytes()).await;
    let head = raw.head().await;
    head.get(9..12).and_then(|status| status.parse().ok()).unwrap_or_else(|| panic!("{head}"))
}

/// Makes a group of the users 1, 2 and 3, and returns its id.
async fn group(server: &Server) -> i64 {
    server.room_of([1, 2, 3].map(|id| json!({"user_id": id})).to_vec()).await
}

async fn members(server: &Server, room: i64) -> Vec<Value> {
    let (status, room) = server.api_get(&format!("/rooms/{room}")).await;
    assert_eq!(status, 200, "{room}");
    let members = room["members"].as_array().unwrap();
    members.iter().map(|member| member["user_id"].clone()).collect()
}

#[tokio::test]
async fn a_resolved_or_empty_segment_changes_nothing_above_it() {
    let server = Server::start(&[]).await;
    let room = group(&server).await;
    let (kept, message) = (members(&server, room).await, json!({"sender_id": 1, "text": "kept"}));
    assert_eq!(server.api_post(&format!("/rooms/{room}/messages"), &message).await.0, 201);
    for below in [
        "/",
        "//",
        "/members/..",
        "/members/%2e%2E",
        "/members/.%2E",
        "/.",
        "/%2e",
        "/members/",
        "/members//1",
    ] {
        for (method, body) in
            [("DELETE", ""), ("PATCH", r#"{"name":"changed"}"#), ("PUT", "{}"), ("POST", "{}")]
        {
            let status = status(&server, method, &format!("/rooms/{room}{below}"), body).await;
            assert!([400, 404, 405].contains(&status), "{method} {below}: {status}");
        }
    }
    for (method, path) in [
        ("DELETE", "/rooms//members/1"),
        ("DELETE", "/users/1/"),
        ("DELETE", "/users//1"),
        ("DELETE", "//users/1"),
        ("POST", "/users/1/disconnect/"),
        ("GET", "/users//export"),
        ("GET", "/users/%2e%2e/export"),
        ("GET", "/rooms/%2e"),
    ] {
        let status = status(&server, method, path, "").await;
        assert!([400, 404, 405].contains(&status), "{method} {path}: {status}");
    }
    assert_eq!(members(&server, room).await, kept);
    let (_, page) = server.api_get(&format!("/rooms/{room}/messages")).await;
    assert_eq!(page["messages"][0]["text"], "kept");
    assert_eq!(server.api_get("/users/1").await.1["erasing"], false);
    // A request that only reads may still end in a slash.
    assert_eq!(status(&server, "GET", &format!("/rooms/{room}/"), "").await, 200);
}

#[tokio::test]
async fn a_segment_that_is_not_utf8_is_400() {
    let server = Server::start(&[]).await;
    let room = group(&server).await;
    let kept = members(&server, room).await;
    for id in ["%FF", "%C3%28", "a%ff", "%", "%4", "%zz", "%ED%A0%80"] {
        for (method, body) in [("PUT", "{}"), ("DELETE", "")] {
            let path = format!("/rooms/{room}/members/{id}");
            assert_eq!(status(&server, method, &path, body).await, 400, "{method} {path}");
        }
        for (method, path) in [
            ("DELETE", format!("/users/{id}")),
            ("GET", format!("/users/{id}")),
            ("GET", format!("/rooms?user_id={id}")),
        ] {
            assert_eq!(status(&server, method, &path, "").await, 400, "{method} {path}");
        }
    }
    assert_eq!(members(&server, room).await, kept);
    let path = format!("/rooms/{room}/members/");
    for (encoded, id) in [("a%2Fb", "a/b"), ("%E2%82%AC", "\u{20ac}"), ("100%25", "100%"), ("a%20b", "a b")] {
        assert_eq!(status(&server, "PUT", &format!("{path}{encoded}"), "{}").await, 201, "{id}");
        assert!(members(&server, room).await.contains(&json!(id)), "{id}");
        assert_eq!(status(&server, "DELETE", &format!("{path}{encoded}"), "").await, 204, "{id}");
    }
    assert_eq!(members(&server, room).await, kept);
}

#[tokio::test]
async fn ids_that_resolve_in_a_path_are_refused_everywhere() {
    let server = Server::start(&[("ROOMS__DIRECT", "on_connect")]).await;
    let room = group(&server).await;
    for id in [".", "..", "../7", "a/../b"] {
        let invalid = (400, "invalid_request".to_owned());
        let body = json!({"members": [{"user_id": id}, {"user_id": 1}]});
        assert_eq!(server.refused(Method::POST, "/rooms", body).await, invalid, "{id}");
        let body = json!({"sender_id": id, "text": "text", "as": "service"});
        assert_eq!(
            server.refused(Method::POST, &format!("/rooms/{room}/messages"), body).await,
            invalid,
            "{id}"
        );
        let path = format!("/rooms?user_id={}", id.replace('/', "%2F"));
        assert_eq!(server.refused(Method::GET, &path, Value::Null).await, invalid, "{id}");
        let token = server.token(id).sign();
        assert_eq!(server.dial("/ws/").token(&token).refused().await, 4001, "{id}");
        let query = format!("firts_user=1&second_user={id}");
        assert_eq!(server.dial_as(1, &query).refused().await, 4400, "{id}");
    }
}

/// Earlier versions accepted user ids that consist of dots. Such stored ids must stay readable. No path of the API can
/// name such a user. So the test starts the user's erasure by a document in the collection `erasures`.
#[tokio::test]
async fn stored_ids_of_dots_are_readable_and_erasable() {
    let server = Server::start(&[]).await;
    let room = group(&server).await;
    assert_eq!(
        server.api_post(&format!("/rooms/{room}/messages"), &json!({"sender_id": 3, "text": "old"})).await.0,
        201
    );
    let copied = async |name: &str, field: &str| {
        let documents = server.collection(name).await;
        let filter = doc! { "_id.room": room, field: 3_i64 };
        let mut copy: Document = documents.find_one(filter.clone()).await.unwrap().unwrap();
        documents.delete_one(filter).await.unwrap();
        match field.strip_prefix("_id.") {
            Some(part) => copy.get_document_mut("_id").unwrap().insert(part, ".."),
            None => copy.insert(field, ".."),
        };
        documents.insert_one(copy).await.unwrap();
    };
    copied("members", "_id.user").await;
    copied("messages", "sender").await;
    assert_eq!(members(&server, room).await, [json!(1), json!(2), json!("..")]);
    let page = async || server.api_get(&format!("/rooms/{room}/messages")).await.1["messages"].clone();
    assert_eq!(page().await[0]["sender_id"], "..");

    let now = DateTime::now();
    let erasure = doc! { "_id": "..", "asked_at": now, "until": now, "swept": false, "looked": false };
    server.collection("erasures").await.insert_one(erasure).await.unwrap();
    let left = async || (members(&server, room).await, page().await);
    let is_erased = |(members, page): &(Vec<Value>, Value)| members.len() <= 2 && *page == json!([]);
    eventually_within(2 * PATIENCE, "the user is erased", left, is_erased).await;
}
