//! Limits the requests of one caller that are in flight, so that a caller whose requests hang can't take all permits.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Contains only callers with a request in flight, so it never holds more entries than there may be requests in all.
#[derive(Debug)]
pub(super) struct CallerPermits {
    most: usize,
    taken: Mutex<HashMap<u64, usize>>,
}

/// A permit of one caller. Dropping it gives it back.
pub(super) struct CallerPermit<'a> {
    permits: &'a CallerPermits,
    caller: u64,
}

impl CallerPermits {
    pub(super) fn new(most: usize) -> Self {
        Self { most, taken: Mutex::default() }
    }

    /// Returns a permit if the caller has fewer than the limit.
    pub(super) fn acquire(&self, caller: u64) -> Option<CallerPermit<'_>> {
        let mut taken = self.taken();
        let own = taken.entry(caller).or_default();
        if *own >= self.most {
            return None;
        }
        *own += 1;
        Some(CallerPermit { permits: self, caller })
    }

    fn taken(&self) -> MutexGuard<'_, HashMap<u64, usize>> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for CallerPermit<'_> {
    fn drop(&mut self) {
        let mut taken = self.permits.taken();
        if let Some(own) = taken.get_mut(&self.caller) {
            *own -= 1;
            if *own == 0 {
                taken.remove(&self.caller);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_caller_has_a_share_and_gets_it_back() {
        let permits = CallerPermits::new(2);
        let held = [permits.acquire(1), permits.acquire(1)];
        assert!(permits.acquire(1).is_none());
        assert!(permits.acquire(2).is_some(), "others have their own");
        drop(held);
        assert!(permits.taken().is_empty(), "nothing is kept of who has none under way");
        assert!(permits.acquire(1).is_some());
    }
}
