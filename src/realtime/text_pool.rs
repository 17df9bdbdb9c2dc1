//! Bounds the memory for the texts of unread messages. When a message becomes delivered or read, the server sends a
//! status event with the whole message. If the text is in memory, the server need not load it from the database. But
//! 200 texts of the maximum length take 3 MB for one room. Each room may keep 16 KiB of texts. For more texts, the room
//! takes bytes from a pool that all rooms of the server use. The bytes that a room has taken are its share.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// The pool: the number of bytes that all rooms together may take, in addition to the 16 KiB of each room.
#[derive(Clone, Debug)]
pub(crate) struct TextPool(Arc<Pool>);

#[derive(Debug)]
struct Pool {
    used: AtomicUsize,
    most: usize,
}

impl TextPool {
    /// Creates a pool of `most` bytes.
    pub(crate) fn new(most: usize) -> Self {
        Self(Arc::new(Pool { used: AtomicUsize::default(), most }))
    }

    /// Returns an empty share for a room.
    pub(crate) fn share(&self) -> TextShare {
        TextShare { pool: self.0.clone(), bytes: 0 }
    }
}

/// The bytes that one room has taken from a pool. When the share is dropped, its bytes return to the pool.
#[derive(Debug)]
pub(crate) struct TextShare {
    pool: Arc<Pool>,
    bytes: usize,
}

impl TextShare {
    /// Changes the share to `bytes`. If the pool does not have enough bytes left, returns false and does not change the
    /// share.
    pub(crate) fn resize(&mut self, bytes: usize) -> bool {
        if bytes == self.bytes {
            return true;
        }
        if let Some(more) = bytes.checked_sub(self.bytes) {
            let most = self.pool.most;
            let take = |used: usize| Some(used + more).filter(|used| *used <= most);
            if self.pool.used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take).is_err() {
                return false;
            }
        } else {
            self.pool.used.fetch_sub(self.bytes - bytes, Ordering::Relaxed);
        }
        self.bytes = bytes;
        true
    }
}

impl Drop for TextShare {
    fn drop(&mut self) {
        self.pool.used.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_of_a_pool_are_bounded_together_and_returned() {
        let pool = TextPool::new(10);
        let (mut one, mut two) = (pool.share(), pool.share());
        assert!(one.resize(6) && two.resize(4));
        assert!(!one.resize(7) && one.resize(6));
        assert!(two.resize(3) && one.resize(7));
        drop(one);
        assert!(two.resize(10));
    }
}
