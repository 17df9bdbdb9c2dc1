//! A fake of the trait [`Connection`], the caller's socket.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde_json::Value;

use super::{call, ready};
use crate::{Code, Connection, Error, Pending, Reply, RoomPage, RoomsFrom, Time};

/// A socket in memory. It accepts the token [`TOKEN`](Self::TOKEN) and refuses every other token.
#[derive(Debug, Default)]
pub(crate) struct FakeConnection {
    calls: Mutex<Vec<ConnectionCall>>,
}

/// A call of a method of [`Connection`], recorded so that a test can check which methods an action
/// called.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum ConnectionCall {
    Renew,
    Open,
    Close,
    Rooms(RoomsFrom),
}

impl FakeConnection {
    /// The token that the socket accepts.
    pub(crate) const TOKEN: &str = "good";

    /// The time at which [`TOKEN`](Self::TOKEN) expires.
    pub(crate) const EXPIRES_AT: Time = Time(1_739_903_332_258);

    /// The `next` of the socket's first page of rooms. The second page is the last page, so it has
    /// no `next`.
    pub(crate) const NEXT: &str = "1739903332258-7";

    pub(crate) fn new() -> Arc<Self> {
        Arc::default()
    }

    /// Runs the action that `frame` names. The call has no room, as if an inbox connection had sent
    /// a frame without `room_id`.
    pub(crate) fn call(self: &Arc<Self>, frame: &Value) -> Result<Reply, Error> {
        call(None, self, frame)
    }

    /// Returns the recorded calls, in order.
    pub(crate) fn calls(&self) -> Vec<ConnectionCall> {
        self.recorded().clone()
    }

    fn recorded(&self) -> MutexGuard<'_, Vec<ConnectionCall>> {
        self.calls.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Connection for FakeConnection {
    fn renew<'a>(&'a self, token: &'a str) -> Pending<'a, Time> {
        if token != Self::TOKEN {
            return ready(Err(Error::new(Code::InvalidToken, "another token")));
        }
        self.recorded().push(ConnectionCall::Renew);
        ready(Ok(Self::EXPIRES_AT))
    }

    fn open(&self) -> Result<(), Error> {
        self.recorded().push(ConnectionCall::Open);
        Ok(())
    }

    fn close(&self) -> Result<(), Error> {
        self.recorded().push(ConnectionCall::Close);
        Ok(())
    }

    fn rooms(&self, from: RoomsFrom) -> Pending<'_, RoomPage> {
        let next = (from == RoomsFrom::Latest).then(|| Self::NEXT.to_owned());
        self.recorded().push(ConnectionCall::Rooms(from));
        ready(Ok(RoomPage { rooms: Vec::new(), next }))
    }
}
