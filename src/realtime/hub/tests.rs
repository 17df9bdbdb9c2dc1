//! Tests which frames the sockets of a room receive, for example when several sockets open the room concurrently.

use std::collections::VecDeque;

use handlers::{MessageId, Time, UserId};
use tokio::time::Instant;

use super::*;
use crate::model::message::StoredMessage;
use crate::model::receipts::Marks;
use crate::model::room::StoredMember;
use crate::realtime::frame::{FrameKind, RoomFrame};
use crate::realtime::joined_rooms::JoinedRooms;
use crate::realtime::outbox::MAX_DEFERRED;
use crate::store::Snapshot;

fn at(time: u32) -> Timestamp {
    Timestamp { time, increment: 1 }
}

fn snapshot(time: u32) -> Snapshot {
    let member = |user| StoredMember {
        user: UserId::Int(user),
        email: None,
        role: handlers::Role::Member,
        marks: Marks::default(),
        pending: false,
    };
    let members = vec![member(1), member(2)];
    Snapshot { time: at(time), members, messages: Vec::new(), waiting: Vec::new(), complete: true }
}

fn said(id: i64) -> CommittedChange {
    CommittedChange::Sent(StoredMessage {
        id: MessageId::try_from(id).unwrap(),
        sender: UserId::Int(1),
        text: "hello".to_owned(),
        created_at: Time(0),
        updated_at: Time(0),
        write_id: None,
    })
}

fn taken(socket: &Outbox) -> VecDeque<Arc<Frame>> {
    let mut taken = VecDeque::new();
    socket.take(100, &mut taken);
    taken
}

fn frame_times(socket: &Outbox) -> Vec<Timestamp> {
    taken(socket).iter().map(|frame| frame.time).collect()
}

fn hub() -> (Hub, RoomId) {
    let (hub, _) = Hub::new(HeldBytes::new(usize::MAX), TextPool::new(usize::MAX), Arc::new(Metrics::new()));
    (hub, RoomId::try_from(1).unwrap())
}

#[test]
fn changes_between_two_histories_are_sent_to_both_sockets() {
    let (hub, room) = hub();
    let (early, late) = (Arc::new(Outbox::new(10_usize, None)), Arc::new(Outbox::new(10_usize, None)));
    let generations = [&early, &late].map(|socket| hub.join(room, socket).load.unwrap());
    for (time, id) in [(7, 1), (12, 2)] {
        hub.advance_to(room, at(time));
        hub.apply(room, at(time), said(id));
    }
    hub.room_loaded(room, generations[1], &late, &snapshot(10));
    assert_eq!(frame_times(&late), [], "the earlier one is still being read");
    hub.room_loaded(room, generations[0], &early, &snapshot(5));
    assert_eq!(frame_times(&early), [at(7), at(12)]);
    assert_eq!(frame_times(&late), [at(7), at(12)], "of which its socket drops what its history has");
}

#[test]
fn reader_that_leaves_delays_no_other_socket() {
    let (hub, room) = hub();
    let (gone, stays) = (Arc::new(Outbox::new(10_usize, None)), Arc::new(Outbox::new(10_usize, None)));
    let generations = [&gone, &stays].map(|socket| hub.join(room, socket).load.unwrap());
    hub.advance_to(room, at(7));
    hub.apply(room, at(7), said(1));
    hub.room_loaded(room, generations[1], &stays, &snapshot(5));
    assert_eq!(frame_times(&stays), []);
    hub.leave(room, &gone);
    assert_eq!(frame_times(&stays), [at(7)]);
}

