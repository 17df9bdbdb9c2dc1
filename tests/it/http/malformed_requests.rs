//! Requests that no real client sends. The server must answer each request with a clear status, or close its connection
//! in time. No connection may stay open, and the next client must be served.

use std::time::Duration;

use serde_json::json;

use crate::support::{API_KEY, Metered, RawConnection, Server, chat, frame, handshake};

const TARGET: &str = "/ws/chat/?firts_user=1&second_user=2/";

/// The time that a head or a body may take in these tests, in milliseconds.
const REQUEST_MS: &str = "500";

/// The header line with the key of the handshake.
const KEY: &str = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";

/// A status that stands for "the server closed the connection without an HTTP answer".
const CLOSED: u16 = 0;

struct Abused {
    server: Server,
    metered: Metered,
}

impl Abused {
    async fn start() -> Self {
        let metered = Metered::new();
        let settings =
            [metered.setting(), ("HTTP__REQUEST_MS", REQUEST_MS), ("HTTP__DISCARD_MS", REQUEST_MS)];
        let server = Server::start(&settings).await;
        server.room(&[1, 2]).await;
        Self { server, metered }
    }

    /// Sends these bytes, and reads until the server closes the connection. Returns the statuses of all answers.
    /// Returns only [`CLOSED`] if there is no answer.
    async fn statuses(&self, bytes: &[u8]) -> Vec<u16> {
        let mut raw = RawConnection::to(self.server.address()).await;
        raw.say(bytes).await;
        let heard = raw.heard_out().await;
        let heard = String::from_utf8_lossy(&heard);
        // Each answer starts with "HTTP/1.", and no body in these tests contains this text.
        let heads = heard.split("HTTP/1.").skip(1);
        let statuses: Vec<u16> = heads.filter_map(|head| head.get(2..5)?.parse().ok()).collect();
        if statuses.is_empty() { vec![CLOSED] } else { statuses }
    }

    /// Asserts that the server gives exactly one answer to each case, with one of the expected statuses.
    async fn refused(&self, cases: &[(&str, Vec<u8>, &[u16])]) {
        for (what, bytes, expected) in cases {
            let statuses = self.statuses(bytes).await;
            let shown: String = String::from_utf8_lossy(bytes).chars().take(200).collect();
            assert_eq!(statuses.len(), 1, "{what}: {statuses:?} answered {shown:?}");
            assert!(expected.contains(&statuses[0]), "{what}: {statuses:?} answered {shown:?}");
        }
    }

    /// Asserts that no connection of the test is open, and that an honest client is served.
    async fn is_well(&self) {
        self.metered.until("parlor_connections", 0).await;
        self.metered.until("parlor_sockets", 0).await;
        assert_eq!(self.server.get("/healthz").await, 200);
        let mut one = self.server.join(1, 2).await;
        one.quiet().await;
        one.leave().await;
        self.metered.until("parlor_sockets", 0).await;
    }
}

/// Returns a request for `/healthz` with these additional header lines. Each line must end with `\r\n`.
fn get(headers: &str) -> Vec<u8> {
    format!("GET /healthz HTTP/1.1\r\nHost: parlor\r\n{headers}\r\n").into_bytes()
}

/// Returns a request with this first line and a `Host` header.
fn line(line: &str) -> Vec<u8> {
    format!("{line}\r\nHost: parlor\r\n\r\n").into_bytes()
}

/// Returns a request that creates a room, with a valid key, these additional header lines and this body.
fn post(headers: &str, body: &str) -> Vec<u8> {
    format!(
        "POST /api/v1/rooms HTTP/1.1\r\nHost: parlor\r\nAuthorization: Bearer {API_KEY}\r\n\
         Content-Type: application/json\r\n{headers}\r\n{body}"
    )
    .into_bytes()
}

