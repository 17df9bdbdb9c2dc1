//! An embedded database for servers without a configured URI: `mongod` as a child process.
//!
//! The embedded database is a writable primary of a replica set with one member. It listens on a loopback port and has
//! its files under `data_dir/mongod` (0700). A `mongod` that exits unexpectedly is restarted. The child process ends
//! with its server, or soon after it:
//! - the server stops: [`EmbeddedMongod::stop`] and `Drop` send SIGTERM, and after a time limit SIGKILL;
//! - the server is killed: the kernel sends SIGTERM to the child, if the program `setpriv` is available;
//! - the child still runs after one of these cases: the next server that starts on the same directory ends the child.
//!
//! A server holds a lock on the directory until it ends, so no second server can use the directory. If a `mongod` runs
//! on the directory while no server holds the lock, the server that started this `mongod` is dead.
//!
//! This module does not read or write the collections of the database. The database has no password: every user who can
//! open a loopback connection on this machine can read the data. If these users must not read the data, set
//! `mongodb.uri` to a protected database.
//!
//! `data_dir` handles the files, and `locate` and `download` find the binary. `child` starts and ends the process,
//! `supervise` restarts the process, and `replica_set` configures the replica set.

pub(crate) mod child;
pub(crate) mod command;
pub(crate) mod data_dir;
pub(crate) mod download;
pub(crate) mod error;
pub(crate) mod locate;
pub(crate) mod replica_set;
pub(crate) mod supervise;
#[cfg(test)]
mod tests;

use std::convert::Infallible;
use std::fs::File;
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use tokio::time::{Instant, sleep};

pub use self::error::MongodError;

use self::child::Child;
use self::data_dir::DataDir;
use self::locate::MongodSources;
use self::replica_set::{NotPrimary, SET};
use self::supervise::{MongodCommand, MongodSupervisor};

/// The longest time that `mongod` may take to become primary. The limit is long, because after a crash `mongod` first
/// replays its journal. A long limit does not delay errors: if `mongod` fails, it exits, and the server notices the
/// exit immediately.
const START_LIMIT: Duration = Duration::from_mins(2);

/// If the start takes longer than this duration, a line is logged.
const SLOW_START: Duration = Duration::from_secs(5);

/// The longest time that `mongod` may take to end after SIGTERM. Before its end, `mongod` writes a checkpoint. An idle
/// `mongod` takes one second.
const STOP_LIMIT: Duration = Duration::from_secs(20);

/// The number of ports to try. Several tries are needed, because another program may take a free port before `mongod`
/// listens on this port.
const PORTS_TRIED: u32 = 5;

/// The exit code of a `mongod` that can't listen on its port.
const EXIT_PORT_TAKEN: i32 = 48;

/// The smallest cache that `mongod` accepts, in MiB.
const CACHE_MIN_MIB: u32 = 256;

/// The size of the oplog, in MiB. The oplog is mongod's log of the last writes. A change stream can resume only from a
/// write that is still in the oplog. Only this server reads the oplog, and the server and its `mongod` end together.
/// Therefore the oplog can be small: mongod's default of 5% of the disk would be a waste.
const OPLOG_MIB: &str = "512";

/// The size up to which a page may grow in memory before `WiredTiger` (mongod's storage engine) writes the page to
/// disk. Database writes to the page wait until the page is on disk. By default a page of an index grows so large that
/// the wait is 40 ms.
const PAGES: &str = "memory_page_max=512k";

/// With this option, only one thread writes pages to disk. The default is four threads. Every few seconds the four
/// threads run at the same time. On a machine with two cores, no other thread then runs for 50 ms. The effect was
/// measured on two cores at 8,000 messages/s, with [`PAGES`], as medians of four alternating runs. With one thread, 99%
/// of the messages reached the other user within 37 ms. With four threads, the time was 61 ms. The slowest message took
/// 59 ms with one thread, and 84 ms with four threads. With one thread, throughput was 4% higher.
const EVICTION: &str = "eviction=(threads_min=1,threads_max=1)";

