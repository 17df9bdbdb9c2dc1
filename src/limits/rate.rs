//! Rate limits, and the counters of their use by each user and each socket.
//!
//! [`Rates`] are the rates of one configuration. A limiter counts how much of one rate a user or a socket has used.
//! [`ReloadableLimits`] hold the limiters of one user or one socket. The limiters are created at the first use of a
//! rate, for example at the user's first frame. After a reload has changed the rates, the next use creates new
//! limiters. Therefore a reload costs nothing until a client uses a rate.

use std::num::NonZeroU32;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use arc_swap::ArcSwapOption;
use governor::clock::{Clock, DefaultClock};
use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};

use crate::config::LimitsConfig;

type Limiter = DefaultDirectRateLimiter;

/// The rates of users and sockets: how much is allowed per minute, and how much in a burst (without a pause).
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Rates {
    frames: u32,
    messages: u32,
    rooms: u32,
    connects: u32,
    documents: u32,
    addresses: u32,
    /// The rates of each action, in the order of the table of actions (a call is one frame with an action).
    calls: Box<[CallRates]>,
}

/// The rates of one action. They apply in addition to the rates of the section `[limits]`, which count all frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct CallRates {
    /// Calls of one user per minute.
    pub(crate) per_minute: Option<u32>,
    /// Calls of one socket in a burst.
    pub(crate) burst: Option<u32>,
}

/// The rate of an action that a call exceeded, and the time after which the client may try again.
#[derive(Clone, Copy, Debug)]
pub(crate) enum RateExceeded {
    PerMinute(Duration),
    Burst(Duration),
}

impl Rates {
    /// Builds the rates. `calls` are the actions' own rates, in the order of the actions.
    pub(crate) fn new(limits: &LimitsConfig, calls: Box<[CallRates]>) -> Self {
        Self {
            frames: limits.frames_per_minute,
            messages: limits.messages_per_minute,
            rooms: limits.rooms_per_minute,
            connects: limits.connects_per_minute,
            documents: limits.documents_per_minute,
            addresses: limits.addresses_per_minute,
            calls,
        }
    }
}

/// The limiters for the rates of one configuration.
pub(crate) trait Limiters: Sized {
    /// Creates limiters that still have the full rates.
    fn new(rates: &Rates) -> Self;
}

/// The limiters of one user or one socket, and the rates for which they were created.
pub(crate) struct ReloadableLimits<C>(ArcSwapOption<LimitsInUse<C>>);

struct LimitsInUse<C> {
    rates: Arc<Rates>,
    limiters: C,
}

impl<C> Default for ReloadableLimits<C> {
    fn default() -> Self {
        Self(ArcSwapOption::empty())
    }
}

impl<C: Limiters> ReloadableLimits<C> {
    /// Calls `spend` with the limiters for these rates. If the last call had other rates, creates new limiters.
    pub(crate) fn spend<T>(&self, rates: &Arc<Rates>, spend: impl FnOnce(&C) -> T) -> T {
        if let Some(in_use) = &*self.0.load()
            && Arc::ptr_eq(&in_use.rates, rates)
        {
            return spend(&in_use.limiters);
        }
        // The tasks of several sockets of a user may reach this line at the same time. Each task creates and stores new
        // limiters, and only the limiters that are stored last stay in use. Therefore the use that the other tasks
        // count here is lost.
        let in_use = Arc::new(LimitsInUse { rates: rates.clone(), limiters: C::new(rates) });
        self.0.store(Some(in_use.clone()));
        spend(&in_use.limiters)
    }
}

/// Counts the frames and messages that a user sends over all sockets. Also counts the user's new rooms, changes of
/// the e-mail address, and calls of actions.
pub(crate) struct UserLimits {
    frames: Limiter,
    messages: Limiter,
    rooms: Limiter,
    addresses: Limiter,
    calls: Box<[Option<Limiter>]>,
}

/// Counts the connects of a user, and the documents that Parlor reads for connects and lists of rooms. These limiters
/// are separate from [`UserLimits`] to save memory. Most connected users send nothing, so they never need a
/// `UserLimits`. With all limiters in one value, each connected user took 600 bytes more.
pub(crate) struct ConnectLimits {
    connects: Limiter,
    documents: Budget,
}

/// Counts the calls of one socket, for each action that has a burst limit.
pub(crate) struct SocketLimits(Box<[Option<Limiter>]>);

impl Limiters for UserLimits {
    fn new(rates: &Rates) -> Self {
        let per_minute = |call: &CallRates| call.per_minute.map(|most| limiter(most, most));
        Self {
            frames: limiter(rates.frames, rates.frames),
            messages: limiter(rates.messages, rates.messages),
            rooms: limiter(rates.rooms, rates.rooms),
            addresses: limiter(rates.addresses, rates.addresses),
            calls: rates.calls.iter().map(per_minute).collect(),
        }
    }
}

impl Limiters for ConnectLimits {
    fn new(rates: &Rates) -> Self {
        Self { connects: limiter(rates.connects, rates.connects), documents: Budget::new(rates.documents) }
    }
}

