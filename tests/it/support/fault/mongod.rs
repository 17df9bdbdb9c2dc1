//! A `mongod` that a test can kill, make step down, and make fail.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use mongodb::bson::{Document, doc};
use mongodb::error::ErrorKind;
use mongodb::options::ClientOptions;
use tempfile::TempDir;
use tokio::process::Command;

use super::super::{Link, PATIENCE, eventually, eventually_within};
use super::Owned;
use super::disk::Disk;

/// A `mongod` that only one test uses, with methods that cause faults. Dropping this value kills the process and
/// deletes its files.
pub(crate) struct Mongod {
    child: Owned,
    binary: PathBuf,
    port: u16,
    files: TempDir,
    oplog: Oplog,
    /// The disk for the files of this `mongod`, if it has a disk of its own.
    pub(super) disk: Option<Disk>,
}

/// The length of the oplog, the list of writes from which change streams read.
#[derive(Clone, Copy)]
enum Oplog {
    /// 64 MB, longer than any test needs.
    Long,
    /// 1 MB. Every second, a checkpoint removes the oldest entries beyond this size.
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

/// The size of the disk of [`Mongod::start_on_a_disk`], in MiB. This size is enough for an empty database with its
/// journal and oplog, and for the writes of one test.
const DISK_MIB: u32 = 320;

/// The size of each disk of [`Mongod::start_three_behind_links`], in MiB. This size is enough for hours of writes.
const LARGE_DISK_MIB: u32 = 2_048;

impl Mongod {
    /// Starts a `mongod` as a replica set of one member.
    pub(crate) async fn start() -> Self {
        Self::spawn(Oplog::Long).await.initiated().await
    }

    /// Starts a `mongod` with a short oplog, whose old entries soon disappear.
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

    /// Starts a replica set of three, the primary first. If the primary is lost, another member is elected about a
    /// second later.
    pub(crate) async fn start_three() -> [Self; 3] {
        let three =
            [Self::spawn(Oplog::Long).await, Self::spawn(Oplog::Long).await, Self::spawn(Oplog::Long).await];
        Self::initiate(&three, three.each_ref().map(Self::host)).await;
        three
    }

    /// Starts a replica set of three, each member on its own disk. Members and clients reach each member only through
    /// its [`Link`], a TCP proxy that a test can cut.
    pub(crate) async fn start_three_behind_links() -> ([Self; 3], [Link; 3]) {
        let disk = |db: &Path| Some(Disk::at(db, LARGE_DISK_MIB));
        let spawn = async || Self::spawn_on(Oplog::Long, disk).await;
        let three = [spawn().await, spawn().await, spawn().await];
        let [one, two, other] = three.each_ref().map(Self::host);
        let links = [Link::to_one(&one).await, Link::to_one(&two).await, Link::to_one(&other).await];
        Self::initiate(&three, links.each_ref().map(|link| link.address.to_string())).await;
        (three, links)
    }

    /// Makes one replica set of three `mongod`s, whose members have the addresses `hosts`.
    async fn initiate(three: &[Self; 3], hosts: [String; 3]) {
        let member = |(id, host)| doc! { "_id": id, "host": host, "priority": if id == 0 { 2 } else { 1 } };
        let members: Vec<_> = (0..).zip(hosts).map(member).collect();
        for mongod in three {
            mongod.is_there().await;
        }
        let settings = doc! { "electionTimeoutMillis": 1_000 };
        let set = doc! { "_id": "rs0", "members": members, "settings": settings };
        three[0].admin(doc! { "replSetInitiate": set }).await;
        three[0].is_primary().await;
    }

    /// Starts a `mongod` whose files are on a disk of their own, which a test can fill.
    pub(crate) async fn start_on_a_disk() -> Self {
        Self::spawn_on(Oplog::Long, |db| Some(Disk::at(db, DISK_MIB))).await.initiated().await
    }

    async fn spawn(oplog: Oplog) -> Self {
        Self::spawn_on(oplog, |_| None).await
    }

    async fn spawn_on(oplog: Oplog, disk: impl FnOnce(&Path) -> Option<Disk>) -> Self {
        let binary = parlor::mongod::find_mongod(None).await.unwrap_or_else(|error| panic!("{error}"));
        let files = tempfile::tempdir().unwrap();
        let db = files.path().join("db");
        std::fs::create_dir(&db).unwrap();
        let disk = disk(&db);
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let child = Owned::spawn(command(&binary, port, files.path(), oplog, disk.as_ref()));
        Self { child, binary, port, files, oplog, disk }
    }

