//! The command `parlor check` and its report about a database deployment.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use mongodb::bson::doc;

use super::SECRET;
use crate::support::{Home, Mongod, PATIENCE, Process, eventually_within, free_port, mongod};

#[tokio::test]
async fn check_finds_nothing_wrong_with_a_replica_set() {
    let home = Home::new().await;
    let checked = home.run(&["check"]).await;
    let found: Vec<_> = checked.printed().lines().collect();
    assert!(found.iter().all(|line| line.starts_with("ok ")), "{found:#?}");
    for what in ["configuration", "replica set `parlor`", "collections and indexes"] {
        assert!(found.iter().any(|line| line.contains(what)), "{what} is not in {found:#?}");
    }
    let server = home.serve().await;
    assert_eq!(home.run(&["check"]).await.printed().lines().count(), found.len());
    server.stop().await;

    let uri = format!("mongodb://127.0.0.1:{}/?serverSelectionTimeoutMS=300", free_port());
    let away = home.run_with(&[("MONGODB__URI", &uri)], &["check"]).await;
    assert!(away.refused().contains("the database can't be reached"), "{away:#?}");
}

#[tokio::test]
async fn check_names_a_standalone_server_as_the_fault() {
    let dir = tempfile::tempdir().unwrap();
    let (_mongod, port) = start_mongod(dir.path(), &[]).await;
    let home = Home::new().await.set("MONGODB__URI", &format!("mongodb://127.0.0.1:{port}/"));
    let checked = home.run(&["check"]).await;
    assert_eq!(checked.status.code(), Some(1), "{checked:#?}");
    let fault = checked.out.lines().find(|line| line.starts_with("FAULT")).unwrap_or_default();
    assert!(fault.contains("a standalone server") && fault.contains("--replSet"), "{checked:#?}");

    let refused = home.run_with(&[("AUTH__SECRET", SECRET)], &["serve"]).await;
    assert!(refused.refused().contains("replica set"), "{refused:#?}");
}

#[tokio::test]
async fn check_names_an_arbiter_as_the_fault() {
    let (data, arbiter) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let set = ["--replSet", "test"];
    let ((_data, port), (_arbiter, arbiter)) =
        tokio::join!(start_mongod(data.path(), &set), start_mongod(arbiter.path(), &set));
    let uri = format!("mongodb://127.0.0.1:{port}/?directConnection=true");
    let client = mongodb::Client::with_uri_str(&uri).await.unwrap();
    let arbiter = format!("127.0.0.1:{arbiter}");
    let config = doc! {
        "_id": "test",
        "members": [
            {"_id": 0, "host": format!("127.0.0.1:{port}")},
            {"_id": 1, "host": &arbiter, "arbiterOnly": true},
        ],
        // Without this setting, the first election would take ten seconds.
        "settings": {"electionTimeoutMillis": 500},
    };
    client.database("admin").run_command(doc! {"replSetInitiate": config}).await.unwrap();

    let home = Home::new()
        .await
        .set("MONGODB__URI", &format!("mongodb://127.0.0.1:{port}/?replicaSet=test"))
        .set("MONGODB__SELECTION_MS", "30000");
    let checked = home.run(&["check"]).await;
    assert_eq!(checked.status.code(), Some(1), "{checked:#?}");
    let fault = checked.out.lines().find(|line| line.starts_with("FAULT")).unwrap_or_default();
    assert!(fault.contains("an arbiter") && fault.contains(&arbiter), "{checked:#?}");
}

#[tokio::test]
async fn check_opens_its_change_stream_where_a_server_reads() {
    let three = Mongod::start_three().await;
    let [_, one, two] = &three;
    let uri = Mongod::uri_of(&three, "checked");
    let home = Home::new().await.set("MONGODB__URI", &uri).set("AUTH__SECRET", SECRET);
    let check = async |read_from: &str| home.run_with(&[("FEED__READ_FROM", read_from)], &["check"]).await;
    let checked = async || check("secondary").await.status.success();
    eventually_within(2 * PATIENCE, "a secondary can be read", checked, |is_good| *is_good).await;
    for secondary in [one, two] {
        // Unauthorized
        secondary.fail("checked", "alwaysOn", doc! { "failCommands": ["aggregate"], "errorCode": 13 }).await;
    }
    check("primary").await.printed();
    let refused = check("secondary").await;
    assert!(refused.refused().contains("grant the user the role"), "{refused:#?}");
}

/// Starts a `mongod` as an external database, not managed by Parlor. Returns its process and port.
pub(super) async fn start_mongod(dir: &Path, arguments: &[&str]) -> (Process, u16) {
    let port = free_port();
    let mut command = Command::new(mongod().await);
    command
        .arg("--dbpath")
        .arg(dir)
        .args(["--port", &port.to_string(), "--bind_ip", "127.0.0.1", "--nounixsocket"])
        .args(["--wiredTigerCacheSizeGB", "0.25", "--oplogSize", "16"])
        .args(arguments);
    let process = Process::start("mongod", command, Duration::ZERO);
    process.says("Waiting for connections", PATIENCE).await;
    (process, port)
}