#[test]
fn idle_room_is_loaded_as_of_before_the_next_change() {
    let (hub, mut wanted) =
        Hub::new(HeldBytes::new(usize::MAX), TextPool::new(usize::MAX), Arc::new(Metrics::new()));
    let room = RoomId::try_from(1).unwrap();
    let inbox = Arc::new(Outbox::for_inbox(10_usize, UserId::Int(1), Arc::default()));
    hub.advance_time(at(3));
    hub.join_inbox(&[room], &inbox);
    // The hub knows the time of the change, and is about to receive the change itself.
    hub.advance_to(room, at(7));
    let socket = Arc::new(Outbox::new(10_usize, None));
    assert!(hub.join(room, &socket).load.is_none(), "it is read for all");
    hub.apply(room, at(7), said(1));
    let wanted = wanted.try_recv().unwrap();
    assert!(wanted.at < at(7), "{:?}", wanted.at);
    hub.room_loaded_for_all(wanted, &Snapshot { time: wanted.at, ..snapshot(0) });
    assert_eq!(frame_times(&inbox), [at(7)]);
}

/// The hub receives a change before any socket is in the room, for example the creation of the room. The hub drops this
/// change, so the state must be loaded as of a time that includes the change.
#[test]
fn idle_room_is_loaded_no_earlier_than_the_first_join() {
    let (hub, mut wanted) =
        Hub::new(HeldBytes::new(usize::MAX), TextPool::new(usize::MAX), Arc::new(Metrics::new()));
    let room = RoomId::try_from(1).unwrap();
    hub.advance_to(room, at(7));
    hub.apply(room, at(7), CommittedChange::Entered { user: UserId::Int(2), marks: Marks::default() });
    let inbox = Arc::new(Outbox::for_inbox(10_usize, UserId::Int(1), Arc::default()));
    hub.join_inbox(&[room], &inbox);
    assert!(hub.join(room, &Arc::new(Outbox::new(10_usize, None))).load.is_none(), "it is read for all");
    assert_eq!(wanted.try_recv().unwrap().at, at(7));
}

/// Receipt markers are stored in batches, so a marker may arrive after its member has left the room. A former member's
/// low marker must not keep messages of the remaining members from becoming `read`.
#[test]
fn marker_of_a_former_member_is_ignored() {
    let (hub, room) = hub();
    let socket = Arc::new(Outbox::new(10_usize, None));
    let generation = hub.join(room, &socket).load.unwrap();
    let user = |id| UserId::Int(id);
    let mut three = snapshot(5);
    three.members.push(StoredMember { user: user(3), ..three.members[0].clone() });
    hub.room_loaded(room, generation, &socket, &three);
    for (time, change) in [
        (7, CommittedChange::Left { user: user(3) }),
        (8, CommittedChange::Marked(vec![(user(3), Marks::default())])),
        (9, said(1)),
        (10, CommittedChange::Marked(vec![(user(2), read(1)), (user(1), read(1))])),
    ] {
        hub.advance_to(room, at(time));
        hub.apply(room, at(time), change);
    }
    let frames: Vec<_> = taken(&socket).iter().map(|frame| frame.json.to_string()).collect();
    assert!(frames.iter().any(|frame| frame.contains("mark_message_as_read")), "{frames:?}");
}

fn read(n: i64) -> Marks {
    Marks { delivered: n, read: n }
}

/// A history contains all changes up to the time at which it was read, except some receipt markers. The history may
/// lack markers that the hub received after the socket joined. Therefore these markers must be sent as events.
#[test]
fn markers_between_the_join_and_the_history_are_sent() {
    let (hub, room) = hub();
    let socket = Arc::new(Outbox::new(10_usize, Some(UserId::Int(1))));
    hub.advance_time(at(3));
    let joined = hub.join(room, &socket);
    assert_eq!(joined.marked, at(3));
    for (time, change) in [(5, said(1)), (7, CommittedChange::Marked(vec![(UserId::Int(2), read(1))]))] {
        hub.advance_to(room, at(time));
        hub.apply(room, at(time), change);
    }
    let CommittedChange::Sent(message) = said(1) else { unreachable!() };
    let history = Snapshot { messages: vec![message], ..snapshot(10) };
    hub.room_loaded(room, joined.load.unwrap(), &socket, &history);
    assert_eq!(frame_times(&socket), [at(7); 2], "delivered, and read");
    let late = hub.join(room, &Arc::new(Outbox::new(10_usize, None)));
    assert_eq!((late.load, late.marked), (None, at(7)));
}

