//! Resuming a Level 2 socket: the client receives all changes since its cursor, each once, and nothing else.

use mongodb::bson::doc;
use reqwest::Method;
use serde_json::{Value, json};

use super::{Live, Told, delete, edit, id_of, mark, missed, room};
use crate::support::{
    Server, WORDS, chat, deleted, delivered, edited, eventually_count, listed, matches, read, said,
};

#[tokio::test]
async fn the_first_frame_of_an_empty_room_is_whole() {
    let (server, room) = room(&[]).await;
    let (mut one, mut frame) = Live::open(&server, 1, room, "").await;
    frame["marks"].as_array_mut().unwrap().sort_by_key(|mark| mark["user_id"].as_i64());
    let nothing = |user: i64| json!({"user_id": user, "delivered": 0, "read": 0});
    let expected = json!({
        "type": "resumed", "resumed": false, "messages": [], "edited": [], "deleted": [],
        "marks": [nothing(1), nothing(2)], "has_more": false, "cursor": WORDS,
    });
    assert!(matches(&expected, &frame), "expected\n  {expected}\ngot\n  {frame}");
    one.quiet().await;
}

#[tokio::test]
async fn first_frame_without_a_cursor_has_the_last_50_messages() {
    let (server, room) = room(&[]).await;
    let mut one = Live::fresh(&server, 1, room).await;
    for id in 1..=50 {
        one.say_alone(id, 1, &format!("number {id}")).await;
    }
    let (_, frame) = Live::open(&server, 1, room, "").await;
    assert_eq!((super::ids(&frame["messages"]), &frame["has_more"]), ((1..=50).collect(), &json!(false)));
    one.say_alone(51, 1, "number 51").await;
    let (_, frame) = Live::open(&server, 1, room, "").await;
    assert_eq!((super::ids(&frame["messages"]), &frame["has_more"]), ((2..=51).collect(), &json!(true)));
    assert_eq!((&frame["edited"], &frame["deleted"]), (&json!([]), &json!([])));
    assert!(matches(&listed(2, 1, "number 2", "send"), &frame["messages"][0]), "{frame}");

    // The last 50 messages do not include deleted messages, and `has_more` does not count them.
    for id in [1, 30] {
        one.send(delete(id)).await;
        one.hear(deleted(id)).await;
    }
    let (_, frame) = Live::open(&server, 1, room, "").await;
    let kept: Vec<i64> = (2..=51).filter(|id| *id != 30).collect();
    assert_eq!((super::ids(&frame["messages"]), &frame["has_more"]), (kept, &json!(false)));
    assert_eq!((&frame["edited"], &frame["deleted"]), (&json!([]), &json!([])));
}

#[tokio::test]
async fn changed_messages_are_resumed_once_in_their_current_form() {
    let (server, room) = room(&[]).await;
    let mut one = Live::fresh(&server, 1, room).await;
    for id in 1..=6 {
        one.say_alone(id, 1, "before").await;
    }
    // The client has received these changes before its cursor, so a resume must not repeat them.
    one.send(edit(1, "changed before")).await;
    one.hear(edited(1, "changed before")).await;
    one.send(delete(2)).await;
    one.hear(deleted(2)).await;
    let cursor = one.cursor.clone();

    one.say_alone(7, 1, "new").await;
    one.say_alone(8, 1, "new, to be edited").await;
    one.say_alone(9, 1, "new, to be deleted").await;
    let frames = [edit(8, "new and edited"), delete(9), edit(6, "once"), edit(3, "one"), edit(5, "in vain")];
    let more = [delete(5), edit(3, "two"), delete(4)];
    for frame in frames.into_iter().chain(more) {
        one.send(frame).await;
        assert_ne!(one.next().await["type"], "error");
    }
    let (mut late, frame) = Live::open(&server, 1, room, &cursor).await;
    assert_eq!((&frame["resumed"], &frame["has_more"]), (&json!(true), &json!(false)), "{frame}");
    let messages = json!([listed(7, 1, "new", "send"), listed(8, 1, "new and edited", "send")]);
    assert!(matches(&messages, &frame["messages"]), "{frame}");
    let changed = json!([listed(6, 1, "once", "send"), listed(3, 1, "two", "send")]);
    assert!(matches(&changed, &frame["edited"]), "{frame}");
    assert_eq!(frame["deleted"], json!([5, 4]), "in the order of the changes");

    // Later changes arrive as events. No earlier change arrives a second time.
    one.say("and on").await;
    late.hear(chat(10, 1, "and on")).await;
    late.quiet().await;
}

