//! The processes that a test can kill: the program `parlor`, and a `mongod` that only this test uses.

mod clock;
mod disk;
mod memory;
mod mongod;
mod oplog;
mod program;

use std::os::unix::process::CommandExt as _;
use std::process::{ExitStatus, Stdio};

use tokio::process::{Child, Command};
use tokio::time::timeout;

use super::PATIENCE;
use super::mongo::Database;

pub(crate) use clock::Clock;
pub(crate) use mongod::Mongod;
pub(crate) use program::Program;

/// A child process that is killed when this value is dropped, and when the test process ends for any reason.
struct Owned {
    child: Child,
    pid: u32,
    guard: std::process::Child,
}

impl Owned {
    fn spawn(mut command: Command) -> Self {
        let child = command.stdin(Stdio::null()).kill_on_drop(true).spawn().unwrap();
        let pid = child.id().unwrap();
        // The guard is a shell that kills the child when the test process ends for any reason. The end of the test
        // process closes the pipe that is the guard's input.
        let guard = std::process::Command::new("sh")
            .args(["-c", r#"cat; kill -9 "$1""#, "sh", &pid.to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0)
            .spawn()
            .unwrap();
        Self { child, pid, guard }
    }

    /// Sends a signal by its name.
    fn signal(&self, name: &str) {
        signal(name, self.pid);
    }

    async fn ended(&mut self) -> ExitStatus {
        let Ok(status) = timeout(2 * PATIENCE, self.child.wait()).await else {
            panic!("process {} still runs after {:?}", self.pid, 2 * PATIENCE)
        };
        status.unwrap()
    }
}

/// Sends a signal by its name to a running process.
pub(crate) fn signal(name: &str, pid: u32) {
    let sent = std::process::Command::new("kill").args(["-s", name, &pid.to_string()]).status();
    assert!(sent.unwrap().success(), "{name} could not be sent to process {pid}");
}

impl Drop for Owned {
    fn drop(&mut self) {
        // The guard is killed first. After `wait`, a new process may get the child's id, and the guard could kill that
        // process.
        let _ = self.guard.kill();
        let _ = self.guard.wait();
        let _ = self.child.start_kill();
    }
}

/// Returns the URI of the database server that all tests share.
pub(crate) fn shared_uri() -> &'static str {
    Database::uri()
}
