//! The action `history` on a Level 2 socket: pages of older or newer messages, which only the asking socket receives.

use serde_json::{Value, json};

use super::{Live, delete, ids, room};
use crate::support::{deleted, error, listed, next_error};

fn ask(fields: &Value) -> Value {
    let mut frame = json!({"action": "history"});
    frame.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
    frame
}

#[tokio::test]
async fn pages_go_both_ways_and_pass_over_what_is_deleted() {
    let (server, room) = room(&[]).await;
    let mut one = Live::fresh(&server, 1, room).await;
    for id in 1..=7 {
        one.say_alone(id, 1, &format!("number {id}")).await;
    }
    one.send(delete(5)).await;
    one.hear(deleted(5)).await;
    for (fields, expected, more) in [
        (json!({}), &[7, 6, 4, 3, 2, 1][..], false),
        (json!({"limit": 3}), &[7, 6, 4], true),
        (json!({"limit": 6}), &[7, 6, 4, 3, 2, 1], false),
        (json!({"before": 4}), &[3, 2, 1], false),
        (json!({"before": 6, "limit": 2}), &[4, 3], true),
        (json!({"before": 5, "limit": 1}), &[4], true),
        (json!({"before": 1}), &[], false),
        (json!({"before": 9_007_199_254_740_991_i64, "limit": 1}), &[7], true),
        (json!({"after": 0}), &[1, 2, 3, 4, 6, 7], false),
        (json!({"after": 0, "limit": 2}), &[1, 2], true),
        (json!({"after": 3}), &[4, 6, 7], false),
        (json!({"after": 4, "limit": 2}), &[6, 7], false),
        (json!({"after": 4, "limit": 1}), &[6], true),
        (json!({"after": 7}), &[], false),
        (json!({"after": 9_007_199_254_740_991_i64}), &[], false),
        (json!({"limit": 200}), &[7, 6, 4, 3, 2, 1], false),
    ] {
        one.send(ask(&fields)).await;
        let messages: Vec<_> =
            expected.iter().map(|id| listed(*id, 1, &format!("number {id}"), "send")).collect();
        one.expect(json!({"type": "history", "messages": messages, "has_more": more})).await;
    }
}

#[tokio::test]
async fn history_page_has_50_messages_and_at_most_200() {
    let (server, room) = room(&[("LIMITS__SEND_QUEUE", "10000")]).await;
    let mut one = Live::fresh(&server, 1, room).await;
    for _ in 1..=201 {
        one.say("one of many").await;
    }
    one.client.take(201).await;
    for (fields, expected, more) in [
        (json!({}), (152..=201).rev().collect::<Vec<i64>>(), true),
        (json!({"before": 51}), (1..=50).rev().collect(), false),
        (json!({"before": 52}), (2..=51).rev().collect(), true),
        (json!({"after": 0}), (1..=50).collect(), true),
        (json!({"after": 151}), (152..=201).collect(), false),
        (json!({"limit": 200}), (2..=201).rev().collect(), true),
        (json!({"after": 1, "limit": 200}), (2..=201).collect(), false),
    ] {
        one.send(ask(&fields)).await;
        let page = one.next().await;
        assert_eq!((ids(&page["messages"]), &page["has_more"]), (expected, &json!(more)), "{fields}");
    }
}

#[tokio::test]
async fn invalid_history_request_is_refused() {
    let (server, room) = room(&[]).await;
    let mut one = Live::fresh(&server, 1, room).await;
    one.say_alone(1, 1, "Hello").await;
    for (fields, named) in [
        (json!({"limit": 0}), "limit"),
        (json!({"limit": 201}), "limit"),
        (json!({"limit": -1}), "limit"),
        (json!({"limit": 1.5}), "limit"),
        (json!({"limit": [50]}), "limit"),
        (json!({"limit": 1_u64 << 63}), "limit"),
        (json!({"before": -1}), "before"),
        (json!({"before": 1.5}), "before"),
        (json!({"before": "x"}), "before"),
        (json!({"before": 9_007_199_254_740_992_i64}), "before"),
        (json!({"after": -1}), "after"),
        (json!({"after": {}}), "after"),
    ] {
        one.send(ask(&fields)).await;
        next_error(&mut one, "invalid_request", "history", named).await;
    }
    for both in [json!({"before": 1, "after": 1}), json!({"before": 9, "after": 0, "limit": 5})] {
        one.send(ask(&both)).await;
        one.expect(error("invalid_request", Some("history"))).await;
    }
}

#[tokio::test]
async fn history_answers_its_own_socket_with_current_messages() {
    let (server, room) = room(&[]).await;
    let mut one = Live::fresh(&server, 1, room).await;
    one.say_alone(1, 1, "first").await;
    let mut two = Live::fresh(&server, 2, room).await;
    let mut second = Live::fresh(&server, 2, room).await;
    for live in [&mut one, &mut two] {
        while live.next().await["type"] != "mark_message_as_read" {}
    }
    one.send(super::edit(1, "second")).await;
    let edited = one.hear(crate::support::edited(1, "second")).await;
    two.hear(crate::support::edited(1, "second")).await;
    two.send(ask(&json!({}))).await;
    let page = two
        .expect(json!({"type": "history", "messages": [listed(1, 1, "second", "read")], "has_more": false}))
        .await;
    assert!(page.get("cursor").is_none() && edited.get("cursor").is_some());
    second.hear_until(crate::support::edited(1, "second")).await;
    for live in [&mut one, &mut two, &mut second] {
        live.quiet().await;
    }
}

#[tokio::test]
async fn a_room_shows_its_own_messages_alone() {
    let (server, room) = room(&[]).await;
    let other = server.room(&[1, 3]).await;
    let mut one = Live::fresh(&server, 1, room).await;
    one.say_alone(1, 1, "here").await;
    let mut elsewhere = Live::fresh(&server, 1, other).await;
    for fields in [json!({}), json!({"after": 0}), json!({"before": 5})] {
        elsewhere.send(ask(&fields)).await;
        elsewhere.expect(json!({"type": "history", "messages": [], "has_more": false})).await;
    }
}
