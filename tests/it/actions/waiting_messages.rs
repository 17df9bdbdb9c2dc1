//! Waiting messages are messages that were written while their reader was offline. When the reader connects, the sender
//! receives the status of each of the newest 200 waiting messages, even if their texts are large.

use serde_json::{Value, json};

use crate::support::{Client, Metered, Server};

/// The number of waiting messages. Each has 12 KB. Together they are larger than 1 MiB, and larger than all the texts
/// that a server keeps in memory for one room.
const MESSAGES: i64 = 100;

fn text(n: i64) -> String {
    format!("{n}{}", "\u{5b57}".repeat(4_000))
}

/// Lets user 1 write all messages while no other user is online.
async fn write(one: &mut Client) {
    for n in 1..=MESSAGES {
        one.send(json!({"action": "send", "message": text(n)})).await;
        one.until_kind("chat_message").await;
    }
}

/// Expects the status events of all messages, in the order of the messages. Each message is first delivered and then
/// read. Each event contains the text.
async fn are_marked(one: &mut Client) {
    for n in 1..=MESSAGES {
        for (kind, status) in [("mark_message_as_delivered", "delivered"), ("mark_message_as_read", "read")] {
            let told: Value = one.until_kind(kind).await;
            let message = &told["message"];
            assert_eq!(
                (&message["message_id"], &message["status"], &message["text"]),
                (&json!(n), &json!(status), &json!(text(n)))
            );
        }
    }
}

#[tokio::test]
async fn large_messages_that_waited_are_all_marked() {
    // The server keeps the last texts of each room in memory. `limits.unread_text_bytes` limits the memory for all
    // other texts of waiting messages. The first value is enough for all texts. With the second value, the server must
    // load the texts from the database.
    for bytes in ["8388608", "0"] {
        for since in ["", "&since="] {
            let metered = Metered::new();
            let server = Server::start(&[metered.setting(), ("LIMITS__UNREAD_TEXT_BYTES", bytes)]).await;
            server.room(&[1, 2]).await;
            let mut one = server.dial_as(1, &format!("firts_user=1&second_user=2{since}")).open().await;
            one.next().await;
            write(&mut one).await;
            let mut two = server.connect(2, 1).await;
            assert_eq!(two.history().await.len(), 50);
            are_marked(&mut one).await;
            assert_eq!(metered.hits("unread_text_bytes").await > 0, bytes == "0");
        }
    }
}

#[tokio::test]
async fn an_edit_behind_a_mark_that_waits_for_texts_keeps_its_order() {
    let server = Server::start(&[("LIMITS__UNREAD_TEXT_BYTES", "0")]).await;
    server.room(&[1, 2]).await;
    let mut one = server.join(1, 2).await;
    write(&mut one).await;
    let mut two = server.dial_as(2, "firts_user=2&second_user=1&since=&receipts=manual").open().await;
    two.next().await;
    two.send(json!({"action": "read", "message_id": 1})).await;
    one.send(json!({"action": "edit", "message_id": 1, "text": "changed"})).await;
    // The edit event and the read event may arrive in any order. If the edit event arrives first, the read event must
    // contain the new text. Otherwise the read event must contain the old text.
    let (mut edited, mut read) = (false, false);
    while !(edited && read) {
        let told = one.next().await;
        match told["type"].as_str() {
            Some("message_edited") => edited = true,
            Some("mark_message_as_read") if told["message"]["message_id"] == 1 => {
                let expected = if edited { "changed".to_owned() } else { text(1) };
                assert_eq!(told["message"]["text"], expected);
                read = true;
            }
            _ => {}
        }
    }
}
