//! A room that has sockets on this server: what turns a change of the database into events.
//!
//! Kept is no more than that takes: every member's marks, for a message's status is the lowest of its other
//! readers', and those of the newest [`WAITING`] messages that someone has still to read, as far as their texts fit
//! [`WAITING_BYTES`], for their marks are told with the whole message. Both begin with a snapshot and follow the feed from its cluster time on, so all
//! servers that have the room open derive the same events in the same order.

use std::collections::{HashMap, VecDeque};

use bson::Timestamp;
use handlers::{Event, Message, MessageId, RoomId, Status, Time, UserId};
use tokio_tungstenite::tungstenite::Utf8Bytes;

use crate::cursor::Position;
use crate::outbox::{Frame, Inbox, What};
use crate::signal::CustomEvent;
use crate::store::documents::{self, Marks, Revision};
use crate::store::{Lowest, Snapshot, WAITING};

/// The texts of messages that a room keeps because someone has still to read them, in bytes, but for the newest one's. 200 of
/// 4,096 ASCII characters fit.
const WAITING_BYTES: usize = 1024 * 1024;

/// What the database did, in one room.
#[derive(Clone, Debug)]
pub(crate) enum Change {
    Sent(documents::Message),
    Edited {
        id: MessageId,
        text: String,
        updated_at: Time,
        revision: Revision,
    },
    Deleted {
        id: MessageId,
        revision: Revision,
    },
    /// A member is there, new or not, with at least these marks.
    Entered {
        user: UserId,
        marks: Marks,
    },
    /// Members have at least these marks. Of one who has left meanwhile it is too late.
    Marked(Vec<(UserId, Marks)>),
    Left {
        user: UserId,
    },
    /// Nothing of the room's: Level 2 sockets of others are told that this user is typing.
    Typing {
        user: UserId,
    },
    /// Nothing of the room's: its sockets are told, and that is all.
    Told(CustomEvent),
}

/// The state of an open room, as of one cluster time.
#[derive(Debug)]
pub(crate) struct OpenRoom {
    id: RoomId,
    time: Timestamp,
    marks: HashMap<UserId, Marks>,
    /// Ascending; messages that are read may stand between those that aren't.
    waiting: VecDeque<Message>,
    /// Those after this number that someone has still to read are all among these.
    waiting_after: i64,
    /// The greatest number seen; none where the messages could not be read.
    last: Option<i64>,
}

impl OpenRoom {
    /// As a snapshot with its `waiting` has it.
    pub(crate) fn of(id: RoomId, snapshot: &Snapshot) -> Self {
        let mut room = Self {
            id,
            time: snapshot.time,
            marks: snapshot.members.iter().map(|member| (member.user.clone(), member.marks)).collect(),
            waiting: VecDeque::new(),
            waiting_after: snapshot.known_after(),
            last: snapshot.complete.then(|| snapshot.messages.first().map_or(0, |message| message.id.get())),
        };
        let members = snapshot.members.iter().map(|member| (&member.user, member.marks));
        let lowest = Lowest::of(members);
        let status = |message: &documents::Message| {
            lowest.as_ref().map_or(Status::Send, |lowest| lowest.status(&message.sender, message.id))
        };
        for message in snapshot.waiting.iter().rev().chain(snapshot.messages.iter().rev()) {
            room.keep(event_message(message.clone(), status(message)));
        }
        room
    }

    /// The moment that it is of.
    pub(crate) fn time(&self) -> Timestamp {
        self.time
    }

    /// The greatest number seen; none where that is not known.
    pub(crate) fn last(&self) -> Option<i64> {
        self.last
    }

    /// Takes a change and gives the frames that tell of it. A change that this state has already gives none: of marks that
    /// is seen by themselves, for those of a snapshot may be of a moment before its own.
    pub(crate) fn apply(&mut self, time: Timestamp, change: Change, frames: &mut Vec<Frame>) {
        if time <= self.time && !matches!(change, Change::Marked(_)) {
            return;
        }
        let told = frames.len();
        self.change(time, change, frames);
        for frame in frames.iter_mut().skip(told) {
            frame.inbox.get_or_insert(Inbox { room: self.id, what: What::Event });
        }
    }

