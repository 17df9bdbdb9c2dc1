//! The log lines about refused connects, which only a server with the embedded `mongod` writes.

use crate::support::{Database, Home, Serving, Token, eventually, now};

const SECRET: &str = "a secret of these tests, 32 bytes long";

/// Returns the lines about refused connects.
fn refusals(log: &str) -> Vec<&str> {
    log.lines().filter(|line| line.contains("refused a connect")).collect()
}

async fn refuse(server: &Serving, query: &str, token: &str) -> u16 {
    server.dial(query, token).refused().await
}

#[tokio::test]
async fn refused_connects_are_logged_with_the_embedded_mongod() {
    let home = Home::new().await.set("AUTH__SECRET", SECRET).set("HTTP__ORIGINS", "https://example.com");
    let server = home.serve().await;
    let user = "a\"b\u{202e}c";
    let forged = Token::of("another secret of these tests, 32 bytes", user).sign();
    assert_eq!(refuse(&server, "room_id=1", &forged).await, 4001);
    let expired = Token::of(SECRET, user).with("exp", now().as_secs() - 60).sign();
    assert_eq!(refuse(&server, "room_id=1", &expired).await, 4001);
    let good = Token::of(SECRET, user).sign();
    assert_eq!(refuse(&server, "room_id=77", &good).await, 4004);
    let origin = server.dial("room_id=77", &good).header("origin", "https://elsewhere.example");
    assert_eq!(origin.rejected().await, 403);
    let log = server.stop().await;

    let lines = refusals(&log);
    assert_eq!(lines.len(), 4, "{log}");
    let user = r#"user="a\"b\u{202e}c""#;
    for (line, fields) in lines.iter().zip([
        ["code=4001", "reason=\"the token's signature is wrong\"", ""],
        ["code=4001", "reason=\"the token has expired\"", user],
        ["code=4004", "reason=\"no such room\"", user],
        ["code=403", "reason=\"pages of this origin may not connect\"", ""],
    ]) {
        assert!(line.contains(" INFO ") && line.contains("address=127.0.0.1"), "{line}");
        assert!(fields.iter().all(|field| line.contains(field)), "{fields:?}: {line}");
        assert!(!fields[2].is_empty() || !line.contains("user="), "{line}");
    }
    assert!(![forged, expired, good].iter().any(|token| log.contains(token.rsplit('.').next().unwrap())));
}

#[tokio::test]
async fn flood_of_refused_connects_is_logged_within_a_rate() {
    const CONNECTS: usize = 60;
    let home = Home::new().await.set("AUTH__SECRET", SECRET);
    let server = home.serve().await;
    for _ in 0..CONNECTS {
        assert_eq!(refuse(&server, "room_id=1", "forged").await, 4001);
    }
    let mut asked = CONNECTS;
    let count = |line: &str| line.split_once("left_out=")?.1.split(' ').next()?.parse::<usize>().ok();
    let left_out = |log: &str| refusals(log).into_iter().filter_map(count).sum::<usize>();
    let probe = async || {
        asked += 1;
        assert_eq!(refuse(&server, "room_id=1", "forged").await, 4001);
        server.log()
    };
    let log = eventually("a line says how many were left out", probe, |log| left_out(log) > 0).await;
    let lines = refusals(&log).len();
    assert!((20..40).contains(&lines) && left_out(&log) >= 20, "{lines} lines of {asked} connects");
    server.stop().await;
}

#[tokio::test]
async fn refused_connects_are_not_logged_with_a_configured_database() {
    let database = Database::new();
    let home = Home::new().await.set("AUTH__SECRET", SECRET);
    let home = home.set("MONGODB__URI", Database::uri()).set("MONGODB__DATABASE", &database.name);
    let server = home.serve().await;
    assert_eq!(refuse(&server, "room_id=1", "forged").await, 4001);
    let log = server.stop().await;
    assert_eq!(refusals(&log), [""; 0], "{log}");
}
