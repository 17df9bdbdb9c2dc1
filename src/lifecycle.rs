//! Knows whether this server is shutting down, and tracks the tasks that a shutdown waits for.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::task::JoinHandle;
use tokio_util::task::TaskTracker;

/// The lifecycle of one server. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub(crate) struct Lifecycle {
    draining: Arc<AtomicBool>,
    /// The tasks of sockets and requests, and the tasks that continue after a request has ended.
    tasks: TaskTracker,
}

impl Lifecycle {
    /// Returns whether the server is shutting down. A server that is shutting down accepts no new socket and no new
    /// frame.
    pub(crate) fn is_draining(&self) -> bool {
        self.draining.load(Ordering::SeqCst)
    }

    /// Begins the shutdown.
    pub(crate) fn start_draining(&self) {
        self.draining.store(true, Ordering::SeqCst);
    }

    /// Runs a task that a shutdown waits for.
    pub(crate) fn spawn<T: Send + 'static>(
        &self,
        task: impl Future<Output = T> + Send + 'static,
    ) -> JoinHandle<T> {
        self.tasks.spawn(task)
    }

    /// Waits until all tasks of [`Self::spawn`] have ended.
    pub(crate) async fn finished(&self) {
        self.tasks.close();
        self.tasks.wait().await;
    }
}
