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

type Limiter = DefaultDirectRateLimiter;

/// How long a user without sockets is remembered. The rates are by the minute, so that after one a returning user
/// is as good as a new one.
const REMEMBERED: Duration = Duration::from_mins(1);

/// Users with sockets here, and those who left in the last minute.
pub(crate) struct Users {
    known: Mutex<Known>,
    limits: Limits,
    calls: Box<[CallRates]>,
}

/// What one action may be called, beyond what `[limits]` says of all frames.
#[derive(Clone, Copy, Debug)]
pub(crate) struct CallRates {
    /// By a user in a minute.
    pub(crate) per_minute: Option<u32>,
    /// By a socket at once.
    pub(crate) burst: Option<u32>,
}

/// Which of an action's rates a call was over, and for how long.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Over {
    PerMinute(Duration),
    Burst(Duration),
}

struct Known {
    users: HashMap<UserId, Arc<User>>,
    swept: Instant,
}

/// One user's sockets and rates.
pub(crate) struct User {
    sockets: AtomicUsize,
    left: Mutex<Instant>,
    frames: Limiter,
    messages: Limiter,
    /// In the order of the actions.
    calls: Box<[Option<Limiter>]>,
}

/// One of a user's sockets; given back when dropped.
pub(crate) struct Seat {
    user: Arc<User>,
    /// In the order of the actions.
    bursts: Box<[Option<Limiter>]>,
}

impl Users {
    /// `calls` are the actions' own rates, in the order by which [`Seat::call`] names them.
    pub(crate) fn new(limits: Limits, calls: Box<[CallRates]>) -> Self {
        Self { known: Mutex::new(Known { users: HashMap::new(), swept: Instant::now() }), limits, calls }
    }

    /// A place for one more socket; none where the user has as many as may be.
    pub(crate) fn enter(&self, id: &UserId) -> Option<Seat> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.sweep();
        let user = known.users.entry(id.clone()).or_insert_with(|| Arc::new(self.user()));
        // Only here does the number rise, and here under the lock.
        if user.sockets.load(Ordering::Relaxed) >= self.limits.sockets_per_user {
            return None;
        }
        user.sockets.fetch_add(1, Ordering::Relaxed);
        Some(Seat { user: user.clone(), bursts: self.bursts() })
    }

    fn user(&self) -> User {
        let per_minute = |call: &CallRates| call.per_minute.map(|most| limiter(most, most));
        User {
            sockets: AtomicUsize::new(0),
            left: Mutex::new(Instant::now()),
            frames: limiter(self.limits.frames_per_minute, self.limits.frames_per_minute),
            messages: limiter(self.limits.messages_per_minute, self.limits.messages_per_minute),
            calls: self.calls.iter().map(per_minute).collect(),
        }
    }

    fn bursts(&self) -> Box<[Option<Limiter>]> {
        let burst = |call: &CallRates| {
            let per_minute = call.per_minute.unwrap_or(self.limits.frames_per_minute);
            call.burst.map(|burst| limiter(per_minute, burst))
        };
        self.calls.iter().map(burst).collect()
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

/// So many in a minute, of which so many may come at once.
fn limiter(per_minute: u32, burst: u32) -> Limiter {
    let some = |most| NonZeroU32::new(most).unwrap_or(NonZeroU32::MIN);
    RateLimiter::direct(Quota::per_minute(some(per_minute)).allow_burst(some(burst)))
}

impl Seat {
    /// Spends a frame; where none is left, in how long there is one.
    pub(crate) fn frame(&self) -> Result<(), Duration> {
        spend(&self.user.frames)
    }

    /// Spends a message; where none is left, in how long there is one.
    pub(crate) fn message(&self) -> Result<(), Duration> {
        spend(&self.user.messages)
    }

    /// Spends a call of the action at this place of the table.
    pub(crate) fn call(&self, action: usize) -> Result<(), Over> {
        let rate = |limiters: &[Option<Limiter>]| match limiters.get(action) {
            Some(Some(limiter)) => spend(limiter),
            _ => Ok(()),
        };
        rate(&self.bursts).map_err(Over::Burst)?;
        rate(&self.user.calls).map_err(Over::PerMinute)
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        *self.user.left.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
        self.user.sockets.fetch_sub(1, Ordering::Relaxed);
    }
}

fn spend(limiter: &Limiter) -> Result<(), Duration> {
    limiter.check().map_err(|until| until.wait_time_from(DefaultClock::default().now()))
}
