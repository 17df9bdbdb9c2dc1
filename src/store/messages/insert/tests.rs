//! Tests which messages of a batch are answered with an error at their deadline, and how the database's answers to
//! failed attempts are interpreted.

use bson::oid::ObjectId;
use bson::{Bson, doc};
use handlers::{Text, Time, UserId};

use super::*;
use crate::store::rooms::create::DUPLICATE_KEY;

fn text() -> Text {
    let draft: handlers::Draft = serde_json::from_str(r#""something""#).unwrap();
    draft.within(100, "message").unwrap()
}

/// Returns a queued message whose deadline is `seconds` from now (negative: in the past), and the receiver of its
/// answer. `tried` is the number that an earlier attempt with an unknown outcome gave to the message.
fn entry(
    room: i64,
    seconds: i64,
    tried: Option<i64>,
) -> (QueuedMessage, oneshot::Receiver<Result<Written, StoreError>>) {
    let (done, answer) = oneshot::channel();
    let (now, span) = (Instant::now(), Duration::from_secs(seconds.unsigned_abs()));
    let deadline = if seconds < 0 { now.checked_sub(span).unwrap() } else { now + span };
    let draft = UnwrittenMessage {
        room: room.try_into().unwrap(),
        sender: UserId::Int(1),
        text: text(),
        client_id: None,
        at: Time(0),
        write_id: ObjectId::new(),
        by_member: true,
    };
    let entry = QueuedMessage { draft, deadline, vouched: now, tried, done };
    (entry, answer)
}

/// Makes a batch of messages expire. `entries` are the arguments of [`entry`]. Returns one character for each message:
/// `-` for no answer yet, `?` for the answer "unknown outcome", `0` for the answer "nothing was written".
fn expired(entries: &[(i64, i64, Option<i64>)]) -> String {
    let (batch, answers): (Vec<_>, Vec<_>) =
        entries.iter().map(|(room, seconds, tried)| entry(*room, *seconds, *tried)).unzip();
    let ids: Vec<_> = batch.iter().map(|entry| entry.draft.write_id).collect();
    let rest: Vec<_> =
        MessageWriterTask::expire(batch).into_iter().map(|entry| entry.draft.write_id).collect();
    assert!(rest.is_sorted_by_key(|id| ids.iter().position(|other| other == id)), "the order has changed");
    let outcome = |mut answer: oneshot::Receiver<_>| match answer.try_recv() {
        Ok(Err(StoreError::Unknown(_))) => '?',
        Ok(Err(StoreError::Unreachable(_))) => '0',
        Ok(other) => panic!("{other:?}"),
        Err(_) => '-',
    };
    let outcomes: String = answers.into_iter().map(outcome).collect();
    assert_eq!(rest.len(), outcomes.matches('-').count(), "a waiting entry has no answer yet");
    outcomes
}

#[test]
fn entry_waits_until_its_deadline() {
    assert_eq!(expired(&[(1, 60, None), (1, 60, Some(7)), (2, 60, None)]), "---");
}

#[test]
fn late_entry_learns_whether_it_may_be_written() {
    assert_eq!(expired(&[(1, -1, None), (2, -1, Some(7)), (3, 60, None)]), "0?-");
}

#[test]
fn tried_entry_is_given_up_with_the_one_before_it() {
    // The earlier attempt gave the messages the numbers 7, 8 and 9. If message 7 is not written, messages 8 and 9 must
    // not be written either, because the number 7 would be a hole.
    assert_eq!(expired(&[(1, -1, Some(7)), (1, 60, Some(8)), (1, 60, Some(9))]), "???");
    assert_eq!(expired(&[(1, 60, Some(7)), (1, -1, Some(8)), (1, 60, Some(9))]), "-??");
}

#[test]
fn untried_entry_and_other_rooms_are_not_given_up() {
    assert_eq!(expired(&[(1, -1, Some(7)), (2, 60, Some(3)), (1, 60, None), (1, 60, Some(8))]), "?--?");
    assert_eq!(expired(&[(1, -1, None), (1, 60, Some(8))]), "0-");
}

#[test]
fn shard_without_primary_gives_an_unknown_outcome() {
    let attempt = |code: i32| {
        let errors = [doc! { "index": 1, "code": code, "errmsg": "" }];
        InsertOutcome::answered(doc! { "ok": 1, "n": 1, "writeErrors": errors }, 2)
    };
    for code in [6, 7, 89, 91, 189, 262, 9001, 10107, 11600, 11602] {
        assert!(matches!(attempt(code), InsertOutcome::Unknown(_)), "{code}");
    }
    assert!(matches!(attempt(DUPLICATE_KEY), InsertOutcome::Taken(1)));
    assert!(matches!(attempt(121), InsertOutcome::Refused(1, _)));
}

#[test]
fn unreadable_answer_is_an_unknown_outcome() {
    assert!(matches!(InsertOutcome::answered(doc! { "ok": 1, "n": 2 }, 2), InsertOutcome::Written));
    let of_none = [doc! { "index": 2, "code": DUPLICATE_KEY, "errmsg": "" }];
    for senseless in [Bson::from(7), "none".into(), doc! { "index": 1 }.into(), of_none.to_vec().into()] {
        let answer = doc! { "ok": 1, "writeErrors": senseless };
        assert!(matches!(InsertOutcome::answered(answer.clone(), 2), InsertOutcome::Unknown(_)), "{answer}");
    }
}
