//! The output, the errors and the exit codes of the commands that run on the same machine as the server.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use super::SECRET;
use crate::support::{Home, PATIENCE, Process, chat, eventually};

#[tokio::test]
async fn help_tells_of_every_command() {
    let home = Home::new().await;
    let help = home.run(&["--help"]).await;
    for (command, about, options) in [
        ("serve", "Serve chat until SIGTERM or SIGINT", &[][..]),
        ("token", "Print a token for a user", &["--user <USER>", "--email <EMAIL>", "--ttl <TTL>", "15m"]),
        ("room", "Create the room of these users", &["--members <USER,USER,...>"]),
        ("check", "Check configuration, database and replica set", &[]),
        ("health", "Ask the server on this machine whether it is healthy", &[]),
    ] {
        let line = help.printed().lines().find(|line| line.trim_start().starts_with(command));
        assert!(line.is_some_and(|line| line.contains(about)), "{command}: {}", help.printed());
        let own = home.run(&[command, "--help"]).await;
        assert!(own.printed().starts_with(about), "{}", own.printed());
        for option in options.iter().chain(&["Usage: parlor ", "--config <FILE>"]) {
            assert!(own.printed().contains(option), "{command}: no {option} in\n{}", own.printed());
        }
    }
    let first = help.printed().lines().next().unwrap();
    assert!(first.starts_with("Chat beside your application"), "{first}");
    let version = home.run(&["--version"]).await;
    assert_eq!(version.printed(), format!("parlor {}", env!("CARGO_PKG_VERSION")));
    assert_eq!(fs::read_dir(home.path()).unwrap().count(), 0, "to be told of it leaves nothing behind");

    for arguments in [&["nonsense"][..], &["token"], &["room"], &["--nonsense"]] {
        let refused = home.run(arguments).await;
        assert_eq!(refused.status.code(), Some(2), "{refused:#?}");
        assert!(refused.err.starts_with("error: ") && refused.err.contains("--help"), "{refused:#?}");
    }
}

#[tokio::test]
async fn a_pair_has_one_room() {
    let home = Home::new().await;
    let room = async |members: &str| {
        let made = home.run(&["room", "--members", members]).await;
        made.printed().parse::<i64>().unwrap_or_else(|error| panic!("{error}: {made:#?}"))
    };
    let pair = room("1,2").await;
    assert_eq!(room("2,1").await, pair);
    let group = room("1,2,3").await;
    assert_ne!(group, pair);

    // A pair must also have only one room while a server runs and uses the private database (the `mongod` that Parlor
    // starts).
    let server = home.serve().await;
    assert_eq!(room("1,2").await, pair);
    assert_eq!(room("2,1").await, pair);
    assert_ne!(room("1,2,3").await, group);
    let own = room("alice,auth0|7").await;
    let token = home.run(&["token", "--user", "alice"]).await;
    let mut alice = server.dial(&format!("room_id={own}"), token.printed()).open().await;
    alice.history().await;
    server.stop().await;

    for (members, why) in [("1", "from 2 to"), ("1,1", "named twice")] {
        let refused = home.run(&["room", "--members", members]).await;
        assert!(refused.refused().contains(why), "{refused:#?}");
    }
}

#[tokio::test]
async fn a_bad_setting_is_named_with_its_fault_and_origin() {
    let home = Home::new().await;
    for (key, value, fault) in [
        ("LIMITS__BATCH", "0", "limits.batch: must be from 1 to"),
        ("LIMITS__BATCH", "many", "limits.batch: takes a whole number"),
        ("LIMITS__NO_SUCH", "1", "limits.no_such: no such key"),
        ("LISTEN", "everywhere", "listen: takes"),
        ("AUTH__ALGORITHMS", "none", "auth.algorithms"),
        ("HTTP__ORIGINS", "app.example.com", "http.origins"),
        ("MONGODB__URI", "postgres://127.0.0.1", "mongodb.uri"),
        ("LOG__FORMAT", "xml", "log.format"),
    ] {
        let refused = home.run_with(&[(key, value)], &["serve"]).await;
        let told = refused.refused();
        assert!(told.contains(fault) && told.contains(&format!("(PARLOR__{key})")), "{told}");
        assert_eq!(refused.err.lines().count(), 1, "{refused:#?}");
    }
    let file = home.path().join("settings.toml");
    for (text, fault) in [
        ("\n[limits]\nbatch = \"many\"\n", "limits.batch: takes a whole number, which this string is not"),
        ("\n\nlisten_on = \"127.0.0.1:1\"\n", "listen_on: no such key"),
        ("[auth]\n\nuser_claim = \"exp\"\n", "auth.user_claim: exp means something else"),
    ] {
        fs::write(&file, text).unwrap();
        // `health` only sends a request to the running server. So it ignores a value with which a server could not
        // start.
        let health = if fault.contains("means something else") { None } else { Some("health") };
        for command in ["serve", "token", "room", "check"].into_iter().chain(health) {
            let arguments: &[&str] = match command {
                "token" => &["token", "--user", "1"],
                "room" => &["room", "--members", "1,2"],
                _ => &[command],
            };
            let refused = home.run(&[&["--config", "settings.toml"], arguments].concat()).await;
            let told = refused.refused();
            assert!(told.contains(fault) && told.contains("(settings.toml, line 3)"), "{told}");
            assert_eq!(refused.err.lines().count(), 1, "{refused:#?}");
        }
    }
    let odd = OsStr::from_bytes(b"\xff is no character of UTF-8, but these are 32 bytes");
    let mut command = Command::new(env!("CARGO_BIN_EXE_parlor"));
    let refused = command.arg("check").env("PARLOR__AUTH__SECRET", odd).current_dir(home.path()).output();
    assert_eq!(refused.unwrap().stderr, b"parlor: PARLOR__AUTH__SECRET: its value is not UTF-8\n");

    let missing = home.run(&["check", "--config", "missing.toml"]).await;
    assert!(missing.refused().contains("missing.toml: can't be read"), "{missing:#?}");
    // The program finds the errors before it creates any file.
    let left: Vec<_> = fs::read_dir(home.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left, ["settings.toml"]);
}

