//! The HTTP API's rooms, service keys and error documents, and the probes `/healthz` and `/readyz`.

use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{API_KEY, Server};

const ROOMS: &str = "/api/v1/rooms";

fn members(users: &[Value]) -> String {
    let members: Vec<_> = users.iter().map(|user| json!({"user_id": user})).collect();
    json!({"members": members}).to_string()
}

/// Asserts that an answer is a problem document (RFC 9457) with a stable `code`. Returns the code.
fn problem((status, kind, body): &(u16, String, String)) -> String {
    assert!(kind.starts_with("application/problem+json"), "{status} came as {kind}: {body}");
    let problem: Value = serde_json::from_str(body).unwrap();
    assert_eq!(problem["status"], *status, "{problem}");
    let code = problem["code"].as_str().unwrap_or_default().to_owned();
    let stable = |byte: u8| byte.is_ascii_lowercase() || byte == b'_';
    assert!(!code.is_empty() && code.bytes().all(stable), "a stable code in {problem}");
    code
}

#[tokio::test]
async fn a_room_is_made_once_for_a_pair() {
    let server = Server::start(&[]).await;
    let (status, made) = server.post_room(Some(API_KEY), &members(&[json!(7), json!(8)])).await;
    assert_eq!(status, 201, "{made}");
    let room = made["room_id"].as_i64().unwrap();
    assert!((1..=9_007_199_254_740_991).contains(&room), "{made}");
    for pair in [[json!(7), json!(8)], [json!(8), json!(7)], [json!("7"), json!("8")], [json!("8"), json!(7)]]
    {
        let (status, again) = server.post_room(Some(API_KEY), &members(&pair)).await;
        assert_eq!((status, &again["room_id"]), (200, &json!(room)), "{pair:?} answered {again}");
    }
    for pair in [[json!(7), json!(9)], [json!("07"), json!(8)]] {
        let (status, other) = server.post_room(Some(API_KEY), &members(&pair)).await;
        assert_eq!(status, 201, "{other}");
        assert_ne!(other["room_id"], json!(room), "{pair:?}");
    }
}

#[tokio::test]
async fn error_of_a_member_names_its_place() {
    let server = Server::start(&[]).await;
    for (member, fault) in [
        (json!(2), "members[1]: must be an object"),
        (json!({}), "members[1]: missing field `user_id`"),
        (json!({"user_id": 2, "role": "owner"}), "members[1]: role: unknown variant `owner`"),
    ] {
        let body = json!({"members": [{"user_id": 1}, member]});
        let (status, problem) = server.post_room(Some(API_KEY), &body.to_string()).await;
        assert_eq!((status, &problem["code"]), (400, &json!("invalid_request")), "{problem}");
        assert!(problem["detail"].as_str().unwrap().starts_with(fault), "{problem}");
    }
}

#[tokio::test]
async fn a_pair_asked_for_many_times_at_once_is_one_room() {
    let server = Server::start(&[]).await;
    let body = members(&[json!("a"), json!("b")]);
    let ask = || server.post_room(Some(API_KEY), &body);
    let (a, b, c, d) = tokio::join!(ask(), ask(), ask(), ask());
    let answers = [a, b, c, d];
    assert_eq!(answers.iter().filter(|(status, _)| *status == 201).count(), 1, "{answers:?}");
    assert!(answers.iter().all(|(_, room)| room["room_id"] == answers[0].1["room_id"]), "{answers:?}");
}

#[tokio::test]
async fn three_make_a_group() {
    let server = Server::start(&[]).await;
    let (status, made) =
        server.post_room(Some(API_KEY), &members(&[json!(1), json!("two"), json!("auth0|3")])).await;
    assert_eq!(status, 201, "{made}");
    let room = &made["room_id"];
    for user in [json!(1), json!("two"), json!("auth0|3")] {
        let mut member = server.dial_as(user, &format!("room_id={room}")).open().await;
        assert!(member.history().await.is_empty());
    }
    assert_eq!(server.dial_as(4, &format!("room_id={room}")).refused().await, 4003);
}

