//! The errors of `serve` and `check` about a database that Parlor can't use. The two commands print the same single
//! line, without debug output.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use mongodb::Client;
use mongodb::bson::{Document, doc};
use tokio::time::timeout;

use super::SECRET;
use super::check::start_mongod;
use crate::support::{Home, Mongod, PATIENCE, Process, free_port};

/// Words that appear only in the debug output of the MongoDB driver.
const DEBUG_OUTPUT: [&str; 6] = ["Kind:", "RawDocumentBuf", "labels", "Topology", "Some(", "None"];

fn assert_plain(said: &str) {
    for word in DEBUG_OUTPUT {
        assert!(!said.contains(word), "{word}: {said}");
    }
}

/// Returns the error line of `serve` and `check` with these settings. Checks that both commands print the same line.
async fn refusal(settings: &[(&str, &str)]) -> String {
    let home = Home::new().await.set("AUTH__SECRET", SECRET).set("MONGODB__SELECTION_MS", "300");
    let (served, checked) =
        tokio::join!(home.run_with(settings, &["serve"]), home.run_with(settings, &["check"]));
    assert_plain(&served.err);
    assert_plain(&checked.err);
    let served = served.refused().strip_prefix("parlor: ").unwrap().to_owned();
    assert_eq!(checked.status.code(), Some(1), "{checked:#?}");
    let faults: Vec<_> = checked.out.lines().filter_map(|line| line.strip_prefix("FAULT  ")).collect();
    match faults[..] {
        [] => assert_eq!(checked.refused().strip_prefix("parlor: "), Some(&*served)),
        [fault] => {
            assert_eq!(fault, served);
            assert_eq!(checked.err, "", "{checked:#?}");
        }
        _ => panic!("more than one fault: {checked:#?}"),
    }
    served
}

async fn refusal_by(uri: &str) -> String {
    refusal(&[("MONGODB__URI", uri)]).await
}

#[tokio::test]
async fn standalone_server_is_named_by_serve_and_check() {
    let dir = tempfile::tempdir().unwrap();
    let (_mongod, port) = start_mongod(dir.path(), &[]).await;
    for option in ["", "?replicaSet=rs0", "?directConnection=true"] {
        let said = refusal_by(&format!("mongodb://127.0.0.1:{port}/{option}")).await;
        let named = format!("127.0.0.1:{port} is a standalone server: change streams need a replica set; ");
        assert!(said.starts_with(&named) && said.contains("rs.initiate()"), "{option}: {said}");
    }
}

#[tokio::test]
async fn missing_set_or_server_is_named_by_serve_and_check() {
    let dir = tempfile::tempdir().unwrap();
    let (_mongod, port) = start_mongod(dir.path(), &["--replSet", "rs0"]).await;
    let away = free_port();
    let uri = |port: u16, option: &str| format!("mongodb://127.0.0.1:{port}/{option}");
    let uris = [
        uri(port, ""),
        uri(port, "?replicaSet=rs0&directConnection=true"),
        uri(port, "?directConnection=true"),
        uri(away, "?replicaSet=rs0"),
    ];
    // With each of these URIs, the program waits 30 s for the database before it reports the error.
    let began = Instant::now();
    let said = join_all(uris.iter().map(|uri| async {
        let said = refusal_by(uri).await;
        (said, began.elapsed())
    }));
    let said = said.await;
    let [seeded, named_directly, directly, (away_said, _)] = &said[..] else { panic!("{said:?}") };
    let named = format!("127.0.0.1:{port} is in no replica set yet: run rs.initiate() there, in mongosh");
    for (said, took) in [seeded, named_directly, directly] {
        assert_eq!(*said, named);
        assert!(*took >= Duration::from_secs(30), "the set may be initiated meanwhile: {took:?}");
    }
    let named =
        format!("the database can't be reached: nothing answers at 127.0.0.1:{away} (Connection refused");
    assert!(away_said.starts_with(&named) && away_said.contains("mongodb.uri"), "{away_said}");
}

#[tokio::test]
async fn set_of_another_name_is_named_by_serve_and_check() {
    let mongod = Mongod::start().await;
    for option in ["", "&directConnection=true"] {
        let said = refusal_by(&format!("mongodb://{}/?replicaSet=parlor{option}", mongod.host())).await;
        let named = format!(
            "the replica set at {} is called `rs0`, but mongodb.uri asks for `parlor`: set replicaSet=rs0",
            mongod.host()
        );
        assert_eq!(said, named);
    }
}

