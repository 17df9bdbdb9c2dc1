//! Counts the bytes that a server holds for a socket, inside and outside the socket's queue, and applies their bounds.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::Outbox;
use crate::config::LimitsConfig;

/// The bounds of an outbox.
#[derive(Clone, Copy, Debug)]
pub(crate) struct OutboxBounds {
    /// The maximum number of frames that wait for one socket.
    pub(super) frames: usize,
    /// The maximum bytes of the frames that wait for one socket or are being written to the socket.
    pub(super) bytes: usize,
    /// The maximum bytes that are held for all sockets of a user.
    pub(super) user_bytes: usize,
}

impl OutboxBounds {
    pub(crate) fn of(limits: &LimitsConfig) -> Self {
        let LimitsConfig { send_queue, send_queue_bytes, user_bytes, .. } = limits;
        Self { frames: *send_queue, bytes: *send_queue_bytes, user_bytes: *user_bytes }
    }
}

#[cfg(test)]
impl From<usize> for OutboxBounds {
    fn from(frames: usize) -> Self {
        Self { frames, bytes: usize::MAX, user_bytes: usize::MAX }
    }
}

/// Bytes that are held for a socket outside its queue. The bytes count until this value is dropped.
pub(crate) struct Holding<'a> {
    outbox: &'a Outbox,
    bytes: usize,
}

impl Drop for Holding<'_> {
    fn drop(&mut self) {
        self.outbox.beside.fetch_sub(self.bytes, Ordering::Relaxed);
        self.outbox.release_user_bytes(self.bytes);
    }
}

impl Outbox {
    /// Makes this socket add its bytes to `user_bytes`, the total of its user's sockets. Only the first call has an
    /// effect.
    pub(crate) fn count_for(&self, user_bytes: Arc<AtomicUsize>) {
        let _ = self.user_bytes.set(user_bytes);
    }

    /// Returns the bytes that are held for the socket, inside and outside its queue.
    pub(crate) fn bytes(&self) -> usize {
        self.queue().bytes + self.beside.load(Ordering::Relaxed)
    }

    /// Counts bytes that are held for the socket outside its queue, for example a large answer. If the bytes would
    /// exceed the bound of the user, returns none and does not count them.
    pub(crate) fn hold(&self, bytes: usize) -> Option<Holding<'_>> {
        let fits = self.add_user_bytes(bytes);
        self.beside.fetch_add(bytes, Ordering::Relaxed);
        let holding = Holding { outbox: self, bytes };
        fits.then_some(holding)
    }

    /// Adds bytes to the user's total. Returns false if the total then exceeds the bound; the bytes are added even
    /// then.
    pub(super) fn add_user_bytes(&self, bytes: usize) -> bool {
        let Some(user_bytes) = self.user_bytes.get() else { return true };
        user_bytes.fetch_add(bytes, Ordering::Relaxed).saturating_add(bytes) <= self.bounds.user_bytes
    }

    pub(super) fn release_user_bytes(&self, bytes: usize) {
        if let Some(user_bytes) = self.user_bytes.get() {
            user_bytes.fetch_sub(bytes, Ordering::Relaxed);
        }
    }
}
