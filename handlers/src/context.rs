//! What a handler receives beside its request: the caller, and the two ports.

use std::pin::Pin;
use std::sync::Arc;

use schemars::JsonSchema;
use serde::Serialize;

use crate::{
    ClientId, Draft, Error, HistoryMessage, Message, MessageId, RoomPage, RoomsFrom, Text, Time, UserId,
};

/// A boxed future, so that a port can be a trait object.
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

/// The port to the store, for one caller in one room. A write returns after a majority of the database has it, except
/// [`read`](Self::read) and [`typing`](Self::typing). The change reaches the sockets over the change stream.
///
/// # Errors
/// Each function can fail with one of these errors:
///
/// - `unavailable`: the database can't be reached, and nothing was written;
/// - `timeout`: the outcome of a write was still unknown at the call's deadline;
/// - `internal`: the server has an error.
pub trait Room: Send + Sync {
    /// Adds a message by the caller. If the caller used the same `client_id` before, adds nothing and returns the
    /// message that had it first.
    fn append(&self, text: Text, client_id: Option<ClientId>) -> Pending<'_, AppendOutcome>;

    /// Returns the author of a message. Fails with `not_found` if there is no such message, or it is deleted.
    fn author(&self, id: MessageId) -> Pending<'_, UserId>;

    /// Replaces the text of a message. Fails with `not_found` as [`author`](Self::author) does.
    fn edit(&self, id: MessageId, text: Text) -> Pending<'_, ()>;

    /// Deletes a message. Fails with `not_found` as [`author`](Self::author) does.
    fn delete(&self, id: MessageId) -> Pending<'_, ()>;

    /// Returns the caller's role in this room.
    fn role(&self) -> Pending<'_, Role>;

    /// Returns up to `limit` messages that are not deleted, in their current state.
    fn history(&self, from: HistoryCursor, limit: usize) -> Pending<'_, History>;

    /// Records that the caller has read all messages up to this one, or up to the room's last one if that is lower.
    /// The record is written soon after the call, and a shutdown waits for it.
    fn read(&self, id: MessageId) -> Pending<'_, ()>;

    /// Notifies the room's other users that the caller is typing. Nothing is stored. Does nothing if the last
    /// notification was a moment ago, or if no other user has a socket in the room.
    fn typing(&self) -> Pending<'_, ()>;
}

/// The port to the caller's own socket.
pub trait Connection: Send + Sync {
    /// Replaces the socket's token, and returns the expiry of the new one.
    ///
    /// # Errors
    /// The socket's old token stays in force:
    ///
    /// - `invalid_token`: the new token fails a check, or is another user's;
    /// - `unavailable`: the token's key can't be fetched now.
    fn renew<'a>(&'a self, token: &'a str) -> Pending<'a, Time>;

    /// Marks the room as open on this socket. From now on each message that is written to the socket counts as read.
    ///
    /// # Errors
    /// `invalid_request`: the frame came over an inbox connection and names no room.
    fn open(&self) -> Result<(), Error>;

    /// Marks the room as closed on this socket.
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

/// The outcome of [`Room::append`].
#[derive(Debug)]
pub enum AppendOutcome {
    /// The message was added, with this number.
    New(MessageId),
    /// The `client_id` belongs to this message, in its current state. Nothing was added.
    Before(Message),
    /// The `client_id` belonged to this message, which is deleted. Nothing was added.
    Deleted(MessageId),
}

/// The start and the direction of a page of a room's history.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HistoryCursor {
    /// The page begins with the newest message, newest first.
    Newest,
    /// The page begins before this message, newest first.
    Before(MessageId),
    /// The page begins after the message with this number, oldest first; 0 is the beginning.
    After(i64),
}

/// A page of a room's history.
#[derive(Debug)]
pub struct History {
    /// The messages, in the order that the cursor gives.
    pub messages: Vec<HistoryMessage<'static>>,
    /// Whether there are more messages in that direction.
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