/// The options of the embedded `mongod`, from the `[mongodb]` section of the configuration.
#[derive(Clone, Debug)]
pub struct MongodOptions {
    /// The directory whose subdirectory `mongod` has the files. If the directory is missing, it is created so that only
    /// this operating-system user has access (0700).
    pub data_dir: PathBuf,
    /// The binary to run. If it is `None`, Parlor searches PATH and then its cache. If both have no binary, Parlor
    /// downloads one.
    pub mongod: Option<PathBuf>,
    /// `WiredTiger`'s cache in MiB. A value below mongod's minimum of 256 counts as 256.
    pub cache_mib: u32,
}

/// A running embedded `mongod`. Dropping this value ends the child and blocks for up to 10 s. [`EmbeddedMongod::stop`]
/// ends the child without blocking the thread.
#[derive(Debug)]
pub struct EmbeddedMongod {
    uri: String,
    // Stands before `_lock`, because fields are dropped in the order of their declaration: the lock must be released
    // only after the child has ended.
    keeper: MongodSupervisor,
    _lock: File,
}

impl EmbeddedMongod {
    /// Starts `mongod` and returns when `mongod` is a writable primary. The start takes less than a second. The start
    /// takes longer if the binary must be downloaded, or if `mongod` must recover from a crash.
    pub async fn start(options: &MongodOptions) -> Result<Self, MongodError> {
        let (home, lock) = DataDir::claim(&options.data_dir)?;
        let mongod = find_mongod(options.mongod.as_deref()).await?;
        let started = Instant::now();
        home.end_leftover(STOP_LIMIT).await?;
        home.rotate_log();
        let mut last_port = home.last_port();
        let setpriv = child::setpriv().await;
        let program = MongodCommand { setpriv, mongod, home, cache_mib: options.cache_mib };
        let home = &program.home;
        for _ in 0..PORTS_TRIED {
            let port = free_port(last_port.take()).map_err(|cause| start_error(home, &cause.to_string()))?;
            let child = program.spawn(port)?;
            let fault = match primary(&child, port, &home.db(), started + START_LIMIT).await {
                Ok(()) => {
                    home.save_port(port)?;
                    let (ms, data) = (started.elapsed().as_millis(), home.path().display());
                    tracing::info!(pid = child.pid(), port, ms, %data, "the embedded mongod is running");
                    let keeper = MongodSupervisor::of(child, program, port);
                    return Ok(Self { uri: uri(port), keeper, _lock: lock });
                }
                Err(fault) => fault,
            };
            child.stop(STOP_LIMIT).await;
            if !matches!(fault, NotPrimary::PortTaken) {
                return Err(start_error(home, &fault.to_string()));
            }
        }
        let outcome = format!("{PORTS_TRIED} free ports were taken before it could listen on them");
        Err(start_error(home, &outcome))
    }

    /// Returns the connection string. The connection string has a loopback address and the name of the replica set,
    /// because change streams and retryable writes need a replica set.
    pub fn uri(&self) -> &str {
        &self.uri
    }

    /// Returns the child's process id, or `None` if no child is running.
    pub fn pid(&self) -> Option<u32> {
        let child = self.keeper.child();
        child.is_running().then(|| child.pid())
    }

    /// Asks the child to write a checkpoint and to end, and waits for its end. The end usually takes a second. If the
    /// child still runs after 20 s, it is killed, and the next start recovers the data from the journal.
    pub async fn stop(self) {
        self.keeper.stop(STOP_LIMIT).await;
    }
}

/// Returns the connection string of the embedded `mongod` that another process runs on this directory. Callers use this
/// function if [`EmbeddedMongod::start`] failed because another process uses the directory.
pub fn running(data_dir: &Path) -> Option<String> {
    data_dir::last_port(&data_dir.join("mongod")).map(uri)
}

