//! Whose frames come by a socket, and what its actions may know and change of it.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bson::oid::ObjectId;
use handlers::{Code, Connection, Error, Fields, Pending, RoomId, Time, UserId};

use crate::admission::Ask;
use crate::auth::{self, Verifier};
use crate::metrics::Metrics;
use crate::rates::Rates;
use crate::runtime::whole_ms;
use crate::users::Seat;

/// Frames with a `ref` whose events are still to come, at most; of more the first one's event has none.
const REFS: usize = 1_000;

/// One socket, for the actions that are called by it.
pub(crate) struct Caller {
    pub(crate) user: UserId,
    pub(crate) email: Option<String>,
    pub(crate) room: RoomId,
    pub(crate) seat: Seat,
    /// What its client asked for beyond Level 1.
    ask: Ask,
    /// When the token expires, leeway included, in milliseconds since 1970.
    expires_at: AtomicU64,
    /// The `ref`s of requests whose events are still to come.
    refs: Mutex<VecDeque<(ObjectId, String)>>,
}

impl Caller {
    pub(crate) fn new(
        user: UserId,
        email: Option<String>,
        room: RoomId,
        seat: Seat,
        ask: Ask,
        expires_at: SystemTime,
    ) -> Self {
        let expires_at = AtomicU64::new(millis(expires_at));
        Self { user, email, room, seat, ask, expires_at, refs: Mutex::default() }
    }

    /// Whether what is read is said by hand: what is written to the socket is delivered, and no more.
    pub(crate) fn receipts_by_hand(&self) -> bool {
        self.ask.receipts_by_hand
    }

    /// What of a frame its client can mean.
    pub(crate) fn known<'a>(&self, fields: Fields<'a>) -> Fields<'a> {
        if self.ask == Ask::default() { fields.of_level_1() } else { fields }
    }

    /// How long the token is still good for.
    pub(crate) fn until_expiry(&self) -> Duration {
        let expires_at = Duration::from_millis(self.expires_at.load(Ordering::Relaxed));
        expires_at.saturating_sub(SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default())
    }

    /// The events that a request causes carry this `ref`.
    pub(crate) fn expect(&self, request: ObjectId, reference: String, metrics: &Metrics) {
        let mut refs = self.refs();
        if refs.len() >= REFS {
            refs.pop_front();
            metrics.limit("refs");
        }
        refs.push_back((request, reference));
    }

    /// No event comes of a request.
    pub(crate) fn forget(&self, request: ObjectId) {
        self.refs().retain(|(expected, _)| *expected != request);
    }

    /// The `ref` that the event of a request carries: its first one.
    pub(crate) fn take_ref(&self, request: ObjectId) -> Option<String> {
        let mut refs = self.refs();
        let at = refs.iter().position(|(expected, _)| *expected == request)?;
        refs.remove(at).map(|(_, reference)| reference)
    }

    /// Spends a message.
    pub(crate) fn spend_message(&self, rates: &Arc<Rates>, metrics: &Metrics) -> Result<(), Error> {
        self.seat.message(rates).map_err(|wait| {
            metrics.limit("messages_per_minute");
            Error::rate_limited("too many messages", whole_ms(wait))
        })
    }

    fn refs(&self) -> MutexGuard<'_, VecDeque<(ObjectId, String)>> {
        self.refs.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The port to a socket, for one call.
pub(crate) struct BoundSocket {
    pub(crate) caller: Arc<Caller>,
    pub(crate) verifier: Verifier,
}

impl Connection for BoundSocket {
    fn renew<'a>(&'a self, token: &'a str) -> Pending<'a, Time> {
        Box::pin(async move {
            self.verifier.ready_for(token).await;
            let auth::Caller { user, expires_at, .. } = self.verifier.verify(token).map_err(|refused| {
                let code = if refused.is_for_now() { Code::Unavailable } else { Code::InvalidToken };
                Error::new(code, refused.as_str())
            })?;
            if user != self.caller.user {
                return Err(Error::new(Code::InvalidToken, "the token is another user's"));
            }
            self.caller.expires_at.store(millis(expires_at), Ordering::Relaxed);
            let named = millis(expires_at - auth::LEEWAY);
            Ok(Time(i64::try_from(named).unwrap_or(i64::MAX)))
        })
    }
}

/// Since 1970.
fn millis(time: SystemTime) -> u64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
