//! The messenger's files with their security headers, and the conditions under which the messenger gives tokens and
//! rooms to clients.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use super::SECRET;
use crate::support::Home;

#[tokio::test]
async fn the_page_may_load_nothing_but_itself() {
    let home = Home::new().await;
    let server = home.serve().await;
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/http/demo/assets");
    let scripts = ["", "parlor/"].map(|folder| scripts_in(&page, folder)).concat();
    assert!(scripts.len() > 30, "{scripts:?}");
    let scripts = scripts.into_iter().map(|path| (path, "text/javascript; charset=utf-8"));
    let others = [
        ("/", "text/html; charset=utf-8"),
        ("/page/style.css", "text/css; charset=utf-8"),
        ("/page/messenger.css", "text/css; charset=utf-8"),
        ("/page/messages.css", "text/css; charset=utf-8"),
        ("/page/favicon.svg", "image/svg+xml"),
    ];
    for (path, kind) in others.map(|(path, kind)| (path.to_owned(), kind)).into_iter().chain(scripts) {
        let answer = reqwest::get(server.url(&path)).await.unwrap();
        assert_eq!(answer.status(), 200, "{path}");
        let header = |name: &str| answer.headers()[name].to_str().unwrap();
        assert_eq!(header("content-type"), kind);
        assert_eq!(header("x-content-type-options"), "nosniff");
        assert_eq!(header("referrer-policy"), "no-referrer");
        let policy = header("content-security-policy");
        for rule in [
            "default-src 'none'",
            "script-src 'self'",
            "style-src 'self'",
            "connect-src 'self'",
            "base-uri 'none'",
            "form-action 'none'",
            "frame-ancestors 'none'",
        ] {
            assert!(policy.split(';').any(|part| part.trim() == rule), "{rule} is not in {policy}");
        }
        assert!(!policy.contains("unsafe") && !policy.contains('*'), "{policy}");
    }
    for path in [
        "/page",
        "/page/",
        "/page/chat",
        "/page/parlor/",
        "/page/demo.rs",
        "/page/../Cargo.toml",
        "/index.html",
    ] {
        assert_eq!(reqwest::get(server.url(path)).await.unwrap().status(), 404, "{path}");
    }
}

/// Returns the paths of all scripts in a folder of the page.
fn scripts_in(page: &Path, folder: &str) -> Vec<String> {
    let paths = fs::read_dir(page.join(folder)).unwrap().map(|entry| entry.unwrap().path());
    let scripts = paths.filter(|path| path.extension().is_some_and(|kind| kind == "js"));
    let names = scripts.map(|path| path.file_name().unwrap().to_str().unwrap().to_owned());
    names.map(|name| format!("/page/{folder}{name}")).collect()
}

#[tokio::test]
async fn session_is_given_only_to_the_same_machine() {
    let home = Home::new().await;
    let server = home.serve().await;
    let session = async |url: &str, host: &str, body: &str| {
        let request = reqwest::Client::new().post(format!("{url}/page/session"));
        let answer = request.header("host", host).body(body.to_owned()).send().await.unwrap();
        answer.status().as_u16()
    };
    let one = r#"{"user":1}"#;
    let url = server.url("");
    let port = server.address.port();
    for host in ["localhost".to_owned(), format!("localhost:{port}"), format!("127.0.0.1:{port}")] {
        assert_eq!(session(&url, &host, one).await, 200, "{host}");
    }
    // An attacker can let their own host name resolve to 127.0.0.1 (DNS rebinding). So the page must refuse other host
    // names.
    for host in [format!("evil.example:{port}"), "127.0.0.1.evil.example".to_owned()] {
        assert_eq!(session(&url, &host, one).await, 404, "{host}");
    }
    for body in ["", "1", "{}", r#"{"user":0}"#, r#"{"user":10}"#, r#"{"user":"1"}"#] {
        assert_eq!(session(&url, "localhost", body).await, 400, "{body}");
    }
    server.stop().await;

    // A proxy may forward the request of a client on another machine. With the application's own signing key, a token
    // could open the account of a real user. In these cases the page gives no token.
    let http = reqwest::Client::new();
    let proxied = home.serve().await;
    for header in ["forwarded", "x-forwarded-for", "x-real-ip"] {
        let request = http.post(proxied.url("/page/session")).header(header, "192.0.2.1").body(one);
        assert_eq!(request.send().await.unwrap().status(), 404, "{header}");
    }
    proxied.stop().await;
    let home = home.set("AUTH__SECRET", SECRET);
    let server = home.serve().await;
    assert_eq!(session(&server.url(""), "localhost", one).await, 404);
    assert_eq!(reqwest::get(server.url("/")).await.unwrap().status(), 200);
    server.stop().await;

    let home = home.set("LISTEN", "0.0.0.0:0");
    let server = home.serve().await;
    assert_eq!(session(&server.url(""), "localhost", one).await, 404);
    assert_eq!(reqwest::get(server.url("/")).await.unwrap().status(), 200);
    server.stop().await;

    let home = home.set("LISTEN", "127.0.0.1:0").set("PAGE__ENABLED", "off");
    let server = home.serve().await;
    assert_eq!(session(&server.url(""), "localhost", one).await, 404);
    let shown = reqwest::get(server.url("/")).await.unwrap().text().await.unwrap();
    assert!(shown.starts_with("Parlor runs. The messenger is off here"), "{shown}");
    assert_eq!(reqwest::get(server.url("/page/chat.js")).await.unwrap().status(), 404);
    server.stop().await;
}

#[tokio::test]
async fn rooms_are_made_for_whoever_has_a_token() {
    let home = Home::new().await;
    let server = home.serve().await;
    let token = async |user: &str| home.run(&["token", "--user", user]).await.printed().to_owned();
    let (one, stranger) = (token("1").await, token("10").await);
    let http = reqwest::Client::new();
    let make = async |token: &str, body: Value| {
        let request = http.post(server.url("/page/room")).bearer_auth(token).body(body.to_string());
        let answer = request.send().await.unwrap();
        (answer.status().as_u16(), answer.json().await.unwrap_or(Value::Null))
    };
    // A pair of users has one direct room, even after several requests for it. A request with a name makes a group.
    assert_eq!(make(&one, json!({"members": [2]})).await, (200, json!({"room_id": 1})));
    assert_eq!(make(&one, json!({"members": [2, 3], "name": "Lunch"})).await, (200, json!({"room_id": 2})));
    assert_eq!(make(&one, json!({"members": [2], "name": "Us"})).await, (200, json!({"room_id": 3})));
    assert_eq!(make(&one, json!({"members": [9]})).await, (200, json!({"room_id": 4})));
    for body in [
        json!({}),
        json!({"members": []}),
        json!({"members": [1]}),
        json!({"members": [2, 2]}),
        json!({"members": [10]}),
        json!({"members": ["2"]}),
        json!({"members": [2, 3], "name": ""}),
        json!({"members": [2, 3], "name": "a\nb"}),
        json!({"members": [2, 3], "name": "x".repeat(61)}),
    ] {
        assert_eq!(make(&one, body.clone()).await.0, 400, "{body}");
    }
    assert_eq!(make("nonsense", json!({"members": [2]})).await.0, 401);
    assert_eq!(make(&stranger, json!({"members": [2]})).await.0, 403);
    let evil = http.post(server.url("/page/room")).header("host", "evil.example").bearer_auth(&one);
    let answer = evil.body(r#"{"members":[2]}"#).send().await.unwrap();
    assert_eq!(answer.status(), 404);
    server.stop().await;
}
