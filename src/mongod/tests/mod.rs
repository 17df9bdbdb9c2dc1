//! Tests with real `mongod` processes. Each test has its own directory.

mod binaries;
mod crashes;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::sync::atomic::{AtomicU32, Ordering};

use mongodb::bson::{Document, doc};
use mongodb::{Client, Collection};
use tokio::time::timeout;

use rustix::process::Signal;

use super::*;

/// The directory of one test. The drop at the end of the test removes the directory.
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

    /// Creates an executable shell script in the test's directory `bin`, which replaces a program such as `python3`.
    fn script(&self, name: &str, body: &str) -> PathBuf {
        let bin = self.0.join("bin");
        fs::create_dir_all(&bin).unwrap();
        let path = bin.join(name);
        fs::write(&path, format!("#!/bin/sh\n{body}\n")).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        path
    }

    /// Returns sources without a configured `mongod`, and with a cache inside the test's directory. PATH has only the
    /// directory of the test's scripts and the directories in `and`.
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
    // A process in the state Z (zombie) has ended, but no process has read its exit status yet.
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
    // This thread closes every connection immediately. `mongod` connects to its old port to find out whether it is
    // itself the member there. Without a quick answer, the start would take half a minute longer.
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

    // The `mongod` of `first` listens on this port. The files of this `mongod` are not in `/elsewhere`, so `primary`
    // must refuse it.
    let outcome = replica_set::primary(port(&first), Path::new("/elsewhere"), soon).await;
    assert!(matches!(outcome, Err(NotPrimary::PortTaken)));

    // Starts a child on a port that is in use. The same happens if another program takes the port between the search
    // for a free port and the start of the child.
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
