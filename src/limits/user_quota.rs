//! The sockets that each user has open on this server, and the limits that count over all sockets of a user.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use handlers::UserId;
use tokio::sync::Notify;
use tokio::sync::futures::Notified;

use super::rate::{Meter, OfSocket, OfUser, Over, Rates};

/// How long a user without sockets is remembered. All rates are per minute, so after a minute a returning user has the
/// full rates again.
const REMEMBERED: Duration = Duration::from_mins(1);

/// Users with sockets on this server, and users who left in the last minute.
pub(crate) struct Users(Mutex<Known>);

struct Known {
    users: HashMap<UserId, Arc<User>>,
    swept: Instant,
}

/// The sockets and limits of one user.
pub(crate) struct User {
    sockets: AtomicUsize,
    /// Connects that wait for a slot.
    waiting: AtomicUsize,
    freed: Notify,
    left: Mutex<Instant>,
    spent: Meter<OfUser>,
    /// The last e-mail address of a token that was stored.
    address: Mutex<Option<String>>,
}

/// The slot of one socket of a user. Dropping it gives it back.
pub(crate) struct Seat {
    user: Arc<User>,
    spent: Meter<OfSocket>,
}

impl Users {
    pub(crate) fn new() -> Self {
        Self(Mutex::new(Known { users: HashMap::new(), swept: Instant::now() }))
    }

    /// Returns a slot for one more socket, or `None` if the user has `most` or more.
    pub(crate) fn enter(&self, id: &UserId, most: usize) -> Option<Seat> {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.sweep();
        let user = known.users.entry(id.clone()).or_insert_with(|| Arc::new(User::new()));
        // The number only rises here, and only under the lock.
        if user.sockets.load(Ordering::Relaxed) >= most {
            return None;
        }
        user.sockets.fetch_add(1, Ordering::Relaxed);
        Some(Seat { user: user.clone(), spent: Meter::default() })
    }
}

impl Users {
    /// Queues for a slot of a user who has none free. Returns `None` if `most` connects wait already.
    pub(crate) fn wait(&self, id: &UserId, most: usize) -> Option<Waiting> {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let user = known.users.get(id)?;
        if user.waiting.load(Ordering::Relaxed) >= most {
            return None;
        }
        user.waiting.fetch_add(1, Ordering::Relaxed);
        Some(Waiting(user.clone()))
    }
}

impl Known {
    /// Forgets users who left, at most once a minute. The connect that triggers it does the work for all users who
    /// left.
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

impl User {
    fn new() -> Self {
        Self {
            sockets: AtomicUsize::new(0),
            waiting: AtomicUsize::new(0),
            freed: Notify::new(),
            left: Mutex::new(Instant::now()),
            spent: Meter::default(),
            address: Mutex::default(),
        }
    }
}

impl Seat {
    /// Counts a frame. Fails with the time to wait if none is left.
    pub(crate) fn frame(&self, rates: &Arc<Rates>) -> Result<(), Duration> {
        self.user.spent.spend(rates, OfUser::frame)
    }

    /// Counts a message. Fails with the time to wait if none is left.
    pub(crate) fn message(&self, rates: &Arc<Rates>) -> Result<(), Duration> {
        self.user.spent.spend(rates, OfUser::message)
    }

    /// Counts a room that is created by connecting. Fails with the time to wait if none is left.
    pub(crate) fn room(&self, rates: &Arc<Rates>) -> Result<(), Duration> {
        self.user.spent.spend(rates, OfUser::room)
    }

    /// Counts a connect. Fails with the time to wait if none is left.
    pub(crate) fn connect(&self, rates: &Arc<Rates>) -> Result<(), Duration> {
        self.user.spent.spend(rates, OfUser::connect)
    }

    /// Fails if the user has read too many documents, with the time until the next read is accepted.
    pub(crate) fn may_read(&self, rates: &Arc<Rates>) -> Result<(), Duration> {
        self.user.spent.spend(rates, |user| user.documents().check(Instant::now()))
    }

    /// Counts documents that were read.
    pub(crate) fn read(&self, rates: &Arc<Rates>, documents: usize) {
        self.user.spent.spend(rates, |user| user.documents().spend(documents, Instant::now()));
    }

    /// Returns whether the e-mail address of a token may be stored. An address that differs from the last one counts
    /// against the rate of address changes, because each change is sent to all users who share a room with the user.
    pub(crate) fn may_keep(&self, rates: &Arc<Rates>, address: &str) -> bool {
        let mut last = self.user.address.lock().unwrap_or_else(PoisonError::into_inner);
        if last.as_deref() == Some(address) {
            return true;
        }
        if last.is_some() && self.user.spent.spend(rates, OfUser::address).is_err() {
            return false;
        }
        *last = Some(address.to_owned());
        true
    }

    /// Counts a call of the action at this index of the table.
    pub(crate) fn call(&self, rates: &Arc<Rates>, action: usize) -> Result<(), Over> {
        self.spent.spend(rates, |socket| socket.call(action))?;
        self.user.spent.spend(rates, |user| user.call(action))
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        *self.user.left.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
        self.user.sockets.fetch_sub(1, Ordering::Relaxed);
        self.user.freed.notify_waiters();
    }
}

/// A connect that waits for a slot. Dropping it ends the wait.
pub(crate) struct Waiting(Arc<User>);

impl Waiting {
    /// Resolves when one of the user's sockets gives back its slot.
    pub(crate) fn freed(&self) -> Notified<'_> {
        self.0.freed.notified()
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Ordering::Relaxed);
    }
}