#[tokio::test]
async fn an_edited_message_has_the_time_of_its_edit() {
    let (server, room) = room(&[]).await;
    let mut one = Live::fresh(&server, 1, room).await;
    let said = one.say_alone(1, 1, "same").await["message"].clone();
    let cursor = one.cursor.clone();
    one.send(edit(1, "same")).await;
    one.hear(edited(1, "same")).await;
    let (_, frame) = Live::open(&server, 1, room, &cursor).await;
    let now = &frame["edited"][0];
    assert_eq!((&now["text"], &now["created_at"]), (&json!("same"), &said["created_at"]), "{frame}");
    assert!(now["updated_at"].as_str() > said["updated_at"].as_str(), "{now} comes after {said}");
}

#[tokio::test]
async fn the_cursor_of_every_event_is_good_and_exact() {
    let (server, room) = room(&[]).await;
    let mut one = Live::fresh(&server, 1, room).await;
    let mut two = server.join(2, 1).await;
    let mut events = Vec::new();
    for (id, text) in [(1, "first"), (2, "second"), (3, "third")] {
        one.say(text).await;
        for event in said(id, 1, text) {
            events.push(one.hear(event).await);
        }
        two.until(read(id, 1, text)).await;
    }
    for (frame, event) in [
        (edit(1, "first again"), edited(1, "first again")),
        (delete(2), deleted(2)),
        (edit(3, "third again"), edited(3, "third again")),
        (edit(1, "first once more"), edited(1, "first once more")),
        (delete(3), deleted(3)),
    ] {
        one.send(frame).await;
        events.push(one.hear(event).await);
    }
    let kinds: std::collections::BTreeSet<_> = events.iter().map(|event| event["type"].as_str()).collect();
    assert_eq!(kinds.len(), 5, "there is an event of each kind");
    for (at, event) in events.iter().enumerate() {
        let told = missed(&server, room, event["cursor"].as_str().unwrap()).await;
        assert_eq!(told, Told::after(&events[at + 1..]), "since event {at}, {event}");
    }
}

#[tokio::test]
async fn the_cursor_of_a_first_frame_goes_on_from_it() {
    let (server, room) = room(&[]).await;
    let mut one = Live::fresh(&server, 1, room).await;
    let empty = one.cursor.clone();
    one.say_alone(1, 1, "first").await;
    let (plain, _) = Live::open(&server, 1, room, "").await;
    let (resumed, frame) = Live::open(&server, 1, room, &empty).await;
    assert_eq!(Told::by(&frame).messages, [(1, "first".to_owned())]);
    for cursor in [&plain.cursor, &resumed.cursor] {
        assert_eq!(missed(&server, room, cursor).await, Told::default());
    }
    one.send(edit(1, "changed")).await;
    one.hear(edited(1, "changed")).await;
    let changed = Told { edited: vec![(1, "changed".to_owned())], ..Told::default() };
    for cursor in [&plain.cursor, &resumed.cursor] {
        assert_eq!(missed(&server, room, cursor).await, changed);
        // A client may use the same cursor several times.
        assert_eq!(missed(&server, room, cursor).await, changed);
    }
}

#[tokio::test]
async fn a_room_s_first_cursor_tells_of_all_of_it() {
    let (server, room) = room(&[]).await;
    let start = Live::fresh(&server, 1, room).await.cursor;
    let mut one = Live::fresh(&server, 1, room).await;
    for id in 1..=60 {
        one.say_alone(id, 1, &format!("number {id}")).await;
    }
    let told = missed(&server, room, &start).await;
    let all: Vec<_> = (1..=60).map(|id| (id, format!("number {id}"))).collect();
    assert_eq!(told, Told { messages: all, ..Told::default() }, "not the last 50 alone");
}

