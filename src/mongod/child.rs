//! The `mongod` process: starts it, watches it, ends it, and reads its exit status.
//!
//! A separate thread starts the child and waits for its end. The kernel sends the parent-death signal to a child when
//! the *thread* that started the child ends. A thread of the async runtime may end at the end of a test, or because the
//! thread is idle. If such a thread had started the child, the database would end while the server still runs.

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

/// The longest time between SIGTERM and SIGKILL in [`Child::stop_blocking`], which blocks a thread. This time is
/// shorter than the limits that callers give to [`Child::stop`].
const END_LIMIT: Duration = Duration::from_secs(5);

/// The longest time to wait until the kernel has ended a process after SIGKILL.
const KILL_LIMIT: Duration = Duration::from_secs(5);

/// A child process. If it still runs when this value is dropped, the drop ends it.
#[derive(Debug)]
pub(super) struct Child {
    pid: u32,
    // Contains `Some` after the process has ended. If the exit status could not be read, the channel closes without a
    // value.
    status: watch::Receiver<Option<ExitStatus>>,
}

impl Child {
    /// Starts `command` without output, in a separate process group. Ctrl-C at the terminal sends a signal to all
    /// processes in the server's process group. This signal must not end the database before the server has shut down.
    pub(super) fn spawn(mut command: Command) -> io::Result<Self> {
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).process_group(0);
        let (started, pid) = mpsc::sync_channel(1);
        let (ended, status) = watch::channel(None);
        thread::Builder::new().name("mongod".to_owned()).spawn(move || {
            let mut process = match command.spawn() {
                Ok(process) => process,
                Err(cause) => return drop(started.send(Err(cause))),
            };
            // The send fails if the receiver is dropped. The thread must wait for the process in this case, too.
            // Otherwise a zombie process would remain.
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

    /// Waits until the process has ended. Returns `None` if the exit status is unknown.
    pub(super) async fn exited(&self) -> Option<ExitStatus> {
        let mut status = self.status.clone();
        status.wait_for(Option::is_some).await.ok().and_then(|status| *status)
    }

    /// Ends the process and waits for its end. Sends SIGTERM. If the process still runs after `limit`, sends SIGKILL.
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
        // After the process has ended, its id may belong to another process, which must not receive the signal.
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
/// parent dies. Returns `None` if the program is missing, or if it has no option `--pdeathsig` (as in busybox).
pub(super) async fn setpriv() -> Option<PathBuf> {
    let setpriv = command::which("setpriv", &std::env::var_os("PATH")?)?;
    let mut probe = command::command(&setpriv);
    probe.args(["--pdeathsig", "TERM", "true"]);
    command::run(&mut probe, command::QUICK).await.ok().map(|_| setpriv)
}