fn uri(port: u16) -> String {
    format!("mongodb://127.0.0.1:{port}/?replicaSet={SET}")
}

/// Finds a `mongod` that runs on this machine. If a binary is configured, only this binary is tried. If the configured
/// binary doesn't work, this function fails. Otherwise PATH, the user's cache, and the downloaded package are tried, in
/// this order. A downloaded binary never runs before its hash is checked.
pub async fn find_mongod(configured: Option<&Path>) -> Result<PathBuf, MongodError> {
    MongodSources::of_this_machine(configured).find().await
}

/// Waits until the child is primary. Fails if the child exits, or if it is not primary at `deadline`.
async fn primary(child: &Child, port: u16, db: &Path, deadline: Instant) -> Result<(), NotPrimary> {
    tokio::select! {
        // Check the exit status first, because the error of an exited child is more precise. The check of the port can
        // only report that the port doesn't answer, or that another program answers.
        biased;
        status = child.exited() => Err(match status {
            Some(status) if status.code() == Some(EXIT_PORT_TAKEN) => NotPrimary::PortTaken,
            Some(status) => NotPrimary::Ended(format!("it ended with {status}")),
            None => NotPrimary::Ended("it ended".to_owned()),
        }),
        outcome = replica_set::primary(port, db, deadline) => outcome,
        never = log_slow_start() => match never {},
    }
}

/// Logs one line if the start takes longer than [`SLOW_START`]. Runs concurrently with the wait for the primary, and
/// never returns.
async fn log_slow_start() -> Infallible {
    sleep(SLOW_START).await;
    let limit = START_LIMIT.as_secs();
    tracing::info!(
        "the embedded mongod is still starting, as usual after a crash; waiting for up to {limit} s"
    );
    std::future::pending().await
}

/// Returns the last used port if this port is free, otherwise any free port. The replica set's configuration names the
/// last used port. Therefore the replica set needs no reconfiguration if `mongod` listens on this port again.
fn free_port(wanted: Option<u16>) -> std::io::Result<u16> {
    let bind =
        |port| TcpListener::bind((Ipv4Addr::LOCALHOST, port))?.local_addr().map(|address| address.port());
    wanted.map_or_else(|| bind(0), |port| bind(port).or_else(|_| bind(0)))
}

/// Builds the command line of `mongod`. Every release of MongoDB since 6.0 has these options.
fn command(setpriv: Option<&Path>, mongod: &Path, home: &DataDir, port: u16, cache_mib: u32) -> Command {
    let mut command = match setpriv {
        Some(setpriv) => {
            let mut command = Command::new(setpriv);
            command.args(["--pdeathsig", "TERM"]).arg(mongod);
            command
        }
        None => Command::new(mongod),
    };
    let cache_gb = f64::from(cache_mib.max(CACHE_MIN_MIB)) / 1024.0;
    command
        .arg("--dbpath")
        .arg(home.db())
        .arg("--logpath")
        .arg(home.log())
        .args(["--port", &port.to_string(), "--bind_ip", "127.0.0.1", "--nounixsocket"])
        .args(["--replSet", SET, "--oplogSize", OPLOG_MIB])
        .args(["--wiredTigerCacheSizeGB", &cache_gb.to_string(), "--wiredTigerEngineConfigString", EVICTION])
        .args(["--wiredTigerCollectionConfigString", PAGES, "--wiredTigerIndexConfigString", PAGES])
        .args(["--setParameter", "diagnosticDataCollectionEnabled=false", "--quiet", "--logappend"]);
    command
}

/// Builds the error of a failed start. Adds the first error of mongod's log, because this error says more than the exit
/// status.
fn start_error(home: &DataDir, outcome: &str) -> MongodError {
    let reason = home.first_error().map_or_else(|| outcome.to_owned(), |said| format!("{outcome}: {said}"));
    MongodError::Start { reason, log: home.log() }
}