    fn change(&mut self, time: Timestamp, change: Change, frames: &mut Vec<Frame>) {
        match change {
            Change::Sent(message) => self.sent(time, message, frames),
            Change::Edited { id, text, updated_at, revision } => {
                let told = frame(time, &Event::MessageEdited { message_id: id, text: &text });
                frames.push(told.caused(Position::revision(revision.number), revision.request));
                if let Some(message) = self.waiting.iter_mut().find(|message| message.message_id == id) {
                    (message.text, message.updated_at) = (text, updated_at);
                }
            }
            Change::Deleted { id, revision } => {
                let told = frame(time, &Event::MessageDeleted { message_id: id });
                let told = told.caused(Position::revision(revision.number), revision.request);
                let waited = self.waiting.iter().find(|message| message.message_id == id);
                let what = match waited {
                    Some(message) => What::Deleted { id, author: Some(message.sender_id.clone()) },
                    None if id.get() > self.waiting_after => What::Event,
                    None => What::Deleted { id, author: None },
                };
                frames.push(Frame { inbox: Some(Inbox { room: self.id, what }), ..told });
                self.waiting.retain(|message| message.message_id != id);
            }
            Change::Entered { user, marks } => {
                self.marks.entry(user.clone()).or_default();
                self.raise(time, user, marks, frames);
                self.tell_marks(time, frames);
            }
            Change::Marked(marks) => {
                for (user, marks) in marks {
                    self.raise(time, user, marks, frames);
                }
                self.tell_marks(time, frames);
            }
            Change::Left { user } => {
                self.marks.remove(&user);
                frames.push(Frame::dismissal(user, time));
                self.tell_marks(time, frames);
            }
            Change::Typing { user } => {
                let told = frame(time, &Event::Typing { sender_id: &user });
                frames.push(Frame { about: Some(user), ..told });
            }
            Change::Told(event) => frames.push(Frame::new(event.into_frame(), time)),
        }
    }

    /// Raises the marks of a member.
    fn raise(&mut self, time: Timestamp, user: UserId, marks: Marks, frames: &mut Vec<Frame>) {
        let Some(known) = self.marks.get_mut(&user) else { return };
        let raised = known.max(marks);
        if raised.read > std::mem::replace(known, raised).read {
            let all = self.last.is_some_and(|last| raised.read >= last);
            frames.push(Frame::inbox(self.id, What::Read { user, up_to: raised.read, all }, time));
        }
    }

    /// Those who are not among these any more.
    pub(crate) fn gone(&self, members: &[documents::Member]) -> Vec<UserId> {
        let gone = |user: &&UserId| !members.iter().any(|member| member.user == **user);
        self.marks.keys().filter(gone).cloned().collect()
    }

    /// After this, `time` is known too.
    pub(crate) fn reached(&mut self, time: Timestamp) {
        self.time = self.time.max(time);
    }

    fn sent(&mut self, time: Timestamp, message: documents::Message, frames: &mut Vec<Frame>) {
        self.last = self.last.map(|last| last.max(message.id.get()));
        let write_id = message.write_id;
        let message = event_message(message, Status::Send);
        let told = frame(time, &Event::ChatMessage { message: &message });
        let mut told = told.caused(Position::message(message.message_id.get()), write_id);
        told.delivers = Some((message.message_id, message.sender_id.clone()));
        frames.push(told);
        self.keep(message);
    }

    fn keep(&mut self, message: Message) {
        if message.status == Status::Read {
            return;
        }
        self.waiting.push_back(message);
        let mut bytes: usize = self.waiting.iter().map(|message| message.text.len()).sum();
        while (self.waiting.len() > WAITING || bytes > WAITING_BYTES && self.waiting.len() > 1)
            && let Some(first) = self.waiting.pop_front()
        {
            bytes -= first.text.len();
            self.waiting_after = self.waiting_after.max(first.message_id.get());
        }
    }

    /// Tells of each message that has come further, the oldest first, one step after the other.
    fn tell_marks(&mut self, time: Timestamp, frames: &mut Vec<Frame>) {
        let Some(lowest) = Lowest::of(self.marks.iter().map(|(user, marks)| (user, *marks))) else { return };
        for message in &mut self.waiting {
            let now = lowest.status(&message.sender_id, message.message_id);
            if message.status < Status::Delivered && now >= Status::Delivered {
                message.status = Status::Delivered;
                frames.push(marked(time, message, &Event::MarkMessageAsDelivered { message }));
            }
            if message.status < Status::Read && now >= Status::Read {
                message.status = Status::Read;
                frames.push(marked(time, message, &Event::MarkMessageAsRead { message }));
            }
        }
        self.waiting.retain(|message| message.status != Status::Read);
    }
}

