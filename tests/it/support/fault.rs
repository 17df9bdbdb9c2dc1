//! What a test can kill: the real binary, and a MongoDB of the test's own.

mod memory;
mod oplog;

use std::net::{SocketAddr, TcpListener};
use std::ops::{Deref, DerefMut};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{ExitStatus, Stdio};
use std::sync::Arc;
use std::time::Duration;

use mongodb::bson::{Document, doc};
use mongodb::error::ErrorKind;
use mongodb::options::ClientOptions;
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};
use tokio::sync::watch;
use tokio::time::timeout;

use super::mongo::Database;
use super::server::others::settings;
use super::transcript::Transcript;
use super::{PATIENCE, Server};

/// A child that doesn't outlive this value, nor this process, however that ends.
struct Owned {
    child: Child,
    pid: u32,
    guard: std::process::Child,
}

impl Owned {
    fn spawn(mut command: Command) -> Self {
        let child = command.stdin(Stdio::null()).kill_on_drop(true).spawn().unwrap();
        let pid = child.id().unwrap();
        // A pipe that nobody writes to ends with us, whatever ended us.
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
        let sent = std::process::Command::new("kill").args(["-s", name, &self.pid.to_string()]).status();
        assert!(sent.unwrap().success(), "{name} could not be sent to process {}", self.pid);
    }

    async fn ended(&mut self) -> ExitStatus {
        let Ok(status) = timeout(2 * PATIENCE, self.child.wait()).await else {
            panic!("process {} still runs after {:?}", self.pid, 2 * PATIENCE)
        };
        status.unwrap()
    }
}

impl Drop for Owned {
    fn drop(&mut self) {
        // First the guard: once the child is reaped its id may be another's.
        let _ = self.guard.kill();
        let _ = self.guard.wait();
        let _ = self.child.start_kill();
    }
}

/// The real binary, serving. It is killed when this is dropped.
pub(crate) struct Program {
    server: Server,
    child: Owned,
    log: watch::Receiver<String>,
    /// All of its environment that is not the test's.
    settings: Vec<(String, String)>,
}

impl Program {
    /// Starts it on a database of its own in what all tests share.
    pub(crate) async fn start(overrides: &[(&str, &str)]) -> Self {
        Self::start_over(Database::uri(), overrides).await
    }

    /// Starts it on a database that it reaches by another way.
    pub(crate) async fn start_over(uri: &str, overrides: &[(&str, &str)]) -> Self {
        let database = Arc::new(Database::new());
        let settings = settings(uri, &database.name, overrides);
        Self::run(settings, database, Transcript::new()).await
    }

    /// Starts it where the certificates in this file are all that the system trusts.
    pub(crate) async fn start_trusting(certificates: &Path, overrides: &[(&str, &str)]) -> Self {
        let database = Arc::new(Database::new());
        let mut settings = settings(Database::uri(), &database.name, overrides);
        settings.push(("SSL_CERT_FILE".to_owned(), certificates.to_str().unwrap().to_owned()));
        // What this names would be trusted besides.
        settings.push(("SSL_CERT_DIR".to_owned(), String::new()));
        Self::run(settings, database, Transcript::new()).await
    }

    /// Starts it again, as it was, at another port.
    pub(crate) async fn again(&self) -> Self {
        let (database, transcript) = (Arc::clone(self.database()), self.transcript().clone());
        Self::run(self.settings.clone(), database, transcript).await
    }

    async fn run(settings: Vec<(String, String)>, database: Arc<Database>, transcript: Transcript) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_parlor"));
        command.env("PARLOR__ADMIN__LISTEN", "");
        command.envs(settings.iter().map(|(key, value)| (key, value)));
        command.env("PARLOR__LISTEN", "127.0.0.1:0").stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = Owned::spawn(command);
        let (said, mut log) = watch::channel(String::new());
        let mut lines = BufReader::new(child.child.stderr.take().unwrap()).lines();
        let noted = transcript.clone();
        tokio::spawn(async move {
            while let Ok(Some(line)) = lines.next_line().await {
                noted.note("parlor", "!!", &line);
                said.send_modify(|log| {
                    log.push_str(&line);
                    log.push('\n');
                });
            }
        });
        let serving = log.wait_for(|log| log.contains("serving on"));
        let Ok(serving) = timeout(2 * PATIENCE, serving).await.map(|log| log.map(|log| log.clone())) else {
            panic!("parlor does not serve {:?} after its start", 2 * PATIENCE)
        };
        let Ok(log_so_far) = serving else {
            panic!("parlor ended before it served: {:?}", child.ended().await)
        };
        let server = Server::at(address(&log_so_far), database, transcript);
        Self { server, child, log, settings }
    }

    /// Sends a signal by its name.
    pub(crate) fn signal(&self, name: &str) {
        self.transcript().note("parlor", "<-", name);
        self.child.signal(name);
    }

    /// What it has said in its log up to now.
    pub(crate) fn log(&self) -> String {
        self.log.borrow().clone()
    }

    /// Waits until it has said this in its log.
    pub(crate) async fn logged(&mut self, words: &str) {
        let logged = timeout(PATIENCE, self.log.wait_for(|log| log.contains(words))).await;
        assert!(matches!(logged, Ok(Ok(_))), "the log does not say {words:?} within {PATIENCE:?}");
    }

    /// Waits until it has ended, and gives its exit code; none where a signal ended it.
    pub(crate) async fn exit_code(&mut self) -> Option<i32> {
        let code = self.child.ended().await.code();
        self.server.transcript().note("parlor", "!!", &format!("ended with {code:?}"));
        code
    }
}

