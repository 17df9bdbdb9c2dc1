//! What a handler is given: its caller, and the room it was called in.

use std::pin::Pin;
use std::sync::Arc;

use schemars::JsonSchema;
use serde::Serialize;

use crate::{
    ClientId, Draft, Error, HistoryMessage, Message, MessageId, RoomPage, RoomsFrom, Text, Time, UserId,
};

/// The end of something asynchronous, boxed so that a port can be a trait object.
pub type Pending<'a, T> = Pin<Box<dyn Future<Output = Result<T, Error>> + Send + 'a>>;

/// One call: its caller, room and socket.
#[derive(Clone)]
pub struct Context {
    caller: UserId,
    room: Option<Arc<dyn Room>>,
    connection: Arc<dyn Connection>,
    text_chars: usize,
}

impl Context {
    /// Binds a call. `room` is none if the frame names no room and its socket is in many. `text_chars` is the longest
    /// text that a message may have, in code points.
    pub fn new(
        caller: UserId,
        room: Option<Arc<dyn Room>>,
        connection: Arc<dyn Connection>,
        text_chars: usize,
    ) -> Self {
        Self { caller, room, connection, text_chars }
    }

    /// Returns the user whose token opened the socket.
    pub fn caller(&self) -> &UserId {
        &self.caller
    }

    /// Returns the room that the frame means.
    ///
    /// # Errors
    /// `invalid_request`: the frame came over an inbox connection and names no room.
    pub fn room(&self) -> Result<&dyn Room, Error> {
        self.room.as_deref().ok_or_else(|| Error::invalid("room_id: is needed"))
    }

    /// Returns the socket that the frame came over.
    pub fn connection(&self) -> &dyn Connection {
        &*self.connection
    }

    /// Makes a text from a draft. `field` is the draft's name in the frame. There is no other way to a [`Text`].
    ///
    /// # Errors
    /// `invalid_request`: the draft is longer than the configured limit.
    pub fn validate_text(&self, draft: Draft, field: &str) -> Result<Text, Error> {
        draft.within(self.text_chars, field)
    }
}

/// The port to the store, as one caller in one room. Every write is safe on a majority of the database when
/// it returns; what was written reaches the sockets by the change feed.
///
/// All of it fails with `unavailable` where the database can't be reached, and nothing was written then;
/// with `timeout` where the outcome of a write could not be learnt in time; and with `internal` on a fault.
pub trait Room: Send + Sync {
    /// Adds a message by the caller. Where the caller gave the same `client_id` before, nothing is added, and the
    /// message of then is told instead.
    fn append(&self, text: Text, client_id: Option<ClientId>) -> Pending<'_, AppendOutcome>;

    /// Who wrote a message. `not_found` where there is none, or it was deleted.
    fn author(&self, id: MessageId) -> Pending<'_, UserId>;

    /// Replaces a message's text. `not_found` as with [`author`](Self::author).
    fn edit(&self, id: MessageId, text: Text) -> Pending<'_, ()>;

    /// Deletes a message. `not_found` as with [`author`](Self::author).
    fn delete(&self, id: MessageId) -> Pending<'_, ()>;

    /// The caller's role in this room.
    fn role(&self) -> Pending<'_, Role>;

    /// Up to `limit` messages that are not deleted, as they are now.
    fn history(&self, from: HistoryCursor, limit: usize) -> Pending<'_, History>;

    /// The caller has read everything up to this message, or to the last one where that is less. It is written soon,
    /// and shutdown waits for it.
    fn read(&self, id: MessageId) -> Pending<'_, ()>;

    /// Tells the room's other users that the caller is typing. Nothing is kept of it, and nothing is done where it was
    /// told a moment ago or nobody else is there.
    fn typing(&self) -> Pending<'_, ()>;
}

/// The port to the caller's own socket.
pub trait Connection: Send + Sync {
    /// Takes a new token in the place of the one that opened the socket, and gives its expiry.
    ///
    /// # Errors
    /// `invalid_token` where it fails a check or is another user's; the one before stays in force. `unavailable` where
    /// its key can't be known now.
    fn renew<'a>(&'a self, token: &'a str) -> Pending<'a, Time>;

    /// The room is being looked at by this socket from now on: what is written to it there is read.
    ///
    /// # Errors
    /// `invalid_request` where the frame names no room and its socket is in many.
    fn open(&self) -> Result<(), Error>;

    /// It isn't any more.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    fn close(&self) -> Result<(), Error>;

    /// Reads a page of the caller's rooms, the latest activity first.
    ///
    /// # Errors
    /// `invalid_request` if `from` is neither a page's `next` nor a time.
    fn rooms(&self, from: RoomsFrom) -> Pending<'_, RoomPage>;
}

/// What came of a message.
#[derive(Debug)]
pub enum AppendOutcome {
    /// It was added, with this number.
    New(MessageId),
    /// It was there before, and is so now.
    Before(Message),
    /// It was there before, and has been deleted since.
    Deleted(MessageId),
}

/// Where a page of a room's history begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HistoryCursor {
    /// At the newest message, newest first.
    Newest,
    /// Before this message, newest first.
    Before(MessageId),
    /// After the message with this number, oldest first; 0 is the beginning.
    After(i64),
}

/// A page of a room's history.
#[derive(Debug)]
pub struct History {
    /// In the order that was asked for.
    pub messages: Vec<HistoryMessage<'static>>,
    /// Whether there are more in that direction.
    pub has_more: bool,
}

/// The role of a member.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Reads and writes. Both members of a direct room have this role.
    Member,
    /// In a group: may also delete the messages of others.
    Admin,
}
