//! Tests of restarts after a crash of the server or of its `mongod`.

use std::io::{BufRead, BufReader};
use std::process::Stdio;

use super::*;

/// The pause between two probes, for example of the child's process id. A child that can't listen on its port exits by
/// itself, but lives longer than this pause. Therefore the probes see its process id.
const PROBE_PAUSE: Duration = Duration::from_millis(5);

/// If this environment variable is set, the test `plays_server` starts an embedded `mongod` in the directory that the
/// variable names. The test process then waits until another test kills it.
const PLAYS_SERVER: &str = "PARLOR_TEST_EMBEDDED_IN";

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
    // Simulates a dead server: the kernel has released the server's lock, but the server's child still runs.
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
        // `things` uses a client that connected before the kill. Its inserts fail until `mongod` runs again.
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
    // A second start on the directory succeeds only if no restarted `mongod` uses the files.
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
            // `mongod` may be restarted before the test listens on the port. So the test kills the current child before
            // each attempt to listen on the port.
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
        // The listener of the test has the port, so each new child exits by itself. The test waits until it has seen
        // two children.
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
    // The test harness captures the output of `println`, so this line goes to stderr directly.
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
        .args(["--exact", "mongod::tests::crashes::plays_server", "--nocapture"])
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
