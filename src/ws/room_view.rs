//! What a socket of one room makes of what happens in it (docs/protocol.md, Events).

use bson::Timestamp;
use handlers::{RoomId, UserId};
use tokio_tungstenite::tungstenite::Utf8Bytes;

use super::session_state::Caller;
use crate::app::state::{Server, Stay};
use crate::protocol::close::Close;
use crate::protocol::cursor::{Position, RoomCursor};
use crate::protocol::fields::{quoted, splice};
use crate::realtime::outbox::Frame;
use crate::store::codec::Marks;
use crate::store::{Lowest, Snapshot};

/// A socket's place in its room.
pub(super) struct OneRoom {
    pub(super) room: RoomId,
    pub(super) _stay: Stay,
    /// What was in the history.
    pub(super) shown: Option<Shown>,
    /// How far it has been told, where it is a Level 2 socket.
    pub(super) position: Option<Position>,
    /// The newest message of others that was written to this socket, and whose mark is still to be handed on.
    pub(super) owed: i64,
}

impl OneRoom {
    /// A frame as this socket has it, where it has it.
    pub(super) fn take(&mut self, frame: &Frame, caller: &Caller) -> Result<Option<Utf8Bytes>, Close> {
        if frame.is_for_inboxes() || self.shown.as_mut().is_some_and(|shown| shown.has(frame)) {
            return Ok(None);
        }
        if let Some(user) = &frame.dismisses {
            return if *user == caller.user { Err(Close::NotMember) } else { Ok(None) };
        }
        if let Some(user) = &frame.about
            && (*user == caller.user || self.position.is_none())
        {
            return Ok(None);
        }
        Ok(Some(self.text(frame, caller)))
    }

    fn text(&mut self, frame: &Frame, caller: &Caller) -> Utf8Bytes {
        let reference = frame.cause.and_then(|request| caller.take_ref(request));
        let cursor = self.position.as_mut().filter(|_| frame.about.is_none()).map(|position| {
            *position = position.max(frame.reaches);
            RoomCursor { room: self.room, position: *position }.to_string()
        });
        if reference.is_none() && cursor.is_none() {
            return frame.json.clone();
        }
        let fields = [("ref", reference.as_deref().map(quoted)), ("cursor", cursor.as_deref().map(quoted))];
        let fields: Vec<_> =
            fields.iter().filter_map(|(name, json)| Some((*name, json.as_deref()?))).collect();
        splice(&frame.json, &fields)
    }

    /// It was written.
    pub(super) fn wrote(&mut self, frame: &Frame, caller: &Caller) {
        if let Some((id, author)) = &frame.delivers
            && *author != caller.user
        {
            self.owed = self.owed.max(id.get());
        }
    }

    /// Hands on the mark that is owed. An open room is being looked at: what is written is read, unless that is said
    /// by hand.
    pub(super) fn pay(&mut self, server: &Server, caller: &Caller) {
        let read = if caller.receipts_by_hand() { 0 } else { self.owed };
        let marks = Marks { delivered: self.owed, read };
        if self.owed > 0 && server.receipts.raise(self.room, &caller.user, marks) {
            self.owed = 0;
        }
    }
}

/// What a history has shown.
pub(crate) struct Shown {
    /// All that was committed up to then, but marks.
    time: Timestamp,
    /// The number of its last message. One that comes again, since the stream had to be caught up with, has a later time.
    newest: i64,
    /// Of those as many as were known: until something later comes they have to be looked at.
    marks: Option<Box<Lowest<UserId>>>,
}

impl Shown {
    pub(crate) fn of(snapshot: &Snapshot) -> Self {
        let members = snapshot.members.iter().map(|member| (&member.user, member.marks));
        let marks = Lowest::of(members).map(|lowest| Box::new(lowest.owned()));
        let newest = snapshot.messages.first().map_or(0, |message| message.id.get());
        Self { time: snapshot.time, newest, marks }
    }

    /// Whether this was shown. Frames come in the order of their times.
    pub(crate) fn has(&mut self, frame: &Frame) -> bool {
        if frame.time > self.time {
            self.marks = None;
            return frame.delivers.as_ref().is_some_and(|(message, _)| message.get() <= self.newest);
        }
        match (&frame.marks, &self.marks) {
            (Some((message, author, reached)), Some(marks)) => marks.status(author, *message) >= *reached,
            _ => true,
        }
    }
}

#[cfg(test)]
mod tests {
    use handlers::{MessageId, Role, Status};

    use super::*;
    use crate::realtime::outbox::Frame;
    use crate::store::codec::Member;

    fn at(time: u32) -> Timestamp {
        Timestamp { time, increment: 1 }
    }

    fn shown(marks: &[(i64, i64, i64)]) -> Shown {
        let member = |(user, delivered, read): &(i64, i64, i64)| Member {
            user: UserId::Int(*user),
            email: None,
            role: Role::Member,
            marks: Marks { delivered: *delivered, read: *read },
            pending: false,
        };
        let members = marks.iter().map(member).collect();
        let (messages, waiting) = (Vec::new(), Vec::new());
        Shown::of(&Snapshot { time: at(10), members, messages, waiting, complete: true })
    }

    fn marked(message: i64, author: i64, reached: Status, time: u32) -> Frame {
        let marks = (MessageId::try_from(message).unwrap(), UserId::Int(author), reached);
        Frame { marks: Some(marks), ..Frame::new("{}".into(), at(time)) }
    }

    #[test]
    fn a_mark_was_shown_where_the_marks_of_the_history_say_so_whenever_it_came() {
        let mut history = shown(&[(1, 9, 9), (2, 7, 5), (3, 8, 4)]);
        for (message, author, reached, expected) in [
            (7, 1, Status::Delivered, true),
            (8, 1, Status::Delivered, false),
            (4, 1, Status::Read, true),
            (5, 1, Status::Read, false),
            // By another's marks: the author's own never count.
            (8, 2, Status::Delivered, true),
            (9, 2, Status::Delivered, false),
            (5, 3, Status::Read, true),
            (6, 3, Status::Read, false),
        ] {
            assert_eq!(history.has(&marked(message, author, reached, 9)), expected, "{message} by {author}");
        }
        assert!(history.has(&Frame::new("{}".into(), at(10))));
        assert!(!history.has(&marked(4, 1, Status::Read, 11)), "what comes after the history is told");
        assert!(
            !shown(&[(1, 9, 9)]).has(&marked(5, 1, Status::Delivered, 9)),
            "to nobody there is nothing shown"
        );
    }
}
