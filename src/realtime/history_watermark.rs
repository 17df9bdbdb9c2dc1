//! Recognizes events that a connection does not need, because its history (the first frame) already contained them.

use bson::Timestamp;
use handlers::UserId;

use super::frame::RoomFrame;
use crate::model::receipts::MinMarks;
use crate::store::Snapshot;

/// Describes which changes a connection's history contains, so that each event can be compared with the history.
pub(crate) struct HistoryWatermark {
    /// The cluster time (MongoDB's logical clock) at which the history was read. The history contains every change that
    /// was committed up to this time, except some receipt markers.
    time: Timestamp,
    /// The number of the newest message in the history. When a room sends changes that a broken change stream missed,
    /// this message can arrive again, with a time later than `time`.
    newest: i64,
    /// The lowest receipt markers in the history, which determine each message's status. Status events are compared
    /// with these markers until an event with a time later than `time` arrives.
    marks: Option<Box<MinMarks<UserId>>>,
}

impl HistoryWatermark {
    pub(crate) fn of(snapshot: &Snapshot) -> Self {
        let members = snapshot.members.iter().map(|member| (&member.user, member.marks));
        let marks = MinMarks::of(members).map(|lowest| Box::new(lowest.owned()));
        let newest = snapshot.messages.first().map_or(0, |message| message.id.get());
        Self { time: snapshot.time, newest, marks }
    }

    /// Returns whether the history already contained this event. `time` is the commit time of the event. Callers pass
    /// events in the order of their times.
    pub(crate) fn contains(&mut self, time: Timestamp, event: &RoomFrame) -> bool {
        if time > self.time {
            self.marks = None;
            return matches!(event, RoomFrame::Message { id, .. } if id.get() <= self.newest);
        }
        match (event, &self.marks) {
            (RoomFrame::Receipt { id, author, status }, Some(marks)) => marks.status(author, *id) >= *status,
            _ => true,
        }
    }
}

#[cfg(test)]
mod tests {
    use handlers::{MessageId, Role, Status};

    use super::*;
    use crate::model::receipts::Marks;
    use crate::model::room::StoredMember;

    fn at(time: u32) -> Timestamp {
        Timestamp { time, increment: 1 }
    }

    fn shown(marks: &[(i64, i64, i64)]) -> HistoryWatermark {
        let member = |(user, delivered, read): &(i64, i64, i64)| StoredMember {
            user: UserId::Int(*user),
            email: None,
            role: Role::Member,
            marks: Marks { delivered: *delivered, read: *read },
            pending: false,
        };
        let members = marks.iter().map(member).collect();
        let (messages, waiting) = (Vec::new(), Vec::new());
        HistoryWatermark::of(&Snapshot { time: at(10), members, messages, waiting, complete: true })
    }

    fn receipt(message: i64, author: i64, status: Status) -> RoomFrame {
        RoomFrame::Receipt { id: MessageId::try_from(message).unwrap(), author: UserId::Int(author), status }
    }

    #[test]
    fn status_is_known_when_the_markers_of_the_history_show_it() {
        let mut history = shown(&[(1, 9, 9), (2, 7, 5), (3, 8, 4)]);
        for (message, author, reached, expected) in [
            (7, 1, Status::Delivered, true),
            (8, 1, Status::Delivered, false),
            (4, 1, Status::Read, true),
            (5, 1, Status::Read, false),
            // Only the markers of the members other than the author decide. The author's markers never count.
            (8, 2, Status::Delivered, true),
            (9, 2, Status::Delivered, false),
            (5, 3, Status::Read, true),
            (6, 3, Status::Read, false),
        ] {
            assert_eq!(
                history.contains(at(9), &receipt(message, author, reached)),
                expected,
                "{message} by {author}"
            );
        }
        assert!(history.contains(at(10), &RoomFrame::Custom));
        assert!(
            !history.contains(at(11), &receipt(4, 1, Status::Read)),
            "later events are not in the history"
        );
        assert!(
            !shown(&[(1, 9, 9)]).contains(at(9), &receipt(5, 1, Status::Delivered)),
            "without other members there is no status"
        );
    }
}
