//! The instances of a script that wait for a call.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::guest::Guest;

/// The time after which an unused instance is dropped (docs/operate/configuration.md, `functions.idle_instances`).
const KEPT: Duration = Duration::from_mins(1);

/// A stack of instances. The instance that was used last is used next, so that instances which are not needed grow
/// old.
#[derive(Debug)]
pub(super) struct IdleGuests {
    most: usize,
    guests: Mutex<Vec<(Guest, Instant)>>,
}

impl IdleGuests {
    pub(super) fn new(most: usize) -> Self {
        Self { most, guests: Mutex::default() }
    }

    pub(super) fn take(&self) -> Option<Guest> {
        self.guests().pop().map(|(guest, _)| guest)
    }

    pub(super) fn put(&self, guest: Guest) {
        let mut guests = self.guests();
        if guests.len() < self.most {
            guests.push((guest, Instant::now()));
        }
    }

    /// Returns the number of instances that remain.
    pub(super) fn drop_old(&self) -> usize {
        let mut guests = self.guests();
        let old: Vec<_> = guests.extract_if(.., |(_, since)| since.elapsed() >= KEPT).collect();
        let left = guests.len();
        // To drop an instance unmaps its memory, which takes a while.
        drop(guests);
        drop(old);
        left
    }

    pub(super) fn drop_every(&self) {
        let every = std::mem::take(&mut *self.guests());
        drop(every);
    }

    fn guests(&self) -> MutexGuard<'_, Vec<(Guest, Instant)>> {
        self.guests.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
