//! The valid cursors of a Level 2 socket and their scope, and the answers to invalid cursors.

use serde_json::json;

use super::{Live, Told, delete, edit, missed, room};
use crate::support::{Server, deleted, edited, encoded};

/// Asserts that an invalid cursor gets a first frame that does not resume, with these messages.
async fn assert_no_good(server: &Server, room: i64, since: &str, texts: &[(i64, String)]) {
    let (mut one, frame) = Live::open(server, 1, room, since).await;
    assert_eq!(frame["resumed"], false, "since {since:?}: {frame}");
    let told = Told { messages: texts.to_vec(), ..Told::default() };
    assert_eq!(Told::by(&frame), told, "since {since:?}");
    one.quiet().await;
}

#[tokio::test]
async fn a_cursor_that_is_none_gives_the_plain_start() {
    let (server, room) = room(&[]).await;
    let mut one = Live::fresh(&server, 1, room).await;
    one.say_alone(1, 1, "only this").await;
    let all = [(1, "only this".to_owned())];
    let long = "9".repeat(4000);
    let max = i64::MAX.to_string();
    let none = ["x", "null", "{}", "[]", "-", ".", " ", "é日本", "\u{0}", "a b&c=d", "../..", &long, &max];
    for since in none {
        assert_no_good(&server, room, since, &all).await;
    }
    // The server may be able to parse these texts as cursors. Then the numbers in the cursor are greater than the
    // room's numbers.
    for since in [format!("{}9", one.cursor), format!("{0}{0}", one.cursor)] {
        assert_no_good(&server, room, &since, &all).await;
    }
}

#[tokio::test]
async fn a_cursor_with_anything_changed_in_it_never_harms() {
    let (server, room) = room(&[]).await;
    let mut one = Live::fresh(&server, 1, room).await;
    one.say_alone(1, 1, "first").await;
    one.say_alone(2, 1, "second").await;
    let cursor = one.cursor.clone();
    let characters: Vec<char> = cursor.chars().collect();
    for at in 0..characters.len() {
        for other in ['0', '9', 'z', '-', '.', ' ', '\u{e9}'] {
            let mut changed = characters.clone();
            changed[at] = other;
            let changed: String = changed.into_iter().collect();
            // Some of the changed cursors are still valid. With each of them, the first frame must not repeat a
            // message.
            let (mut late, frame) = Live::open(&server, 1, room, &changed).await;
            let mut ids = super::ids(&frame["messages"]);
            ids.extend(super::ids(&frame["edited"]));
            assert!(ids.windows(2).all(|pair| pair[0] < pair[1]), "since {changed:?}: {frame}");
            late.quiet().await;
        }
    }
    assert_eq!(missed(&server, room, &cursor).await, Told::default());
}

#[tokio::test]
async fn a_cursor_of_another_room_is_no_good() {
    let (server, room) = room(&[]).await;
    let other = server.room(&[1, 3]).await;
    let (mut here, mut there) = (Live::fresh(&server, 1, room).await, Live::fresh(&server, 1, other).await);
    for id in 1..=3 {
        here.say_alone(id, 1, "here").await;
        there.say_alone(id, 1, "there").await;
    }
    let here_now: Vec<_> = (1..=3).map(|id| (id, "here".to_owned())).collect();
    assert_no_good(&server, room, &there.cursor, &here_now).await;
    let there_now: Vec<_> = (1..=3).map(|id| (id, "there".to_owned())).collect();
    assert_no_good(&server, other, &here.cursor, &there_now).await;
}

#[tokio::test]
async fn a_cursor_of_more_than_the_room_has_is_no_good() {
    // The cursor comes from a room with the same id in another database. This stands for a database that has lost the
    // changes which the cursor includes.
    let (before, room_before) = room(&[]).await;
    let mut one = Live::fresh(&before, 1, room_before).await;
    for id in 1..=20 {
        one.say_alone(id, 1, "lost").await;
    }
    for id in 1..=5 {
        one.send(edit(id, "lost, too")).await;
        one.hear(edited(id, "lost, too")).await;
    }
    let (now, room) = room(&[]).await;
    assert_eq!(room, room_before, "both are the first of their database");
    let mut again = Live::fresh(&now, 1, room).await;
    again.say_alone(1, 1, "kept").await;
    assert_no_good(&now, room, &one.cursor, &[(1, "kept".to_owned())]).await;
}

