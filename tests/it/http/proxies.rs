//! The client's IP address behind proxies, the limit of refused requests for each address, and the security headers of
//! answers.

use reqwest::header::HeaderMap;

use crate::support::{Dial, Server, free_port, now};

const TARGET: &str = "/ws/chat/?firts_user=1&second_user=2/";

async fn server(overrides: &[(&str, &str)]) -> Server {
    let server = Server::start(&[&[("LIMITS__REFUSALS_PER_MINUTE", "3")], overrides].concat()).await;
    server.room(&[1, 2]).await;
    server
}

/// Returns a handshake with this address in `X-Forwarded-For`, as a proxy sends it.
fn from(server: &Server, forwarded_for: &str) -> Dial {
    server.dial(TARGET).called(forwarded_for).header("x-forwarded-for", forwarded_for)
}

/// Returns whether the server accepts a handshake with a valid token from that address.
async fn is_heard(server: &Server, forwarded_for: &str) -> bool {
    let dial = from(server, forwarded_for).token(&server.token(1).sign());
    match dial.open_unless(429).await {
        Some(mut client) => {
            client.history().await;
            true
        }
        None => false,
    }
}

/// Returns a token that is signed with a secret unknown to the server.
fn forged(server: &Server) -> String {
    server.token(1).secret("x").sign()
}

/// Returns a user's token that expired an hour ago.
fn expired(server: &Server, user: i64) -> String {
    server.token(user).with("exp", now().as_secs() - 3_600).sign()
}

#[tokio::test]
async fn an_address_that_is_refused_too_often_is_429_for_a_while() {
    let admin = format!("127.0.0.1:{}", free_port());
    let server = server(&[("HTTP__PROXIES", "127.0.0.1, 10.0.0.0/8"), ("ADMIN__LISTEN", &admin)]).await;
    for (address, same, stranger) in [
        ("203.0.113.5", "1.1.1.1, 203.0.113.5, 10.1.2.3", "203.0.113.6"),
        ("2001:db8:0:1::5", "2001:db8:0:1:ffff::6", "2001:db8:0:2::5"),
    ] {
        assert_eq!(from(&server, address).token(&forged(&server)).refused().await, 4001);
        assert_eq!(from(&server, address).refused().await, 4001, "no token");
        assert!(is_heard(&server, address).await);
        assert_eq!(from(&server, address).token("a.b.c").refused().await, 4001, "no token at all");

        // Before the address that the proxy added, the header contains addresses that the client sent itself. The
        // client's addresses must not change the result. All addresses of one IPv6 network (/64) count as one address.
        let (status, headers) = from(&server, same).token(&forged(&server)).turned_away().await;
        assert_eq!(status, 429);
        let wait: u64 = headers["retry-after"].to_str().unwrap().parse().unwrap();
        assert!((50..=61).contains(&wait), "{wait}");
        assert_eq!(from(&server, address).rejected().await, 429, "no token");
        assert_eq!(from(&server, stranger).token(&forged(&server)).refused().await, 4001);
        // Only handshakes are refused with 429. Other requests from the address are answered.
        assert_eq!(server.get("/healthz").await, 200);
    }
    let page = reqwest::get(format!("http://{admin}/metrics")).await.unwrap().text().await.unwrap();
    assert!(page.contains("parlor_limits_hit_total{bound=\"refusals_per_minute\"} 4"), "{page}");
    assert!(page.contains("parlor_connects_total{outcome=\"too_many_refused\"} 4"), "{page}");
}

#[tokio::test]
async fn good_token_is_heard_however_often_its_address_failed() {
    let server = server(&[("HTTP__PROXIES", "127.0.0.1")]).await;
    let address = "203.0.113.5";
    for _ in 0..3 {
        assert_eq!(from(&server, address).token(&forged(&server)).refused().await, 4001);
    }
    for _ in 0..5 {
        assert_eq!(from(&server, address).token(&forged(&server)).rejected().await, 429);
        assert!(is_heard(&server, address).await);
    }
    // A client with an expired token is not blocked: it must learn from 4001 that it needs a new token.
    assert_eq!(from(&server, address).token(&expired(&server, 1)).refused().await, 4001);
    // The server refuses a handshake from a page of another origin, even with a valid token. These refusals count for
    // the limit.
    let elsewhere =
        self::server(&[("HTTP__PROXIES", "127.0.0.1"), ("HTTP__ORIGINS", "https://a.example")]).await;
    let evil = || from(&elsewhere, address).header("origin", "https://evil.example");
    for status in [403, 403, 403, 429] {
        assert_eq!(evil().token(&elsewhere.token(1).sign()).rejected().await, status);
    }
}