#[tokio::test]
async fn data_directory_admits_one_server() {
    let home = Home::new().await;
    let server = home.serve().await;
    let second = home.run(&["serve"]).await;
    let told = second.refused();
    assert!(told.contains("another Parlor") && told.contains("PARLOR__MONGODB__DATA_DIR"), "{told}");
    // The first server still works.
    let token = home.run(&["token", "--user", "1"]).await;
    let mut one = server.dial("firts_user=1&second_user=2/", token.printed()).open().await;
    one.history().await;
    one.say("Still here").await;
    one.expect(chat(1, 1, "Still here")).await;
    server.stop().await;
}

/// After a crash, a `mongod` may take minutes to start. If the server is stopped during this time, it must end without
/// waiting for the `mongod`.
#[tokio::test]
async fn server_waiting_for_its_mongod_stops_immediately() {
    let home = Home::new().await;
    let never = home.path().join("never");
    let script = r#"#!/bin/sh
case "$1" in --version) echo 'db version v8.0.4'; exit;; esac
echo $$ > "${0%/*}/pid"
exec sleep 600
"#;
    fs::write(&never, script).unwrap();
    fs::set_permissions(&never, fs::Permissions::from_mode(0o755)).unwrap();
    let home = home.set("MONGODB__MONGOD", &never.display().to_string());
    let mut server = Process::start("parlor", home.command(&[], &[]), PATIENCE);
    let pid = async || fs::read_to_string(home.path().join("pid")).unwrap_or_default();
    let pid = eventually("the server starts its mongod", pid, |pid| pid.ends_with('\n')).await;
    assert_eq!(server.ended().await.code(), Some(1));
    let said = server.said();
    assert!(said.trim_end().ends_with("parlor: stopped before the database was available"), "{said}");
    assert!(!Path::new("/proc").join(pid.trim()).exists(), "its database has ended with it");
}

#[tokio::test]
async fn misspelt_variable_is_warned_of_by_serve_and_check() {
    let home = Home::new().await.set("AUTH__SECRET", SECRET);
    let command = |argument: &str| {
        let mut command = home.command(&[], &[argument]);
        // The last two names belong to these tests and to a Kubernetes cluster, so they cause no warning.
        let names =
            ["PARLOR_LISTEN", "parlor__listen", "PARLOR_NO_SUCH", "PARLOR_IT_SEED", "PARLOR_SERVICE_HOST"];
        command.envs(names.map(|name| (name, "1")));
        command
    };
    let warnings = [
        "PARLOR_LISTEN: this variable is not read; set PARLOR__LISTEN",
        "parlor__listen: this variable is not read; set PARLOR__LISTEN",
        "PARLOR_NO_SUCH: this variable is not read; a setting is spelt PARLOR__SECTION__KEY",
    ];
    let checked = command("check").output().unwrap();
    let checked = String::from_utf8(checked.stdout).unwrap();
    let server = Process::start("parlor", command("serve"), PATIENCE);
    server.says("chat is open at", 4 * PATIENCE).await;
    for said in [checked, server.said()] {
        let warned: Vec<_> = said.lines().filter(|line| line.contains("this variable is not read")).collect();
        assert_eq!(warned.len(), warnings.len(), "{said}");
        for warning in warnings {
            assert!(warned.iter().any(|line| line.ends_with(warning)), "{warning}: {said}");
        }
    }
}
