//! Request bodies that are too long, too slow, compressed, or not needed. In each case, the client must receive an
//! answer.

use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{API_KEY, Metered, RawConnection, Server};

fn post(path: &str, key: &str, headers: &str) -> String {
    format!(
        "POST {path} HTTP/1.1\r\nHost: parlor\r\nAuthorization: Bearer {key}\r\n\
         Content-Type: application/json\r\n{headers}\r\n"
    )
}

/// Writes the whole request before it reads the answer, as many clients do. Returns all bytes of the answer.
async fn answer(server: &Server, head: &str, body: &[u8]) -> String {
    let mut raw = RawConnection::to(server.address()).await;
    assert!(raw.say(head.as_bytes()).await && raw.say(body).await, "the server takes the whole body");
    String::from_utf8_lossy(&raw.heard_out().await).into_owned()
}

#[tokio::test]
async fn a_client_that_still_writes_receives_the_refusal() {
    let server = Server::start(&[]).await;
    let long = vec![b'x'; 12_000_000];
    let length = format!("Content-Length: {}\r\n", long.len());
    let chunk = [b"F4240\r\n".as_slice(), &long[..1_000_000], b"\r\n"].concat();
    let chunks = [chunk.repeat(12), b"0\r\n\r\n".to_vec()].concat();
    let chunked = "Transfer-Encoding: chunked\r\n";
    let rooms = "/api/v1/rooms";
    for (what, head, body, status) in [
        ("a length over the bound", post(rooms, API_KEY, &length), &long, 413),
        ("chunks over the bound", post(rooms, API_KEY, chunked), &chunks, 413),
        (
            "with an Idempotency-Key",
            post(rooms, API_KEY, &format!("Idempotency-Key: a\r\n{length}")),
            &long,
            413,
        ),
        ("no key", post(rooms, "nobody's", &length), &long, 401),
        ("no key, in chunks", post(rooms, "nobody's", chunked), &chunks, 401),
        ("no path", post("/nowhere", API_KEY, &length), &long, 404),
        ("no method", post("/healthz", API_KEY, &length), &long, 405),
        ("no handshake", post("/ws/", API_KEY, &length), &long, 405),
    ] {
        let answer = answer(&server, &head, body).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{what}: {answer:?}");
        assert!(answer.contains("connection: close\r\n"), "{what}: {answer:?}");
    }
}

#[tokio::test]
async fn discarded_bytes_of_a_body_are_bounded() {
    let metered = Metered::new();
    let settings = [metered.setting(), ("HTTP__DISCARD_BYTES", "100000"), ("HTTP__DISCARD_MS", "300")];
    let server = Server::start(&settings).await;
    let mut raw = RawConnection::to(server.address()).await;
    raw.say(post("/api/v1/rooms", API_KEY, "Content-Length: 900000000\r\n").as_bytes()).await;
    let piece = vec![b'x'; 100_000];
    // The server discards bytes up to its limit, while the connection's buffers fill. Then the server closes the
    // connection.
    let mut pieces = 0;
    while raw.say(&piece).await {
        pieces += 1;
        assert!(pieces < 1_000, "100 MB were taken");
    }
    assert_eq!(metered.hits("discard_bytes").await, 1);
    // The server also closes the connection if the bytes of a body stop arriving.
    let silent = answer(&server, &post("/api/v1/rooms", API_KEY, "Content-Length: 9000000\r\n"), b"x").await;
    assert!(silent.starts_with("HTTP/1.1 413"), "{silent}");
    metered.until("parlor_limits_hit_total{bound=\"discard_ms\"}", 1).await;
}

#[tokio::test]
async fn a_body_that_was_not_needed_keeps_its_connection() {
    let server = Server::start(&[]).await;
    let request = post("/api/v1/users/1/disconnect", API_KEY, "Content-Length: 2\r\n") + "{}";
    let last =
        post("/api/v1/users/1/disconnect", API_KEY, "Content-Length: 2\r\nConnection: close\r\n") + "{}";
    let answer = answer(&server, &[request.as_str(), &request, &last].concat(), b"").await;
    assert_eq!(answer.matches("HTTP/1.1 204").count(), 3, "{answer}");
}

#[tokio::test]
async fn a_compressed_body_is_415() {
    let server = Server::start(&[]).await;
    for (coding, status) in
        [("gzip", 415), ("br, gzip", 415), ("deflate", 415), ("identity", 201), ("Identity", 200)]
    {
        for key in [None, Some("a-key")].into_iter().filter(|key| status == 415 || key.is_none()) {
            let mut request = server.api(Method::POST, "/rooms").header("content-encoding", coding);
            request = request.json(&json!({"members": [{"user_id": 1}, {"user_id": 2}]}));
            if let Some(key) = key {
                request = request.header("idempotency-key", key);
            }
            let answer = request.send().await.unwrap();
            assert_eq!(answer.status(), status, "{coding}");
            if status == 415 {
                assert_eq!(answer.headers()["accept-encoding"], "identity");
                let problem: Value = serde_json::from_str(&answer.text().await.unwrap()).unwrap();
                assert_eq!(problem["code"], "unsupported_media_type", "{problem}");
            }
        }
    }
}