#[tokio::test]
async fn heads_that_are_none_have_a_status() {
    let abused = Abused::start().await;
    let many = "h: x\r\n".repeat(200);
    let long = "x".repeat(60_000);
    let mut nul = get("A: b\r\n");
    let at = nul.iter().position(|byte| *byte == b'b').unwrap();
    nul[at] = 0;
    abused
        .refused(&[
            ("200 headers", get(&many), &[431]),
            ("a header of 60 KB", get(&format!("a: {long}\r\n")), &[431]),
            ("a name of 60 KB", get(&format!("{long}: a\r\n")), &[431]),
            ("a target of 60 KB", line(&format!("GET /{long} HTTP/1.1")), &[414, 431]),
            ("a query of 60 KB", line(&format!("GET {TARGET}&x={long} HTTP/1.1")), &[414, 431]),
            ("U+0000 in a value", nul, &[400]),
            ("U+0000 in the target", line("GET /health\0z HTTP/1.1"), &[400]),
            ("a control character in the target", line("GET /health\x07z HTTP/1.1"), &[400]),
            ("a space in the target", line("GET /health z HTTP/1.1"), &[400]),
            ("no colon", get("header\r\n"), &[400]),
            ("a space before the colon", get("Header : x\r\n"), &[400]),
            ("no name", get(": x\r\n"), &[400]),
            ("a folded line", get("A: x\r\n y: z\r\n"), &[400]),
            ("a bare return", get("A: x\rB: y\r\n"), &[400]),
            ("no method", line(" /healthz HTTP/1.1"), &[400]),
            ("no target", line("GET HTTP/1.1"), &[400]),
            ("no version", b"GET /healthz\r\n\r\n".to_vec(), &[400]),
            ("version 0.9", line("GET /healthz HTTP/0.9"), &[400]),
            ("version 3", line("GET /healthz HTTP/3.0"), &[400]),
            ("the preface of HTTP/2", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(), &[CLOSED, 400]),
            ("a TLS hello", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03".to_vec(), &[400]),
            ("noise", vec![0xff; 4096], &[400]),
            ("a tunnel", line("CONNECT parlor:80 HTTP/1.1"), &[404, 405, 400]),
        ])
        .await;
    abused.is_well().await;
}

#[tokio::test]
async fn no_request_hides_in_another_ones_body() {
    let abused = Abused::start().await;
    let pair = r#"{"members":[{"user_id":1},{"user_id":2}]}"#;
    let length = pair.len();
    let hidden = format!(
        "{}\r\n{pair}\r\n0\r\n\r\nGET /healthz HTTP/1.1\r\nHost: x\r\n\r\n",
        format_args!("{length:x}")
    );
    abused
        .refused(&[
            ("two lengths", post("Content-Length: 5\r\nContent-Length: 41\r\n", pair), &[400]),
            ("two lengths in one", post("Content-Length: 5, 41\r\n", pair), &[400]),
            ("a signed length", post("Content-Length: +41\r\n", pair), &[400]),
            ("a negative length", post("Content-Length: -1\r\n", pair), &[400]),
            ("a length in hex", post("Content-Length: 0x29\r\n", pair), &[400]),
            ("a length beyond all numbers", post("Content-Length: 99999999999999999999\r\n", pair), &[400]),
            ("another coding", post("Transfer-Encoding: identity\r\n", pair), &[400]),
            ("chunked, and then not", post("Transfer-Encoding: chunked, identity\r\n", pair), &[400]),
            ("not quite chunked", post("Transfer-Encoding: xchunked\r\n", pair), &[400]),
            ("a size that is none", post("Transfer-Encoding: chunked\r\n", "zz\r\nx\r\n0\r\n\r\n"), &[400]),
            ("a size beyond all", post("Transfer-Encoding: chunked\r\n", "FFFFFFFFFFFFFFFFF\r\nx"), &[400]),
            ("a negative size", post("Transfer-Encoding: chunked\r\n", "-1\r\nx\r\n0\r\n\r\n"), &[400]),
            ("a chunk without its end", post("Transfer-Encoding: chunked\r\n", "1\r\nxx0\r\n\r\n"), &[400]),
            ("a body of 10 MB in chunks", chunks(10_000_000), &[413]),
            ("a body of 10 MB", post("Content-Length: 10000000\r\n", &"x".repeat(1_000_000)), &[413]),
        ])
        .await;
    // If a request has both headers, the server must ignore `Content-Length`, or refuse the request. The server must
    // never read the bytes after the chunks as another request (RFC 9112, 6.1).
    let both = post(&format!("Content-Length: {length}\r\nTransfer-Encoding: chunked\r\n"), &hidden);
    let statuses = abused.statuses(&both).await;
    assert!(matches!(statuses[..], [200 | 400]), "{statuses:?} answered both a length and chunks");
    abused.is_well().await;
}

#[tokio::test]
async fn requests_without_one_valid_host_are_400() {
    let abused = Abused::start().await;
    let asked =
        |hosts: &str| format!("GET /healthz HTTP/1.1\r\n{hosts}Connection: close\r\n\r\n").into_bytes();
    let token = abused.server.token(1).sign();
    let good = handshake(TARGET, &format!("Authorization: Bearer {token}\r\n"));
    abused
        .refused(&[
            ("no host", asked(""), &[400]),
            (
                "no host, absolute",
                b"GET http://a/healthz HTTP/1.1\r\nConnection: close\r\n\r\n".to_vec(),
                &[400],
            ),
            ("two hosts", asked("Host: a\r\nHost: b\r\n"), &[400]),
            ("the same host twice", asked("Host: a\r\nHost: a\r\n"), &[400]),
            ("two hosts in one", asked("Host: a, b\r\n"), &[400]),
            ("an empty host", asked("Host:\r\n"), &[400]),
            ("a path", asked("Host: a/b\r\n"), &[400]),
            ("a login", asked("Host: a@b\r\n"), &[400]),
            ("no port", asked("Host: a:b\r\n"), &[400]),
            (
                "two hosts on HTTP/1.0",
                b"GET /healthz HTTP/1.0\r\nHost: a\r\nHost: b\r\n\r\n".to_vec(),
                &[400],
            ),
            ("a handshake", good.replace("Host: parlor\r\n", "").into_bytes(), &[400]),
            (
                "a handshake by two",
                good.replace("Host: parlor", "Host: parlor\r\nHost: b").into_bytes(),
                &[400],
            ),
        ])
        .await;
    for good in
        [asked("Host: a:8001\r\n"), asked("Host: [::1]:1\r\n"), b"GET /healthz HTTP/1.0\r\n\r\n".to_vec()]
    {
        assert_eq!(abused.statuses(&good).await, [200]);
    }
    abused.is_well().await;
}

/// Returns a request whose body has `bytes` bytes, in chunks of 50,000 bytes.
fn chunks(bytes: usize) -> Vec<u8> {
    let chunk = format!("C350\r\n{}\r\n", "x".repeat(50_000));
    post("Transfer-Encoding: chunked\r\n", &format!("{}0\r\n\r\n", chunk.repeat(bytes / 50_000)))
}

#[tokio::test]
async fn handshakes_that_are_none_have_a_status() {
    let abused = Abused::start().await;
    let token = abused.server.token(1).sign();
    let good = handshake(TARGET, &format!("Authorization: Bearer {token}\r\n"));
    let with = |from: &str, to: &str| {
        assert!(good.contains(from), "{from}");
        good.replace(from, to).replace("\r\n\r\n", "\r\nX-Last: 1\r\n\r\n").into_bytes()
    };
    abused
        .refused(&[
            ("another version", with("Version: 13", "Version: 8"), &[426]),
            ("no version", with("Sec-WebSocket-Version: 13\r\n", ""), &[426]),
            ("no upgrade", with("Connection: Upgrade", "Connection: keep-alive"), &[426]),
            ("to close", with("Connection: Upgrade", "Connection: close"), &[426]),
            ("to HTTP/2", with("Upgrade: websocket", "Upgrade: h2c"), &[426]),
            ("to what is only like it", with("Upgrade: websocket", "Upgrade: websocketx"), &[426]),
            ("no key", with("Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n", ""), &[400]),
            ("a long key", with("dGhlIHNhbXBsZSBub25jZQ==", &"x".repeat(500)), &[400]),
            ("a key of bytes", with("dGhlIHNhbXBsZSBub25jZQ==", "\u{e9}\u{e9}"), &[400]),
            ("a key that is no base64", with("dGhlIHNhbXBsZSBub25jZQ==", "!!!!!!!!!!!!!!!!!!!!!!!!"), &[400]),
            ("a key of 18 bytes", with("dGhlIHNhbXBsZSBub25jZQ==", "dGhlIHNhbXBsZSBub25jZTEy"), &[400]),
            ("two keys", with("Sec-WebSocket-Key:", &format!("{KEY}Sec-WebSocket-Key:")), &[400]),
            ("two versions", with("Sec-WebSocket-V", "Sec-WebSocket-Version: 8\r\nSec-WebSocket-V"), &[400]),
            ("two versions in one", with("Version: 13", "Version: 13, 8"), &[400]),
            ("by POST", with("GET ", "POST "), &[405]),
            ("by HEAD", with("GET ", "HEAD "), &[405]),
            ("by a word", with("GET ", "UPGRADE "), &[405]),
            ("on HTTP/1.0", with("HTTP/1.1", "HTTP/1.0"), &[400, 426]),
            ("elsewhere", with("/ws/chat/?", "/healthz?"), &[200]),
            ("nowhere", with("/ws/chat/?", "/ws/chat/more/?"), &[404]),
        ])
        .await;
    for (target, code) in [
        ("/ws/chat/?firts_user=%zz&second_user=2", 4003),
        ("/ws/chat/?firts_user=%&second_user=2", 4003),
        ("/ws/chat/?firts_user=1&second_user=%ff", 4400),
        ("/ws/chat/?firts_user=1&second_user=%00", 4400),
        ("/ws/chat/?firts_user=1&second_user=%c3%28", 4400),
        ("/ws/chat/?%ff=1&firts_user=1&second_user=2", 4400),
        ("/ws/chat/?firts_user=1&second_user=%2f", 4400),
        ("/ws/chat/?firts_user=1#&second_user=2", 4400),
    ] {
        let dial = abused.server.dial(target).authorization(&token);
        assert_eq!(dial.refused().await, code, "{target}");
    }
    abused.is_well().await;
}

#[tokio::test]
async fn handshakes_that_are_odd_are_served_as_they_are_meant() {
    let abused = Abused::start().await;
    let token = abused.server.token(1).sign();
    let lines = |more: &str| format!("Authorization: Bearer {token}\r\n{more}");
    let shouted = handshake(TARGET, &lines(""))
        .replace("Connection: Upgrade", "CONNECTION:upgrade")
        .replace("Upgrade: websocket", "upgrade:\tWebSocket ")
        .replace("Sec-WebSocket-", "SEC-WEBSOCKET-");
    for (what, handshake) in [
        ("words in other cases", shouted),
        ("several of each", handshake(TARGET, &lines("Connection: keep-alive\r\nUpgrade: h2c\r\n"))),
        ("extensions", handshake(TARGET, &lines("Sec-WebSocket-Extensions: permessage-deflate\r\n"))),
        ("an absolute target", handshake(&format!("http://elsewhere{TARGET}"), &lines(""))),
        ("99 parameters", handshake(&format!("{TARGET}&{}", "x=1&".repeat(99)), &lines(""))),
    ] {
        let mut raw = RawConnection::to(abused.server.address()).await;
        // The server also handles a frame that arrives before the server has answered the handshake.
        let early = frame(1, br#"{"action":"ping"}"#);
        raw.say(&[handshake.as_bytes(), &early].concat()).await;
        let head = raw.head().await;
        assert!(head.starts_with("HTTP/1.1 101 "), "{what}: {head}");
        assert!(!head.to_lowercase().contains("sec-websocket-extensions"), "{what}: {head}");
        for expected in ["[]", r#"{"type":"pong"}"#] {
            let next = raw.next().await.unwrap_or_else(|| panic!("{what}: it ended before {expected}"));
            assert_eq!(String::from_utf8_lossy(&next.payload), expected, "{what}");
        }
    }
    abused.is_well().await;
}

#[tokio::test]
async fn requests_in_one_go_are_answered_in_their_order() {
    let abused = Abused::start().await;
    let many = 300;
    let mut requests = Vec::new();
    for n in 0..many {
        let path = if n % 3 == 2 { "nowhere" } else { "healthz" };
        requests.extend(format!("GET /{path} HTTP/1.1\r\nHost: parlor\r\n\r\n").into_bytes());
    }
    requests.extend(get("Connection: close\r\n"));
    requests.extend(get(""));
    let statuses = abused.statuses(&requests).await;
    let expected: Vec<u16> =
        (0..many).map(|n| if n % 3 == 2 { 404 } else { 200 }).chain(std::iter::once(200)).collect();
    assert_eq!(statuses, expected, "and none after that which said `close`");

    for (what, request) in [
        ("HTTP/1.0", line("GET /healthz HTTP/1.0")),
        ("an absolute target", line("GET http://elsewhere/healthz HTTP/1.1")),
        ("lines without returns", b"GET /healthz HTTP/1.1\nHost: parlor\n\n".to_vec()),
        ("empty lines before it", b"\r\n\r\nGET /healthz HTTP/1.1\r\nHost: parlor\r\n\r\n".to_vec()),
    ] {
        assert_eq!(abused.statuses(&request).await, [200], "{what}");
    }
    abused.is_well().await;
}

#[tokio::test]
async fn dripping_client_is_closed_and_delays_nobody() {
    let abused = Abused::start().await;
    let mut one = abused.server.join(1, 2).await;
    let mut drips = Vec::new();
    for request in [get("A: b\r\n"), handshake(TARGET, "").into_bytes(), post("Content-Length: 900\r\n", "{")]
    {
        for _ in 0..10 {
            drips.push((RawConnection::to(abused.server.address()).await, request.clone()));
        }
    }
    // Each connection sends one byte every 20 ms. So the server's time limit passes before any head is complete.
    let dripping = drips.into_iter().map(|(mut raw, request)| async move {
        for byte in request {
            if !raw.say(&[byte]).await || raw.ends_within(Duration::from_millis(20)).await {
                return true;
            }
        }
        raw.heard_out().await.is_empty()
    });
    let dripping = futures_util::future::join_all(dripping);
    let talking = async {
        for id in 1..=50 {
            one.say("meanwhile").await;
            one.expect(chat(id, 1, "meanwhile")).await;
        }
    };
    let (ended, ()) = tokio::join!(dripping, talking);
    assert!(ended.iter().all(|ended| *ended), "{ended:?}");
    one.send(json!({"action": "ping"})).await;
    one.expect(json!({"type": "pong"})).await;
    one.leave().await;
    abused.is_well().await;
}
