//! `{"action":"history","before":45,"limit":50}`: reads a page of the room's messages.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{ActionSpec, Context, Error, HistoryCursor, HistoryMessage, Limits, MAX_ID, MessageId};

/// The number of messages in a page if the frame has no `limit` (docs/protocol.md, `history`).
const PAGE_DEFAULT: u32 = 50;

/// The largest `limit` that a frame may have, in messages.
const PAGE_MAX: u32 = 200;

/// Reads a page of the room's messages that are not deleted.
#[derive(Debug, Deserialize, JsonSchema)]
pub struct Request {
    /// An id: the page has the messages before it, newest first. Without `before` and `after`, the page has the newest
    /// messages.
    before: Option<MessageId>,
    /// An id: the page has the messages after it, oldest first. With 0, the page starts at the room's first message.
    after: Option<u64>,
    /// The largest number of messages in the page: 1 to 200, by default 50.
    limit: Option<u32>,
}

/// `{"type":"history",...}`
#[derive(Debug, Serialize, JsonSchema)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Answer {
    /// A page of the room's messages.
    History {
        /// The messages, newest first. If the request has `after`: oldest first.
        messages: Vec<HistoryMessage<'static>>,
        /// Whether the room has more messages beyond this page: older messages, or newer messages if the request has
        /// `after`.
        has_more: bool,
    },
}

/// The declaration of the action `history`.
pub const SPEC: ActionSpec = ActionSpec {
    // A page has up to 200 messages. So `history` has a lower limit of concurrent calls than actions that answer with
    // one message.
    limits: Limits { max_in_flight: 256, ..Limits::DEFAULT },
    ..ActionSpec::DEFAULT
};

/// Reads the page. Fails with `invalid_request` if `limit` is out of range, or if the frame has `before` and `after`.
pub async fn handle(cx: Context, request: Request) -> Result<Answer, Error> {
    let limit = request.limit.unwrap_or(PAGE_DEFAULT);
    if !(1..=PAGE_MAX).contains(&limit) {
        return Err(Error::invalid(format!("limit: must be 1 to {PAGE_MAX}")));
    }
    let from = match (request.before, request.after) {
        (None, None) => HistoryCursor::Newest,
        (Some(before), None) => HistoryCursor::Before(before),
        (None, Some(after)) => HistoryCursor::After(number(after)?),
        (Some(_), Some(_)) => return Err(Error::invalid("before: excludes after")),
    };
    let page = cx.room()?.history(from, limit as usize).await?;
    Ok(Answer::History { messages: page.messages, has_more: page.has_more })
}

/// Converts `after` to the number of a message, or to 0. Fails if `after` is larger than every possible message number.
fn number(after: u64) -> Result<i64, Error> {
    let number = i64::try_from(after).ok().filter(|number| *number <= MAX_ID);
    number.ok_or_else(|| Error::invalid("after: no message has such a number"))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::PAGE_DEFAULT;
    use crate::testing::{FakeRoom, OTHER};
    use crate::{Code, Reply, Role};

    /// Makes a room, adds `messages` messages to it, and calls `history` with the frame. Returns the numbers of the
    /// page's messages, and `has_more`.
    fn page(messages: usize, frame: &Value) -> (Vec<i64>, bool) {
        let room = FakeRoom::new(Role::Member);
        for _ in 0..messages {
            room.add_message(OTHER, "Hello");
        }
        let Reply::Frame(answer) = room.call(frame).unwrap() else { panic!("no answer") };
        let answer: Value = serde_json::from_str(&answer).unwrap();
        assert_eq!(answer["type"], "history");
        let numbers = answer["messages"].as_array().unwrap().iter().map(|message| &message["message_id"]);
        (numbers.map(|number| number.as_i64().unwrap()).collect(), answer["has_more"].as_bool().unwrap())
    }

    #[test]
    fn history_begins_at_the_newest_message_by_default() {
        assert_eq!(page(3, &json!({"action": "history"})), (vec![3, 2, 1], false));
        let (numbers, has_more) = page(60, &json!({"action": "history"}));
        assert_eq!((numbers.len(), has_more), (PAGE_DEFAULT as usize, true));
    }

    #[test]
    fn history_pages_backwards_and_forwards() {
        let before = json!({"action": "history", "before": 4, "limit": 2});
        assert_eq!(page(5, &before), (vec![3, 2], true));
        let first = json!({"action": "history", "after": 0, "limit": 2});
        assert_eq!(page(5, &first), (vec![1, 2], true));
        let last = json!({"action": "history", "after": 3, "limit": 2});
        assert_eq!(page(5, &last), (vec![4, 5], false));
    }

    #[test]
    fn history_is_refused_when_the_page_is_not_valid() {
        let room = FakeRoom::new(Role::Member);
        for (field, frame) in [
            ("limit", json!({"action": "history", "limit": 0})),
            ("limit", json!({"action": "history", "limit": 201})),
            ("before", json!({"action": "history", "before": 0})),
            ("before", json!({"action": "history", "before": 2, "after": 1})),
            ("after", json!({"action": "history", "after": 1_u64 << 53})),
        ] {
            let error = room.call(&frame).unwrap_err();
            assert_eq!(error.code(), Code::InvalidRequest, "{frame}");
            assert!(error.message().starts_with(&format!("{field}: ")), "{}", error.message());
        }
    }
}
