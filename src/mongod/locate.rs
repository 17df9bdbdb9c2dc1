//! Finds a `mongod` binary. If `mongodb.mongod` names a binary, only this binary is used. Otherwise Parlor tries PATH,
//! then the user's cache, then a download, and takes the first binary that works.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use super::{MongodError, command, download};
use crate::config::file;

/// The oldest release of MongoDB that the tests cover.
pub(super) const OLDEST: &str = "6.0";
const OLDEST_MAJOR: u32 = 6;

/// The places to search on this machine. Only [`MongodSources::of_this_machine`] reads these places from the
/// environment. Tests fill in other places.
#[derive(Debug)]
pub(super) struct MongodSources {
    pub(super) configured: Option<PathBuf>,
    /// The directories to search for programs, as in PATH.
    pub(super) path: OsString,
    /// Parlor's directory in the user's cache. `None` if the user has no cache directory.
    pub(super) cache: Option<PathBuf>,
}

impl MongodSources {
    pub(super) fn of_this_machine(configured: Option<&Path>) -> Self {
        let absolute = |name| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
        let cache = absolute("XDG_CACHE_HOME").or_else(|| absolute("HOME").map(|home| home.join(".cache")));
        Self {
            configured: configured.map(Path::to_owned),
            path: std::env::var_os("PATH").unwrap_or_default(),
            cache: cache.map(|cache| cache.join("parlor")),
        }
    }

    /// Returns the path of the configured `mongod`. If none is configured, returns the path of the first `mongod` that
    /// runs on this machine.
    pub(super) async fn find(&self) -> Result<PathBuf, MongodError> {
        if let Some(mongod) = &self.configured {
            return match fit(mongod).await {
                Ok(()) => Ok(mongod.clone()),
                Err(reason) => Err(MongodError::Configured { mongod: mongod.clone(), reason }),
            };
        }
        let mut tried = vec!["mongodb.mongod is not set".to_owned()];
        match command::which("mongod", &self.path) {
            None => tried.push("mongod is not on PATH".to_owned()),
            Some(mongod) => match fit(&mongod).await {
                Ok(()) => return Ok(mongod),
                Err(reason) => tried.push(format!("{} can't be used: {reason}", mongod.display())),
            },
        }
        let Some(cache) = &self.cache else {
            tried.push(
                "there is no cache to fetch one to, as neither XDG_CACHE_HOME nor HOME is set".to_owned(),
            );
            return Err(MongodError::NotFound { tried });
        };
        match download::cached_or_fetched(cache, &self.path).await {
            Err(reason) => tried.push(reason),
            Ok(mongod) => match fit(&mongod).await {
                Ok(()) => return Ok(mongod),
                Err(reason) => tried.push(format!("{} doesn't run here: {reason}", mongod.display())),
            },
        }
        Err(MongodError::NotFound { tried })
    }
}

/// Checks that the binary runs on this machine and is new enough. A binary that other users can replace is not run.
/// Fails with the reason.
async fn fit(mongod: &Path) -> Result<(), String> {
    if mongod.exists() {
        file::check_place(mongod)?;
    }
    let said = command::run(command::command(mongod).arg("--version"), command::QUICK).await?;
    let version = said.lines().find_map(|line| line.strip_prefix("db version v"));
    let version = version.ok_or("it doesn't tell a version as mongod does")?;
    match version.split('.').next().and_then(|major| major.parse::<u32>().ok()) {
        Some(major) if major >= OLDEST_MAJOR => Ok(()),
        _ => Err(format!("its version, {version}, is older than {OLDEST}")),
    }
}
