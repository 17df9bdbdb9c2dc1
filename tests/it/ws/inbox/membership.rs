//! An inbox connection while rooms are added, changed and removed.

use mongodb::bson::doc;
use reqwest::Method;
use serde_json::json;

use super::{expect, inbox, next};
use crate::support::{Client, Metered, Server, chat, eventually_count, shared_uri};

#[tokio::test]
async fn a_room_that_is_made_is_added_and_heard_of_at_once() {
    let server = Server::start(&[]).await;
    let (mut one, ready) = inbox(&server, 1).await;
    assert_eq!(ready["rooms"], json!([]));
    let room = server.room(&[1, 2]).await;
    let added = one.next().await;
    assert_eq!((&added["type"], &added["room_id"]), (&json!("room_added"), &json!(room)), "{added}");
    assert_eq!((&added["room"]["unread"], &added["room"]["kind"]), (&json!(0), &json!("direct")));
    let mut two = server.join(2, 1).await;
    two.say("hi").await;
    expect_after_presence(&mut one, room).await;
}

/// Waits for the message "hi" in this room. The presence event of user 2 may come before it.
async fn expect_after_presence(one: &mut crate::support::Client, room: i64) {
    let frame = one.until_kind("chat_message").await;
    assert_eq!((&frame["room_id"], &frame["message"]["text"]), (&json!(room), &json!("hi")));
}

#[tokio::test]
async fn a_member_of_a_group_comes_and_goes() {
    let server = Server::start(&[]).await;
    let group = server.room(&[1, 2, 3]).await;
    let (mut one, _) = inbox(&server, 1).await;
    let (mut four, ready) = inbox(&server, 4).await;
    assert_eq!(ready["rooms"], json!([]));

    let (status, _) = server.call(Method::PUT, &format!("/rooms/{group}/members/4"), json!({})).await;
    assert_eq!(status, 201);
    let added = four.until_kind("room_added").await;
    assert_eq!(added["room_id"], group);
    let changed = one.until_kind("room_changed").await;
    assert_eq!(changed["room_id"], group);
    assert_eq!(changed["room"]["members"].as_array().unwrap().len(), 4);
    four.send(json!({"action": "send", "room_id": group, "message": "hello all"})).await;
    one.until_kind("chat_message").await;

    let (status, _) = server.call(Method::DELETE, &format!("/rooms/{group}/members/4"), json!({})).await;
    assert_eq!(status, 204);
    let removed = four.until_kind("room_removed").await;
    assert_eq!(removed["room_id"], group);
    let changed = one.until_kind("room_changed").await;
    assert_eq!(changed["room"]["members"].as_array().unwrap().len(), 3);
    one.send(json!({"action": "send", "room_id": group, "message": "without four"})).await;
    one.until_kind("chat_message").await;
    // User 4 has received no event of the room since the removal, and can't write in it any more.
    four.send(json!({"action": "send", "room_id": group, "message": "still here?"})).await;
    assert_eq!(four.until_kind("error").await["code"], "not_found");
}

#[tokio::test]
async fn a_room_is_renamed_and_deleted() {
    let server = Server::start(&[]).await;
    let group = server.room(&[1, 2, 3]).await;
    let (mut one, _) = inbox(&server, 1).await;
    server.call(Method::PATCH, &format!("/rooms/{group}"), json!({"name": "the group"})).await;
    let changed = one.until_kind("room_changed").await;
    assert_eq!(changed["room"]["name"], "the group");
    server.call(Method::PATCH, &format!("/rooms/{group}"), json!({"name": null})).await;
    assert_eq!(one.until_kind("room_changed").await["room"]["name"], json!(null));
    server.call(Method::DELETE, &format!("/rooms/{group}"), json!({})).await;
    assert_eq!(one.until_kind("room_removed").await["room_id"], group);
    one.quiet().await;
}

#[tokio::test]
async fn a_room_made_by_another_server_is_heard_of_here() {
    let server = Server::start(&[]).await;
    let other = server.beside().await;
    let (mut one, _) = inbox(&server, 1).await;
    let room = other.room(&[1, 2]).await;
    assert_eq!(one.until_kind("room_added").await["room_id"], room);
    let mut two = other.join(2, 1).await;
    two.say("from there").await;
    let frame = one.until_kind("chat_message").await;
    assert_eq!(frame["room_id"], room);
    two.expect(chat(1, 2, "from there")).await;
    one.send(json!({"action": "history", "room_id": room})).await;
    assert_eq!(one.until_kind("history").await["messages"].as_array().unwrap().len(), 1);
}

/// Another program inserted the membership, without the field `joined`.
#[tokio::test]
async fn membership_without_a_beginning_counts_as_the_oldest() {
    let server = Server::start(&[]).await;
    let room = server.room(&[1, 2, 3]).await;
    let members = server.collection("members").await;
    let mut member = members.find_one(doc! {"_id": {"room": room, "user": 3_i64}}).await.unwrap().unwrap();
    assert!(member.remove("joined").is_some());
    member.insert("_id", doc! {"room": room, "user": 4_i64});
    members.insert_one(member).await.unwrap();
    let (mut four, ready) = inbox(&server, 4).await;
    assert_eq!(ready["rooms"][0]["room_id"], room, "{ready}");
    let said = json!({"sender_id": 1, "text": "for all four"});
    server.call(Method::POST, &format!("/rooms/{room}/messages"), said).await;
    let told = four.until_kind("chat_message").await;
    assert_eq!(told["message"]["text"], "for all four");
    drop(four);
    let (cursor, token) = (told["cursor"].as_str().unwrap(), server.token(4).sign());
    let said = json!({"sender_id": 1, "text": "missed"});
    server.call(Method::POST, &format!("/rooms/{room}/messages"), said).await;
    let mut again = server.dial(&format!("/ws/?since={cursor}")).token(&token).open().await;
    let ready = again.next().await;
    assert_eq!((&ready["resumed"], &ready["rooms"][0]["room_id"]), (&json!(true), &json!(room)), "{ready}");
}

