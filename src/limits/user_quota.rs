//! The sockets that each user has open on this server, and the limits that count over all sockets of a user.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use handlers::UserId;
use tokio::sync::Notify;
use tokio::sync::futures::Notified;

use super::rate::{ConnectLimits, RateExceeded, Rates, ReloadableLimits, SocketLimits, UserLimits};

/// The time for which a user without sockets is remembered. All rates are per minute, and a minute without use restores
/// the full rates. Therefore the server may forget the user after a minute: the user would have the full rates anyway.
const REMEMBERED: Duration = Duration::from_mins(1);

/// The users with sockets on this server, and the users whose last socket was closed less than [`REMEMBERED`] ago.
pub(crate) struct UserQuotas(Mutex<QuotaTable>);

struct QuotaTable {
    users: HashMap<UserId, Arc<UserQuota>>,
    swept: Instant,
}

/// The sockets and limits of one user.
pub(crate) struct UserQuota {
    sockets: AtomicUsize,
    /// The number of the user's connects that wait for a slot.
    waiting: AtomicUsize,
    freed: Notify,
    left: Mutex<Instant>,
    connects: ReloadableLimits<ConnectLimits>,
    limits: ReloadableLimits<UserLimits>,
    /// The last e-mail address that was taken from a token of the user and stored.
    address: Mutex<Option<String>>,
}

/// The slot of one socket of a user. The slot is free again when this value is dropped.
pub(crate) struct UserSlot {
    user: Arc<UserQuota>,
    limits: ReloadableLimits<SocketLimits>,
}

impl UserQuotas {
    pub(crate) fn new() -> Self {
        Self(Mutex::new(QuotaTable { users: HashMap::new(), swept: Instant::now() }))
    }

    /// Returns a slot for one more socket, or `None` if the user already has `most` sockets or more.
    pub(crate) fn acquire(&self, id: &UserId, most: usize) -> Option<UserSlot> {
        let mut table = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        table.sweep();
        let user = table.users.entry(id.clone()).or_insert_with(|| Arc::new(UserQuota::new()));
        // The number of sockets rises only in this function, while the table's lock is held. So no other connect can
        // raise the number between this check and the addition.
        if user.sockets.load(Ordering::Relaxed) >= most {
            return None;
        }
        user.sockets.fetch_add(1, Ordering::Relaxed);
        Some(UserSlot { user: user.clone(), limits: ReloadableLimits::default() })
    }
}

impl UserQuotas {
    /// Queues a connect of a user who has no free slot. Returns `None` if `most` connects of this user wait already.
    pub(crate) fn queue_for_slot(&self, id: &UserId, most: usize) -> Option<SlotWait> {
        let table = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let user = table.users.get(id)?;
        if user.waiting.load(Ordering::Relaxed) >= most {
            return None;
        }
        user.waiting.fetch_add(1, Ordering::Relaxed);
        Some(SlotWait(user.clone()))
    }
}

impl QuotaTable {
    /// Removes the users who have had no socket for a minute. This happens at most once a minute, during a connect.
    fn sweep(&mut self) {
        if self.swept.elapsed() < REMEMBERED {
            return;
        }
        self.swept = Instant::now();
        self.users.retain(|_, user| {
            let left = *user.left.lock().unwrap_or_else(PoisonError::into_inner);
            user.sockets.load(Ordering::Relaxed) > 0 || left.elapsed() < REMEMBERED
        });
    }
}

impl UserQuota {
    fn new() -> Self {
        Self {
            sockets: AtomicUsize::new(0),
            waiting: AtomicUsize::new(0),
            freed: Notify::new(),
            left: Mutex::new(Instant::now()),
            connects: ReloadableLimits::default(),
            limits: ReloadableLimits::default(),
            address: Mutex::default(),
        }
    }
}

impl UserSlot {
    /// Counts a frame. If the rate is used up, fails with the time to wait.
    pub(crate) fn spend_frame(&self, rates: &Arc<Rates>) -> Result<(), Duration> {
        self.user.limits.spend(rates, UserLimits::spend_frame)
    }

    /// Counts a message. If the rate is used up, fails with the time to wait.
    pub(crate) fn spend_message(&self, rates: &Arc<Rates>) -> Result<(), Duration> {
        self.user.limits.spend(rates, UserLimits::spend_message)
    }

    /// Counts a direct room that Parlor creates because the user connects to it. If the rate is used up, fails with the
    /// time to wait.
    pub(crate) fn spend_room(&self, rates: &Arc<Rates>) -> Result<(), Duration> {
        self.user.limits.spend(rates, UserLimits::spend_room)
    }

    /// Counts a connect. If the rate is used up, fails with the time to wait.
    pub(crate) fn spend_connect(&self, rates: &Arc<Rates>) -> Result<(), Duration> {
        self.user.connects.spend(rates, ConnectLimits::spend_connect)
    }

    /// Fails if Parlor has read too many documents for the user's connects and lists of rooms. The error is the time
    /// until the next read is accepted.
    pub(crate) fn check_read_budget(&self, rates: &Arc<Rates>) -> Result<(), Duration> {
        self.user.connects.spend(rates, |connects| connects.documents().check(Instant::now()))
    }

    /// Counts documents that Parlor read from the database for a connect or a list of rooms.
    pub(crate) fn spend_documents(&self, rates: &Arc<Rates>, documents: usize) {
        self.user.connects.spend(rates, |connects| connects.documents().spend(documents, Instant::now()));
    }

    /// Returns whether the e-mail address of a token may be stored. The first address is always accepted. A different
    /// address counts for the rate limit of address changes. The limit exists because Parlor sends each change to all
    /// users who share a room with the user.
    pub(crate) fn accept_address(&self, rates: &Arc<Rates>, address: &str) -> bool {
        let mut last = self.user.address.lock().unwrap_or_else(PoisonError::into_inner);
        if last.as_deref() == Some(address) {
            return true;
        }
        if last.is_some() && self.user.limits.spend(rates, UserLimits::spend_address).is_err() {
            return false;
        }
        *last = Some(address.to_owned());
        true
    }

    /// Counts a call of the action with this index in the table of actions.
    pub(crate) fn spend_call(&self, rates: &Arc<Rates>, action: usize) -> Result<(), RateExceeded> {
        self.limits.spend(rates, |socket| socket.spend_call(action))?;
        self.user.limits.spend(rates, |user| user.spend_call(action))
    }
}

impl Drop for UserSlot {
    fn drop(&mut self) {
        *self.user.left.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
        self.user.sockets.fetch_sub(1, Ordering::Relaxed);
        self.user.freed.notify_waiters();
    }
}

/// A connect that waits for a slot. The wait ends when this value is dropped.
pub(crate) struct SlotWait(Arc<UserQuota>);

impl SlotWait {
    /// Resolves when one of the user's sockets gives back its slot.
    pub(crate) fn freed(&self) -> Notified<'_> {
        self.0.freed.notified()
    }
}

impl Drop for SlotWait {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Ordering::Relaxed);
    }
}
