//! A fake of the trait [`Room`], by which an action reads and changes one room.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde_json::Value;

use super::{CALLER, FakeConnection, call, ready};
use crate::{
    AppendOutcome, ClientId, Error, History, HistoryCursor, HistoryMessage, MAX_ID, Message, MessageId,
    Pending, Reply, Role, Room, Status, Text, Time, UserId,
};

/// A room in memory, bound to [`CALLER`].
#[derive(Debug)]
pub(crate) struct FakeRoom {
    role: Role,
    state: Mutex<RoomState>,
}

#[derive(Debug, Default)]
struct RoomState {
    /// Message n is at index n - 1.
    messages: Vec<FakeMessage>,
    revision: u64,
    read_up_to: i64,
    calls: Vec<RoomCall>,
}

#[derive(Debug)]
struct FakeMessage {
    author: UserId,
    /// The text. None if the message is deleted.
    text: Option<String>,
    client_id: Option<String>,
}

/// A call of a method of [`Room`], recorded so that a test can check which methods an action
/// called. Only methods with an effect that other users can see are recorded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum RoomCall {
    Append { text: String },
    Edit { id: MessageId, text: String },
    Delete { id: MessageId },
    Read { id: MessageId },
    Typing,
}

impl FakeRoom {
    /// Makes an empty room in which [`CALLER`] has the role `role`.
    pub(crate) fn new(role: Role) -> Arc<Self> {
        Arc::new(Self { role, state: Mutex::default() })
    }

    /// Adds a message, and returns its number.
    pub(crate) fn add_message(&self, author: UserId, text: &str) -> MessageId {
        self.state().push(author, text.to_owned(), None)
    }

    /// Runs the action that `frame` names in this room.
    pub(crate) fn call(self: &Arc<Self>, frame: &Value) -> Result<Reply, Error> {
        call(Some(self), &FakeConnection::new(), frame)
    }

    /// Returns the text of a message. Returns none if the message does not exist or is deleted.
    pub(crate) fn text(&self, id: MessageId) -> Option<String> {
        self.state().find(id).ok().and_then(|message| message.text.clone())
    }

    /// Returns the caller's read marker: the caller has read all messages up to this number.
    pub(crate) fn read_up_to(&self) -> i64 {
        self.state().read_up_to
    }

    /// Returns the number of edits and deletions in the room.
    pub(crate) fn revision(&self) -> u64 {
        self.state().revision
    }

    /// Returns the recorded calls, in order.
    pub(crate) fn calls(&self) -> Vec<RoomCall> {
        self.state().calls.clone()
    }

    fn state(&self) -> MutexGuard<'_, RoomState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl RoomState {
    fn push(&mut self, author: UserId, text: String, client_id: Option<String>) -> MessageId {
        self.messages.push(FakeMessage { author, text: Some(text), client_id });
        number(self.messages.len())
    }

    fn find(&mut self, id: MessageId) -> Result<&mut FakeMessage, Error> {
        let at = usize::try_from(id.get() - 1).unwrap();
        self.messages.get_mut(at).filter(|message| message.text.is_some()).ok_or_else(Error::not_found)
    }

    fn append(&mut self, text: &Text, client_id: Option<ClientId>) -> AppendOutcome {
        let client_id = client_id.map(ClientId::into_string);
        let is_repeat = |message: &FakeMessage| message.author == CALLER && message.client_id == client_id;
        let at = client_id.as_ref().and_then(|_| self.messages.iter().position(is_repeat));
        let Some(at) = at else {
            self.calls.push(RoomCall::Append { text: text.as_str().to_owned() });
            return AppendOutcome::New(self.push(CALLER, text.as_str().to_owned(), client_id));
        };
        let message_id = number(at + 1);
        match &self.messages[at].text {
            None => AppendOutcome::Deleted(message_id),
            Some(text) => AppendOutcome::Before(Message {
                text: text.clone(),
                message_id,
                sender_id: CALLER,
                status: Status::Send,
                created_at: Time(0),
                updated_at: Time(0),
            }),
        }
    }

    fn edit(&mut self, id: MessageId, text: &Text) -> Result<(), Error> {
        self.find(id)?.text = Some(text.as_str().to_owned());
        self.revision += 1;
        self.calls.push(RoomCall::Edit { id, text: text.as_str().to_owned() });
        Ok(())
    }

    fn delete(&mut self, id: MessageId) -> Result<(), Error> {
        self.find(id)?.text = None;
        self.revision += 1;
        self.calls.push(RoomCall::Delete { id });
        Ok(())
    }

    fn history(&self, from: HistoryCursor, limit: usize) -> History {
        let messages = self.messages.iter().enumerate().filter_map(|(at, message)| {
            Some(HistoryMessage {
                message_id: number(at + 1),
                text: message.text.clone()?.into(),
                sender_id: message.author.clone(),
                sender_email: None,
                status: Status::Send,
                created_at: Time(0),
                updated_at: Time(0),
            })
        });
        let mut messages: Vec<_> = match from {
            HistoryCursor::Newest => messages.rev().collect(),
            HistoryCursor::Before(id) => messages.rev().filter(|message| message.message_id < id).collect(),
            HistoryCursor::After(n) => messages.filter(|message| message.message_id.get() > n).collect(),
        };
        let has_more = messages.len() > limit;
        messages.truncate(limit);
        History { messages, has_more }
    }

    fn read(&mut self, id: MessageId) {
        let last = i64::try_from(self.messages.len()).unwrap_or(MAX_ID);
        self.read_up_to = self.read_up_to.max(id.get().min(last));
        self.calls.push(RoomCall::Read { id });
    }
}

impl Room for FakeRoom {
    fn append(&self, text: Text, client_id: Option<ClientId>) -> Pending<'_, AppendOutcome> {
        ready(Ok(self.state().append(&text, client_id)))
    }

    fn author(&self, id: MessageId) -> Pending<'_, UserId> {
        ready(self.state().find(id).map(|message| message.author.clone()))
    }

    fn edit(&self, id: MessageId, text: Text) -> Pending<'_, ()> {
        ready(self.state().edit(id, &text))
    }

    fn delete(&self, id: MessageId) -> Pending<'_, ()> {
        ready(self.state().delete(id))
    }

    fn role(&self) -> Pending<'_, Role> {
        ready(Ok(self.role))
    }

    fn history(&self, from: HistoryCursor, limit: usize) -> Pending<'_, History> {
        ready(Ok(self.state().history(from, limit)))
    }

    fn read(&self, id: MessageId) -> Pending<'_, ()> {
        self.state().read(id);
        ready(Ok(()))
    }

    fn typing(&self) -> Pending<'_, ()> {
        self.state().calls.push(RoomCall::Typing);
        ready(Ok(()))
    }
}

fn number(n: usize) -> MessageId {
    i64::try_from(n).ok().and_then(|n| MessageId::try_from(n).ok()).unwrap()
}