#[tokio::test]
async fn expired_tokens_of_many_users_are_no_guesses() {
    let server = server(&[("HTTP__PROXIES", "127.0.0.1")]).await;
    let address = "203.0.113.5";
    for user in 1..=40 {
        assert_eq!(from(&server, address).token(&expired(&server, user)).refused().await, 4001, "{user}");
    }
    let early = server.token(1).with("nbf", now().as_secs() + 60).sign();
    assert_eq!(from(&server, address).token(&early).refused().await, 4001);
    assert_eq!(from(&server, address).token(&forged(&server)).refused().await, 4001, "the first guess");
    // The expired tokens of a user have a limit of their own. This limit does not affect the user's new tokens.
    for _ in 0..2 {
        from(&server, address).token(&expired(&server, 40)).refused().await;
    }
    assert_eq!(from(&server, "203.0.113.9").token(&expired(&server, 40)).rejected().await, 429);
    let good = server.token(40).sign();
    let target = server.dial("/ws/?since=").header("x-forwarded-for", address).token(&good);
    target.open().await.until_kind("ready").await;
}

#[tokio::test]
async fn rooms_that_a_good_token_guesses_count_for_its_user() {
    let server = server(&[("HTTP__PROXIES", "127.0.0.1")]).await;
    let address = "203.0.113.5";
    let guess = |user: i64, room: i64| {
        let token = server.token(user).sign();
        server.dial(&format!("/ws/chat/?room_id={room}")).header("x-forwarded-for", address).token(&token)
    };
    for room in 100..103 {
        assert_eq!(guess(3, room).refused().await, 4004);
    }
    assert_eq!(guess(3, 103).rejected().await, 429);
    assert_eq!(guess(4, 103).refused().await, 4004, "another user");
    assert!(is_heard(&server, address).await);
    assert_eq!(from(&server, address).token(&forged(&server)).refused().await, 4001);
}

#[tokio::test]
async fn origins_that_are_refused_count_too() {
    let settings = [("HTTP__PROXIES", "127.0.0.1"), ("HTTP__ORIGINS", "https://app.example.com")];
    let server = server(&settings).await;
    for _ in 0..3 {
        let dial = from(&server, "203.0.113.5").header("origin", "https://evil.example.com");
        assert_eq!(dial.rejected().await, 403);
    }
    assert_eq!(from(&server, "203.0.113.5").rejected().await, 429);
}

#[tokio::test]
async fn proxies_and_loopback_are_never_held_to_it() {
    for proxies in ["127.0.0.1,10.0.0.0/8", ""] {
        let server = server(&[("HTTP__PROXIES", proxies)]).await;
        for _ in 0..5 {
            assert_eq!(server.dial(TARGET).refused().await, 4001);
            assert_eq!(from(&server, "10.9.9.9").refused().await, 4001);
        }
        assert!(is_heard(&server, "10.9.9.9").await);
        assert!(is_heard(&server, "").await);
    }
}

#[tokio::test]
async fn unlisted_proxy_is_not_trusted() {
    let server = server(&[("HTTP__PROXIES", "10.0.0.0/8")]).await;
    for _ in 0..5 {
        assert_eq!(from(&server, "203.0.113.5").refused().await, 4001);
    }
    // The server does not trust this proxy. So it used the proxy's address 127.0.0.1 for the refused clients, and
    // loopback addresses are never blocked.
    assert!(is_heard(&server, "203.0.113.5").await);
}

#[tokio::test]
async fn answers_have_security_headers() {
    let admin = format!("127.0.0.1:{}", free_port());
    let server = server(&[("ADMIN__LISTEN", &admin), ("PAGE__ENABLED", "on")]).await;
    let base = format!("http://{}", server.address());
    let client = reqwest::Client::new();
    for (request, status) in [
        (client.get(format!("{base}/healthz")), 200),
        (client.get(format!("{base}/readyz")), 200),
        (client.get(format!("{base}/nothing/here")), 404),
        (client.delete(format!("{base}/healthz")), 405),
        (client.post(format!("{base}/api/v1/rooms")), 401),
        (client.get(format!("{base}{TARGET}")), 426),
        (client.get(format!("{base}/")), 200),
        (client.get(format!("http://{admin}/metrics")), 200),
        (client.get(format!("http://{admin}/")), 404),
    ] {
        let answer = request.send().await.unwrap();
        assert_eq!(answer.status(), status, "{}", answer.url());
        assert_secure(answer.headers());
        assert!(!answer.headers().contains_key("strict-transport-security"));
    }
    // The content security policy of the messenger allows scripts from its own origin.
    let page = client.get(format!("{base}/")).send().await.unwrap();
    assert!(page.headers()["content-security-policy"].to_str().unwrap().contains("script-src 'self'"));
    assert_eq!(page.headers()["cache-control"], "no-cache");
    assert_eq!(
        client.get(format!("{base}/healthz")).send().await.unwrap().headers()["cache-control"],
        "no-store"
    );
}

fn assert_secure(headers: &HeaderMap) {
    assert_eq!(headers["x-content-type-options"], "nosniff");
    assert_eq!(headers["referrer-policy"], "no-referrer");
    assert_eq!(headers["x-frame-options"], "DENY");
    let policy = headers["content-security-policy"].to_str().unwrap();
    assert!(policy.contains("default-src 'none'") && policy.contains("frame-ancestors 'none'"), "{policy}");
}
