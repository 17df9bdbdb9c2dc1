//! The fields of a request that are missing, of the wrong type, out of range, given twice, or unknown.

use serde_json::json;

use crate::support::{Client, chat, edited, error, next_error, room_with_one_socket};

/// Sends a frame, and asserts that the answer is `invalid_request` and names the field.
async fn assert_invalid(client: &mut Client, frame: &str, action: &str, field: &str) {
    client.send_text(frame).await;
    next_error(client, "invalid_request", action, field).await;
}

#[tokio::test]
async fn a_missing_field_is_named() {
    let (_server, mut one) = room_with_one_socket(&[]).await;
    one.say_alone(1, 1, "something").await;
    for (frame, action, field) in [
        (r#"{"action":"send"}"#, "send", "message"),
        (r#"{"action":"send","text":"x"}"#, "send", "message"),
        (r#"{"action":"send","Message":"x"}"#, "send", "message"),
        (r#"{"action":"edit","message_id":1}"#, "edit", "text"),
        (r#"{"action":"edit","message_id":1,"message":"x"}"#, "edit", "text"),
        (r#"{"action":"edit","text":"x"}"#, "edit", "message_id"),
        (r#"{"action":"delete"}"#, "delete", "message_id"),
        (r#"{"action":"delete","id":1}"#, "delete", "message_id"),
    ] {
        assert_invalid(&mut one, frame, action, field).await;
    }
    one.quiet().await;
}

#[tokio::test]
async fn a_field_of_the_wrong_type_is_named() {
    let (_server, mut one) = room_with_one_socket(&[]).await;
    one.say_alone(1, 1, "something").await;
    for wrong in ["null", "true", "5", "[]", "{}", r#"["x"]"#, r#"{"x":"y"}"#] {
        let frame = format!(r#"{{"action":"send","message":{wrong}}}"#);
        assert_invalid(&mut one, &frame, "send", "message").await;
        let frame = format!(r#"{{"action":"edit","message_id":1,"text":{wrong}}}"#);
        assert_invalid(&mut one, &frame, "edit", "text").await;
    }
    for wrong in [
        "null",
        "true",
        "[]",
        "{}",
        "[1]",
        r#"{"n":1}"#,
        "1.5",
        r#""""#,
        r#""x""#,
        r#"" 1""#,
        r#""1 ""#,
        r#""+1""#,
        r#""-1""#,
        r#""1.5""#,
        r#""1e0""#,
        r#""0x1""#,
        r#""１""#,
        r#""٣""#,
    ] {
        let frame = format!(r#"{{"action":"edit","message_id":{wrong},"text":"x"}}"#);
        assert_invalid(&mut one, &frame, "edit", "message_id").await;
        let frame = format!(r#"{{"action":"delete","message_id":{wrong}}}"#);
        assert_invalid(&mut one, &frame, "delete", "message_id").await;
    }
    one.quiet().await;
}

#[tokio::test]
async fn a_number_out_of_range_is_named() {
    let (_server, mut one) = room_with_one_socket(&[]).await;
    let long = "9".repeat(400);
    for n in [
        "0",
        "-1",
        "9007199254740992",
        "9223372036854775807",
        "9223372036854775808",
        "18446744073709551615",
        "18446744073709551616",
        "1e300",
        "1e400",
        "-1e400",
        &long,
    ] {
        let frame = format!(r#"{{"action":"delete","message_id":{n}}}"#);
        assert_invalid(&mut one, &frame, "delete", "message_id").await;
        let frame = format!(r#"{{"action":"edit","message_id":{n},"text":"x"}}"#);
        assert_invalid(&mut one, &frame, "edit", "message_id").await;
    }
    for digits in ["0", "9007199254740992", "18446744073709551616", &long] {
        let frame = format!(r#"{{"action":"delete","message_id":"{digits}"}}"#);
        assert_invalid(&mut one, &frame, "delete", "message_id").await;
    }
    one.quiet().await;
}

#[tokio::test]
async fn a_known_field_given_twice_is_invalid() {
    let (_server, mut one) = room_with_one_socket(&[]).await;
    one.say_alone(1, 1, "something").await;
    for (frame, action, field) in [
        (r#"{"action":"send","message":"a","message":"b"}"#, "send", "message"),
        (r#"{"action":"send","message":"a","message":"a"}"#, "send", "message"),
        (r#"{"action":"send","message":"a","m\u0065ssage":"b"}"#, "send", "message"),
        (r#"{"message":"a","action":"send","message":null}"#, "send", "message"),
        (r#"{"action":"edit","message_id":1,"text":"a","text":"b"}"#, "edit", "text"),
        (r#"{"action":"edit","message_id":1,"message_id":1,"text":"a"}"#, "edit", "message_id"),
        (r#"{"action":"delete","message_id":1,"message_id":"1"}"#, "delete", "message_id"),
    ] {
        assert_invalid(&mut one, frame, action, field).await;
    }
    one.quiet().await;
}

#[tokio::test]
async fn an_action_given_twice_is_invalid() {
    let (_server, mut one) = room_with_one_socket(&[]).await;
    for frame in [
        r#"{"action":"send","message":"a","action":"send"}"#,
        r#"{"action":"send","message":"a","action":"nobody"}"#,
        r#"{"action":"nobody","action":"send","message":"a"}"#,
        r#"{"action":"send","\u0061ction":"send","message":"a"}"#,
    ] {
        one.send_text(frame).await;
        let answer = one.next().await;
        assert_eq!(answer["type"], "error", "{frame} was answered with {answer}");
        assert_eq!(answer["code"], "invalid_request", "{frame} was answered with {answer}");
    }
    one.quiet().await;
}

#[tokio::test]
async fn unknown_fields_are_ignored_whatever_they_hold() {
    let (_server, mut one) = room_with_one_socket(&[]).await;
    let mut id = 0;
    for unknown in [
        r#""x":1"#,
        r#""x":1,"x":2"#,
        r#""x":1e400"#,
        r#""x":-99999999999999999999999"#,
        r#""text":5"#,
        r#""message_id":-1"#,
        r#""ref":5"#,
        r#""client_id":["x"]"#,
        r#""sender_id":2"#,
        r#""room_id":77"#,
        r#""":null"#,
        r#""x":{"action":"delete","action":"delete"}"#,
    ] {
        id += 1;
        one.send_text(&format!(r#"{{{unknown},"action":"send","message":"hi"}}"#)).await;
        one.expect(chat(id, 1, "hi")).await;
    }
}

#[tokio::test]
async fn a_request_of_another_action_does_no_harm() {
    let (_server, mut one) = room_with_one_socket(&[]).await;
    one.send(json!({"action": "send", "message": "new", "message_id": 1, "text": "other"})).await;
    one.expect(chat(1, 1, "new")).await;
    one.send(json!({"action": "edit", "message": "not this", "message_id": 1, "text": "this"})).await;
    one.expect(edited(1, "this")).await;
    one.send(json!({"action": "nobody", "message_id": 1, "text": "x", "message": "x"})).await;
    one.expect(error("unknown_action", Some("nobody"))).await;
}
