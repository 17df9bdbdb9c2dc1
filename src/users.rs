//! What each user has open here, and may still do: the bounds that count over all of a user's sockets.

use std::collections::HashMap;
use std::num::NonZeroU32;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use governor::clock::{Clock, DefaultClock};
use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};
use handlers::UserId;

use crate::config::Limits;

/// How long a user without sockets is remembered. The rates are by the minute, so that after one a returning user
/// is as good as a new one.
const REMEMBERED: Duration = Duration::from_mins(1);

/// Users with sockets here, and those who left in the last minute.
pub(crate) struct Users {
    known: Mutex<Known>,
    limits: Limits,
}

struct Known {
    users: HashMap<UserId, Arc<User>>,
    swept: Instant,
}

/// One user's sockets and rates.
pub(crate) struct User {
    sockets: AtomicUsize,
    left: Mutex<Instant>,
    frames: DefaultDirectRateLimiter,
    messages: DefaultDirectRateLimiter,
}

/// One of a user's sockets; given back when dropped.
pub(crate) struct Seat(Arc<User>);

impl Users {
    pub(crate) fn new(limits: Limits) -> Self {
        Self { known: Mutex::new(Known { users: HashMap::new(), swept: Instant::now() }), limits }
    }

    /// A place for one more socket; none where the user has as many as may be.
    pub(crate) fn enter(&self, id: &UserId) -> Option<Seat> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.sweep();
        let user = known.users.entry(id.clone()).or_insert_with(|| Arc::new(User::new(&self.limits)));
        // Only here does the number rise, and here under the lock.
        if user.sockets.load(Ordering::Relaxed) >= self.limits.sockets_per_user {
            return None;
        }
        user.sockets.fetch_add(1, Ordering::Relaxed);
        Some(Seat(user.clone()))
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
    fn new(limits: &Limits) -> Self {
        let rate = |per_minute| {
            RateLimiter::direct(Quota::per_minute(NonZeroU32::new(per_minute).unwrap_or(NonZeroU32::MIN)))
        };
        Self {
            sockets: AtomicUsize::new(0),
            left: Mutex::new(Instant::now()),
            frames: rate(limits.frames_per_minute),
            messages: rate(limits.messages_per_minute),
        }
    }
}

impl Seat {
    /// Spends a frame; where none is left, in how long there is one.
    pub(crate) fn frame(&self) -> Result<(), Duration> {
        spend(&self.0.frames)
    }

    /// Spends a message; where none is left, in how long there is one.
    pub(crate) fn message(&self) -> Result<(), Duration> {
        spend(&self.0.messages)
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        *self.0.left.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
        self.0.sockets.fetch_sub(1, Ordering::Relaxed);
    }
}

fn spend(limiter: &DefaultDirectRateLimiter) -> Result<(), Duration> {
    limiter.check().map_err(|until| until.wait_time_from(DefaultClock::default().now()))
}