/// How far a message has come, by the lowest marks of its author's others.
pub(crate) fn status(others: Option<Marks>, id: MessageId) -> Status {
    match others {
        Some(marks) if marks.read >= id.get() => Status::Read,
        Some(marks) if marks.delivered >= id.get() => Status::Delivered,
        _ => Status::Send,
    }
}

fn event_message(message: documents::Message, status: Status) -> Message {
    Message {
        text: message.text,
        message_id: message.id,
        sender_id: message.sender,
        status,
        created_at: message.created_at,
        updated_at: message.updated_at,
    }
}

/// That a message has come as far as its status says.
fn marked(time: Timestamp, message: &Message, event: &Event<'_>) -> Frame {
    let marks = (message.message_id, message.sender_id.clone(), message.status);
    Frame { marks: Some(marks), ..frame(time, event) }
}

fn frame(time: Timestamp, event: &Event<'_>) -> Frame {
    Frame::new(json(event), time)
}

/// What goes over the wire. Our own types have no map with keys that are not strings, and so always encode.
pub(crate) fn json(value: &impl serde::Serialize) -> Utf8Bytes {
    serde_json::to_string(value).unwrap_or_default().into()
}

#[cfg(test)]
mod tests {
    use handlers::Role;

    use super::*;
    use crate::store::documents::Member;

    const ROOM: RoomId = RoomId::MIN;

    fn at(n: i64) -> Timestamp {
        Timestamp { time: 10 + u32::try_from(n).unwrap(), increment: 1 }
    }

    fn id(n: i64) -> MessageId {
        MessageId::try_from(n).unwrap()
    }

    /// Of users 1 and 2, with nothing in it.
    fn room() -> OpenRoom {
        let member = |user| Member {
            user: UserId::Int(user),
            email: None,
            role: Role::Member,
            marks: Marks::default(),
        };
        let (members, messages, waiting) = ([1, 2].map(member).to_vec(), Vec::new(), Vec::new());
        OpenRoom::of(ROOM, &Snapshot { time: at(0), members, messages, waiting, complete: true })
    }

    fn say(room: &mut OpenRoom, n: i64, bytes: usize) {
        let message = documents::Message {
            id: id(n),
            sender: UserId::Int(1),
            text: "x".repeat(bytes),
            created_at: Time(0),
            updated_at: Time(0),
            write_id: None,
        };
        room.apply(at(n), Change::Sent(message), &mut Vec::new());
    }

    /// What a delete is to sockets of all rooms.
    fn delete(room: &mut OpenRoom, n: i64, time: i64) -> What {
        let mut frames = Vec::new();
        let revision = Revision { number: Some(time), request: None };
        room.apply(at(time), Change::Deleted { id: id(n), revision }, &mut frames);
        frames.pop().unwrap().inbox.unwrap().what
    }

    #[test]
    fn what_waits_to_be_read_is_bounded_in_bytes_and_what_was_dropped_is_not_taken_for_read() {
        let mut room = room();
        for n in 1..=100 {
            say(&mut room, n, 20_000);
        }
        let kept: usize = room.waiting.iter().map(|message| message.text.len()).sum();
        assert!((WAITING_BYTES - 20_000..=WAITING_BYTES).contains(&kept), "{kept}");
        assert!(matches!(delete(&mut room, 1, 101), What::Deleted { author: None, .. }));
        assert!(matches!(delete(&mut room, 99, 102), What::Deleted { author: Some(_), .. }));
        say(&mut room, 101, 2 * WAITING_BYTES);
        assert_eq!(room.waiting.len(), 1, "the newest is kept, whatever its size");
    }

    #[test]
    fn the_delete_of_what_everyone_has_read_changes_nothing_that_is_unread() {
        let mut room = room();
        say(&mut room, 1, 1);
        let read = Marks { delivered: 1, read: 1 };
        let mut frames = Vec::new();
        room.apply(at(2), Change::Marked(vec![(UserId::Int(2), read)]), &mut frames);
        let all = |frame: &Frame| {
            let what = frame.inbox.as_ref().map(|inbox| &inbox.what);
            matches!(what, Some(What::Read { user: UserId::Int(2), up_to: 1, all: true }))
        };
        assert!(frames.iter().any(all), "{frames:?}");
        assert!(matches!(delete(&mut room, 1, 3), What::Event));
    }
}
