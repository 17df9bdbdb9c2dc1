//! The tasks that a server can't do without. Should one of them panic, what is left would look alive and not do its work:
//! refuse each message as if too many waited, say that it is not ready and never become so. So it goes away as when it is
//! told to, with an error that names the task, and whoever runs it starts it anew.

use std::any::Any;
use std::panic::AssertUnwindSafe;

use futures_util::FutureExt;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// Runs them.
#[derive(Clone, Debug)]
pub struct Supervisor {
    stop: CancellationToken,
    lost: watch::Sender<Option<&'static str>>,
}

impl Supervisor {
    /// Of tasks that run until `stop`.
    pub fn new(stop: CancellationToken) -> Self {
        Self { stop, lost: watch::Sender::default() }
    }

    /// What ends all of them.
    pub(crate) fn stop(&self) -> &CancellationToken {
        &self.stop
    }

    /// Runs a task; at `stop` it is dropped where it waits.
    pub(crate) fn spawn(&self, name: &'static str, task: impl Future<Output = ()> + Send + 'static) {
        let task = self.stop.clone().run_until_cancelled_owned(task);
        tokio::spawn(self.clone().hold(name, async { task.await.unwrap_or_default() }));
    }

    /// Runs what ends by itself, in a task of the caller's.
    pub(crate) async fn hold(self, name: &'static str, task: impl Future<Output = ()>) {
        // What it may have left half done is seen by nobody: the server goes away.
        if let Err(panic) = AssertUnwindSafe(task).catch_unwind().await {
            tracing::error!(
                task = name,
                panic = panic_text(&*panic),
                "a task panicked that the server can't do without"
            );
            self.lost.send_replace(Some(name));
        }
    }

    /// Resolves when one of them has panicked, with its name.
    pub(crate) async fn lost(&self) -> &'static str {
        let mut lost = self.lost.subscribe();
        // The sender is in `self`: it can't be gone.
        let lost = lost.wait_for(Option::is_some).await;
        lost.ok().and_then(|name| *name).unwrap_or_default()
    }
}

/// Returns the text that a panic carries.
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
        supervisor.clone().hold("ends", ready(())).await;
        assert!(supervisor.lost().now_or_never().is_none());
        supervisor.spawn("panics", async { panic!("a test's own") });
        assert_eq!(supervisor.lost().await, "panics");
        // Whoever asks later hears of it, too.
        assert_eq!(supervisor.lost().await, "panics");
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
        assert!(supervisor.lost().now_or_never().is_none());
    }
}
