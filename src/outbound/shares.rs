//! Limits the concurrent requests of each caller. Without the limit, a caller whose requests hang could take all
//! permits of a receiver.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// The permits of all callers. The map contains only callers with a running request. Therefore the map never has more
/// entries than there are running requests.
#[derive(Debug)]
pub(super) struct CallerPermits {
    most: usize,
    taken: Mutex<HashMap<u64, usize>>,
}

/// A permit of one caller. When the value is dropped, the caller may start another request.
pub(super) struct CallerPermit<'a> {
    permits: &'a CallerPermits,
    caller: u64,
}

impl CallerPermits {
    pub(super) fn new(most: usize) -> Self {
        Self { most, taken: Mutex::default() }
    }

    /// Returns a permit, or `None` if the caller already holds `most` permits.
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
    fn caller_permits_are_bounded_and_returned() {
        let permits = CallerPermits::new(2);
        let held = [permits.acquire(1), permits.acquire(1)];
        assert!(permits.acquire(1).is_none());
        assert!(permits.acquire(2).is_some(), "other callers have permits of their own");
        drop(held);
        assert!(permits.taken().is_empty(), "a caller without a running request is not remembered");
        assert!(permits.acquire(1).is_some());
    }
}
