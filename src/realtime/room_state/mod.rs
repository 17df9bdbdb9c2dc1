//! The state of a room that has sockets on this server. The state turns committed changes into frames (encoded events).
//!
//! The state keeps only the data that the frames need:
//!
//! - The receipt markers of every member. A message's status is the lowest status among its recipients.
//! - The newest [`WAITING`] messages that at least one member has not read. A status event contains the whole message.
//!   If the texts of these messages are too large, the oldest texts are dropped
//!   ([`text_pool`](crate::realtime::text_pool)). A dropped text is loaded again when the status of its message
//!   changes.
//!
//! The state begins with a snapshot of the room in the database. It then applies the changes of the change stream that
//! are later than the snapshot's cluster time (MongoDB's logical clock). So all servers with sockets of the room send
//! the same events in the same order.

#[cfg(test)]
mod tests;
mod texts;

use std::collections::{HashMap, VecDeque};

use bson::Timestamp;
use handlers::{Event, Message, RoomId, Status, UserId};

use super::frame::{Frame, FrameKind, InboxFrame, RoomFrame, UnreadBeforeDelete};
use crate::model::change::CommittedChange;
use crate::model::message::StoredMessage;
use crate::model::receipts::{Marks, MinMarks};
use crate::model::room::StoredMember;
use crate::protocol::json::json;
use crate::store::{Snapshot, WAITING};

pub(crate) use super::text_pool::TextPool;
use super::text_pool::TextShare;

/// The state of a room as of one cluster time.
#[derive(Debug)]
pub(crate) struct OpenRoom {
    id: RoomId,
    time: Timestamp,
    marks: HashMap<UserId, Marks>,
    /// The unread messages in ascending order of their numbers. Messages that all members have read are missing. An
    /// empty text is a dropped text.
    waiting: VecDeque<Message>,
    /// The bytes that the texts in `waiting` take from the [`TextPool`].
    share: TextShare,
    /// A message number. All unread messages after this number are in `waiting`.
    waiting_after: i64,
    /// The greatest message number that the state has received. None if the messages could not be read.
    last: Option<i64>,
}

impl OpenRoom {
    /// Creates the state from a snapshot. All texts are present until [`trim`](Self::trim) drops some of them.
    pub(crate) fn of(id: RoomId, snapshot: &Snapshot, pool: &TextPool) -> Self {
        let mut room = Self {
            id,
            time: snapshot.time,
            marks: snapshot.members.iter().map(|member| (member.user.clone(), member.marks)).collect(),
            waiting: VecDeque::new(),
            share: pool.share(),
            waiting_after: snapshot.known_after(),
            last: snapshot.complete.then(|| snapshot.messages.first().map_or(0, |message| message.id.get())),
        };
        let members = snapshot.members.iter().map(|member| (&member.user, member.marks));
        let lowest = MinMarks::of(members);
        let status = |message: &StoredMessage| {
            lowest.as_ref().map_or(Status::Send, |lowest| lowest.status(&message.sender, message.id))
        };
        for message in snapshot.waiting.iter().rev().chain(snapshot.messages.iter().rev()) {
            room.keep(event_message(message.clone(), status(message)));
        }
        room
    }

    /// Returns the cluster time of the state.
    pub(crate) fn time(&self) -> Timestamp {
        self.time
    }

    /// Returns the greatest message number that the state has received. Returns none if the messages could not be read.
    pub(crate) fn last(&self) -> Option<i64> {
        self.last
    }

    /// Applies a change, and adds the change's frames to `frames`. A change that the state already contains adds no
    /// frames. Receipt markers are compared by value and not by time, because a snapshot may lack markers that were
    /// raised shortly before the snapshot's time.
    pub(crate) fn apply(&mut self, time: Timestamp, change: CommittedChange, frames: &mut Vec<Frame>) {
        if time <= self.time && !matches!(change, CommittedChange::Marked(_)) {
            return;
        }
        match change {
            CommittedChange::Sent(message) => self.sent(time, message, frames),
            CommittedChange::Edited { id, text, updated_at, revision } => {
                let event = Event::MessageEdited { message_id: id, text: &text };
                frames.push(self.frame(time, &event, RoomFrame::Edited(revision)));
                if let Some(message) = self.waiting.iter_mut().find(|message| message.message_id == id) {
                    (message.text, message.updated_at) = (text, updated_at);
                }
            }
            CommittedChange::Deleted { id, revision } => {
                let waited = self.waiting.iter().find(|message| message.message_id == id);
                let unread = match waited {
                    Some(message) => UnreadBeforeDelete::Yes { author: message.sender_id.clone() },
                    None if id.get() > self.waiting_after => UnreadBeforeDelete::No,
                    None => UnreadBeforeDelete::Unknown,
                };
                let deleted = RoomFrame::Deleted { id, revision, unread };
                frames.push(self.frame(time, &Event::MessageDeleted { message_id: id }, deleted));
                self.waiting.retain(|message| message.message_id != id);
            }
            CommittedChange::Entered { user, marks } => {
                self.marks.entry(user.clone()).or_default();
                self.raise(time, user, marks, frames);
                self.push_statuses(time, frames);
            }
            CommittedChange::Marked(marks) => {
                for (user, marks) in marks {
                    self.raise(time, user, marks, frames);
                }
                self.push_statuses(time, frames);
            }
            CommittedChange::Left { user } => {
                self.marks.remove(&user);
                frames.push(Frame::without_text(
                    time,
                    FrameKind::Room(self.id, RoomFrame::MemberRemoved(user)),
                ));
                self.push_statuses(time, frames);
            }
            CommittedChange::Typing { user } => {
                let json = json(&Event::Typing { sender_id: &user });
                frames.push(Frame::new(json, time, FrameKind::Room(self.id, RoomFrame::Typing(user))));
            }
            CommittedChange::Custom(event) => {
                frames.push(Frame::new(
                    event.into_frame(),
                    time,
                    FrameKind::Room(self.id, RoomFrame::Custom),
                ));
            }
        }
    }

