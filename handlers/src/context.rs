//! The parameters of a handler beside its request: the caller, and two traits, [`Room`] and [`Connection`]. The
//! server's crate implements these traits (the "ports"). So this crate needs neither a database nor a socket.

use std::pin::Pin;
use std::sync::Arc;

use schemars::JsonSchema;
use serde::Serialize;

use crate::{
    ClientId, Draft, Error, HistoryMessage, Message, MessageId, RoomPage, RoomsFrom, Text, Time, UserId,
};

/// A boxed future. The methods of [`Room`] and [`Connection`] return this type, because trait objects can't have
/// `async` methods.
pub type Pending<'a, T> = Pin<Box<dyn Future<Output = Result<T, Error>> + Send + 'a>>;

/// The context of one call: its caller, its room and its socket.
#[derive(Clone)]
pub struct Context {
    caller: UserId,
    room: Option<Arc<dyn Room>>,
    connection: Arc<dyn Connection>,
    text_chars: usize,
}

impl Context {
    /// Makes the context of a call. `room` is none if an inbox connection (one socket for all rooms of a user) sent a
    /// frame without `room_id`. `text_chars` is the longest text that a message may have, in code points.
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

    /// Returns the room of the call: the room that the frame names, or the only room of the socket.
    ///
    /// # Errors
    /// `invalid_request`: the frame came over an inbox connection and names no room.
    pub fn room(&self) -> Result<&dyn Room, Error> {
        self.room.as_deref().ok_or_else(|| Error::invalid("room_id: is needed"))
    }

    /// Returns the socket on which the frame arrived.
    pub fn connection(&self) -> &dyn Connection {
        &*self.connection
    }

    /// Checks a draft against the configured limit, and makes a [`Text`] from it. `field` is the draft's name in the
    /// frame, for the error. Handlers use this function, because only the context knows the limit.
    ///
    /// # Errors
    /// `invalid_request`: the draft is longer than the configured limit.
    pub fn validate_text(&self, draft: Draft, field: &str) -> Result<Text, Error> {
        draft.within(self.text_chars, field)
    }
}

/// Access to the database for one caller in one room. A write returns after a majority of the database's members has
/// stored it. [`read`](Self::read) and [`typing`](Self::typing) return earlier. Each server receives the change from
/// MongoDB's change stream, and then sends the event to its sockets.
///
/// # Errors
/// Each function can fail with one of these errors:
///
/// - `unavailable`: the database can't be reached, and nothing was written;
/// - `timeout`: at the call's deadline it is still unknown whether the write succeeded;
/// - `internal`: any other error. The log has its cause.
pub trait Room: Send + Sync {
    /// Adds a message by the caller. If the caller already sent a message with this `client_id` in this room, adds
    /// nothing. The outcome then contains that message, or its number if it was deleted.
    fn append(&self, text: Text, client_id: Option<ClientId>) -> Pending<'_, AppendOutcome>;

    /// Returns the author of a message. Fails with `not_found` if the room has no message with this id, or if the
    /// message is deleted.
    fn author(&self, id: MessageId) -> Pending<'_, UserId>;

    /// Replaces the text of a message. Fails with `not_found` if the room has no message with this id, or if the
    /// message is deleted.
    fn edit(&self, id: MessageId, text: Text) -> Pending<'_, ()>;

    /// Deletes a message. Fails with `not_found` if the room has no message with this id, or if the message is already
    /// deleted.
    fn delete(&self, id: MessageId) -> Pending<'_, ()>;

    /// Returns the caller's role in this room.
    fn role(&self) -> Pending<'_, Role>;

    /// Returns up to `limit` messages that are not deleted, in their current state.
    fn history(&self, from: HistoryCursor, limit: usize) -> Pending<'_, History>;

    /// Records that the caller has read all messages up to `id`. If `id` is higher than the number of the room's last
    /// message, records that the caller has read all messages. The server writes this record to the database soon after
    /// this function returns. A shutdown waits until the record is written.
    fn read(&self, id: MessageId) -> Pending<'_, ()>;

    /// Notifies the room's other users that the caller is typing. The notification is not stored with the messages.
    /// Does nothing if the caller's last notification in this room was less than 3 s ago. Also does nothing if no other
    /// user of the room is online.
    fn typing(&self) -> Pending<'_, ()>;
}

/// Access to the socket on which the frame arrived.
pub trait Connection: Send + Sync {
    /// Replaces the socket's token, and returns the time at which the new token expires.
    ///
    /// # Errors
    /// If the renewal fails, the socket keeps its old token:
    ///
    /// - `invalid_token`: the new token fails a check, or belongs to another user;
    /// - `unavailable`: the key that verifies the token can't be fetched now.
    fn renew<'a>(&'a self, token: &'a str) -> Pending<'a, Time>;

    /// Marks the room as open on this socket. Until [`close`](Self::close), each message of the room that is written to
    /// the socket counts as read by the caller.
    ///
    /// # Errors
    /// `invalid_request`: the frame came over an inbox connection and names no room.
    fn open(&self) -> Result<(), Error>;

    /// Marks the room as closed on this socket.
    ///
    /// # Errors
    /// The same as for [`open`](Self::open).
    fn close(&self) -> Result<(), Error>;

    /// Reads a page of the caller's rooms. The room with the latest activity is first.
    ///
    /// # Errors
    /// `invalid_request`: `from` is neither the `next` of a page nor a time.
    fn rooms(&self, from: RoomsFrom) -> Pending<'_, RoomPage>;
}

/// The outcome of [`Room::append`].
#[derive(Debug)]
pub enum AppendOutcome {
    /// The message was added, with this number.
    New(MessageId),
    /// The caller used the `client_id` before, so nothing was added. Contains the first message with this `client_id`,
    /// in its current state.
    Before(Message),
    /// The caller used the `client_id` before, so nothing was added. Contains the number of the first message with this
    /// `client_id`, which was deleted.
    Deleted(MessageId),
}

/// The start and the direction of a page of a room's history.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HistoryCursor {
    /// The page begins with the newest message and goes back in time.
    Newest,
    /// The page begins with the message before the message with this number, and goes back in time.
    Before(MessageId),
    /// The page begins after the message with this number and goes forward in time. With 0, the page begins with
    /// message 1.
    After(i64),
}

/// A page of a room's history.
#[derive(Debug)]
pub struct History {
    /// The messages, in the order of the [`HistoryCursor`].
    pub messages: Vec<HistoryMessage<'static>>,
    /// Whether the room has more messages beyond this page, in the direction of the [`HistoryCursor`].
    pub has_more: bool,
}

/// The role of a member.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Reads and writes. Both members of a direct room have this role.
    Member,
    /// In a group: reads and writes, and may also delete the messages of others.
    Admin,
}
