//! The `mongod` process: starts it, watches it, ends it, and reads its exit status.
//!
//! A separate thread starts the child and waits for its end. The kernel sends the parent-death signal to a child when
//! the *thread* that started the child ends. A thread of the async runtime may end with a test, or because it is
//! idle. Then the database would end while the server still runs.

use std::io;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use tokio::sync::watch;
use tokio::time::timeout;

use super::command;

/// The wait between SIGTERM and SIGKILL, if the wait blocks a thread. It is shorter than the wait of an orderly stop.
const END_LIMIT: Duration = Duration::from_secs(5);

/// How long the kernel may take to remove a killed process.
const KILL_LIMIT: Duration = Duration::from_secs(5);

/// A child process that ends when this value is dropped, at the latest.
#[derive(Debug)]
pub(super) struct Child {
    pid: u32,
    // `Some` after the process has ended. If its status could not be read, the channel closes without a value.
    status: watch::Receiver<Option<ExitStatus>>,
}

impl Child {
    /// Starts `command` without output, in its own process group. Ctrl-C at the terminal goes to the whole group of the
    /// server, and must not end the database before the server has drained.
    pub(super) fn spawn(mut command: Command) -> io::Result<Self> {
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).process_group(0);
        let (started, pid) = mpsc::sync_channel(1);
        let (ended, status) = watch::channel(None);
        thread::Builder::new().name("mongod".to_owned()).spawn(move || {
            let mut process = match command.spawn() {
                Ok(process) => process,
                Err(cause) => return drop(started.send(Err(cause))),
            };
            // The thread must wait for the process even if the receiver is gone. Otherwise a zombie process would
            // remain.
            drop(started.send(Ok(process.id())));
            if let Ok(status) = process.wait() {
                ended.send_replace(Some(status));
            }
        })?;
        let pid = pid.recv().map_err(io::Error::other)??;
        Ok(Self { pid, status })
    }

    pub(super) fn pid(&self) -> u32 {
        self.pid
    }

    pub(super) fn is_running(&self) -> bool {
        self.status.borrow().is_none() && self.status.has_changed().is_ok()
    }

    /// Waits until the process is gone. `None` means that its status is unknown.
    pub(super) async fn exited(&self) -> Option<ExitStatus> {
        let mut status = self.status.clone();
        status.wait_for(Option::is_some).await.ok().and_then(|status| *status)
    }

    /// Ends the process and waits until it is gone. Sends SIGTERM, and SIGKILL after `limit`.
    pub(super) async fn stop(&self, limit: Duration) {
        for (signal, limit) in [(Signal::TERM, limit), (Signal::KILL, KILL_LIMIT)] {
            self.signal(signal);
            if timeout(limit, self.exited()).await.is_ok() {
                return;
            }
        }
    }

    /// Ends the process as [`Self::stop`] does, for callers that can't await. Blocks for 10 s at most.
    pub(super) fn stop_blocking(&self) {
        for (signal, limit) in [(Signal::TERM, END_LIMIT), (Signal::KILL, KILL_LIMIT)] {
            self.signal(signal);
            let since = Instant::now();
            while self.is_running() && since.elapsed() < limit {
                thread::sleep(Duration::from_millis(5));
            }
        }
    }

    fn signal(&self, signal: Signal) {
        // After the exit status was read, the process id may belong to another process.
        if self.is_running() && !command::signal(signal, self.pid) {
            tracing::warn!(pid = self.pid, ?signal, "could not signal the embedded mongod");
        }
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        self.stop_blocking();
    }
}

/// Returns the path of the program `setpriv`. With `setpriv`, the kernel sends SIGTERM to the child when the child's
/// parent dies. Returns `None` if the program is missing or lacks this option (as in busybox).
pub(super) async fn setpriv() -> Option<PathBuf> {
    let setpriv = command::which("setpriv", &std::env::var_os("PATH")?)?;
    let mut probe = command::command(&setpriv);
    probe.args(["--pdeathsig", "TERM", "true"]);
    command::run(&mut probe, command::QUICK).await.ok().map(|_| setpriv)
}
