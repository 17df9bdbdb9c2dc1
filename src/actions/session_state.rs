//! The state of one open socket that actions read and change: its user, its rooms, its token, and the `ref`s of its
//! requests. A `ref` is a text by which the client recognizes the answer.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bson::oid::ObjectId;
use handlers::{Code, Error, Fields, RoomId, UserId};

use crate::auth::{CurrentKey, KeyState, TokenEnd};
use crate::limits::rate::{Rates, whole_ms};
use crate::limits::user_quota::UserSlot;
use crate::protocol::close::Close;
use crate::protocol::session_options::SessionOptions;
use crate::realtime::joined_rooms::JoinedRooms;
use crate::store::RoomListPosition;
use crate::telemetry::metrics::Metrics;

/// The most `ref`s that one socket stores. A `ref` is stored until the event of its request is sent. Above this number,
/// the oldest `ref` is dropped, and the event of its request carries no `ref`.
const REFS: usize = 1_000;

/// The state of one open socket.
pub(crate) struct SocketSession {
    pub(crate) user: UserId,
    pub(crate) email: Option<String>,
    pub(crate) scope: SessionScope,
    pub(crate) slot: UserSlot,
    /// The options by which the client asked for more than Level 1 (basic mode).
    options: SessionOptions,
    /// The time at which the token expires, leeway included, in milliseconds since 1970.
    expires_at: AtomicU64,
    /// Whether the key that signed the token is still in use.
    key: CurrentKey,
    /// The id and the `ref` of each request whose event has not been sent yet. The oldest request is first.
    refs: Mutex<VecDeque<(ObjectId, String)>>,
    /// The last room of the newest page of rooms that this socket has received.
    page_end: Mutex<Option<Box<RoomListPosition>>>,
    /// The code and reason with which the socket must be closed. Empty until a call finds a reason to close the
    /// socket.
    ended: OnceLock<Box<Close>>,
}

/// The rooms of a socket.
pub(crate) enum SessionScope {
    /// One room (Level 1 and Level 2).
    Room(RoomId),
    /// All rooms of the user: an inbox connection (Level 3).
    Inbox(Arc<JoinedRooms>),
}

impl SocketSession {
    pub(crate) fn new(
        user: UserId,
        email: Option<String>,
        scope: SessionScope,
        slot: UserSlot,
        options: SessionOptions,
        expires_at: SystemTime,
    ) -> Self {
        let expires_at = AtomicU64::new(millis(expires_at));
        Self {
            user,
            email,
            scope,
            slot,
            options,
            expires_at,
            key: CurrentKey::default(),
            refs: Mutex::default(),
            page_end: Mutex::default(),
            ended: OnceLock::new(),
        }
    }

    /// Sets the key that signed the socket's token.
    pub(crate) fn signed_with(self, key: KeyState) -> Self {
        Self { key: CurrentKey::new(key), ..self }
    }

    /// Replaces the expiry and the key by those of a new token.
    pub(super) fn replace_token(&self, expires_at: SystemTime, key: KeyState) {
        self.expires_at.store(millis(expires_at), Ordering::Relaxed);
        self.key.replace(key);
    }

    /// Returns why the socket's token is no longer accepted. None if it is still accepted.
    pub(crate) fn token_end(&self) -> Option<TokenEnd> {
        self.key.end()
    }

    /// Returns whether the client itself sends read receipts. Then a message that is written to the socket counts
    /// only as delivered, not as read.
    pub(crate) fn has_manual_receipts(&self) -> bool {
        self.options.manual_receipts
    }

    /// Returns whether the client resumes an earlier connection.
    pub(crate) fn resumes(&self) -> bool {
        self.options.resumes()
    }

