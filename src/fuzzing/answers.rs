//! Fuzzes the parsers of the answers that Parlor gets from other servers: functions, the hook `before_send`, and key
//! sets (JWKS).

use handlers::Event;
use serde_json::Value;

use super::{CONFIG, SAID_CHARS};
use crate::actions::functions::response;
use crate::config::jwk;
use crate::webhooks::before_send;

/// The name of the function whose answers are parsed.
const NAME: &str = "translate";

/// Parses the bytes after the first one as an answer. The first byte chooses the kind of the answer: `f` for a
/// function's answer, `h` for an answer of the hook `before_send`, any other byte for a key set.
pub fn answers(data: &[u8]) {
    let Some((kind, answer)) = data.split_first() else { return };
    match kind {
        b'f' => function(answer),
        b'h' => hook(answer),
        _ => {
            if let Err(fault) = jwk::read(answer, &[], false) {
                assert!((1..=SAID_CHARS).contains(&fault.chars().count()), "{fault}");
            }
        }
    }
}

fn function(answer: &[u8]) {
    let most = CONFIG.limits.event_bytes;
    match response::read(NAME, answer, most) {
        Ok(answer) => {
            if let Some(text) = answer.send {
                let _ = text.message.within(CONFIG.limits.text_chars, "message");
            }
            if let Some(event) = answer.event {
                let frame = event.frame();
                assert!(frame.len() <= most);
                assert_one_of_each(frame);
                let frame: Value = serde_json::from_str(frame).unwrap();
                assert_eq!((&frame["type"], &frame["name"]), (&"custom".into(), &NAME.into()));
            }
            if let Some(reply) = answer.reply {
                assert_one_of_each(&reply);
                assert!(serde_json::from_str::<Value>(&reply).unwrap().get("type").is_some());
            }
        }
        Err(malformed) => {
            let said = malformed.to_string();
            assert!((1..=SAID_CHARS).contains(&said.chars().count()), "{said}");
        }
    }
}

/// Asserts that no field of a frame occurs twice.
fn assert_one_of_each(frame: &str) {
    let fields = handlers::Fields::parse(frame).expect("a frame is an object");
    for name in fields.names() {
        assert!(fields.once(name).is_ok(), "{name} twice in {frame}");
    }
    assert!(Event::RESERVED.contains(&"type"));
}

fn hook(answer: &[u8]) {
    match before_send::read(answer) {
        Ok(before_send::BeforeSendAnswer { text, reject }) => {
            if let Some(text) = text {
                let _ = text.within(CONFIG.limits.text_chars, "text");
            }
            if let Some(reason) = reject {
                let shown = before_send::shorten_reason(&reason).chars().count();
                assert!((1..=before_send::REASON_CHARS).contains(&shown), "{reason}");
            }
        }
        Err(fault) => assert!((1..=SAID_CHARS).contains(&fault.chars().count()), "{fault}"),
    }
}