impl Deref for Program {
    type Target = Server;

    fn deref(&self) -> &Server {
        &self.server
    }
}

impl DerefMut for Program {
    fn deref_mut(&mut self) -> &mut Server {
        &mut self.server
    }
}

/// Where a server says that it serves.
fn address(log: &str) -> SocketAddr {
    let url = log.split("serving on http://").nth(1).unwrap_or_default();
    let address = url.split('/').next().unwrap_or_default();
    address.parse().unwrap_or_else(|_| panic!("no address in {log:?}"))
}

/// A MongoDB that one test has for itself, with the commands by which faults are made. It is killed when this is
/// dropped, and its files go with it.
pub(crate) struct Mongod {
    child: Owned,
    binary: std::path::PathBuf,
    port: u16,
    files: TempDir,
    oplog: Oplog,
}

/// How far the oplog of one reaches back.
#[derive(Clone, Copy)]
enum Oplog {
    /// Longer than any test.
    Long,
    /// 1 MB, of which the rest goes once there is a checkpoint: every second.
    Short,
}

impl Oplog {
    fn arguments(self) -> &'static [&'static str] {
        match self {
            Self::Long => &["--oplogSize", "64"],
            Self::Short => &["--oplogSize", "1", "--syncdelay", "1"],
        }
    }
}

impl Mongod {
    /// Starts one and makes it a replica set.
    pub(crate) async fn start() -> Self {
        Self::spawn(Oplog::Long).await.initiated().await
    }

    /// The same, with an oplog that soon has rolled over.
    pub(crate) async fn start_with_a_short_oplog() -> Self {
        Self::spawn(Oplog::Short).await.initiated().await
    }

    async fn initiated(self) -> Self {
        let mongod = self;
        let members = [doc! { "_id": 0, "host": mongod.host() }];
        mongod.admin(doc! { "replSetInitiate": { "_id": "rs0", "members": members } }).await;
        mongod.is_primary().await;
        mongod
    }

    /// Starts three that are one replica set, the primary first. Another is elected soon where that is gone.
    pub(crate) async fn start_three() -> [Self; 3] {
        let three =
            [Self::spawn(Oplog::Long).await, Self::spawn(Oplog::Long).await, Self::spawn(Oplog::Long).await];
        let members: Vec<_> = three
            .iter()
            .zip(0..)
            .map(|(mongod, id)| doc! { "_id": id, "host": mongod.host(), "priority": if id == 0 { 2 } else { 1 } })
            .collect();
        let settings = doc! { "electionTimeoutMillis": 1_000 };
        let set = doc! { "_id": "rs0", "members": members, "settings": settings };
        three[0].admin(doc! { "replSetInitiate": set }).await;
        three[0].is_primary().await;
        three
    }

    async fn spawn(oplog: Oplog) -> Self {
        let binary = parlor::embedded::find_mongod(None).await.unwrap_or_else(|error| panic!("{error}"));
        let files = tempfile::tempdir().unwrap();
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let child = Owned::spawn(command(&binary, port, files.path(), oplog));
        Self { child, binary, port, files, oplog }
    }

