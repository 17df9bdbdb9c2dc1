//! Counts time for running functions. A thread advances the epoch of the WebAssembly engine each [`TICK`] while a
//! function runs. At each tick a running function yields to the other tasks of its thread, and one tick is counted as
//! its CPU time. While no function runs, the thread sleeps.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::{self, Thread};
use std::time::Duration;

use wasmtime::Engine;

/// The unit in which the CPU time of a call is counted. 1 ms is the finest that a sleeping thread keeps reliably.
pub(crate) const TICK: Duration = Duration::from_millis(1);

/// Advances the epoch of one engine.
#[derive(Debug)]
pub(crate) struct Ticker {
    shared: Arc<Shared>,
    thread: Thread,
}

#[derive(Debug, Default)]
struct Shared {
    calls: AtomicUsize,
    ended: AtomicBool,
}

/// While this value exists, the epoch advances.
#[derive(Debug)]
pub(crate) struct TickGuard(Arc<Shared>);

impl Ticker {
    /// Starts the thread. It ends when this value is dropped.
    pub(crate) fn new(engine: Engine) -> std::io::Result<Self> {
        let shared = Arc::<Shared>::default();
        let of_thread = shared.clone();
        let handle = thread::Builder::new().name("function ticks".into()).spawn(move || {
            while !of_thread.ended.load(Ordering::Acquire) {
                if of_thread.calls.load(Ordering::Acquire) == 0 {
                    // If a call has begun since the line above, its `unpark` ends this `park` immediately.
                    thread::park();
                } else {
                    thread::sleep(TICK);
                    engine.increment_epoch();
                }
            }
        })?;
        Ok(Self { shared, thread: handle.thread().clone() })
    }

    /// Lets the epoch advance until the returned value is dropped.
    pub(crate) fn begin(&self) -> TickGuard {
        if self.shared.calls.fetch_add(1, Ordering::AcqRel) == 0 {
            self.thread.unpark();
        }
        TickGuard(self.shared.clone())
    }
}

impl Drop for Ticker {
    fn drop(&mut self) {
        self.shared.ended.store(true, Ordering::Release);
        self.thread.unpark();
    }
}

impl Drop for TickGuard {
    fn drop(&mut self) {
        self.0.calls.fetch_sub(1, Ordering::AcqRel);
    }
}

/// Returns the number of ticks of a CPU time, at least one.
pub(crate) fn ticks(cpu: Duration) -> u32 {
    u32::try_from(cpu.as_millis() / TICK.as_millis()).unwrap_or(u32::MAX).max(1)
}