    pub(crate) fn host(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// Returns the URI for a server called `app`. The interval of the driver's heartbeat is short. An injected "not
    /// primary" error causes no election, so the driver finds the primary again only by its next heartbeat.
    pub(crate) fn uri(&self, app: &str) -> String {
        format!("mongodb://127.0.0.1:{}/?replicaSet=rs0&appName={app}&heartbeatFrequencyMS=500", self.port)
    }

    /// Kills the process with SIGKILL, unless it has already ended.
    pub(crate) async fn kill(&mut self) {
        let _ = self.child.child.start_kill();
        self.child.ended().await;
    }

    /// Starts `mongod` again on the same port with the same files, and waits until it is the primary.
    pub(crate) async fn again(&mut self) {
        self.restarted().await;
        self.is_primary().await;
    }

    /// Starts `mongod` again, and waits until it answers, as primary or secondary.
    pub(crate) async fn restarted(&mut self) {
        let command = command(&self.binary, self.port, self.files.path(), self.oplog, self.disk.as_ref());
        self.child = Owned::spawn(command);
        self.is_there().await;
    }

    /// Waits until `mongod` answers. After a crash, `mongod` first replays its journal.
    async fn is_there(&self) {
        let admin = self.database("admin").await;
        let pong = async || admin.run_command(doc! { "ping": 1 }).await;
        eventually_within(4 * PATIENCE, "mongod answers after its start", pong, Result::is_ok).await.unwrap();
    }

    /// Makes commands of the server called `app` fail. `mode` and `data` are those of MongoDB's fail point
    /// `failCommand`.
    pub(crate) async fn fail(&self, app: &str, mode: impl Into<mongodb::bson::Bson>, mut data: Document) {
        data.insert("appName", app);
        self.admin(doc! { "configureFailPoint": "failCommand", "mode": mode.into(), "data": data }).await;
    }

    /// Delays the next command with this name from the server called `app`.
    pub(crate) async fn hold_up(&self, app: &str, command: &str, wait: Duration) {
        let wait = i64::try_from(wait.as_millis()).unwrap();
        let data = doc! { "failCommands": [command], "blockConnection": true, "blockTimeMS": wait };
        self.fail(app, doc! { "times": 1 }, data).await;
    }

    /// Waits until a command has reached the fail point, which [`Self::fail`] or [`Self::hold_up`] has set.
    pub(crate) async fn held_up(&self) {
        let limit = i64::try_from(PATIENCE.as_millis()).unwrap();
        self.admin(doc! { "waitForFailPoint": "failCommand", "timesEntered": 1_i64, "maxTimeMS": limit })
            .await;
    }

    /// Turns the fail point off.
    pub(crate) async fn heal(&self) {
        self.admin(doc! { "configureFailPoint": "failCommand", "mode": "off" }).await;
    }

    /// Returns a database of this `mongod`, for changes that no client of Parlor can make.
    pub(crate) async fn database(&self, name: &str) -> mongodb::Database {
        let mut options = ClientOptions::parse(self.uri("the-test")).await.unwrap();
        options.direct_connection = Some(true);
        options.repl_set_name = None;
        options.server_selection_timeout = Some(PATIENCE);
        mongodb::Client::with_options(options).unwrap().database(name)
    }

    pub(super) async fn admin(&self, command: Document) -> Document {
        let name = format!("{command}");
        let answer = self.database("admin").await.run_command(command).await;
        answer.unwrap_or_else(|error| panic!("{name}: {error}"))
    }

    /// Makes the primary step down, even if no other member can take over. The former primary may be elected again
    /// after 2 s.
    pub(crate) async fn steps_down(&self) {
        // A busy `mongod` may begin the step-down only after the 2 s are over. Then `mongod` answers with this error
        // code.
        const TOO_LATE: i32 = 262;
        let admin = self.database("admin").await;
        let step_down = doc! { "replSetStepDown": 2, "secondaryCatchUpPeriodSecs": 1, "force": true };
        let step_down = async || {
            let result = admin.run_command(step_down.clone()).await;
            if let Err(error) = &result {
                let code = if let ErrorKind::Command(refused) = &*error.kind { refused.code } else { 0 };
                assert_eq!(code, TOO_LATE, "{error}");
            }
            result
        };
        eventually("mongod steps down", step_down, Result::is_ok).await.unwrap();
    }

    /// Sets whether this secondary applies the primary's writes. If most members don't apply writes, no write reaches a
    /// majority.
    pub(crate) async fn applies(&self, it_does: bool) {
        let mode = if it_does { "off" } else { "alwaysOn" };
        self.admin(doc! { "configureFailPoint": "rsSyncApplyStop", "mode": mode }).await;
    }

    /// Returns the URI of a replica set of these members, for a server called `app`.
    pub(crate) fn uri_of(all: &[Self], app: &str) -> String {
        let hosts: Vec<_> = all.iter().map(Self::host).collect();
        format!("mongodb://{}/?replicaSet=rs0&appName={app}&heartbeatFrequencyMS=500", hosts.join(","))
    }

    /// Waits until this `mongod` is the primary.
    pub(crate) async fn is_primary(&self) {
        let elected = async || self.is_primary_now().await;
        eventually_within(2 * PATIENCE, "mongod is the primary", elected, |elected| *elected).await;
    }

    /// Returns whether `mongod` answers that it is the primary. An error counts as no, because `mongod` closes
    /// connections during a rollback.
    pub(crate) async fn is_primary_now(&self) -> bool {
        let hello = self.database("admin").await.run_command(doc! { "hello": 1 }).await;
        hello.is_ok_and(|hello| hello.get_bool("isWritablePrimary").unwrap_or(false))
    }
}

fn command(binary: &Path, port: u16, files: &Path, oplog: Oplog, disk: Option<&Disk>) -> Command {
    let mut command = disk.map_or_else(|| Command::new(binary), |disk| disk.command(binary));
    command
        .arg("--dbpath")
        .arg(files.join("db"))
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
