//! The actions `send`, `edit` and `delete`: their effects, the sockets that receive their events, and the order of the
//! events.

use mongodb::bson::doc;
use serde_json::json;

use crate::support::{
    Client, Server, chat, deleted, edited, error, ids_of, listed, matches, room_with_one_socket,
};
use crate::support::{read, room_of_two, said};

#[tokio::test]
async fn a_message_reaches_both_users_and_is_acknowledged_by_itself() {
    let (_server, mut one, mut two) = room_of_two(&[]).await;
    one.say("Hello").await;
    one.expect_all(&said(1, 1, "Hello")).await;
    two.expect_all(&said(1, 1, "Hello")).await;
    two.say("Hello yourself").await;
    one.expect_all(&said(2, 2, "Hello yourself")).await;
    two.expect_all(&said(2, 2, "Hello yourself")).await;
}

#[tokio::test]
async fn an_edit_reaches_both_users() {
    let (server, mut one, mut two) = room_of_two(&[]).await;
    one.say("Hello").await;
    one.send(json!({"action": "edit", "message_id": 1, "text": "Good evening"})).await;
    for client in [&mut one, &mut two] {
        client.until(edited(1, "Good evening")).await;
    }
    let mut later = server.connect(2, 1).await;
    assert_eq!(later.history().await[0]["text"], "Good evening");
}

#[tokio::test]
async fn a_delete_reaches_both_users() {
    let (server, mut one, mut two) = room_of_two(&[]).await;
    one.say("Hello").await;
    for client in [&mut one, &mut two] {
        client.expect_all(&said(1, 1, "Hello")).await;
    }
    one.send(json!({"action": "delete", "message_id": 1})).await;
    one.expect(deleted(1)).await;
    two.expect(deleted(1)).await;
    assert!(server.connect(2, 1).await.history().await.is_empty());
    // The id of the deleted message is not used again.
    one.say("again").await;
    two.expect_all(&said(2, 1, "again")).await;
}

#[tokio::test]
async fn a_message_id_may_come_as_digits_and_goes_out_as_a_number() {
    let (_server, mut one) = room_with_one_socket(&[]).await;
    one.say_alone(1, 1, "Hello").await;
    one.send(json!({"action": "edit", "message_id": "1", "text": "new"})).await;
    one.expect(edited(1, "new")).await;
    one.send(json!({"action": "delete", "message_id": "1"})).await;
    one.expect(deleted(1)).await;
}

#[tokio::test]
async fn author_alone_may_edit_or_delete() {
    let (server, mut one, mut two) = room_of_two(&[]).await;
    one.say("mine").await;
    two.expect_all(&said(1, 1, "mine")).await;
    two.send(json!({"action": "edit", "message_id": 1, "text": "yours"})).await;
    two.expect(error("not_author", Some("edit"))).await;
    two.send(json!({"action": "delete", "message_id": 1})).await;
    two.expect(error("not_author", Some("delete"))).await;

    // The refused actions wrote no document, and only the socket of user 2 received the errors.
    let history = server.connect(2, 1).await.history().await;
    assert!(matches(&json!([listed(1, 1, "mine", "read")]), &history.clone().into()), "{history:?}");
    two.say("sorry").await;
    one.expect_all(&said(1, 1, "mine")).await;
    one.expect_all(&said(2, 2, "sorry")).await;
}

#[tokio::test]
async fn group_admin_may_delete_but_not_edit_messages_of_others() {
    let server = Server::start(&[]).await;
    let room = server.room(&[1, 2, 3]).await;
    let admin = doc! {"_id.room": room, "_id.user": 3_i64};
    let made = server.collection("members").await.update_one(admin, doc! {"$set": {"role": "admin"}}).await;
    assert_eq!(made.unwrap().matched_count, 1, "the member stands in the database");
    let mut one = server.enter(1, room).await;
    let mut two = server.enter(2, room).await;
    let mut three = server.enter(3, room).await;
    one.say("hello").await;
    for client in [&mut one, &mut two, &mut three] {
        client.until(read(1, 1, "hello")).await;
    }
    let edit = json!({"action": "edit", "message_id": 1, "text": "x"});
    let delete = json!({"action": "delete", "message_id": 1});
    for (frame, action) in [(&edit, "edit"), (&delete, "delete")] {
        two.send(frame.clone()).await;
        two.expect(error("not_author", Some(action))).await;
    }
    three.send(edit).await;
    three.expect(error("not_author", Some("edit"))).await;
    three.send(delete).await;
    for client in [&mut one, &mut two, &mut three] {
        client.expect(deleted(1)).await;
    }
}

#[tokio::test]
async fn missing_message_cannot_be_edited_or_deleted() {
    let (_server, mut one) = room_with_one_socket(&[]).await;
    one.say_alone(1, 1, "gone soon").await;
    one.send(json!({"action": "delete", "message_id": 1})).await;
    one.expect(deleted(1)).await;
    for id in [json!(1), json!("1"), json!(2), json!(9_007_199_254_740_991_i64)] {
        one.send(json!({"action": "edit", "message_id": id, "text": "x"})).await;
        one.expect(error("not_found", Some("edit"))).await;
        one.send(json!({"action": "delete", "message_id": id})).await;
        one.expect(error("not_found", Some("delete"))).await;
    }
}

