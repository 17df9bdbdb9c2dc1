//! Places for sockets, and for exports: so many as the configuration says at the time, which may change while they are taken.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// How many places are taken.
#[derive(Clone, Default)]
pub(crate) struct Places(Arc<AtomicUsize>);

/// A place; given back when dropped.
pub(crate) struct Place(Arc<AtomicUsize>);

impl Places {
    /// A place, where fewer than `most` are taken.
    pub(crate) fn take(&self, most: usize) -> Option<Place> {
        let one_more = |taken| (taken < most).then_some(taken + 1);
        self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_more).ok()?;
        Some(Place(self.0.clone()))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}
