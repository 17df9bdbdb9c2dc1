//! The directory of the embedded `mongod` (the database server that Parlor starts itself), and the lock on this
//! directory.
//!
//! The running server holds a lock on the file `lock`. The file `port` contains the port on which `mongod` listened
//! last. `mongod.log` is the log of this run, and `mongod.log.old` the log of the previous run. `db` has mongod's
//! files.

use std::fs::{self, DirBuilder, File, Permissions, TryLockError};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::process::Signal;

use super::replica_set::SET;
use super::{MongodError, command};

/// The longest text that an error repeats from a line of mongod's log, in characters.
const MAX_LOG_LINE_CHARS: usize = 300;

/// The directory of the embedded `mongod`. Only the server that holds the lock uses the directory.
#[derive(Debug)]
pub(super) struct DataDir {
    path: PathBuf,
}

impl DataDir {
    /// Creates `data_dir/mongod` and locks it. Returns [`MongodError::InUse`] if a running server holds the lock. The
    /// kernel releases the lock when the returned file is closed or the process ends.
    pub(super) fn claim(data_dir: &Path) -> Result<(Self, File), MongodError> {
        let wanted = data_dir.join("mongod");
        let created = private_dir(&wanted).and_then(|()| check_owner(data_dir));
        let claimed = created.and_then(|()| fs::canonicalize(&wanted)).and_then(|path| {
            private_dir(&path.join("db"))?;
            let lock = File::options().create(true).truncate(false).write(true).open(path.join("lock"))?;
            Ok((path, lock))
        });
        let (path, lock) = claimed.map_err(|cause| MongodError::Files { path: wanted, cause })?;
        match lock.try_lock() {
            Ok(()) => Ok((Self { path }, lock)),
            Err(TryLockError::WouldBlock) => Err(MongodError::InUse { data_dir: data_dir.to_owned() }),
            Err(TryLockError::Error(cause)) => Err(MongodError::Files { path: path.join("lock"), cause }),
        }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn db(&self) -> PathBuf {
        self.path.join("db")
    }

    pub(super) fn log(&self) -> PathBuf {
        self.path.join("mongod.log")
    }

    /// Returns the path of the log of the previous run.
    pub(super) fn previous_log(&self) -> PathBuf {
        self.path.join("mongod.log.old")
    }

    pub(super) fn last_port(&self) -> Option<u16> {
        last_port(&self.path)
    }

    pub(super) fn save_port(&self, port: u16) -> Result<(), MongodError> {
        let path = self.path.join("port");
        fs::write(&path, port.to_string()).map_err(|cause| MongodError::Files { path, cause })
    }

    /// Keeps the log of the previous run and deletes older logs. `mongod` itself would keep all logs, or append to
    /// one log without a bound.
    pub(super) fn rotate_log(&self) {
        // At the first start the log is missing. If the log can't be moved, `mongod` itself reports the error.
        let _ = fs::rename(self.log(), self.previous_log());
    }

    /// Returns the first error in mongod's log, shortened. Later errors are usually consequences of the first error.
    pub(super) fn first_error(&self) -> Option<String> {
        let log = fs::read(self.log()).ok()?;
        first_error(&String::from_utf8_lossy(&log))
    }

    /// Ends a `mongod` that still runs on this directory, and waits for its end. Sends SIGTERM and waits up to `limit`.
    /// If the `mongod` still runs, sends SIGKILL and waits up to `limit` once more. The caller must hold the lock of
    /// the directory. The lock proves that the server that started this `mongod` is dead.
    ///
    /// `mongod` writes its process id into its own lock file, and removes the id at a normal end. After a crash another
    /// program may have this id, so this function also compares the command line of the process. On a system without
    /// `/proc`, this function ends no process. The new `mongod` then refuses the directory, because the old `mongod`
    /// still uses the directory.
    pub(super) async fn end_leftover(&self, limit: Duration) -> Result<(), MongodError> {
        let Some(pid) = self.leftover() else { return Ok(()) };
        tracing::info!(pid, "ending the mongod that an earlier server left running");
        for signal in [Signal::TERM, Signal::KILL] {
            let since = Instant::now();
            // Sending the signal fails if the process has just ended, or if another operating-system user owns the
            // process. A process of another user does not end, so this loop does not wait for it.
            let sent = command::signal(signal, pid);
            while self.is_ours(pid) && sent && since.elapsed() < limit {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            if !self.is_ours(pid) {
                return Ok(());
            }
        }
        Err(MongodError::Leftover { pid })
    }

    fn leftover(&self) -> Option<u32> {
        let pid = fs::read_to_string(self.db().join("mongod.lock")).ok()?.trim().parse().ok()?;
        self.is_ours(pid).then_some(pid)
    }

    /// Returns whether the process is a `mongod` on this directory: it has the arguments `--dbpath` and `--replSet` of
    /// such a `mongod`.
    fn is_ours(&self, pid: u32) -> bool {
        let db = self.db();
        let Ok(line) = fs::read(format!("/proc/{pid}/cmdline")) else { return false };
        let arguments: Vec<&[u8]> = line.split(|byte| *byte == 0).collect();
        let has =
            |name: &str, value: &[u8]| arguments.windows(2).any(|pair| pair == [name.as_bytes(), value]);
        has("--dbpath", db.as_os_str().as_bytes()) && has("--replSet", SET.as_bytes())
    }
}

/// Returns the port on which the `mongod` of this directory listened last.
pub(super) fn last_port(home: &Path) -> Option<u16> {
    fs::read_to_string(home.join("port")).ok()?.trim().parse().ok()
}

/// Creates a directory and its missing parents. Only the operating-system user of this process gets access. If the
/// directory exists, its access rights are changed so that only this user has access.
///
/// # Errors
/// Another user owns the directory, or the directory can't be created or changed.
pub(super) fn private_dir(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(path)?;
    check_owner(path)?;
    fs::set_permissions(path, Permissions::from_mode(0o700))
}

/// Checks that the user of this process or root owns the directory. Any other owner could replace the files in it. A
/// server of root has the rights to use such a directory, so the operating system would not refuse it.
fn check_owner(path: &Path) -> io::Result<()> {
    let (owner, me) = (path.metadata()?.uid(), rustix::process::geteuid().as_raw());
    if owner == me || owner == 0 {
        return Ok(());
    }
    let path = path.display();
    Err(io::Error::other(format!("{path} belongs to user {owner}, but the server runs as user {me}")))
}

/// Finds the first error in a log. `mongod` logs one JSON object for each line: `s` is the severity, `msg` the event,
/// `attr` the details.
fn first_error(log: &str) -> Option<String> {
    let line = log
        .lines()
        // To save time, only lines that may be an error are parsed. A log has thousands of other lines.
        .filter(|line| line.contains(r#""s":"E""#) || line.contains(r#""s":"F""#))
        .filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok())
        .find(|line| matches!(line["s"].as_str(), Some("E" | "F")))?;
    let message = line["msg"].as_str().unwrap_or_default().trim();
    let attr = &line["attr"];
    let said = match attr["error"].as_str() {
        Some(error) => format!("{message}: {error}"),
        None if attr.is_null() => message.to_owned(),
        None => format!("{message} {attr}"),
    };
    Some(said.replace('\n', " ").chars().take(MAX_LOG_LINE_CHARS).collect())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::chown;

    use super::*;

    /// The user `nobody` of most systems.
    const OTHER: u32 = 65_534;

    #[test]
    fn directory_of_another_user_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        // Only root can give a directory to another user. For any other user, the root directory is not theirs.
        let is_root = rustix::process::geteuid().is_root();
        let foreign = if is_root { folder.path() } else { Path::new("/") };
        if is_root {
            chown(foreign, Some(OTHER), None).unwrap();
        }
        private_dir(foreign).unwrap_err();
        let error = DataDir::claim(foreign).unwrap_err().to_string();
        assert!(!is_root || error.contains(&format!("belongs to user {OTHER}")), "{error}");
    }
}