impl Limiters for SocketLimits {
    fn new(rates: &Rates) -> Self {
        let burst = |call: &CallRates| {
            let per_minute = call.per_minute.unwrap_or(rates.frames);
            call.burst.map(|burst| limiter(per_minute, burst))
        };
        Self(rates.calls.iter().map(burst).collect())
    }
}

impl UserLimits {
    /// Counts a frame. If the rate is used up, fails with the time to wait.
    pub(crate) fn spend_frame(&self) -> Result<(), Duration> {
        spend(&self.frames)
    }

    /// Counts a message. If the rate is used up, fails with the time to wait.
    pub(crate) fn spend_message(&self) -> Result<(), Duration> {
        spend(&self.messages)
    }

    /// Counts a direct room that Parlor creates because the user connects to it. If the rate is used up, fails with the
    /// time to wait.
    pub(crate) fn spend_room(&self) -> Result<(), Duration> {
        spend(&self.rooms)
    }

    /// Counts a change of the e-mail address. If the rate is used up, fails with the time to wait.
    pub(crate) fn spend_address(&self) -> Result<(), Duration> {
        spend(&self.addresses)
    }

    /// Counts a call of the action with this index in the table of actions.
    pub(crate) fn spend_call(&self, action: usize) -> Result<(), RateExceeded> {
        spend_at(&self.calls, action).map_err(RateExceeded::PerMinute)
    }
}

impl ConnectLimits {
    /// Counts a connect. If the rate is used up, fails with the time to wait.
    pub(crate) fn spend_connect(&self) -> Result<(), Duration> {
        spend(&self.connects)
    }

    /// Returns the budget of the documents that Parlor may read for this user.
    pub(crate) fn documents(&self) -> &Budget {
        &self.documents
    }
}

impl SocketLimits {
    /// Counts a call of the action with this index in the table of actions.
    pub(crate) fn spend_call(&self, action: usize) -> Result<(), RateExceeded> {
        spend_at(&self.0, action).map_err(RateExceeded::Burst)
    }
}

/// A rate limit for work whose cost is known only after the work. The balance is the amount that is left, and it may
/// fall below zero. While the balance is not positive, all work is refused.
pub(crate) struct Budget {
    per_second: f64,
    most: f64,
    /// The balance, and the time of its last update.
    left: Mutex<(f64, Instant)>,
}

impl Budget {
    fn new(per_minute: u32) -> Self {
        let most = f64::from(per_minute);
        Self { per_second: most / 60.0, most, left: Mutex::new((most, Instant::now())) }
    }

    /// Checks that the balance is positive. Otherwise fails with the time after which the balance is positive again.
    pub(crate) fn check(&self, now: Instant) -> Result<(), Duration> {
        let left = self.update(now, 0);
        if left > 0.0 { Ok(()) } else { Err(Duration::from_secs_f64((1.0 - left) / self.per_second)) }
    }

    /// Subtracts an amount, which may be more than the balance.
    pub(crate) fn spend(&self, amount: usize, now: Instant) {
        self.update(now, u32::try_from(amount).unwrap_or(u32::MAX));
    }

    fn update(&self, now: Instant, amount: u32) -> f64 {
        let mut state = self.left.lock().unwrap_or_else(PoisonError::into_inner);
        let (left, since) = &mut *state;
        let regained = now.saturating_duration_since(*since).as_secs_f64() * self.per_second;
        *left = (*left + regained).min(self.most) - f64::from(amount);
        *since = now.max(*since);
        *left
    }
}

/// Returns a limiter that allows `per_minute` calls per minute, with bursts of up to `burst` calls.
fn limiter(per_minute: u32, burst: u32) -> Limiter {
    let some = |most| NonZeroU32::new(most).unwrap_or(NonZeroU32::MIN);
    RateLimiter::direct(Quota::per_minute(some(per_minute)).allow_burst(some(burst)))
}

fn spend_at(limiters: &[Option<Limiter>], action: usize) -> Result<(), Duration> {
    match limiters.get(action) {
        Some(Some(limiter)) => spend(limiter),
        _ => Ok(()),
    }
}

fn spend(limiter: &Limiter) -> Result<(), Duration> {
    limiter.check().map_err(|until| until.wait_time_from(DefaultClock::default().now()))
}

/// Returns the wait in milliseconds, at least 1. After this wait the rate limit accepts the client's next frame.
pub(crate) fn whole_ms(wait: Duration) -> u64 {
    u64::try_from(wait.as_millis()).unwrap_or(u64::MAX).saturating_add(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_budget_refuses_while_in_debt_and_is_regained() {
        let (budget, now) = (Budget::new(600), Instant::now());
        budget.spend(1_000, now);
        let wait = budget.check(now).unwrap_err();
        assert!((40.0..40.2).contains(&wait.as_secs_f64()), "{wait:?}");
        assert_eq!(budget.check(now + Duration::from_secs(20)).map_err(|wait| wait.as_secs()), Err(20));
        assert!(budget.check(now + wait).is_ok());
        let later = now + Duration::from_hours(1);
        budget.spend(600, later);
        assert!(budget.check(later).is_err(), "no more is regained than a minute's worth");
    }
}
