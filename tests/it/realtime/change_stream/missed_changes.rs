//! The change stream's history is lost, so the server misses changes: removed members, a deleted room, and new
//! activity. The server then finds these changes in the database.

use reqwest::Method;
use serde_json::{Value, json};

use super::{break_stream, say, server, unharmed};
use crate::support::{End, Mongod, chat};

#[tokio::test]
async fn sockets_close_when_their_room_was_lost_with_the_stream() {
    let mongod = Mongod::start().await;
    let server = server(&mongod).await;
    let other = unharmed(&mongod, &server).await;
    let (group, doomed) = (server.room(&[1, 2, 3]).await, server.room(&[1, 4]).await);
    let (mut stays, mut leaves) = (server.enter(1, group).await, server.enter(2, group).await);
    let mut inside = server.enter(4, doomed).await;
    let mut elsewhere = other.enter(3, group).await;
    let order = async |server: &crate::support::Server| {
        let (status, page) = server.call(Method::GET, "/rooms?user_id=1", Value::Null).await;
        assert_eq!(status, 200, "{page}");
        let rooms = page["rooms"].as_array().unwrap().iter();
        rooms.map(|room| room["room_id"].as_i64().unwrap()).collect::<Vec<_>>()
    };
    let first = order(&server).await;
    assert_eq!((first[0], first[1], first.len()), (doomed, group, 3), "by when they were made");

    break_stream(&mongod, &server, 286).await;
    let path = format!("/rooms/{group}/members/2");
    assert_eq!(other.call(Method::DELETE, &path, Value::Null).await.0, 204);
    assert_eq!(other.call(Method::DELETE, &format!("/rooms/{doomed}"), Value::Null).await.0, 204);
    say(&mut elsewhere, 1, 3, "without them").await;
    let (_, made) =
        other.call(Method::POST, "/rooms", json!({"members": [{"user_id": 1}, {"user_id": 9}]})).await;
    let new = made["room_id"].as_i64().unwrap();
    say(&mut elsewhere, 2, 3, "the latest").await;
    mongod.heal().await;
    server.until_status("/readyz", 200).await;

    assert_eq!(leaves.hear_out().await, (Vec::new(), End::Closed(4003)), "and nothing of what was said then");
    assert_eq!(inside.hear_out().await, (Vec::new(), End::Closed(1012)), "to come back, and be told");
    assert_eq!(server.dial_as(4, &format!("room_id={doomed}")).refused().await, 4004);
    stays.until(chat(2, 3, "the latest")).await;
    let after = order(&server).await;
    assert_eq!((after[0], after[1], after.len()), (group, new, 3));
}