    /// On a Level 1 socket, removes `ref` and `client_id` if their values are invalid
    /// ([`of_level_1`](Fields::of_level_1)). A Level 1 client may use these names for its own purposes.
    pub(crate) fn strip_unknown_fields<'a>(&self, fields: Fields<'a>) -> Fields<'a> {
        let level_1 =
            self.options == SessionOptions::default() && matches!(self.scope, SessionScope::Room(_));
        if level_1 { fields.of_level_1() } else { fields }
    }

    /// Returns the room of a frame. Returns none if an inbox connection sent a frame without `room_id`.
    pub(crate) fn room(&self, fields: &Fields<'_>) -> Result<Option<RoomId>, Error> {
        let inbox = match &self.scope {
            SessionScope::Room(room) => return Ok(Some(*room)),
            SessionScope::Inbox(inbox) => inbox,
        };
        let Some(json) = fields.get("room_id") else { return Ok(None) };
        fields.once("room_id")?;
        let room = serde_json::from_str(json).map_err(|_| Error::invalid("room_id: is not a room's id"))?;
        if inbox.has(room) { Ok(Some(room)) } else { Err(Error::new(Code::NotFound, "no such room")) }
    }

    /// Returns whether the user's membership of the room must be loaded from the database. True if a change of this
    /// membership is queued and not processed yet.
    pub(crate) fn is_stale(&self, room: RoomId) -> bool {
        matches!(&self.scope, SessionScope::Inbox(inbox) if inbox.is_stale(room))
    }

    /// Asks for the socket to be closed with this close code. If several calls ask, the first close code is used.
    pub(crate) fn end(&self, close: Close) {
        self.ended.get_or_init(|| Box::new(close));
    }

    /// Returns the close code if a call has asked for the socket to be closed.
    pub(crate) fn ended(&self) -> Option<Close> {
        self.ended.get().map(|close| **close)
    }

    /// Returns whether the socket is an inbox connection.
    pub(crate) fn is_in_many(&self) -> bool {
        matches!(self.scope, SessionScope::Inbox(_))
    }

    /// Returns the time until the token expires, or zero if it has expired.
    pub(crate) fn until_expiry(&self) -> Duration {
        let expires_at = Duration::from_millis(self.expires_at.load(Ordering::Relaxed));
        expires_at.saturating_sub(SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default())
    }

    /// Stores the `ref` of a request, so that the event of the request can carry it.
    pub(crate) fn remember_ref(&self, request: ObjectId, reference: String, metrics: &Metrics) {
        let mut refs = self.refs();
        if refs.len() >= REFS {
            refs.pop_front();
            metrics.bound_hit("refs");
        }
        refs.push_back((request, reference));
    }

    /// Drops the stored `ref` of a request, because no event will carry it.
    pub(crate) fn forget(&self, request: ObjectId) {
        self.refs().retain(|(expected, _)| *expected != request);
    }

    /// Returns and drops the stored `ref` of a request. So only the first event of the request carries the `ref`.
    pub(crate) fn take_ref(&self, request: ObjectId) -> Option<String> {
        let mut refs = self.refs();
        let at = refs.iter().position(|(expected, _)| *expected == request)?;
        refs.remove(at).map(|(_, reference)| reference)
    }

    /// Stores the last room of the page of rooms that this socket receives now.
    pub(crate) fn set_page_end(&self, at: Option<RoomListPosition>) {
        *self.page_end.lock().unwrap_or_else(PoisonError::into_inner) = at.map(Box::new);
    }

    /// Returns the last room of the newest page of rooms that this socket has received.
    pub(super) fn page_end(&self) -> Option<RoomListPosition> {
        self.page_end.lock().unwrap_or_else(PoisonError::into_inner).as_deref().copied()
    }

    /// Counts one message towards the user's message rate.
    pub(crate) fn spend_message(&self, rates: &Arc<Rates>, metrics: &Metrics) -> Result<(), Error> {
        self.slot.spend_message(rates).map_err(|wait| {
            metrics.bound_hit("messages_per_minute");
            Error::rate_limited("too many messages", whole_ms(wait))
        })
    }

    fn refs(&self) -> MutexGuard<'_, VecDeque<(ObjectId, String)>> {
        self.refs.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Returns a time as milliseconds since 1970.
pub(super) fn millis(time: SystemTime) -> u64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
