//! Keeps the embedded `mongod` running. `mongod` may exit unexpectedly, for example if the kernel kills it because
//! memory is short, or if the disk is full. Then `mongod` is restarted with the same files and the same port, so that
//! the server's database driver can connect again.

use std::path::PathBuf;
use std::process::Command;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};

use super::child::Child;
use super::data_dir::DataDir;
use super::{MongodError, START_LIMIT, STOP_LIMIT, primary, start_error};

/// The shortest pause before a restart. If the child exits within [`LONGEST_PAUSE`] after its start, the next pause is
/// twice as long.
const PAUSE: Duration = Duration::from_millis(250);

/// The longest pause before a restart. If the child ran for longer than this duration, the next pause is [`PAUSE`].
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// The `mongod` binary to run, and its directory and options.
#[derive(Debug)]
pub(super) struct MongodCommand {
    pub(super) setpriv: Option<PathBuf>,
    pub(super) mongod: PathBuf,
    pub(super) home: DataDir,
    pub(super) cache_mib: u32,
}

impl MongodCommand {
    fn command(&self, port: u16) -> Command {
        super::command(self.setpriv.as_deref(), &self.mongod, &self.home, port, self.cache_mib)
    }

    pub(super) fn spawn(&self, port: u16) -> Result<Child, MongodError> {
        Child::spawn(self.command(port)).map_err(|cause| start_error(&self.home, &cause.to_string()))
    }
}

/// Supervises the `mongod` child process. The child runs at all times, except in the pause after an unexpected exit.
/// Dropping the supervisor ends the child and blocks until the child has ended.
#[derive(Debug)]
pub(super) struct MongodSupervisor {
    current: Arc<Mutex<Supervised>>,
    task: JoinHandle<()>,
}

#[derive(Debug)]
struct Supervised {
    child: Arc<Child>,
    /// Whether the child must end and must not be restarted.
    stopping: bool,
}

impl MongodSupervisor {
    /// Supervises a running child, which was started from `program`.
    pub(super) fn of(child: Child, program: MongodCommand, port: u16) -> Self {
        let current = Arc::new(Mutex::new(Supervised { child: Arc::new(child), stopping: false }));
        let task = tokio::spawn(restart_when_ended(current.clone(), program, port));
        Self { current, task }
    }

    /// Returns the current child.
    pub(super) fn child(&self) -> Arc<Child> {
        locked(&self.current).child.clone()
    }

    /// Ends the child and waits for its end. Sends SIGTERM. If the child still runs after `limit`, sends SIGKILL.
    pub(super) async fn stop(&self, limit: Duration) {
        self.stop_restarts().stop(limit).await;
    }

    /// Prevents further restarts, and returns the last child.
    fn stop_restarts(&self) -> Arc<Child> {
        self.task.abort();
        let mut current = locked(&self.current);
        current.stopping = true;
        current.child.clone()
    }
}

impl Drop for MongodSupervisor {
    fn drop(&mut self) {
        self.stop_restarts().stop_blocking();
    }
}

fn locked(current: &Mutex<Supervised>) -> MutexGuard<'_, Supervised> {
    current.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Restarts the child after each exit, until `stopping` is set.
async fn restart_when_ended(current: Arc<Mutex<Supervised>>, program: MongodCommand, port: u16) {
    let (mut pause, mut began) = (PAUSE, Instant::now());
    loop {
        let child = locked(&current).child.clone();
        let status = child.exited().await.map_or_else(|| "unknown status".to_owned(), |s| s.to_string());
        if locked(&current).stopping {
            return;
        }
        if began.elapsed() > LONGEST_PAUSE {
            pause = PAUSE;
        }
        let (pid, said, log) = (child.pid(), program.home.first_error(), program.home.previous_log());
        let (said, log) = (said.unwrap_or_default(), log.display());
        tracing::error!(pid, %status, said, %log, ?pause, "the embedded mongod exited unexpectedly; restarting it");
        sleep(pause).await;
        pause = LONGEST_PAUSE.min(2 * pause);
        began = Instant::now();
        match restart(&current, &program, port).await {
            Ok(pid) => {
                let ms = began.elapsed().as_millis();
                tracing::info!(pid, port, ms, "the embedded mongod is running again");
            }
            Err(error) => {
                tracing::error!(%error, "could not restart the embedded mongod; trying again after a pause");
            }
        }
    }
}

/// Starts the next child. Returns the process id when the child is primary. If the child doesn't become primary, ends
/// it and fails.
async fn restart(
    current: &Mutex<Supervised>,
    program: &MongodCommand,
    port: u16,
) -> Result<u32, MongodError> {
    let child = {
        let mut current = locked(current);
        if !current.stopping {
            program.home.rotate_log();
            current.child = Arc::new(program.spawn(port)?);
        }
        current.child.clone()
    };
    let home = &program.home;
    match primary(&child, port, &home.db(), Instant::now() + START_LIMIT).await {
        Ok(()) => Ok(child.pid()),
        Err(fault) => {
            child.stop(STOP_LIMIT).await;
            Err(start_error(home, &fault.to_string()))
        }
    }
}