    fn frame(&self, time: Timestamp, event: &Event<'_>, frame: RoomFrame) -> Frame {
        Frame::new(json(event), time, FrameKind::Room(self.id, frame))
    }

    /// Raises the receipt markers of a member. Ignores users who are not members.
    fn raise(&mut self, time: Timestamp, user: UserId, marks: Marks, frames: &mut Vec<Frame>) {
        let Some(known) = self.marks.get_mut(&user) else { return };
        let raised = known.max(marks);
        if raised.read > std::mem::replace(known, raised).read {
            let all = self.last.is_some_and(|last| raised.read >= last);
            let raised = InboxFrame::MarkerRaised { room: self.id, user, up_to: raised.read, all };
            frames.push(Frame::without_text(time, FrameKind::Inbox(raised)));
        }
    }

    /// Returns the users who are members in this state but are missing in `members`.
    pub(crate) fn gone(&self, members: &[StoredMember]) -> Vec<UserId> {
        let gone = |user: &&UserId| !members.iter().any(|member| member.user == **user);
        self.marks.keys().filter(gone).cloned().collect()
    }

    /// Records that all changes up to `time` have been applied.
    pub(crate) fn reached(&mut self, time: Timestamp) {
        self.time = self.time.max(time);
    }

    fn sent(&mut self, time: Timestamp, message: StoredMessage, frames: &mut Vec<Frame>) {
        self.last = self.last.map(|last| last.max(message.id.get()));
        let request = message.write_id;
        let message = event_message(message, Status::Send);
        let sent = RoomFrame::Message { id: message.message_id, author: message.sender_id.clone(), request };
        frames.push(self.frame(time, &Event::ChatMessage { message: &message }, sent));
        self.keep(message);
    }

    fn keep(&mut self, message: Message) {
        if message.status == Status::Read {
            return;
        }
        self.waiting.push_back(message);
        while self.waiting.len() > WAITING
            && let Some(first) = self.waiting.pop_front()
        {
            self.waiting_after = self.waiting_after.max(first.message_id.get());
        }
    }

    /// Adds an event for each new status of an unread message, the oldest message first.
    fn push_statuses(&mut self, time: Timestamp, frames: &mut Vec<Frame>) {
        let Some(lowest) = MinMarks::of(self.marks.iter().map(|(user, marks)| (user, *marks))) else {
            return;
        };
        for message in &mut self.waiting {
            let now = lowest.status(&message.sender_id, message.message_id);
            if message.status < Status::Delivered && now >= Status::Delivered {
                message.status = Status::Delivered;
                frames.extend(receipt(self.id, time, message, &Event::MarkMessageAsDelivered { message }));
            }
            if message.status < Status::Read && now >= Status::Read {
                message.status = Status::Read;
                frames.extend(receipt(self.id, time, message, &Event::MarkMessageAsRead { message }));
            }
        }
        self.waiting.retain(|message| message.status != Status::Read);
    }
}

fn event_message(message: StoredMessage, status: Status) -> Message {
    Message {
        text: message.text,
        message_id: message.id,
        sender_id: message.sender,
        status,
        created_at: message.created_at,
        updated_at: message.updated_at,
    }
}

/// Returns the frame for a message's new status. Returns none if the message has no text. In this case the text was
/// dropped, and could not be loaded again because the message was deleted.
fn receipt(room: RoomId, time: Timestamp, message: &Message, event: &Event<'_>) -> Option<Frame> {
    if message.text.is_empty() {
        return None;
    }
    let Message { message_id: id, sender_id, status, .. } = message;
    let receipt = RoomFrame::Receipt { id: *id, author: sender_id.clone(), status: *status };
    Some(Frame::new(json(event), time, FrameKind::Room(room, receipt)))
}