#[tokio::test]
async fn message_right_after_a_rooms_creation_arrives_once() {
    let server = Server::start(&[]).await;
    let (mut one, _) = inbox(&server, 1).await;
    for other in 2..12 {
        let room = server.room(&[1, other]).await;
        let said = json!({"sender_id": other, "text": "at once"});
        server.call(Method::POST, &format!("/rooms/{room}/messages"), said).await;
        let added = one.until_kind("room_added").await;
        assert_eq!(added["room_id"], room);
        if added["room"]["last_message"].is_null() {
            expect(&mut one, room, chat(1, other, "at once")).await;
        } else {
            assert_eq!(added["room"]["unread"], 1);
        }
        let delivered = next(&mut one).await;
        assert_eq!(
            (&delivered["type"], &delivered["room_id"]),
            (&json!("mark_message_as_delivered"), &json!(room))
        );
    }
}

/// A change of a group makes the server read the group once for all its sockets. If the server read the group for each
/// socket, the sockets of twelve members would read twelve times twelve members.
#[tokio::test]
async fn a_change_of_a_group_is_read_once_for_all_who_are_in_it() {
    let server = Server::start(&[]).await;
    let users: Vec<i64> = (1..=12).collect();
    let group = server.room(&users).await;
    let mut all = Vec::new();
    for user in users {
        all.push(inbox(&server, user).await.0);
    }
    let client = mongodb::Client::with_uri_str(shared_uri()).await.unwrap();
    let database = client.database(&server.database().name);
    database.run_command(doc! { "profile": 2 }).await.unwrap();
    let changed = server.call(Method::PATCH, &format!("/rooms/{group}"), json!({"name": "Lunch"})).await;
    assert_eq!(changed.0, 200, "{}", changed.1);
    for one in &mut all {
        let told = one.until_kind("room_changed").await;
        let members = told["room"]["members"].as_array().unwrap();
        assert_eq!((&told["room"]["name"], members.len()), (&json!("Lunch"), 12));
    }
    database.run_command(doc! { "profile": 0 }).await.unwrap();
    let reads = doc! {
        "ns": format!("{}.members", database.name()),
        "op": { "$in": ["query", "command"] },
        "$or": [{ "command.find": "members" }, { "command.aggregate": "members" }],
    };
    let noted = database.collection::<mongodb::bson::Document>("system.profile");
    let reads = noted.count_documents(reads).await.unwrap();
    assert!((1..=3).contains(&reads), "members were read {reads} times");
}

/// Connects user 2 with this email in the token, and reads the first frame.
async fn with_address(server: &Server, target: &str, email: &str) -> Client {
    let token = server.token(2).with("email", email).sign();
    let mut client = server.dial(target).token(&token).open().await;
    client.next().await;
    client
}

#[tokio::test]
async fn changed_address_in_the_token_is_sent_to_others() {
    let server = Server::start(&[]).await;
    let group = server.room(&[1, 2, 3]).await;
    let (mut one, _) = inbox(&server, 1).await;
    let next = async |one: &mut Client| {
        let changed = one.until_kind("room_changed").await;
        let members = changed["room"]["members"].as_array().unwrap();
        let two = members.iter().find(|member| member["user_id"] == 2).unwrap();
        (two["email"].clone(), changed["room"]["name"].clone())
    };
    let room = format!("/ws/chat/?room_id={group}");
    for (target, email) in [("/ws/?since=", "a@example.com"), (room.as_str(), "b@example.com")] {
        let _two = with_address(&server, target, email).await;
        assert_eq!(next(&mut one).await.0, email);
        // Two more connections with the same email change nothing. So the next event is about the new name of the
        // group.
        let _again = with_address(&server, target, email).await;
        let _again = with_address(&server, "/ws/?since=", email).await;
        let named = server.call(Method::PATCH, &format!("/rooms/{group}"), json!({"name": email})).await;
        assert_eq!(named.0, 200);
        assert_eq!(next(&mut one).await, (json!(email), json!(email)));
    }
    let path = format!("/rooms/{group}/members/2");
    let put = server.call(Method::PUT, &path, json!({"email": "c@example.com"}));
    assert_eq!(put.await.0, 200);
    assert_eq!(next(&mut one).await.0, "c@example.com", "by the API, too");
}

#[tokio::test]
async fn alternating_addresses_are_kept_so_often_in_a_minute() {
    let metered = Metered::new();
    let server = Server::start(&[("LIMITS__ADDRESSES_PER_MINUTE", "1"), metered.setting()]).await;
    let group = server.room(&[1, 2, 3]).await;
    let room = format!("/ws/chat/?room_id={group}");
    let members = server.collection("members").await;
    let kept = async |email: &str| {
        let filter = doc! { "_id.user": 2, "email": email };
        eventually_count(&members, filter.clone(), |count| count != 0).await;
    };
    // The first email that the server sees of a user is no change of the email.
    for email in ["a@example.com", "b@example.com"] {
        let _two = with_address(&server, &room, email).await;
        kept(email).await;
    }
    for _ in 0..2 {
        let _two = with_address(&server, "/ws/?since=", "a@example.com").await;
    }
    assert_eq!(metered.hits("addresses_per_minute").await, 2);
    kept("b@example.com").await;
}
