//! Bounds the memory of functions: of each call (`memory_mib` of the function), and of all instances together
//! (`functions.memory_mib`).

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use wasmtime::ResourceLimiter;

/// The most elements of a table. A module's table holds its functions, of which the JavaScript engine has 3,000.
const TABLE_ELEMENTS: usize = 100_000;

/// The memory that all instances may use together.
#[derive(Clone, Debug)]
pub(crate) struct MemoryBudget(Arc<Budget>);

#[derive(Debug)]
struct Budget {
    most: usize,
    used: AtomicUsize,
}

impl MemoryBudget {
    /// Creates a budget of this many bytes.
    pub(crate) fn new(most: usize) -> Self {
        Self(Arc::new(Budget { most, used: AtomicUsize::new(0) }))
    }

    /// Returns the bytes that instances use now.
    pub(crate) fn used(&self) -> usize {
        self.0.used.load(Ordering::Relaxed)
    }

    fn take(&self, bytes: usize) -> bool {
        let taken = self.0.used.try_update(Ordering::AcqRel, Ordering::Acquire, |used| {
            used.checked_add(bytes).filter(|used| *used <= self.0.most)
        });
        taken.is_ok()
    }

    fn give_back(&self, bytes: usize) {
        self.0.used.fetch_sub(bytes, Ordering::AcqRel);
    }
}

/// Bounds the memory of one instance. When this value is dropped, the memory returns to the budget.
#[derive(Debug)]
pub(crate) struct MemoryLimiter {
    budget: MemoryBudget,
    /// The size of the memories, without the bytes that don't count.
    held: usize,
    /// Bytes at the beginning that don't count: a stack of which almost no page is ever used.
    uncounted: usize,
    /// The most bytes of the instance.
    most: usize,
    refused: Option<MemoryRefusal>,
}

/// Why an instance did not get memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum MemoryRefusal {
    /// The limit of the call is reached.
    Call,
    /// All instances together use the whole budget.
    Budget,
}

impl MemoryLimiter {
    pub(crate) fn new(budget: MemoryBudget, most: usize, uncounted: usize) -> Self {
        Self { budget, held: 0, uncounted, most, refused: None }
    }

    /// Sets the limit for the next call, and forgets earlier refusals.
    pub(crate) fn begin(&mut self, most: usize) {
        self.most = most;
        self.refused = None;
    }

    /// Returns the memory of the instance, in bytes.
    pub(crate) fn held(&self) -> usize {
        self.held
    }

    /// Returns the most memory of the call, in bytes.
    pub(crate) fn most(&self) -> usize {
        self.most
    }

    /// Returns why memory was refused since the last [`begin`](Self::begin), if it was.
    pub(crate) fn refused(&self) -> Option<MemoryRefusal> {
        self.refused
    }
}

impl ResourceLimiter for MemoryLimiter {
    fn memory_growing(&mut self, current: usize, desired: usize, _: Option<usize>) -> wasmtime::Result<bool> {
        let free = self.uncounted;
        let more = desired.saturating_sub(free).saturating_sub(current.saturating_sub(free));
        if self.held.saturating_add(more) > self.most {
            self.refused = Some(MemoryRefusal::Call);
            return Ok(false);
        }
        if !self.budget.take(more) {
            self.refused = Some(MemoryRefusal::Budget);
            return Ok(false);
        }
        self.held += more;
        Ok(true)
    }

    fn table_growing(&mut self, _: usize, desired: usize, _: Option<usize>) -> wasmtime::Result<bool> {
        Ok(desired <= TABLE_ELEMENTS)
    }
}

impl Drop for MemoryLimiter {
    fn drop(&mut self) {
        self.budget.give_back(self.held);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn budget_is_shared_and_returns_when_an_instance_ends() {
        let budget = MemoryBudget::new(100);
        let mut first = MemoryLimiter::new(budget.clone(), 80, 0);
        assert!(first.memory_growing(0, 70, None).unwrap());
        assert!(!first.memory_growing(70, 90, None).unwrap());
        assert_eq!(first.refused(), Some(MemoryRefusal::Call));
        let mut second = MemoryLimiter::new(budget.clone(), 80, 0);
        assert!(!second.memory_growing(0, 40, None).unwrap());
        assert_eq!(second.refused(), Some(MemoryRefusal::Budget));
        drop(first);
        assert_eq!(budget.used(), 0);
        assert!(second.memory_growing(0, 40, None).unwrap());
        assert_eq!(budget.used(), 40);
    }
}