#[tokio::test]
async fn request_without_a_valid_key_is_401() {
    let server = Server::start(&[]).await;
    let token = server.token(1).sign();
    let body = members(&[json!(1), json!(2)]);
    let longer = format!("{API_KEY}x");
    for key in
        [None, Some(""), Some("wrong"), Some(longer.as_str()), Some(&API_KEY[1..]), Some(token.as_str())]
    {
        problem_of(&server, key, &body, 401).await;
    }
    // The server must check the service key before it parses the body.
    problem_of(&server, None, "nonsense", 401).await;
    assert_eq!(server.dial_as(1, "firts_user=1&second_user=2").refused().await, 4004, "nothing was made");
}

#[tokio::test]
async fn api_is_closed_when_no_key_is_configured() {
    let server = Server::start(&[("API__KEYS", "")]).await;
    for key in [None, Some(""), Some(API_KEY)] {
        problem_of(&server, key, &members(&[json!(1), json!(2)]), 401).await;
    }
}

#[tokio::test]
async fn service_keys_of_a_list_are_all_accepted() {
    let other = "another-api-key-of-the-tests-of-32-characters";
    let server = Server::start(&[("API__KEYS", &format!("{API_KEY},{other}"))]).await;
    for (key, status) in [(API_KEY, 201), (other, 200)] {
        let answer = server.post_room(Some(key), &members(&[json!(1), json!(2)])).await;
        assert_eq!(answer.0, status, "{answer:?}");
    }
}

/// Sends a request to create a room. Asserts that the answer is a problem document with this status. Returns its code.
async fn problem_of(server: &Server, key: Option<&str>, body: &str, status: u16) -> String {
    let answer = server.request(Method::POST, ROOMS, key, body).await;
    assert_eq!(answer.0, status, "{body} answered {answer:?}");
    problem(&answer)
}

#[tokio::test]
async fn invalid_room_is_400() {
    let server = Server::start(&[]).await;
    let long = json!("x".repeat(129));
    let deep = format!(r#"{{"members":{}{}}}"#, "[".repeat(10_000), "]".repeat(10_000));
    for body in [
        "",
        "nonsense",
        "null",
        "[]",
        "{}",
        r#"{"members":null}"#,
        r#"{"members":{}}"#,
        r#"{"members":[1,2]}"#,
        r#"[[{"user_id":1},{"user_id":2}]]"#,
        r#"{"members":[[1,null],[2,null]]}"#,
        r#"{"members":[{"user_id":1},{}]}"#,
        r#"{"members":[{"user_id":1},{"user_id":2,"email":5}]}"#,
        r#"{"members":[{"user_id":1},{"user_id":2}]"#,
        &deep,
        &members(&[]),
        &members(&[json!(1)]),
        &members(&[json!(1), json!(1)]),
        &members(&[json!(1), json!("1")]),
        &members(&[json!(1), json!(2), json!(2)]),
        &members(&[json!(1), json!(null)]),
        &members(&[json!(1), json!(1.5)]),
        &members(&[json!(1), json!(true)]),
        &members(&[json!(1), json!([2])]),
        &members(&[json!(1), json!("")]),
        &members(&[json!(1), json!("a\nb")]),
        &members(&[json!(1), json!("a\0b")]),
        &members(&[json!(1), long]),
    ] {
        problem_of(&server, Some(API_KEY), body, 400).await;
    }
}

#[tokio::test]
async fn a_body_without_bounds_is_refused() {
    let server = Server::start(&[]).await;
    let body = format!(r#"{{"padding":"{}"}}"#, "x".repeat(4 << 20));
    let answer = server.request(Method::POST, ROOMS, Some(API_KEY), &body).await;
    assert!([400, 413].contains(&answer.0), "{answer:?}");
    problem(&answer);
}

#[tokio::test]
async fn unknown_path_is_404_and_wrong_method_405() {
    let server = Server::start(&[]).await;
    for path in ["/nothing", "/api/v1/nothing", "/wss", "/healthz/x"] {
        assert_eq!(server.get(path).await, 404, "{path}");
    }
    assert_eq!(server.request(Method::DELETE, ROOMS, Some(API_KEY), "").await.0, 405);
}

#[tokio::test]
async fn a_server_that_serves_is_healthy_and_ready() {
    let server = Server::start(&[]).await;
    for path in ["/healthz", "/readyz"] {
        assert_eq!(server.get(path).await, 200, "{path}");
    }
}