    pub(crate) fn host(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// Where it is, for a server called so. Whoever was told by a fault that this is no primary any more asks again
    /// soon: there is no election that would tell.
    pub(crate) fn uri(&self, app: &str) -> String {
        format!("mongodb://127.0.0.1:{}/?replicaSet=rs0&appName={app}&heartbeatFrequencyMS=500", self.port)
    }

    /// `kill -9`
    pub(crate) async fn kill(&mut self) {
        self.child.child.start_kill().unwrap();
        self.child.ended().await;
    }

    /// Starts it again at the same port with the same files, and waits until it is the primary.
    pub(crate) async fn again(&mut self) {
        self.child = Owned::spawn(command(&self.binary, self.port, self.files.path(), self.oplog));
        self.is_primary().await;
    }

    /// Makes commands of the server called `app` fail; `mode` and `data` as `failCommand` has them.
    pub(crate) async fn fail(&self, app: &str, mode: impl Into<mongodb::bson::Bson>, mut data: Document) {
        data.insert("appName", app);
        self.admin(doc! { "configureFailPoint": "failCommand", "mode": mode.into(), "data": data }).await;
    }

    /// Makes the next such command of the server called `app` wait before it is done.
    pub(crate) async fn hold_up(&self, app: &str, command: &str, wait: Duration) {
        let wait = i64::try_from(wait.as_millis()).unwrap();
        let data = doc! { "failCommands": [command], "blockConnection": true, "blockTimeMS": wait };
        self.fail(app, doc! { "times": 1 }, data).await;
    }

    /// Waits until a command has met its fault.
    pub(crate) async fn held_up(&self) {
        let limit = i64::try_from(PATIENCE.as_millis()).unwrap();
        self.admin(doc! { "waitForFailPoint": "failCommand", "timesEntered": 1_i64, "maxTimeMS": limit })
            .await;
    }

    /// Makes no command fail any more.
    pub(crate) async fn heal(&self) {
        self.admin(doc! { "configureFailPoint": "failCommand", "mode": "off" }).await;
    }

    /// A database of it, for what no client can do.
    pub(crate) async fn database(&self, name: &str) -> mongodb::Database {
        let mut options = ClientOptions::parse(self.uri("the-test")).await.unwrap();
        options.direct_connection = Some(true);
        options.repl_set_name = None;
        options.server_selection_timeout = Some(PATIENCE);
        mongodb::Client::with_options(options).unwrap().database(name)
    }

    async fn admin(&self, command: Document) -> Document {
        let name = format!("{command}");
        let answer = self.database("admin").await.run_command(command).await;
        answer.unwrap_or_else(|error| panic!("{name}: {error}"))
    }

    /// Has it step down, whoever else is there. It may be elected again a moment later.
    pub(crate) async fn steps_down(&self) {
        // One that is busy may find that the time for which it was to do so is over before it has begun.
        const TOO_LATE: i32 = 262;
        let admin = self.database("admin").await;
        let step_down = doc! { "replSetStepDown": 2, "secondaryCatchUpPeriodSecs": 1, "force": true };
        while let Err(error) = admin.run_command(step_down.clone()).await {
            let code = if let ErrorKind::Command(refused) = &*error.kind { refused.code } else { 0 };
            assert_eq!(code, TOO_LATE, "{error}");
        }
    }

    /// Where several are that are one replica set, for a server called so.
    pub(crate) fn uri_of(all: &[Self], app: &str) -> String {
        let hosts: Vec<_> = all.iter().map(Self::host).collect();
        format!("mongodb://{}/?replicaSet=rs0&appName={app}&heartbeatFrequencyMS=500", hosts.join(","))
    }

    /// Waits until it is the primary.
    pub(crate) async fn is_primary(&self) {
        let admin = self.database("admin").await;
        // One that takes back what only it had written hangs up meanwhile.
        let is_primary = async || {
            let hello = admin.run_command(doc! { "hello": 1 }).await;
            hello.is_ok_and(|hello| hello.get_bool("isWritablePrimary").unwrap_or(false))
        };
        let elected = async { while !is_primary().await {} };
        let Ok(()) = timeout(2 * PATIENCE, elected).await else { panic!("mongod is not primary") };
    }
}

fn command(binary: &Path, port: u16, files: &Path, oplog: Oplog) -> Command {
    let mut command = Command::new(binary);
    command
        .arg("--dbpath")
        .arg(files)
        .arg("--logpath")
        .arg(files.join("mongod.log"))
        .args(["--port", &port.to_string(), "--bind_ip", "127.0.0.1", "--nounixsocket"])
        .args(oplog.arguments())
        .args(["--replSet", "rs0", "--wiredTigerCacheSizeGB", "0.25", "--quiet"])
        .args(["--logappend", "--setParameter", "enableTestCommands=1"])
        .args(["--setParameter", "diagnosticDataCollectionEnabled=false"])
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    command
}

/// Where the database is that all tests share.
pub(crate) fn shared_uri() -> &'static str {
    Database::uri()
}
