//! What a handler is given: its caller, and the room it was called in.

use std::pin::Pin;
use std::sync::Arc;

use crate::{Draft, Error, MessageId, Text, UserId};

/// The end of something asynchronous, boxed so that a port can be a trait object.
pub type Pending<'a, T> = Pin<Box<dyn Future<Output = Result<T, Error>> + Send + 'a>>;

/// Who calls, and the room, bound to each other by the runtime.
#[derive(Clone)]
pub struct Context {
    caller: UserId,
    room: Arc<dyn Room>,
    text_chars: usize,
}

impl Context {
    /// Binds a call. `text_chars` is the longest text that may be written, in code points.
    pub fn new(caller: UserId, room: Arc<dyn Room>, text_chars: usize) -> Self {
        Self { caller, room, text_chars }
    }

    /// The user whose token opened the socket.
    pub fn caller(&self) -> &UserId {
        &self.caller
    }

    /// The room the socket is in, as its caller may use it.
    pub fn room(&self) -> &dyn Room {
        &*self.room
    }

    /// Makes a text of what the client typed in `field`; there is no other way to one.
    ///
    /// # Errors
    /// `invalid_request` where it is longer than the configured limit.
    pub fn accept(&self, draft: Draft, field: &str) -> Result<Text, Error> {
        draft.within(self.text_chars, field)
    }
}

/// The port to the store, as one caller in one room. Every write is safe on a majority of the database when
/// it returns; what was written reaches the sockets by the change feed.
///
/// All of it fails with `unavailable` where the database can't be reached, and nothing was written then;
/// with `timeout` where the outcome of a write could not be learnt in time; and with `internal` on a fault.
pub trait Room: Send + Sync {
    /// Adds a message by the caller and gives its number.
    fn append(&self, text: Text) -> Pending<'_, MessageId>;

    /// Who wrote a message. `not_found` where there is none, or it was deleted.
    fn author(&self, id: MessageId) -> Pending<'_, UserId>;

    /// Replaces a message's text. `not_found` as with [`author`](Self::author).
    fn edit(&self, id: MessageId, text: Text) -> Pending<'_, ()>;

    /// Deletes a message. `not_found` as with [`author`](Self::author).
    fn delete(&self, id: MessageId) -> Pending<'_, ()>;

    /// The caller's role in this room.
    fn role(&self) -> Pending<'_, Role>;
}

/// What a member may do beyond writing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Nothing more. Both members of a direct room are this.
    Member,
    /// In a group: may delete anyone's messages.
    Admin,
}
