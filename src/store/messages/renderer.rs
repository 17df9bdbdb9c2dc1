//! Converts stored messages to the form that clients receive.

use handlers::{HistoryMessage, Status, UserId};

use crate::model::message::StoredMessage;
use crate::model::receipts::MinMarks;
use crate::model::room::StoredMember;

/// Converts messages of one room for clients. The members' receipt markers determine the status of each message.
pub(crate) struct MessageRenderer<'a> {
    members: &'a [StoredMember],
    lowest: Option<MinMarks<&'a UserId>>,
}

impl<'a> MessageRenderer<'a> {
    pub(crate) fn to(members: &'a [StoredMember]) -> Self {
        Self { members, lowest: MinMarks::of(members.iter().map(|member| (&member.user, member.marks))) }
    }

    /// Returns a message in the form that clients receive, with its status and the sender's e-mail address.
    pub(crate) fn show(&self, message: &'a StoredMessage) -> HistoryMessage<'a> {
        let sender = self.members.iter().find(|member| member.user == message.sender);
        let status = |lowest: &MinMarks<&UserId>| lowest.status(&message.sender, message.id);
        HistoryMessage {
            message_id: message.id,
            text: message.text.as_str().into(),
            sender_id: message.sender.clone(),
            sender_email: sender.and_then(|member| member.email.as_deref()).map(Into::into),
            status: self.lowest.as_ref().map_or(Status::Send, status),
            created_at: message.created_at,
            updated_at: message.updated_at,
        }
    }
}
