//! Permits for sockets and for exports. The configured limit may change while permits are held.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Counts the permits that are held.
#[derive(Clone, Default)]
pub(crate) struct Permits(Arc<AtomicUsize>);

/// One permit. The drop of this value gives the permit back.
pub(crate) struct Permit(Arc<AtomicUsize>);

impl Permits {
    /// Returns a permit if fewer than `limit` permits are held.
    pub(crate) fn acquire(&self, limit: usize) -> Option<Permit> {
        let one_more = |taken| (taken < limit).then_some(taken + 1);
        self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_more).ok()?;
        Some(Permit(self.0.clone()))
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}
