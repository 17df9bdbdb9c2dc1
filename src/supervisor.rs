//! Runs the tasks without which a server can't work. If the server continued to run after the panic of such a task, it
//! would not do its work. For example, it would refuse each message as if the queue were full, or it would never become
//! ready. Therefore the server shuts down after the panic, as on SIGTERM, with an error that names the task. The
//! service manager (for example systemd) then restarts the server.

use std::any::Any;
use std::panic::AssertUnwindSafe;

use futures_util::FutureExt;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// Runs the required tasks, and keeps the name of a task that panicked.
#[derive(Clone, Debug)]
pub struct Supervisor {
    stop: CancellationToken,
    panicked: watch::Sender<Option<&'static str>>,
}

impl Supervisor {
    /// Creates a supervisor of tasks that run until `stop` is cancelled.
    pub fn new(stop: CancellationToken) -> Self {
        Self { stop, panicked: watch::Sender::default() }
    }

    /// Returns the token that stops all tasks.
    pub(crate) fn stop(&self) -> &CancellationToken {
        &self.stop
    }

    /// Spawns a task. When `stop` is cancelled, the task is dropped at its next await.
    pub(crate) fn spawn(&self, name: &'static str, task: impl Future<Output = ()> + Send + 'static) {
        let task = self.stop.clone().run_until_cancelled_owned(task);
        tokio::spawn(self.clone().run_guarded(name, async { task.await.unwrap_or_default() }));
    }

    /// Runs a future in the caller's task, and records a panic under `name`. `stop` does not end the future.
    pub(crate) async fn run_guarded(self, name: &'static str, task: impl Future<Output = ()>) {
        // `AssertUnwindSafe` is correct here: a panic may leave shared state half changed, but the server then shuts
        // down.
        if let Err(panic) = AssertUnwindSafe(task).catch_unwind().await {
            tracing::error!(
                task = name,
                panic = panic_text(&*panic),
                "a required task panicked; shutting down"
            );
            self.panicked.send_replace(Some(name));
        }
    }

    /// Waits until a task has panicked, and returns its name.
    pub(crate) async fn wait_for_panic(&self) -> &'static str {
        let mut panicked = self.panicked.subscribe();
        // `self` holds the sender, so the channel can't be closed.
        let panicked = panicked.wait_for(Option::is_some).await;
        panicked.ok().and_then(|name| *name).unwrap_or_default()
    }
}

/// Returns the message of a panic.
pub(crate) fn panic_text(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("without a text")
}

#[cfg(test)]
mod tests {
    use std::future::{pending, ready};

    use super::*;

    #[tokio::test]
    async fn a_task_that_panics_is_lost_and_one_that_ends_is_not() {
        let supervisor = Supervisor::new(CancellationToken::new());
        supervisor.clone().run_guarded("ends", ready(())).await;
        assert!(supervisor.wait_for_panic().now_or_never().is_none());
        supervisor.spawn("panics", async { panic!("a test's own") });
        assert_eq!(supervisor.wait_for_panic().await, "panics");
        // The name stays recorded, so a second call also returns it.
        assert_eq!(supervisor.wait_for_panic().await, "panics");
    }

    #[tokio::test]
    async fn a_task_that_is_stopped_is_dropped_and_not_lost() {
        let supervisor = Supervisor::new(CancellationToken::new());
        let (held, dropped) = tokio::sync::oneshot::channel::<()>();
        supervisor.spawn("waits", async {
            let _held = held;
            pending::<()>().await;
        });
        supervisor.stop().cancel();
        assert!(dropped.await.is_err());
        assert!(supervisor.wait_for_panic().now_or_never().is_none());
    }
}