/// Starts a replica set with access control, and creates its administrator `root`.
async fn guarded_mongod(dir: &Path) -> (Process, u16) {
    let key = dir.join("key");
    fs::write(&key, "a key of the members of this set").unwrap();
    fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).unwrap();
    let data = dir.join("data");
    fs::create_dir(&data).unwrap();
    let key = key.display().to_string();
    let (mongod, port) = start_mongod(&data, &["--replSet", "rs0", "--auth", "--keyFile", &key]).await;
    let admin = admin(&format!("mongodb://127.0.0.1:{port}/?directConnection=true")).await;
    let host = format!("127.0.0.1:{port}");
    let set = doc! { "_id": "rs0", "members": [{ "_id": 0, "host": host }] };
    admin.run_command(doc! { "replSetInitiate": set }).await.unwrap();
    let root = doc! { "createUser": "root", "pwd": "right", "roles": ["root"] };
    // The database refuses the command until a primary is elected.
    let made = timeout(4 * PATIENCE, async {
        while admin.run_command(root.clone()).await.is_err() {
            tokio::task::yield_now().await;
        }
    });
    made.await.expect("a primary is elected");
    (mongod, port)
}

async fn admin(uri: &str) -> mongodb::Database {
    Client::with_uri_str(uri).await.unwrap().database("admin")
}

#[tokio::test]
async fn refused_login_or_right_is_named_by_serve_and_check() {
    let dir = tempfile::tempdir().unwrap();
    let (_mongod, port) = guarded_mongod(dir.path()).await;
    let admin = admin(&format!("mongodb://root:right@127.0.0.1:{port}/?directConnection=true")).await;
    let user = |name: &str, role: Document| doc! { "createUser": name, "pwd": "right", "roles": [role] };
    for user in [
        user("reader", doc! { "role": "read", "db": "parlor" }),
        user("writer", doc! { "role": "readWrite", "db": "parlor" }),
    ] {
        admin.run_command(user).await.unwrap();
    }
    let uri = |login: &str, rest: &str| format!("mongodb://{login}127.0.0.1:{port}/{rest}?replicaSet=rs0");
    let refused = |source: &str| {
        format!(
            "127.0.0.1:{port} refused the user or the password of mongodb.uri; MongoDB looked for the user in the database `{source}`: "
        )
    };
    for (login, path, named) in [
        ("reader:wrong@", "", refused("admin")),
        ("nobody:right@", "", refused("admin")),
        ("reader:right@", "parlor", refused("parlor")),
        (
            "reader:right@",
            "",
            "the database refused: not authorized on parlor to execute the command create ".to_owned(),
        ),
        ("", "", "the database refused: command create requires authentication ".to_owned()),
    ] {
        let said = refusal_by(&uri(login, path)).await;
        assert!(said.to_lowercase().starts_with(&named.to_lowercase()), "{login} {path}: {said}");
        let advice = ["authSource=", "grant the user the role readWrite", "add a user and a password"];
        assert!(advice.iter().any(|advice| said.contains(advice)), "{said}");
    }

    // The role `readWrite`, which the documentation requires, is enough. The path `admin` in the URI names only the
    // database in which MongoDB looks for the user. The name of Parlor's database stays `parlor`.
    let home = Home::new().await.set("MONGODB__URI", &uri("writer:right@", "admin"));
    let checked = home.run(&["check"]).await;
    assert!(checked.printed().contains("database `parlor`"), "{checked:#?}");
}

#[tokio::test]
async fn lost_database_is_logged_without_debug_output() {
    let mut mongod = Mongod::start().await;
    let home = Home::new()
        .await
        .set("AUTH__SECRET", SECRET)
        .set("MONGODB__SELECTION_MS", "300")
        .set("MONGODB__URI", &mongod.uri("parlor"));
    let server = Process::start("parlor", home.command(&[], &["serve"]), PATIENCE);
    server.says("serving on", 4 * PATIENCE).await;
    mongod.kill().await;
    server.says("could not open the change stream", 4 * PATIENCE).await;
    server.says("could not write the heartbeat", 4 * PATIENCE).await;
    server.says(&format!("no primary found: {} (Connection refused", mongod.host()), 4 * PATIENCE).await;
    assert_plain(&server.said());
}