#[tokio::test]
async fn a_cursor_of_one_server_is_good_on_another() {
    let (here, room) = room(&[]).await;
    let there = here.beside().await;
    let mut one = Live::fresh(&here, 1, room).await;
    let mut beside = Live::fresh(&there, 1, room).await;
    let mut events = Vec::new();
    let changes = [
        json!({"action": "send", "message": "first"}),
        json!({"action": "send", "message": "second"}),
        edit(1, "first again"),
        json!({"action": "send", "message": "third"}),
        delete(2),
        edit(3, "third again"),
    ];
    for (at, change) in changes.into_iter().enumerate() {
        // The two servers make the changes alternately.
        let by = if at % 2 == 0 { &mut one } else { &mut beside };
        by.send(change).await;
        events.push((one.next().await, beside.next().await));
    }
    let heard: Vec<_> = events.iter().map(|(here, _)| here.clone()).collect();
    for (at, (by_one, by_other)) in events.iter().enumerate() {
        let expected = Told::after(&heard[at + 1..]);
        for event in [by_one, by_other] {
            for server in [&here, &there] {
                let told = missed(server, room, event["cursor"].as_str().unwrap()).await;
                assert_eq!(told, expected, "since event {at}, {event}");
            }
        }
    }
}

#[tokio::test]
async fn a_cursor_is_good_on_a_server_that_has_never_seen_the_room() {
    let (server, room) = room(&[]).await;
    let mut one = Live::fresh(&server, 1, room).await;
    one.say_alone(1, 1, "before").await;
    one.say_alone(2, 1, "before, too").await;
    let cursor = one.cursor.clone();
    one.send(edit(1, "changed")).await;
    one.hear(edited(1, "changed")).await;
    one.send(delete(2)).await;
    one.hear(deleted(2)).await;
    let later = server.beside().await;
    let told = missed(&later, room, &cursor).await;
    let expected = Told { edited: vec![(1, "changed".to_owned())], deleted: vec![2], ..Told::default() };
    assert_eq!(told, expected);
}

#[tokio::test]
async fn a_cursor_goes_with_the_documented_url_and_its_slash() {
    let (server, room) = room(&[]).await;
    let mut one = Live::fresh(&server, 1, room).await;
    one.say_alone(1, 1, "before").await;
    let since = encoded(&one.cursor);
    one.say_alone(2, 1, "after").await;
    for query in [
        format!("firts_user=1&second_user=2/&since={since}"),
        format!("firts_user=1&second_user=2&since={since}/"),
        format!("since={since}&first_user=1&second_user=2"),
        format!("room_id={room}&since={since}/"),
    ] {
        let (_, frame) = Live::at(&server, 1, &query).await;
        let told = Told { messages: vec![(2, "after".to_owned())], ..Told::default() };
        assert_eq!((&frame["resumed"], Told::by(&frame)), (&json!(true), told), "{query}");
    }
    for query in ["firts_user=1&second_user=2&since=", "firts_user=1&second_user=2&since=/"] {
        let (_, frame) = Live::at(&server, 1, query).await;
        assert_eq!(
            (&frame["resumed"], super::ids(&frame["messages"])),
            (&json!(false), vec![1, 2]),
            "{query}"
        );
    }
    let twice = format!("room_id={room}&since={since}&since={since}");
    assert_eq!(server.dial_as(1, &twice).refused().await, 4400);
}

#[tokio::test]
async fn refused_client_gets_the_close_code_of_level_1() {
    let (server, room) = room(&[]).await;
    let since = encoded(&Live::fresh(&server, 1, room).await.cursor);
    let by_room = |room: i64| format!("room_id={room}&since={since}");
    assert_eq!(server.dial_as(3, &by_room(room)).refused().await, 4003);
    assert_eq!(server.dial_as(1, &by_room(77)).refused().await, 4004);
    assert_eq!(server.dial(&format!("/ws/chat/?{}", by_room(room))).refused().await, 4001);
    assert_eq!(server.dial_as(1, &format!("since={since}")).refused().await, 4400);
}

/// Each edit has a number, and a message stores only the number of its last edit. So a second edit leaves the number of
/// the first edit unused. Another server must not give this number to a later edit. Otherwise a client with a cursor at
/// the second edit would not receive the later edit when it resumes.
#[tokio::test]
async fn a_later_change_never_has_an_earlier_number() {
    let (server, room) = room(&[]).await;
    let there = server.beside().await;
    let mut one = Live::fresh(&server, 1, room).await;
    let mut other = Live::fresh(&there, 1, room).await;
    for id in 1..=3 {
        one.say_alone(id, 1, "text").await;
    }
    for round in 0..5 {
        let last = format!("there {round}");
        other.send(edit(3, &last)).await;
        one.hear_until(edited(3, &last)).await;
        for text in ["a", "b", "c"] {
            one.send(edit(1, &format!("{text}{round}"))).await;
        }
        one.hear_until(edited(1, &format!("c{round}"))).await;
        let seen = one.cursor.clone();
        other.send(edit(2, &last)).await;
        one.hear_until(edited(2, &last)).await;
        assert_eq!(missed(&server, room, &seen).await.edited, [(2, last)], "since {seen}");
    }
}
