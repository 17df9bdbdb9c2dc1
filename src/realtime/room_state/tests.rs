//! Tests which texts a room's state keeps, and when the deletion of a message changes unread counts.

use handlers::{MessageId, Role, Time};

use super::texts::OWN_BYTES;
use super::*;
use crate::model::message::Revision;
use crate::model::room::StoredMember;

const ROOM: RoomId = RoomId::MIN;
const POOL: usize = 1 << 20;

fn at(n: i64) -> Timestamp {
    Timestamp { time: 10 + u32::try_from(n).unwrap(), increment: 1 }
}

fn id(n: i64) -> MessageId {
    MessageId::try_from(n).unwrap()
}

/// Creates an empty room of users 1 and 2.
fn room() -> OpenRoom {
    let member = |user| StoredMember {
        user: UserId::Int(user),
        email: None,
        role: Role::Member,
        marks: Marks::default(),
        pending: false,
    };
    let (members, messages, waiting) = ([1, 2].map(member).to_vec(), Vec::new(), Vec::new());
    let snapshot = Snapshot { time: at(0), members, messages, waiting, complete: true };
    OpenRoom::of(ROOM, &snapshot, &TextPool::new(POOL))
}

fn say(room: &mut OpenRoom, n: i64, bytes: usize) {
    let message = StoredMessage {
        id: id(n),
        sender: UserId::Int(1),
        text: "x".repeat(bytes),
        created_at: Time(0),
        updated_at: Time(0),
        write_id: None,
    };
    room.apply(at(n), CommittedChange::Sent(message), &mut Vec::new());
}

/// Deletes a message. Returns whether the message was unread, according to the frame of the deletion.
fn delete(room: &mut OpenRoom, n: i64, time: i64) -> UnreadBeforeDelete {
    let mut frames = Vec::new();
    let revision = Revision { number: Some(time), request: None };
    room.apply(at(time), CommittedChange::Deleted { id: id(n), revision }, &mut frames);
    let Some(Frame { kind: FrameKind::Room(_, RoomFrame::Deleted { unread, .. }), .. }) = frames.pop() else {
        panic!("the delete has no frame");
    };
    unread
}

#[test]
fn texts_over_the_bound_are_dropped_and_restored() {
    let mut room = room();
    for n in 1..=100 {
        say(&mut room, n, 20_000);
        room.trim();
    }
    let kept: usize = room.waiting.iter().map(|message| message.text.len()).sum();
    assert!((POOL..=POOL + OWN_BYTES).contains(&kept), "{kept}");
    assert_eq!(room.waiting.len(), 100);
    let marked = |n| CommittedChange::Marked(vec![(UserId::Int(2), Marks { delivered: n, read: 0 })]);
    assert!(room.lacks_texts_for(at(101), &marked(1)));
    assert!(!room.lacks_texts_for(at(101), &marked(0)), "no status rises");
    assert_eq!(delete(&mut room, 1, 101), UnreadBeforeDelete::Yes { author: UserId::Int(1) });

    let texts = (2..=100).map(|n| StoredMessage {
        id: id(n),
        sender: UserId::Int(1),
        text: "read again".to_owned(),
        created_at: Time(0),
        updated_at: Time(0),
        write_id: None,
    });
    let (members, messages, waiting) = (Vec::new(), texts.collect(), Vec::new());
    room.fill(&Snapshot { time: at(101), members, messages, waiting, complete: true });
    assert!(!room.is_trimmed() && !room.lacks_texts_for(at(102), &marked(100)));
    let mut frames = Vec::new();
    room.apply(at(102), marked(100), &mut frames);
    assert_eq!(frames.len(), 99);
}

#[test]
fn delete_leaves_unread_counts_when_all_have_read_it() {
    let mut room = room();
    say(&mut room, 1, 1);
    let read = Marks { delivered: 1, read: 1 };
    let mut frames = Vec::new();
    room.apply(at(2), CommittedChange::Marked(vec![(UserId::Int(2), read)]), &mut frames);
    let all = |frame: &Frame| {
        let FrameKind::Inbox(frame) = &frame.kind else { return false };
        matches!(frame, InboxFrame::MarkerRaised { user: UserId::Int(2), up_to: 1, all: true, .. })
    };
    assert!(frames.iter().any(all), "{frames:?}");
    assert_eq!(delete(&mut room, 1, 3), UnreadBeforeDelete::No);
}
