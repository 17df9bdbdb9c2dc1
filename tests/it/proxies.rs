//! Who a request is from, behind proxies; and addresses that are refused too often.

use reqwest::header::HeaderMap;

use crate::support::{Dial, Server, free_port};

const TARGET: &str = "/ws/chat/?firts_user=1&second_user=2/";

async fn server(overrides: &[(&str, &str)]) -> Server {
    let server = Server::start(&[&[("LIMITS__REFUSALS_PER_MINUTE", "3")], overrides].concat()).await;
    server.room(&[1, 2]).await;
    server
}

/// A handshake that came through a proxy.
fn from(server: &Server, forwarded_for: &str) -> Dial {
    server.dial(TARGET).called(forwarded_for).header("x-forwarded-for", forwarded_for)
}

/// Whether a good token is let in from there.
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

#[tokio::test]
async fn an_address_that_is_refused_too_often_is_429_for_a_while() {
    let admin = format!("127.0.0.1:{}", free_port());
    let server = server(&[("HTTP__PROXIES", "127.0.0.1, 10.0.0.0/8"), ("ADMIN__LISTEN", &admin)]).await;
    for (address, same, stranger) in [
        ("203.0.113.5", "1.1.1.1, 203.0.113.5, 10.1.2.3", "203.0.113.6"),
        ("2001:db8:0:1::5", "2001:db8:0:1:ffff::6", "2001:db8:0:2::5"),
    ] {
        let (token, forged) = (server.token(1).sign(), server.token(1).secret("x").sign());
        assert_eq!(from(&server, address).token(&forged).refused().await, 4001);
        assert_eq!(from(&server, address).refused().await, 4001, "no token");
        let none = server.dial("/ws/chat/?firts_user=1&second_user=9").header("x-forwarded-for", address);
        assert!(is_heard(&server, address).await);
        assert_eq!(none.token(&token).refused().await, 4004, "no room");

        // Whatever it comes with now, and whatever it says of itself.
        let (status, headers) = from(&server, same).token(&token).turned_away().await;
        assert_eq!(status, 429);
        let wait: u64 = headers["retry-after"].to_str().unwrap().parse().unwrap();
        assert!((50..=61).contains(&wait), "{wait}");
        assert!(!is_heard(&server, address).await);
        assert!(is_heard(&server, stranger).await);
        // Other answers are none of it.
        assert_eq!(server.get("/healthz").await, 200);
    }
    let page = reqwest::get(format!("http://{admin}/metrics")).await.unwrap().text().await.unwrap();
    assert!(page.contains("parlor_limits_hit_total{bound=\"refusals_per_minute\"} 4"), "{page}");
    assert!(page.contains("parlor_connects_total{outcome=\"too_many_refused\"} 4"), "{page}");
}

#[tokio::test]
async fn origins_that_are_refused_count_too() {
    let settings = [("HTTP__PROXIES", "127.0.0.1"), ("HTTP__ORIGINS", "https://app.example.com")];
    let server = server(&settings).await;
    for _ in 0..3 {
        let dial = from(&server, "203.0.113.5").header("origin", "https://evil.example.com");
        assert_eq!(dial.rejected().await, 403);
    }
    assert!(!is_heard(&server, "203.0.113.5").await);
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
async fn who_is_no_listed_proxy_is_not_believed() {
    let server = server(&[("HTTP__PROXIES", "10.0.0.0/8")]).await;
    for _ in 0..5 {
        assert_eq!(from(&server, "203.0.113.5").refused().await, 4001);
    }
    // It was this machine that was refused, and that is exempt.
    assert!(is_heard(&server, "203.0.113.5").await);
}

#[tokio::test]
async fn every_answer_has_security_headers() {
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
    // The page's own policy lets it have its own scripts.
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
