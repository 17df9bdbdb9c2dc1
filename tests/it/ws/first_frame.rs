//! The first frame of a Level 1 socket (basic mode) is an array of the last messages. The events after it continue
//! exactly where the array ends.

use mongodb::bson::{DateTime, doc};
use serde_json::json;

use crate::support::{
    Server, chat, deleted, edited, listed, matches, room_of_two, room_with_one_socket, said,
};

#[tokio::test]
async fn an_empty_room_has_an_empty_history() {
    let server = Server::start(&[]).await;
    server.room(&[1, 2]).await;
    let history = server.connect(1, 2).await.history().await;
    assert!(history.is_empty(), "{history:?}");
}

#[tokio::test]
async fn messages_are_whole_and_newest_first() {
    let (server, mut one, mut two) = room_of_two(&[]).await;
    one.say("hello").await;
    one.expect_all(&said(1, 1, "hello")).await;
    two.expect_all(&said(1, 1, "hello")).await;
    two.leave().await;
    // The server may not have noticed yet that user 2 disconnected. In this case the next message also becomes
    // delivered and read.
    one.say("is anyone there?").await;
    let sent = one.expect(chat(2, 1, "is anyone there?")).await;

    let history = server.connect(1, 2).await.history().await;
    assert_eq!(history.len(), 2);
    let status = history[0]["status"].as_str().unwrap_or_default();
    assert!(["send", "read", "delivered"].contains(&status), "{}", history[0]);
    assert!(matches(&listed(2, 1, "is anyone there?", status), &history[0]), "{}", history[0]);
    assert!(matches(&listed(1, 1, "hello", "read"), &history[1]), "{}", history[1]);
    for time in ["created_at", "updated_at"] {
        assert_eq!(history[0][time], sent["message"][time], "{time} is the event's");
    }
}

#[tokio::test]
async fn the_last_50_that_are_not_deleted() {
    let (server, mut one) = room_with_one_socket(&[]).await;
    for id in 1..=55 {
        one.say_alone(id, 1, &format!("number {id}")).await;
    }
    for id in [55, 30, 1] {
        one.send(json!({"action": "delete", "message_id": id})).await;
        one.expect(deleted(id)).await;
    }
    let history = server.connect(1, 2).await.history().await;
    let ids: Vec<_> = history.iter().filter_map(|message| message["message_id"].as_i64()).collect();
    let expected: Vec<i64> = (4..=54).rev().filter(|id| *id != 30).collect();
    assert_eq!(ids, expected);
}

#[tokio::test]
async fn an_edit_shows_and_is_dated() {
    let (server, mut one) = room_with_one_socket(&[]).await;
    let sent = one.say_alone(1, 1, "first").await;
    one.send(json!({"action": "edit", "message_id": 1, "text": "second"})).await;
    one.expect(edited(1, "second")).await;
    let history = server.connect(1, 2).await.history().await;
    assert!(matches(&json!([listed(1, 1, "second", "send")]), &history.clone().into()), "{history:?}");
    assert_eq!(history[0]["created_at"], sent["message"]["created_at"]);
    assert!(history[0]["updated_at"].as_str() > sent["message"]["updated_at"].as_str(), "{history:?}");
}

#[tokio::test]
async fn a_room_shows_its_own_messages_alone() {
    let (server, mut one) = room_with_one_socket(&[]).await;
    server.room(&[1, 3]).await;
    one.say_alone(1, 1, "to two").await;
    let history = server.connect(1, 3).await.history().await;
    assert!(history.is_empty(), "{history:?}");
}

#[tokio::test]
async fn a_history_that_cant_be_decoded_is_empty_and_the_socket_lives() {
    let server = Server::start(&[]).await;
    let room = server.room(&[1, 2]).await;
    for (n, fields) in [
        doc! {"sender": 1_i64, "text": 5, "created_at": DateTime::now(), "updated_at": DateTime::now()},
        doc! {"sender": 1_i64, "text": "x", "created_at": "yesterday", "updated_at": DateTime::now()},
        doc! {"sender": ["x"], "text": "x", "created_at": DateTime::now(), "updated_at": DateTime::now()},
        doc! {},
    ]
    .into_iter()
    .enumerate()
    {
        let n = i64::try_from(n).unwrap() + 1;
        let mut message = doc! {"_id": {"room": room, "n": 2 * n - 1}};
        message.extend(fields.clone());
        server.collection("messages").await.insert_one(message).await.unwrap();

        let mut one = server.connect(1, 2).await;
        let history = one.history().await;
        assert!(history.is_empty(), "with {fields}: {history:?}");
        one.say_alone(2 * n, 1, "still here").await;
    }
}

#[tokio::test]
async fn a_document_that_cant_be_decoded_doesnt_stop_the_events() {
    let server = Server::start(&[]).await;
    let room = server.room(&[1, 2]).await;
    let (mut one, mut two) = (server.join(1, 2).await, server.join(2, 1).await);
    let messages = server.collection("messages").await;
    messages.insert_one(doc! {"_id": {"room": room, "n": 1_i64}, "text": 5}).await.unwrap();
    one.say("still here").await;
    for client in [&mut one, &mut two] {
        client.until(chat(2, 1, "still here")).await;
    }
}

#[tokio::test]
async fn first_frame_and_events_hold_each_message_once() {
    const MESSAGES: i64 = 400;
    let (server, mut writer) = room_with_one_socket(&[]).await;
    let writing = async {
        for id in 1..=MESSAGES {
            writer.say(&format!("number {id}")).await;
            writer.until(chat(id, 1, &format!("number {id}"))).await;
        }
    };
    let reading = async {
        loop {
            let mut reader = server.connect(2, 1).await;
            let history = reader.history().await;
            let ids: Vec<_> = history.iter().filter_map(|message| message["message_id"].as_i64()).collect();
            let newest = ids.first().copied().unwrap_or(0);
            assert!(ids.iter().copied().eq((1..=newest).rev().take(50)), "holes in the array: {ids:?}");
            if newest + 2 >= MESSAGES {
                return;
            }
            // The next two `chat_message` events must continue the array. Receipt events may come between them.
            for id in newest + 1..=newest + 2 {
                let event = reader.until_kind("chat_message").await;
                assert_eq!(event["message"]["message_id"], id, "after an array up to {newest}");
            }
        }
    };
    tokio::join!(writing, reading);
}

#[tokio::test]
async fn no_edit_is_lost_or_doubled_between_the_array_and_the_events() {
    const EDITS: usize = 300;
    let (server, mut writer) = room_with_one_socket(&[]).await;
    writer.say_alone(1, 1, "0").await;
    let writing = async {
        for version in 1..=EDITS {
            let text = version.to_string();
            writer.send(json!({"action": "edit", "message_id": 1, "text": text})).await;
            writer.until(edited(1, &text)).await;
        }
    };
    let reading = async {
        loop {
            let mut reader = server.connect(2, 1).await;
            let history = reader.history().await;
            let version: usize = history[0]["text"].as_str().unwrap().parse().unwrap();
            if version == EDITS {
                return;
            }
            let event = reader.until_kind("message_edited").await;
            assert_eq!(event["text"], (version + 1).to_string(), "after an array with version {version}");
        }
    };
    tokio::join!(writing, reading);
}
