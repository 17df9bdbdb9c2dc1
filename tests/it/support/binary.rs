//! Runs the program `parlor` as its users do: with arguments, environment, output and exit code.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

use tempfile::TempDir;
use tokio::sync::OnceCell;
use tokio::time::timeout;

use super::process::Process;
use super::{Dial, transcript::Transcript};

/// The longest time that a server's start may take, including its embedded `mongod` on a busy machine.
const START: Duration = Duration::from_mins(1);

/// The longest time that a server may take to stop.
const GRACE: Duration = Duration::from_secs(20);

/// A directory in which the program runs, and the program's settings. The program inherits no setting of the test
/// process.
pub(crate) struct Home {
    dir: TempDir,
    settings: Vec<(String, String)>,
}

/// The exit status and output of a run that has ended.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) status: ExitStatus,
    pub(crate) out: String,
    pub(crate) err: String,
}

/// A running server process, and its address.
pub(crate) struct Serving {
    pub(crate) address: SocketAddr,
    process: Process,
}

impl Home {
    /// Makes an empty directory. By default, the program uses a free port, the embedded `mongod`, and the default data
    /// directory.
    pub(crate) async fn new() -> Self {
        let mongod = mongod().await.display().to_string();
        Self { dir: tempfile::tempdir().unwrap(), settings: Vec::new() }
            .set("LISTEN", "127.0.0.1:0")
            .set("MONGODB__MONGOD", &mongod)
            .set("SHUTDOWN__DRAIN_SECONDS", "5")
    }

    /// Sets a configuration key in the form of the environment variables, without the prefix `PARLOR__`.
    pub(crate) fn set(mut self, key: &str, value: &str) -> Self {
        self.settings.retain(|(other, _)| other != key);
        self.settings.push((key.to_owned(), value.to_owned()));
        self
    }

    pub(crate) fn path(&self) -> &Path {
        self.dir.path()
    }

    /// Runs the program until it ends.
    pub(crate) async fn run(&self, arguments: &[&str]) -> Ran {
        self.run_with(&[], arguments).await
    }

    /// Runs the program until it ends, with additional settings.
    pub(crate) async fn run_with(&self, settings: &[(&str, &str)], arguments: &[&str]) -> Ran {
        let mut command = tokio::process::Command::from(self.command(settings, arguments));
        command.stdin(Stdio::null()).kill_on_drop(true);
        let Ok(output) = timeout(START, command.output()).await else {
            panic!("parlor {arguments:?} still runs after {START:?}")
        };
        let output = output.unwrap();
        let text = |bytes| String::from_utf8(bytes).expect("what is printed is UTF-8");
        Ran { status: output.status, out: text(output.stdout), err: text(output.stderr) }
    }

    /// Starts the program and waits until it serves.
    pub(crate) async fn serve(&self) -> Serving {
        self.start(&[], " http://").await
    }

    /// Starts the program with arguments. Waits until its log has a line with these words, followed by the program's
    /// URL.
    pub(crate) async fn start(&self, arguments: &[&str], words: &str) -> Serving {
        let process = Process::start("parlor", self.command(&[], arguments), GRACE);
        let address = process.says(words, START).await;
        let mut address: SocketAddr = address.trim_end_matches('/').parse().expect("it says where it serves");
        if address.ip().is_unspecified() {
            address.set_ip(Ipv4Addr::LOCALHOST.into());
        }
        Serving { address, process }
    }

    pub(crate) fn command(&self, settings: &[(&str, &str)], arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_parlor"));
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("PARLOR__") {
                command.env_remove(name);
            }
        }
        command.env("PARLOR__ADMIN__LISTEN", "");
        let own = self.settings.iter().map(|(key, value)| (key.as_str(), value.as_str()));
        let all = own.chain(settings.iter().copied());
        command.envs(all.map(|(key, value)| (format!("PARLOR__{key}"), value)));
        command.args(arguments).current_dir(self.path());
        command
    }
}

impl Ran {
    /// Returns the output of a successful run.
    pub(crate) fn printed(&self) -> &str {
        assert!(self.status.success(), "{self:#?}");
        self.out.trim_end_matches('\n')
    }

    /// Returns the error line of a failed run, without the log lines before it.
    pub(crate) fn refused(&self) -> &str {
        assert_eq!(self.status.code(), Some(1), "{self:#?}");
        let line = self.err.lines().last().unwrap_or_default();
        assert!(line.starts_with("parlor: ") && !self.err.contains("panicked"), "{self:#?}");
        line
    }
}

impl Serving {
    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// Returns a handshake with the user's token. It is not sent yet.
    pub(crate) fn dial(&self, query: &str, token: &str) -> Dial {
        let target = format!("/ws/chat/?{query}");
        Dial::new(self.address, &target, Transcript::new()).token(token)
    }

    /// Returns what the program has logged.
    pub(crate) fn log(&self) -> String {
        self.process.said()
    }

    /// Sends SIGHUP, so that the program reloads its configuration. Waits until its log has these words, and returns
    /// the rest of their line.
    pub(crate) async fn reload(&self, words: &str) -> String {
        let before = self.process.said().len();
        self.process.signal("HUP", "");
        self.process.says_after(before, words, START).await
    }

    /// Stops the program with SIGTERM, as an init system does, and returns its log. The program must exit with success,
    /// even with open sockets.
    pub(crate) async fn stop(mut self) -> String {
        let status = self.process.ended().await;
        let log = self.process.said();
        assert!(status.success(), "{status}; it said:\n{log}");
        log
    }
}

/// Returns the path of `mongod`. Downloads it once if the machine has none.
pub(crate) async fn mongod() -> PathBuf {
    static MONGOD: OnceCell<PathBuf> = OnceCell::const_new();
    let find =
        async || parlor::mongod::find_mongod(None).await.unwrap_or_else(|error| panic!("no mongod: {error}"));
    MONGOD.get_or_init(find).await.clone()
}

/// Returns a free port. The kernel never assigns this port to a program that asks for any free port.
pub(crate) fn free_port() -> u16 {
    static TRIED: AtomicU16 = AtomicU16::new(0);
    // The range is below the kernel's range of assigned ports, and starts at a different port in each process.
    let first = 12_000 + u16::try_from(std::process::id() % 10_000).unwrap();
    std::iter::repeat_with(|| first + TRIED.fetch_add(1, Ordering::Relaxed) % 10_000)
        .take(1_000)
        .find(|port| TcpListener::bind((Ipv4Addr::LOCALHOST, *port)).is_ok())
        .expect("a free port")
}
