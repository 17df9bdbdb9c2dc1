//! Errors at the start of the embedded `mongod`. The text of each error is one line for an operator. The line names the
//! cause and says what to do.

use std::error::Error;
use std::fmt;
use std::io;
use std::path::PathBuf;

/// The reason why the embedded `mongod` did not start.
#[derive(Debug)]
pub enum MongodError {
    /// The binary that `mongodb.mongod` names doesn't run on this machine, or is too old.
    Configured {
        /// The configured path.
        mongod: PathBuf,
        /// The reason why this binary can't be used.
        reason: String,
    },
    /// No source (PATH, cache, download) had a `mongod` that runs on this machine.
    NotFound {
        /// The places that were tried, in the order of the search, each with the error that was found there.
        tried: Vec<String>,
    },
    /// Another running Parlor server uses the same directory.
    InUse {
        /// The directory that the other server uses.
        data_dir: PathBuf,
    },
    /// A file or directory can't be created or used.
    Files {
        /// The path of the file or directory.
        path: PathBuf,
        /// The error of the operating system.
        cause: io::Error,
    },
    /// A dead Parlor server left a `mongod` that still runs and can't be ended.
    Leftover {
        /// The process id of this `mongod`.
        pid: u32,
    },
    /// `mongod` exited, or didn't become primary in time.
    Start {
        /// The exit status of `mongod` or the last state of its replica set, and the first error of mongod's log.
        reason: String,
        /// The path of the log, which has more details.
        log: PathBuf,
    },
}

impl fmt::Display for MongodError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const OR_URI: &str = "or set PARLOR__MONGODB__URI to a replica set of your own";
        match self {
            Self::Configured { mongod, reason } => write!(
                f,
                "mongodb.mongod, {}, can't be used: {reason}; correct or unset PARLOR__MONGODB__MONGOD, {OR_URI}",
                mongod.display()
            ),
            Self::NotFound { tried } => write!(
                f,
                "no mongod found ({}); install MongoDB {} or newer, or set PARLOR__MONGODB__MONGOD to its mongod, {OR_URI}",
                tried.join("; "),
                crate::mongod::locate::OLDEST
            ),
            Self::InUse { data_dir } => write!(
                f,
                "another Parlor runs its database in {}; stop it, or give this one a PARLOR__MONGODB__DATA_DIR of its own, {OR_URI} that both share",
                data_dir.display()
            ),
            Self::Files { path, cause } => write!(
                f,
                "can't use {}: {cause}; set PARLOR__MONGODB__DATA_DIR to a directory that this user may write, {OR_URI}",
                path.display()
            ),
            Self::Leftover { pid } => write!(
                f,
                "a mongod left by a Parlor that died (pid {pid}) doesn't end; end it with `kill -9 {pid}`, {OR_URI}"
            ),
            Self::Start { reason, log } => {
                write!(f, "the embedded mongod didn't start: {reason}; see {}, {OR_URI}", log.display())
            }
        }
    }
}

impl Error for MongodError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Files { cause, .. } => Some(cause),
            _ => None,
        }
    }
}
