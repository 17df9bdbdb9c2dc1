//! The texts that Parlor accepts. Parlor stores and returns each text unchanged.

use serde_json::json;

use crate::support::{chat, edited, listed, matches, next_error, room_with_one_socket};

#[tokio::test]
async fn a_text_is_kept_exactly_as_it_came() {
    let (server, mut one) = room_with_one_socket(&[]).await;
    let texts = [
        "  not trimmed \n",
        "line\r\nline\u{2028}line\u{85}line",
        "\u{1}\u{7f}\u{9f} control characters but U+0000",
        "e\u{301} is not é",
        "👨‍👩‍👧 𐍈 \u{10FFFF} \u{FFFF} \u{FFFD}",
        "\u{202e}right to left\u{feff}",
        "\u{200b}",
        "\u{feff}",
        r#"{"action":"delete","message_id":1} \u0041 \" \\"#,
        "<script>alert('&amp;')</script>",
        "$where {{x}} %s ' OR 1=1 --",
        "0",
    ];
    for (id, text) in (1..).zip(texts) {
        one.say_alone(id, 1, text).await;
    }
    one.send(json!({"action": "edit", "message_id": 1, "text": texts[4]})).await;
    one.expect(edited(1, texts[4])).await;

    let history = server.connect(1, 2).await.history().await;
    for ((id, text), message) in (1..).zip(texts).skip(1).zip(history.iter().rev().skip(1)) {
        assert!(matches(&listed(id, 1, text, "send"), message), "{message}");
    }
}

#[tokio::test]
async fn escapes_in_a_frame_are_the_characters_they_stand_for() {
    let (_server, mut one) = room_with_one_socket(&[]).await;
    one.send_text(r#" { "\u0061ction" : "send" , "message" : "\ud83d\ude00 \u00e9 \/ \t" } "#).await;
    one.expect(chat(1, 1, "😀 é / \t")).await;
}

#[tokio::test]
async fn white_space_alone_is_no_text() {
    let (_server, mut one) = room_with_one_socket(&[]).await;
    one.say_alone(1, 1, "something").await;
    for text in [
        "",
        " ",
        "\t\r\n",
        "\u{a0}",
        "\u{85}",
        "\u{1680}",
        "\u{2003} \u{2009}",
        "\u{2028}\u{2029}",
        "\u{202f}",
        "\u{205f}",
        "\u{3000}\u{3000}",
    ] {
        one.say(text).await;
        next_error(&mut one, "invalid_request", "send", "message").await;
        one.send(json!({"action": "edit", "message_id": 1, "text": text})).await;
        next_error(&mut one, "invalid_request", "edit", "text").await;
    }
}

#[tokio::test]
async fn text_with_u_0000_is_refused() {
    let (_server, mut one) = room_with_one_socket(&[]).await;
    one.say_alone(1, 1, "something").await;
    for text in ["\0", "a\0", "\0b", "a\0b"] {
        one.say(text).await;
        next_error(&mut one, "invalid_request", "send", "message").await;
        one.send(json!({"action": "edit", "message_id": 1, "text": text})).await;
        next_error(&mut one, "invalid_request", "edit", "text").await;
    }
}

#[tokio::test]
async fn the_longest_text_is_4096_code_points_whatever_their_size() {
    let (_server, mut one) = room_with_one_socket(&[]).await;
    let mut id = 0;
    for character in ["x", "é", "字", "😀"] {
        let longest = character.repeat(4096);
        id += 1;
        one.say_alone(id, 1, &longest).await;
        one.send(json!({"action": "edit", "message_id": id, "text": longest})).await;
        one.expect(edited(id, &longest)).await;

        let longer = character.repeat(4097);
        one.say(&longer).await;
        next_error(&mut one, "invalid_request", "send", "message").await;
        one.send(json!({"action": "edit", "message_id": id, "text": longer})).await;
        next_error(&mut one, "invalid_request", "edit", "text").await;
    }
    // White space also counts for the length of a text.
    one.say(&format!("x{}", " ".repeat(4096))).await;
    next_error(&mut one, "invalid_request", "send", "message").await;
}

#[tokio::test]
async fn a_text_written_in_escapes_is_as_long_as_what_they_stand_for() {
    let (_server, mut one) = room_with_one_socket(&[]).await;
    one.send_text(&format!(r#"{{"action":"send","message":"{}"}}"#, r"\ud83d\ude00".repeat(4096))).await;
    one.expect(chat(1, 1, &"😀".repeat(4096))).await;
}

#[tokio::test]
async fn the_longest_text_is_configurable() {
    let (_server, mut one) = room_with_one_socket(&[("LIMITS__TEXT_CHARS", "10")]).await;
    one.say_alone(1, 1, "😀😀😀😀😀😀😀😀😀😀").await;
    one.say("12345678901").await;
    next_error(&mut one, "invalid_request", "send", "message").await;
}
