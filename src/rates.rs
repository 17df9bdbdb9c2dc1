//! How often something may be done, and who has done it how often.
//!
//! [`Rates`] are what one configuration says; a [`Meter`] is what one user or one socket has spent of them. It is made
//! with the first frame that is spent, and anew once the rates are others: a reload costs nothing until someone speaks.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwapOption;
use governor::clock::{Clock, DefaultClock};
use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};

use crate::config::Limits;

type Limiter = DefaultDirectRateLimiter;

/// What users and sockets may do in a minute, and at once.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Rates {
    frames: u32,
    messages: u32,
    rooms: u32,
    /// In the order of the actions.
    calls: Box<[CallRates]>,
}

/// What one action may be called, beyond what `[limits]` says of all frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
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

impl Rates {
    /// `calls` are the actions' own rates, in the order by which they are spent.
    pub(crate) fn new(limits: &Limits, calls: Box<[CallRates]>) -> Self {
        Self {
            frames: limits.frames_per_minute,
            messages: limits.messages_per_minute,
            rooms: limits.rooms_per_minute,
            calls,
        }
    }
}

/// What is counted by the rates of one configuration.
pub(crate) trait Count: Sized {
    /// With nothing spent.
    fn new(rates: &Rates) -> Self;
}

/// What has been spent, of the rates that were last asked by.
pub(crate) struct Meter<C>(ArcSwapOption<Metered<C>>);

struct Metered<C> {
    rates: Arc<Rates>,
    count: C,
}

impl<C> Default for Meter<C> {
    fn default() -> Self {
        Self(ArcSwapOption::empty())
    }
}

impl<C: Count> Meter<C> {
    /// Spends of these rates.
    pub(crate) fn spend<T>(&self, rates: &Arc<Rates>, spend: impl FnOnce(&C) -> T) -> T {
        if let Some(metered) = &*self.0.load()
            && Arc::ptr_eq(&metered.rates, rates)
        {
            return spend(&metered.count);
        }
        // Of two sockets that come here at once one loses what it spends now, which is one frame.
        let metered = Arc::new(Metered { rates: rates.clone(), count: C::new(rates) });
        self.0.store(Some(metered.clone()));
        spend(&metered.count)
    }
}

/// What a user spends, over all sockets.
pub(crate) struct OfUser {
    frames: Limiter,
    messages: Limiter,
    rooms: Limiter,
    calls: Box<[Option<Limiter>]>,
}

/// What a socket spends.
pub(crate) struct OfSocket(Box<[Option<Limiter>]>);

impl Count for OfUser {
    fn new(rates: &Rates) -> Self {
        let per_minute = |call: &CallRates| call.per_minute.map(|most| limiter(most, most));
        Self {
            frames: limiter(rates.frames, rates.frames),
            messages: limiter(rates.messages, rates.messages),
            rooms: limiter(rates.rooms, rates.rooms),
            calls: rates.calls.iter().map(per_minute).collect(),
        }
    }
}

impl Count for OfSocket {
    fn new(rates: &Rates) -> Self {
        let burst = |call: &CallRates| {
            let per_minute = call.per_minute.unwrap_or(rates.frames);
            call.burst.map(|burst| limiter(per_minute, burst))
        };
        Self(rates.calls.iter().map(burst).collect())
    }
}

impl OfUser {
    /// Spends a frame; where none is left, in how long there is one.
    pub(crate) fn frame(&self) -> Result<(), Duration> {
        spend(&self.frames)
    }

    /// Spends a message; where none is left, in how long there is one.
    pub(crate) fn message(&self) -> Result<(), Duration> {
        spend(&self.messages)
    }

    /// Spends a room that is made by connecting; where none is left, in how long there is one.
    pub(crate) fn room(&self) -> Result<(), Duration> {
        spend(&self.rooms)
    }

    /// Spends a call of the action at this place of the table.
    pub(crate) fn call(&self, action: usize) -> Result<(), Over> {
        spend_at(&self.calls, action).map_err(Over::PerMinute)
    }
}

impl OfSocket {
    /// Spends a call of the action at this place of the table.
    pub(crate) fn call(&self, action: usize) -> Result<(), Over> {
        spend_at(&self.0, action).map_err(Over::Burst)
    }
}

/// So many in a minute, of which so many may come at once.
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
