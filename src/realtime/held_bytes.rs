//! Counts the bytes that a server holds for its clients: events in the queues of sockets, first frames and large
//! answers.
//!
//! An event is encoded once, and all sockets share its bytes. The server's total therefore counts an event once. The
//! total of a user counts the event once for each socket of this user. A socket that exceeds its own bound, or the
//! bound of its user, is closed. If the server exceeds its bound, the server closes the sockets with the most held
//! bytes.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::Notify;

/// The bytes that one server holds for clients.
#[derive(Clone, Debug)]
pub(crate) struct HeldBytes(Arc<SharedBytes>);

#[derive(Debug)]
struct SharedBytes {
    bytes: AtomicUsize,
    most: usize,
    over: Notify,
}

/// Bytes that count as held until this charge is dropped.
#[derive(Debug, Default)]
pub(crate) struct Charge(Option<(HeldBytes, usize)>);

impl HeldBytes {
    /// Creates a counter that starts at zero. `most` is the bound in bytes.
    pub(crate) fn new(most: usize) -> Self {
        Self(Arc::new(SharedBytes { bytes: AtomicUsize::default(), most, over: Notify::new() }))
    }

    /// Adds bytes to the counter until the returned charge is dropped. If the counter then exceeds the bound, wakes the
    /// caller of [`exceeded`](Self::exceeded).
    pub(crate) fn charge(&self, bytes: usize) -> Charge {
        let before = self.0.bytes.fetch_add(bytes, Ordering::Relaxed);
        if before.saturating_add(bytes) > self.0.most {
            self.0.over.notify_one();
        }
        Charge(Some((self.clone(), bytes)))
    }

    /// Returns the number of held bytes.
    pub(crate) fn bytes(&self) -> usize {
        self.0.bytes.load(Ordering::Relaxed)
    }

    /// Waits until a charge exceeds the bound.
    pub(super) async fn exceeded(&self) {
        self.0.over.notified().await;
    }

    /// Returns the number of bytes by which the counter exceeds the bound.
    pub(super) fn excess(&self) -> usize {
        self.bytes().saturating_sub(self.0.most)
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        if let Some((held, bytes)) = self.0.take() {
            held.0.bytes.fetch_sub(bytes, Ordering::Relaxed);
        }
    }
}
