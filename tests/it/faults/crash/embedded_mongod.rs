//! The embedded `mongod` (the database that Parlor starts itself) is killed, as the kernel does when the machine has no
//! free memory. The server must restart the `mongod`.

use std::fs;
use std::path::Path;

use super::{FaultTest, HURRIED};
use crate::support::{Program, signal};

/// Returns the id of the `mongod` process that uses the database's files. The lock file of `mongod` contains this id.
fn mongod_on(home: &Path) -> u32 {
    fs::read_to_string(home.join("db/mongod.lock")).unwrap().trim().parse().unwrap()
}

#[tokio::test]
async fn embedded_mongod_restarts_when_it_was_killed() {
    let data = tempfile::tempdir().unwrap();
    let home = data.path().join("mongod");
    let fault_test = FaultTest::of(Program::start_private(data.path(), &HURRIED).await).await;
    let first = mongod_on(&home);
    fault_test.readiness.fault_begins();
    signal("KILL", first);
    fault_test.many_clients.until_acknowledged(100).await;
    assert_ne!(mongod_on(&home), first);
    let port = fs::read_to_string(home.join("port")).unwrap();
    fault_test.assert_survived(&format!("mongodb://127.0.0.1:{port}/?replicaSet=parlor")).await;
}
