//! Invalid frames: each gets one error on its own socket, and the socket stays open.

use mongodb::bson::doc;
use serde_json::json;

use crate::support::{
    API_KEY, Client, Server, WORDS, chat, error, matches, room_of_two, room_with_one_socket, said,
};

/// Returns a frame whose JSON has this many levels of nesting. The frame's object is the first level.
fn nested(levels: usize) -> String {
    let (open, close) = ("[".repeat(levels - 1), "]".repeat(levels - 1));
    format!(r#"{{"action":"nobody","deep":{open}{close}}}"#)
}

async fn assert_bad_json(client: &mut Client, frame: &str) {
    client.send_text(frame).await;
    client.expect(error("bad_json", None)).await;
}

#[tokio::test]
async fn invalid_json_is_bad_json() {
    let (_server, mut one) = room_with_one_socket(&[]).await;
    for frame in [
        "",
        " ",
        "hello",
        "{",
        "}",
        r#"{"action":"send","message":"x""#,
        r#"{"action":"send","message":"x",}"#,
        r#"{"action":"send","message":"x"} trailing"#,
        r#"{"action":"send","message":"x"}{"action":"send","message":"y"}"#,
        r"{'action':'send','message':'x'}",
        r#"{action:"send"}"#,
        r#"{"action":"send","message":"x" /* comment */}"#,
        r#"{"action":"nobody","x":NaN}"#,
        r#"{"action":"nobody","x":01}"#,
        r#"{"action":"nobody","x":.5}"#,
        r#"{"action":"nobody","x":+1}"#,
        r#"{"action":"nobody","x":True}"#,
        r#"{"action":"nobody","x":"\x41"}"#,
        r#"{"action":"nobody","x":"\u12"}"#,
        "{\"action\":\"nobody\",\"x\":\"a\nb\"}",
        "{\"action\":\"nobody\",\"x\":\"a\u{0}b\"}",
    ] {
        assert_bad_json(&mut one, frame).await;
    }
    one.say_alone(1, 1, "the socket is still open").await;
}

#[tokio::test]
async fn json_that_is_no_object_is_bad_json() {
    let (_server, mut one) = room_with_one_socket(&[]).await;
    for frame in ["null", "true", "5", "\"send\"", "[]", r#"[{"action":"send","message":"x"}]"#] {
        assert_bad_json(&mut one, frame).await;
    }
    one.say_alone(1, 1, "the socket is still open").await;
}

#[tokio::test]
async fn half_a_surrogate_pair_is_bad_json_wherever_it_stands() {
    let (_server, mut one) = room_with_one_socket(&[]).await;
    for half in
        [r"\ud83d", r"\ude00", r"\ude00\ud83d", r"\ud83d\ud83d", r"\uD83Dx", r"\ud83d\n", r"\ud83d\\ude00"]
    {
        for frame in [
            format!(r#"{{"action":"send","message":"{half}"}}"#),
            format!(r#"{{"action":"{half}"}}"#),
            format!(r#"{{"action":"nobody","{half}":1}}"#),
            format!(r#"{{"action":"nobody","x":[{{"y":"{half}"}}]}}"#),
        ] {
            assert_bad_json(&mut one, &frame).await;
        }
    }
    one.send_text(r#"{"action":"send","message":"\\ud83d"}"#).await;
    one.expect(chat(1, 1, r"\ud83d")).await;
}

#[tokio::test]
async fn a_frame_may_have_128_levels_and_no_more() {
    let (_server, mut one) = room_with_one_socket(&[]).await;
    one.send_text(&nested(128)).await;
    one.expect(error("unknown_action", Some("nobody"))).await;
    assert_bad_json(&mut one, &nested(129)).await;
    assert_bad_json(&mut one, &nested(30_000)).await;
    assert_bad_json(&mut one, &"[".repeat(60_000)).await;
    assert_bad_json(&mut one, &r#"{"a":"#.repeat(10_000)).await;
    // Brackets in a string are not counted as levels.
    one.send(json!({"action": "nobody", "flat": "[{".repeat(200)})).await;
    one.expect(error("unknown_action", Some("nobody"))).await;
}

#[tokio::test]
async fn a_binary_frame_is_bad_json_even_with_json_in_it() {
    let (_server, mut one) = room_with_one_socket(&[]).await;
    for frame in [&br#"{"action":"send","message":"x"}"#[..], b"", b"\0\xff"] {
        one.send_binary(frame).await;
        one.expect(error("bad_json", None)).await;
    }
    one.say_alone(1, 1, "the socket is still open").await;
}

#[tokio::test]
async fn an_action_that_nobody_handles_is_unknown() {
    let (_server, mut one) = room_with_one_socket(&[]).await;
    for action in ["", "Send", "SEND", " send", "send ", "sénd", "chat_message", "handle", "Typing", "pong"]
    {
        one.send(json!({"action": action, "message": "x", "message_id": 1, "text": "x"})).await;
        one.expect(error("unknown_action", Some(action))).await;
    }
}

#[tokio::test]
async fn frame_without_an_action_is_unknown_and_names_none() {
    let (_server, mut one) = room_with_one_socket(&[]).await;
    for frame in [
        json!({}),
        json!({"message": "x"}),
        json!({"Action": "send", "message": "x"}),
        json!({"action": null, "message": "x"}),
        json!({"action": 5, "message": "x"}),
        json!({"action": ["send"], "message": "x"}),
        json!({"action": {"send": 1}, "message": "x"}),
    ] {
        one.send(frame).await;
        one.expect(error("unknown_action", None)).await;
    }
}

#[tokio::test]
async fn an_action_is_repeated_up_to_its_64th_character() {
    let (_server, mut one) = room_with_one_socket(&[]).await;
    for character in ["x", "é", "😀"] {
        let longest = character.repeat(64);
        for action in [longest.clone(), character.repeat(65), character.repeat(9_000)] {
            one.send(json!({"action": action})).await;
            one.expect(error("unknown_action", Some(&longest))).await;
        }
    }
}

#[tokio::test]
async fn an_error_is_for_its_own_socket_alone() {
    let (server, mut one, mut two) = room_of_two(&[]).await;
    let mut second = server.join(1, 2).await;
    for frame in [
        "nonsense",
        r#"{"action":"nobody"}"#,
        r#"{"action":"send"}"#,
        r#"{"action":"delete","message_id":9}"#,
    ] {
        one.send_text(frame).await;
        let answer = one.next().await;
        assert_eq!(answer["type"], "error", "{frame} was answered with {answer}");
    }
    // The other sockets received nothing for the invalid frames: their first event is this message.
    one.say("hello").await;
    for client in [&mut one, &mut second, &mut two] {
        client.expect_all(&said(1, 1, "hello")).await;
    }
}

#[tokio::test]
async fn errors_come_in_the_order_of_their_frames() {
    let (_server, mut one) = room_with_one_socket(&[]).await;
    for n in 0..50 {
        one.send(json!({"action": format!("nobody {n}")})).await;
        one.send_text("nonsense").await;
        one.send(json!({"action": "delete", "message_id": 1_000 + n})).await;
    }
    for n in 0..50 {
        one.expect(error("unknown_action", Some(&format!("nobody {n}")))).await;
        one.expect(error("bad_json", None)).await;
        one.expect(error("not_found", Some("delete"))).await;
    }
}

#[tokio::test]
async fn a_fault_is_internal_and_told_apart_from_others() {
    let server = Server::start(&[]).await;
    let room = server.room(&[1, 2]).await;
    let broken = doc! {"_id": {"room": room, "n": 1_i64}, "sender": ["x"], "text": 5, "created_at": "x"};
    server.collection("messages").await.insert_one(broken).await.unwrap();
    let mut one = server.join(1, 2).await;
    let mut told = Vec::new();
    for frame in [
        json!({"action": "edit", "message_id": 1, "text": "x"}),
        json!({"action": "delete", "message_id": 1}),
        json!({"action": "delete", "message_id": 1}),
    ] {
        one.send(frame.clone()).await;
        let answer = one.next().await;
        let expected =
            json!({"type": "error", "code": "internal", "message": WORDS, "action": frame["action"]});
        assert!(matches(&expected, &answer), "{frame} was answered with {answer}");
        told.push(answer["message"].clone());
    }
    assert!(told[0] != told[1] && told[1] != told[2], "each has an id of its own to be found by: {told:?}");
    one.say_alone(2, 1, "the socket is still open").await;
}

#[tokio::test]
async fn an_action_with_u0000_is_invalid() {
    let (_server, mut one) = room_with_one_socket(&[]).await;
    for (frame, action) in [
        (r#"{"action":"send\u0000","message":"x"}"#, "send\0"),
        (r#"{"action":"\u0000"}"#, "\0"),
        (r#"{"action":"no\u0000body"}"#, "no\0body"),
    ] {
        one.send_text(frame).await;
        let told = one.expect(error("invalid_request", Some(action))).await;
        assert!(told["message"].as_str().unwrap().contains("action"), "{told}");
    }
    one.say_alone(1, 1, "the socket is still open").await;
}

#[tokio::test]
async fn error_messages_are_short_whatever_the_input() {
    let (server, mut one) = room_with_one_socket(&[]).await;
    for long in ["x".repeat(60_000), "\u{200b}".repeat(20_000)] {
        for frame in [
            json!({"action": "history", "limit": long}),
            json!({"action": "edit", "message_id": long, "text": "x"}),
            json!({"action": "read", "message_id": {"x": long}}),
        ] {
            one.send(frame.clone()).await;
            let told = one.expect(error("invalid_request", frame["action"].as_str())).await;
            let chars = told["message"].as_str().unwrap().chars().count();
            assert!(chars < 300, "{chars} characters for {}", frame["action"]);
        }
        let body = json!({"kind": long, "members": []}).to_string();
        let (status, problem) = server.post_room(Some(API_KEY), &body).await;
        assert_eq!(status, 400);
        let chars = problem["detail"].as_str().unwrap().chars().count();
        assert!(chars < 300, "{chars} characters");
    }
}
