//! What each user has open here, and may still do: the bounds that count over all of a user's sockets.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use handlers::UserId;
use tokio::sync::Notify;
use tokio::sync::futures::Notified;

use super::rate::{Meter, OfSocket, OfUser, Over, Rates};

/// How long a user without sockets is remembered. The rates are by the minute, so that after one a returning user
/// is as good as a new one.
const REMEMBERED: Duration = Duration::from_mins(1);

/// Users with sockets here, and those who left in the last minute.
pub(crate) struct Users(Mutex<Known>);

struct Known {
    users: HashMap<UserId, Arc<User>>,
    swept: Instant,
}

/// One user's sockets and rates.
pub(crate) struct User {
    sockets: AtomicUsize,
    /// Connects that wait for a place.
    waiting: AtomicUsize,
    freed: Notify,
    left: Mutex<Instant>,
    spent: Meter<OfUser>,
    /// The address that a token brought last, and that was kept.
    address: Mutex<Option<String>>,
}

/// One of a user's sockets; given back when dropped.
pub(crate) struct Seat {
    user: Arc<User>,
    spent: Meter<OfSocket>,
}

impl Users {
    pub(crate) fn new() -> Self {
        Self(Mutex::new(Known { users: HashMap::new(), swept: Instant::now() }))
    }

    /// A place for one more socket; none where the user has `most`, or more.
    pub(crate) fn enter(&self, id: &UserId, most: usize) -> Option<Seat> {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.sweep();
        let user = known.users.entry(id.clone()).or_insert_with(|| Arc::new(User::new()));
        // Only here does the number rise, and here under the lock.
        if user.sockets.load(Ordering::Relaxed) >= most {
            return None;
        }
        user.sockets.fetch_add(1, Ordering::Relaxed);
        Some(Seat { user: user.clone(), spent: Meter::default() })
    }
}

impl Users {
    /// Waits for a place of a user who has none free; none where `most` connects wait already.
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
    /// Forgets those who left, once a minute at most: a socket that opens pays for all who have gone.
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
    /// Spends a frame; where none is left, in how long there is one.
    pub(crate) fn frame(&self, rates: &Arc<Rates>) -> Result<(), Duration> {
        self.user.spent.spend(rates, OfUser::frame)
    }

    /// Spends a message; where none is left, in how long there is one.
    pub(crate) fn message(&self, rates: &Arc<Rates>) -> Result<(), Duration> {
        self.user.spent.spend(rates, OfUser::message)
    }

    /// Spends a room that is made by connecting; where none is left, in how long there is one.
    pub(crate) fn room(&self, rates: &Arc<Rates>) -> Result<(), Duration> {
        self.user.spent.spend(rates, OfUser::room)
    }

    /// Spends a connect; where none is left, in how long there is one.
    pub(crate) fn connect(&self, rates: &Arc<Rates>) -> Result<(), Duration> {
        self.user.spent.spend(rates, OfUser::connect)
    }

    /// Fails where the user has read too many documents, with the time until reading goes on.
    pub(crate) fn may_read(&self, rates: &Arc<Rates>) -> Result<(), Duration> {
        self.user.spent.spend(rates, |user| user.documents().check(Instant::now()))
    }

    /// Spends documents that were read.
    pub(crate) fn read(&self, rates: &Arc<Rates>, documents: usize) {
        self.user.spent.spend(rates, |user| user.documents().spend(documents, Instant::now()));
    }

    /// Whether a token's address may be kept. An address that differs from the one before spends a change of it, of which
    /// each tells all who share a room with the user.
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

    /// Spends a call of the action at this place of the table.
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

/// A connect that waits for a place, until this is dropped.
pub(crate) struct Waiting(Arc<User>);

impl Waiting {
    /// Resolves when one of the user's sockets gives its place back.
    pub(crate) fn freed(&self) -> Notified<'_> {
        self.0.freed.notified()
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Ordering::Relaxed);
    }
}
