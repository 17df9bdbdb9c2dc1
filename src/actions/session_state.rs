//! The session state of a socket, as its actions see and change it.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bson::oid::ObjectId;
use handlers::{Code, Error, Fields, RoomId, UserId};

use crate::auth::{CurrentKey, KeyState};
use crate::limits::rate::{Rates, whole_ms};
use crate::limits::user_quota::UserSlot;
use crate::protocol::close::Close;
use crate::protocol::session_options::SessionOptions;
use crate::realtime::joined_rooms::JoinedRooms;
use crate::store::RoomListPosition;
use crate::telemetry::metrics::Metrics;

/// The most frames with a `ref` whose events are still to come. Beyond that, the event of the oldest one carries none.
const REFS: usize = 1_000;

/// The session of one socket.
pub(crate) struct SocketSession {
    pub(crate) user: UserId,
    pub(crate) email: Option<String>,
    pub(crate) scope: SessionScope,
    pub(crate) slot: UserSlot,
    /// The options that its client asked for beyond Level 1.
    options: SessionOptions,
    /// When the token expires, leeway included, in milliseconds since 1970.
    expires_at: AtomicU64,
    /// Whether the token's key is still in force.
    key: CurrentKey,
    /// The `ref`s of requests whose events are still to come.
    refs: Mutex<VecDeque<(ObjectId, String)>>,
    /// The last room of the last page of rooms that this socket received.
    page_end: Mutex<Option<Box<RoomListPosition>>>,
    /// The close code of its socket, if a call has found a reason to close it.
    ended: OnceLock<Box<Close>>,
}

/// The scope of a socket.
pub(crate) enum SessionScope {
    /// One room.
    Room(RoomId),
    /// All rooms of its user: inbox mode.
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

    /// Sets the key that signed the token.
    pub(crate) fn signed_with(self, key: KeyState) -> Self {
        Self { key: CurrentKey::new(key), ..self }
    }

    /// Takes over the expiry and the key of a new token.
    pub(super) fn replace_token(&self, expires_at: SystemTime, key: KeyState) {
        self.expires_at.store(millis(expires_at), Ordering::Relaxed);
        self.key.replace(key);
    }

    /// Whether the key that signed its token was removed.
    pub(crate) fn has_lost_key(&self) -> bool {
        self.key.is_removed()
    }

    /// Whether the client sends read receipts itself: messages that are written to the socket are then only delivered.
    pub(crate) fn has_manual_receipts(&self) -> bool {
        self.options.manual_receipts
    }

    /// Whether its client resumes an earlier session.
    pub(crate) fn resumes(&self) -> bool {
        self.options.resumes()
    }

    /// Removes the fields that a Level 1 client can't mean.
    pub(crate) fn strip_unknown_fields<'a>(&self, fields: Fields<'a>) -> Fields<'a> {
        let level_1 =
            self.options == SessionOptions::default() && matches!(self.scope, SessionScope::Room(_));
        if level_1 { fields.of_level_1() } else { fields }
    }

    /// Returns the room of a frame; none if the frame has to name one and does not.
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

    /// Whether the membership has to be read from the database: a change of it is queued but not processed yet.
    pub(crate) fn is_stale(&self, room: RoomId) -> bool {
        matches!(&self.scope, SessionScope::Inbox(inbox) if inbox.is_stale(room))
    }

    /// Requests that its socket closes.
    pub(crate) fn end(&self, close: Close) {
        self.ended.get_or_init(|| Box::new(close));
    }

    /// Returns the close code, if its socket has to close.
    pub(crate) fn ended(&self) -> Option<Close> {
        self.ended.get().map(|close| **close)
    }

    /// Whether its socket is an inbox connection.
    pub(crate) fn is_in_many(&self) -> bool {
        matches!(self.scope, SessionScope::Inbox(_))
    }

    /// Returns the time until the token expires.
    pub(crate) fn until_expiry(&self) -> Duration {
        let expires_at = Duration::from_millis(self.expires_at.load(Ordering::Relaxed));
        expires_at.saturating_sub(SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default())
    }

    /// Stores the `ref` for the event of a request.
    pub(crate) fn remember_ref(&self, request: ObjectId, reference: String, metrics: &Metrics) {
        let mut refs = self.refs();
        if refs.len() >= REFS {
            refs.pop_front();
            metrics.bound_hit("refs");
        }
        refs.push_back((request, reference));
    }

    /// Forgets the `ref` of a request: no event will carry it.
    pub(crate) fn forget(&self, request: ObjectId) {
        self.refs().retain(|(expected, _)| *expected != request);
    }

    /// Takes the `ref` for the event of a request. Only the first event gets it.
    pub(crate) fn take_ref(&self, request: ObjectId) -> Option<String> {
        let mut refs = self.refs();
        let at = refs.iter().position(|(expected, _)| *expected == request)?;
        refs.remove(at).map(|(_, reference)| reference)
    }

    /// Stores the end of the page of rooms that this socket has now.
    pub(crate) fn set_page_end(&self, at: Option<RoomListPosition>) {
        *self.page_end.lock().unwrap_or_else(PoisonError::into_inner) = at.map(Box::new);
    }

    /// Returns the end of the page of rooms that this socket has.
    pub(super) fn page_end(&self) -> Option<RoomListPosition> {
        self.page_end.lock().unwrap_or_else(PoisonError::into_inner).as_deref().copied()
    }

    /// Charges one message to the user.
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

/// Returns milliseconds since 1970.
pub(super) fn millis(time: SystemTime) -> u64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