#[tokio::test]
async fn the_same_text_again_is_an_edit_too() {
    let (server, mut one) = room_with_one_socket(&[]).await;
    one.say_alone(1, 1, "same").await;
    let mut before = server.connect(1, 2).await.history().await[0]["updated_at"].clone();
    for _ in 0..3 {
        one.send(json!({"action": "edit", "message_id": 1, "text": "same"})).await;
        one.expect(edited(1, "same")).await;
        let after = server.connect(1, 2).await.history().await[0]["updated_at"].clone();
        assert!(after.as_str() > before.as_str(), "{after} comes after {before}");
        before = after;
    }
}

#[tokio::test]
async fn the_frames_of_a_socket_are_handled_in_their_order() {
    let (_server, mut one) = room_with_one_socket(&[]).await;
    one.say("a").await;
    one.say("b").await;
    one.send(json!({"action": "edit", "message_id": 1, "text": "A"})).await;
    one.send(json!({"action": "delete", "message_id": 2})).await;
    one.send(json!({"action": "edit", "message_id": 1, "text": "AA"})).await;
    one.say("c").await;
    one.expect_all(&[chat(1, 1, "a"), chat(2, 1, "b"), edited(1, "A"), deleted(2), edited(1, "AA")]).await;
    one.expect(chat(3, 1, "c")).await;
}

#[tokio::test]
async fn frames_keep_their_order_when_sent_together() {
    const MESSAGES: i64 = 300;
    let (_server, mut one) = room_with_one_socket(&[]).await;
    for id in 1..=MESSAGES {
        one.say(&format!("number {id}")).await;
    }
    for id in 1..=MESSAGES {
        one.expect(chat(id, 1, &format!("number {id}"))).await;
    }
}

/// Sends `messages` messages. Then returns the next `frames` frames that the client receives.
async fn talk(client: &mut Client, who: &str, messages: usize, frames: usize) -> Vec<serde_json::Value> {
    for n in 1..=messages {
        client.say(&format!("{who} {n}")).await;
    }
    client.take(frames).await
}

#[tokio::test]
async fn sockets_on_all_servers_get_the_same_events_in_order() {
    const EACH: usize = 50;
    // Each of the four sockets sends `EACH` messages, and each message causes three events.
    const FRAMES: usize = 4 * EACH * 3;
    let server = Server::start(&[]).await;
    let other = server.beside().await;
    server.room(&[1, 2]).await;
    let mut a = server.join(1, 2).await;
    let mut b = server.join(2, 1).await;
    let mut c = other.join(1, 2).await;
    let mut d = other.join(2, 1).await;
    let (a, b, c, d) = tokio::join!(
        talk(&mut a, "a", EACH, FRAMES),
        talk(&mut b, "b", EACH, FRAMES),
        talk(&mut c, "c", EACH, FRAMES),
        talk(&mut d, "d", EACH, FRAMES),
    );
    let ids: Vec<_> = (1_i64..).take(4 * EACH).collect();
    assert_eq!(ids_of(&a, "chat_message"), ids, "the ids count without a hole");
    for (name, frames) in [("b", &b), ("c", &c), ("d", &d)] {
        for (at, (first, second)) in a.iter().zip(frames).enumerate() {
            assert_eq!(first, second, "frame {at} of socket a and of socket {name}");
        }
    }
    for who in ["a", "b", "c", "d"] {
        let texts = a.iter().filter(|frame| frame["type"] == "chat_message");
        let texts = texts.filter_map(|frame| frame["message"]["text"].as_str());
        let own: Vec<_> = texts.filter(|text| text.starts_with(who)).collect();
        let sent: Vec<_> = (1..=EACH).map(|n| format!("{who} {n}")).collect();
        assert_eq!(own, sent, "each socket's messages stand in the order they were sent");
    }
}

#[tokio::test]
async fn a_room_may_be_spread_over_servers() {
    let server = Server::start(&[]).await;
    let other = server.beside().await;
    server.room(&[1, 2]).await;
    let mut one = server.join(1, 2).await;
    let mut two = other.join(2, 1).await;
    for id in [1, 3, 5] {
        one.say("from here").await;
        for client in [&mut one, &mut two] {
            client.expect_all(&said(id, 1, "from here")).await;
        }
        two.say("from there").await;
        for client in [&mut one, &mut two] {
            client.expect_all(&said(id + 1, 2, "from there")).await;
        }
    }
    two.send(json!({"action": "delete", "message_id": 2})).await;
    one.expect(deleted(2)).await;
    one.send(json!({"action": "edit", "message_id": 1, "text": "seen there"})).await;
    two.expect(deleted(2)).await;
    two.expect(edited(1, "seen there")).await;
}

#[tokio::test]
async fn the_times_of_an_event_agree_with_each_other() {
    let (_server, mut one, _two) = room_of_two(&[]).await;
    one.say("when").await;
    let frames = one.take(3).await;
    let times = |at: usize| (&frames[at]["message"]["created_at"], &frames[at]["message"]["updated_at"]);
    assert_eq!(times(0).0, times(0).1, "nothing has changed it yet");
    assert_eq!(times(0), times(1), "delivery changes no time");
    assert_eq!(times(0), times(2), "reading changes no time");
}
