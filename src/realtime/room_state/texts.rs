//! The texts of unread messages in a room's state. If the texts exceed their bound, the oldest texts are dropped. A
//! dropped text is loaded again when an event needs it.

use bson::Timestamp;
use handlers::{Message, UserId};

use super::OpenRoom;
use crate::model::change::CommittedChange;
use crate::model::receipts::{Marks, MinMarks};
use crate::store::Snapshot;

/// Each room may keep this many bytes of unread texts. For more texts, the room takes bytes from the
/// [`TextPool`](super::TextPool), which all rooms of the server use. The bytes that a room has taken are its share. The
/// value is the size of one text of the default maximum length: 4,096 characters of at most four bytes.
pub(super) const OWN_BYTES: usize = 16 * 1024;

impl OpenRoom {
    /// Changes the room's share of the pool to the bytes that the unread texts need beyond [`OWN_BYTES`]. If the pool
    /// does not have enough bytes left, drops the oldest texts until the remaining texts fit. Returns whether it
    /// dropped any text.
    pub(crate) fn trim(&mut self) -> bool {
        let mut bytes: usize = self.waiting.iter().map(|message| message.text.len()).sum();
        let mut trimmed = false;
        let mut oldest = self.waiting.iter_mut();
        while !self.share.resize(bytes.saturating_sub(OWN_BYTES)) {
            let Some(message) = oldest.next() else { break };
            bytes -= message.text.len();
            trimmed |= !message.text.is_empty();
            message.text = String::new();
        }
        trimmed
    }

    /// Returns whether a text of an unread message has been dropped.
    pub(crate) fn is_trimmed(&self) -> bool {
        self.waiting.iter().any(|message| message.text.is_empty())
    }

    /// Returns whether the events of a change need texts that have been dropped.
    pub(crate) fn lacks_texts_for(&self, time: Timestamp, change: &CommittedChange) -> bool {
        let may_rise = match change {
            CommittedChange::Marked(_) => true,
            CommittedChange::Entered { .. } | CommittedChange::Left { .. } => time > self.time,
            _ => false,
        };
        if !may_rise || !self.is_trimmed() {
            return false;
        }
        let mut marks = self.marks.clone();
        let mut raise = |user: &UserId, to: &Marks| {
            if let Some(known) = marks.get_mut(user) {
                *known = known.max(*to);
            }
        };
        match change {
            CommittedChange::Marked(raised) => raised.iter().for_each(|(user, to)| raise(user, to)),
            CommittedChange::Entered { user, marks: to } => raise(user, to),
            CommittedChange::Left { user } => {
                marks.remove(user);
            }
            _ => return false,
        }
        let Some(lowest) = MinMarks::of(marks.iter().map(|(user, marks)| (user, *marks))) else {
            return false;
        };
        let rises =
            |message: &Message| lowest.status(&message.sender_id, message.message_id) > message.status;
        self.waiting.iter().any(|message| message.text.is_empty() && rises(message))
    }

    /// Restores the dropped texts from a snapshot of the room.
    pub(crate) fn fill(&mut self, snapshot: &Snapshot) {
        for message in self.waiting.iter_mut().filter(|message| message.text.is_empty()) {
            let mut read = snapshot.messages.iter().chain(&snapshot.waiting);
            if let Some(read) = read.find(|read| read.id == message.message_id) {
                message.text.clone_from(&read.text);
            }
        }
    }
}
