//! The action `auth`: a socket continues with a new token, and the server refuses an invalid token.

use std::time::Duration;

use mongodb::bson::DateTime;
use serde_json::{Value, json};
use tokio::time::timeout;

use super::{assert_shape, room, with_ref};
use crate::support::{Client, PATIENCE, Server, TIME, chat, error, matches, next_error, now};

/// The number of seconds for which the server accepts a token after its expiry.
const LEEWAY: u64 = 5;

/// The longest allowed time from a token's end to the close of its socket. It covers frames that are still on their
/// way.
const LATE: Duration = Duration::from_secs(4);

fn auth(token: &str) -> Value {
    json!({"action": "auth", "token": token})
}

/// Returns a token of user 1 that the server accepts for this number of seconds, leeway included.
fn good_for(server: &Server, seconds: u64) -> String {
    server.token(1).with("exp", now().as_secs() + seconds - LEEWAY).sign()
}

/// Opens a Level 2 socket of user 1 with this token, and reads its first frame.
async fn open(server: &Server, room: i64, token: &str) -> Client {
    let dial = server.dial(&format!("/ws/chat/?room_id={room}&since=")).called("user 1");
    let mut client = dial.token(token).open().await;
    assert_shape(&client.next().await);
    client
}

/// Sends a new token, which the server must accept. Returns the expiry time of the answer, as the time since 1970.
async fn renew(client: &mut Client, token: &str) -> Duration {
    client.send(auth(token)).await;
    let answer = client.next().await;
    let expected = json!({"type": "auth", "expires_at": TIME});
    assert!(matches(&expected, &answer), "{answer}");
    let at = DateTime::parse_rfc3339_str(answer["expires_at"].as_str().unwrap()).unwrap();
    Duration::from_millis(at.timestamp_millis().try_into().unwrap())
}

#[tokio::test]
async fn a_socket_outlives_the_token_that_was_replaced() {
    let (server, room) = room(&[]).await;
    let soon = good_for(&server, 3);
    let mut one = open(&server, room, &soon).await;
    let exp = now().as_secs() + 3600;
    let expires = renew(&mut one, &server.token(1).with("exp", exp).sign()).await.as_secs();
    assert!((exp..=exp + LEEWAY).contains(&expires), "expires_at is {expires}, exp is {exp}");
    // The second socket keeps the old token. The third socket's token ends later than the old token. So when the third
    // socket is closed, the old token has surely ended.
    let mut forgetful = open(&server, room, &soon).await;
    let mut later = open(&server, room, &good_for(&server, 5)).await;
    assert_eq!(forgetful.closed().await.0, 4001);
    assert_eq!(later.closed().await.0, 4001);
    one.quiet().await;
    one.say("still here").await;
    let heard = one.next().await;
    assert_eq!(heard["message"]["text"], "still here", "{heard}");
}

#[tokio::test]
async fn a_new_token_that_expires_earlier_closes_the_socket_earlier() {
    let (server, room) = room(&[]).await;
    let mut one = open(&server, room, &server.token(1).sign()).await;
    let ends = Duration::from_secs(now().as_secs() + 3);
    renew(&mut one, &good_for(&server, 3)).await;
    assert_eq!(one.closed().await.0, 4001);
    let closed = now();
    assert!(closed >= ends, "closed at {closed:?}, before the token's end at {ends:?}");
    assert!(closed < ends + LATE, "closed at {closed:?}, the token ended at {ends:?}");
}

#[tokio::test]
async fn token_may_be_renewed_again_and_the_last_one_counts() {
    let (server, room) = room(&[]).await;
    let mut one = open(&server, room, &good_for(&server, 3)).await;
    renew(&mut one, &server.token(1).sign()).await;
    renew(&mut one, &good_for(&server, 60)).await;
    let ends = Duration::from_secs(now().as_secs() + 4);
    renew(&mut one, &good_for(&server, 4)).await;
    assert_eq!(one.closed().await.0, 4001);
    assert!(now() >= ends, "the first token's end closed it");
}

#[tokio::test]
async fn bad_renewal_token_is_refused_and_the_old_one_stays() {
    let (server, room) = room(&[]).await;
    let token = server.token(1);
    let mut one = open(&server, room, &token.sign()).await;
    for (case, bad) in [
        ("another user's", server.token(2).sign()),
        ("expired", token.clone().with("exp", now().as_secs() - 60).sign()),
        ("not yet", token.clone().with("nbf", now().as_secs() + 60).sign()),
        ("no exp", token.clone().without("exp").sign()),
        ("another secret", token.clone().secret("another secret that is long enough, too").sign()),
        ("alg none", token.unsigned()),
        ("no user", token.clone().without("user_id").sign()),
        ("nonsense", "nonsense".to_owned()),
    ] {
        one.send(auth(&bad)).await;
        let refused = one.next().await;
        assert!(matches(&error("invalid_token", Some("auth")), &refused), "{case}: {refused}");
        assert!(!refused.to_string().contains(&bad), "{case}: {refused} tells the token");
        one.quiet().await;
    }
    one.say("still here").await;
    assert_eq!(one.next().await["message"]["text"], "still here");
}

#[tokio::test]
async fn a_refused_token_gives_no_more_time() {
    let (server, room) = room(&[]).await;
    let ends = Duration::from_secs(now().as_secs() + 3);
    let mut one = open(&server, room, &good_for(&server, 3)).await;
    one.send(with_ref(auth(&server.token(2).sign()), "mine")).await;
    one.expect(with_ref(error("invalid_token", Some("auth")), "mine")).await;
    let closed = timeout(PATIENCE, one.closed()).await.expect("it is closed");
    assert_eq!(closed.0, 4001);
    assert!(now() >= ends && now() < ends + LATE, "closed at {:?}, the token ended at {ends:?}", now());
}

#[tokio::test]
async fn a_frame_without_a_token_is_malformed() {
    let (server, room) = room(&[]).await;
    let mut one = open(&server, room, &server.token(1).sign()).await;
    for frame in [json!({"action": "auth"}), json!({"action": "auth", "token": 5})] {
        one.send(frame).await;
        next_error(&mut one, "invalid_request", "auth", "token").await;
    }
}

#[tokio::test]
async fn token_renewal_is_private_and_interrupts_nothing() {
    let (server, room) = room(&[]).await;
    let mut one = open(&server, room, &server.token(1).sign()).await;
    let mut beside = server.enter(1, room).await;
    renew(&mut one, &server.token(1).sign()).await;
    beside.quiet().await;
    beside.say_alone(1, 1, "Hello").await;
    one.expect(super::with_cursor(chat(1, 1, "Hello"))).await;
}