#[tokio::test]
async fn waiting_messages_become_read_after_the_first_frame() {
    let (server, room) = room(&[]).await;
    let two = Live::fresh(&server, 2, room).await;
    let cursor = two.cursor.clone();
    two.client.leave().await;
    let mut one = Live::fresh(&server, 1, room).await;
    one.say("waiting").await;
    one.hear(chat(1, 1, "waiting")).await;
    let (mut two, frame) = Live::open(&server, 2, room, &cursor).await;
    assert_eq!(Told::by(&frame).messages, [(1, "waiting".to_owned())]);
    if frame["messages"][0]["status"] == "send" {
        two.hear_all(&[delivered(1, 1, "waiting"), read(1, 1, "waiting")]).await;
    }
    one.hear_until(read(1, 1, "waiting")).await;
    let cursor = one.cursor.clone();
    let (_, frame) = Live::open(&server, 1, room, &cursor).await;
    assert_eq!(frame["messages"], json!([]), "a mark makes no message new: {frame}");
    assert_eq!(mark(&frame, 2), (1, 1), "{frame}");
}

#[tokio::test]
async fn changes_by_the_application_are_resumed() {
    let (server, room) = room(&[]).await;
    let mut one = Live::fresh(&server, 1, room).await;
    for id in 1..=3 {
        one.say_alone(id, 1, "as it was").await;
    }
    let path = |n: i64| format!("/rooms/{room}/messages/{n}");
    let patched = server.call(Method::PATCH, &path(1), json!({"text": "as it is"})).await;
    assert_eq!(patched.0, 200, "{patched:?}");
    assert_eq!(server.call(Method::DELETE, &path(2), Value::Null).await.0, 204);
    let body = json!({"sender_id": 2, "text": "by the application"});
    assert_eq!(server.api_post(&format!("/rooms/{room}/messages"), &body).await.0, 201);
    let told = missed(&server, room, &one.cursor).await;
    let expected = Told {
        messages: vec![(4, "by the application".to_owned())],
        edited: vec![(1, "as it is".to_owned())],
        deleted: vec![2],
    };
    assert_eq!(told, expected);
}

#[tokio::test]
async fn messages_of_an_erased_author_are_resumed_as_deleted() {
    let (server, room) = room(&[]).await;
    let mut two = Live::fresh(&server, 2, room).await;
    let mut one = Live::fresh(&server, 1, room).await;
    for id in [1, 2] {
        one.say("to be forgotten").await;
        two.hear_all(&said(id, 1, "to be forgotten")).await;
    }
    two.say("to stay").await;
    two.hear_until(chat(3, 2, "to stay")).await;
    let cursor = two.cursor.clone();
    assert_eq!(server.api_delete("/users/1").await.0, 202);
    let mut told = Vec::new();
    while told.len() < 2 {
        let frame = two.next().await;
        if frame["type"] == "message_deleted" {
            told.push(id_of(&frame));
        }
    }
    let erasures = server.collection("erasures").await;
    let swept = doc! { "swept": true };
    eventually_count(&erasures, swept.clone(), |count| count != 0).await;
    let (_, frame) = Live::open(&server, 2, room, &cursor).await;
    assert_eq!(frame["resumed"], true, "{frame}");
    let mut deleted = Told::by(&frame).deleted;
    deleted.sort_unstable();
    assert_eq!(deleted, [1, 2], "{frame}");
    assert_eq!((&frame["messages"], &frame["edited"]), (&json!([]), &json!([])), "{frame}");
}

#[tokio::test]
async fn a_room_keeps_its_changes_to_itself() {
    let server = Server::start(&[]).await;
    let (room, other) = (server.room(&[1, 2]).await, server.room(&[1, 3]).await);
    let (mut here, mut there) = (Live::fresh(&server, 1, room).await, Live::fresh(&server, 1, other).await);
    here.say_alone(1, 1, "here").await;
    let cursor = here.cursor.clone();
    there.say_alone(1, 1, "there").await;
    there.send(edit(1, "still there")).await;
    there.hear(edited(1, "still there")).await;
    there.send(delete(1)).await;
    there.hear(deleted(1)).await;
    assert_eq!(missed(&server, room, &cursor).await, Told::default());
    here.quiet().await;
}