/// Creates a room in which user 2 has read a message of user 1. Returns the sockets of user 1 and user 2.
fn read_by_another() -> (Hub, RoomId, Arc<Outbox>, Arc<Outbox>) {
    let (hub, room) = hub();
    let sockets = [1, 2].map(|user| Arc::new(Outbox::new(10_usize, Some(UserId::Int(user)))));
    let generations = [0, 1].map(|at| hub.join(room, &sockets[at]).load.unwrap());
    for (socket, generation) in sockets.iter().zip(generations) {
        hub.room_loaded(room, generation, socket, &snapshot(5));
    }
    hub.advance_to(room, at(7));
    hub.apply(room, at(7), said(1));
    let [author, reader] = sockets;
    assert_eq!((frame_times(&author), frame_times(&reader)), (vec![at(7)], vec![at(7)]));
    hub.advance_to(room, at(8));
    hub.apply(room, at(8), CommittedChange::Marked(vec![(UserId::Int(2), read(1))]));
    (hub, room, author, reader)
}

#[test]
fn status_is_sent_to_the_author_now_and_deferred_for_others() {
    let (hub, room, author, reader) = read_by_another();
    assert_eq!(frame_times(&author), [at(8); 2], "delivered, and read");
    assert_eq!(frame_times(&reader), []);
    hub.advance_to(room, at(9));
    hub.apply(room, at(9), said(2));
    assert_eq!(frame_times(&reader), [at(8), at(8), at(9)]);
}

#[tokio::test]
async fn deferred_frame_is_written_soon_when_no_other_follows() {
    let began = Instant::now();
    let (hub, _, _, reader) = read_by_another();
    tokio::spawn(Arc::new(hub).wake_deferred());
    while told_next(&reader).await != [at(8); 2] {}
    assert!(began.elapsed() >= coalesce::TURN);
}

/// Waits until a socket is woken, and returns the times of the frames that the socket then has to write.
async fn told_next(socket: &Outbox) -> Vec<Timestamp> {
    tokio::time::timeout(std::time::Duration::from_secs(10), socket.changed()).await.unwrap();
    frame_times(socket)
}

#[test]
fn deferred_frame_is_written_before_a_close() {
    let (_, _, _, reader) = read_by_another();
    reader.close(Close::NoRoom);
    assert_eq!(frame_times(&reader), [at(8); 2]);
}

#[test]
fn deferred_frames_are_written_when_there_are_many() {
    for (limit, waits) in [(100_usize, MAX_DEFERRED), (6, 3), (1, 0)] {
        let reader = Outbox::new(limit, Some(UserId::Int(2)));
        for _ in 0..waits {
            reader.push(&mark());
        }
        assert_eq!(frame_times(&reader), []);
        assert_eq!(reader.push(&mark()), PushOutcome::Queued);
        assert_eq!(frame_times(&reader).len(), waits + 1);
    }
}

/// Returns a status frame: a message of user 1 was read.
fn mark() -> Arc<Frame> {
    let (id, author) = (MessageId::try_from(1).unwrap(), UserId::Int(1));
    let receipt = RoomFrame::Receipt { id, author, status: handlers::Status::Read };
    Arc::new(Frame::without_text(at(1), FrameKind::Room(RoomId::MIN, receipt)))
}

/// Two changes arrive before the connection re-reads the room. The second change queues no further frame, but the
/// re-read must be as new as the second change.
#[test]
fn recheck_covers_a_change_that_was_queued_behind_it() {
    let (hub, room) = hub();
    let rooms = Arc::<JoinedRooms>::default();
    let inbox = Arc::new(Outbox::for_inbox(10_usize, UserId::Int(1), rooms.clone()));
    hub.join_inbox(&[room], &inbox);
    for time in [7, 9] {
        hub.request_recheck(room, None, at(time));
    }
    assert_eq!(frame_times(&inbox), [at(7)], "one re-read is enough");
    assert_eq!(rooms.take_stale(room), Some(at(9)));
    hub.request_recheck(room, None, at(11));
    assert_eq!(frame_times(&inbox), [at(11)], "the room changed again after the re-read began");
}
