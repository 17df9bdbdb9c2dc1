//! The output, the errors and the exit codes of the commands that run on the same machine as the server.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use serde_json::json;

use super::SECRET;
use crate::support::{Home, PATIENCE, Process, chat, eventually, free_port};

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
async fn a_token_is_good_for_its_user_and_time() {
    let home = Home::new().await;
    let server = home.serve().await;
    let email = "someone@example.com";
    let token = home.run(&["token", "--user", "1", "--email", email, "--ttl", "90m"]).await;
    let mut one = server.dial("firts_user=1&second_user=2/", token.printed()).open().await;
    one.history().await;
    one.say("Hello").await;
    one.expect(chat(1, 1, "Hello")).await;
    let mut again = server.dial("firts_user=1&second_user=2/", token.printed()).open().await;
    assert_eq!(again.history().await[0]["sender_email"], email);

    let claims = claims(token.printed());
    assert_eq!((&claims["user_id"], &claims["email"]), (&json!(1), &json!(email)));
    assert_eq!(claims["exp"].as_i64().unwrap() - claims["iat"].as_i64().unwrap(), 90 * 60);

    let text = self::claims(home.run(&["token", "--user", "auth0|7"]).await.printed());
    assert_eq!(text["user_id"], "auth0|7");
    assert_eq!(text["exp"].as_i64().unwrap() - text["iat"].as_i64().unwrap(), 24 * 60 * 60);
    assert_eq!(text.get("email"), None);

    // A token that was signed with another secret is refused.
    let forged = home.run_with(&[("AUTH__SECRET", SECRET)], &["token", "--user", "1"]).await;
    assert_eq!(server.dial("firts_user=1&second_user=2/", forged.printed()).refused().await, 4001);
    server.stop().await;
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

/// Returns the claims of a token. Does not check the signature.
fn claims(token: &str) -> serde_json::Value {
    use base64::Engine as _;
    let claims = token.split('.').nth(1).expect("a token has three parts");
    let claims = base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(claims).unwrap();
    serde_json::from_slice(&claims).unwrap()
}

#[tokio::test]
async fn ttl_of_a_token_may_have_several_units() {
    let home = Home::new().await.set("AUTH__SECRET", SECRET);
    for (ttl, seconds) in [
        ("1s", 1),
        ("090s", 90),
        ("15m", 15 * 60),
        ("5 m", 5 * 60),
        ("1.5h", 90 * 60),
        ("1d2h", 26 * 60 * 60),
        ("1d 12h", 36 * 60 * 60),
        ("2 weeks", 14 * 24 * 60 * 60),
        ("69000000h", 69_000_000 * 60 * 60),
    ] {
        let claims = claims(home.run(&["token", "--user", "1", "--ttl", ttl]).await.printed());
        assert_eq!(claims["exp"].as_i64().unwrap() - claims["iat"].as_i64().unwrap(), seconds, "{ttl}");
    }
}

#[tokio::test]
async fn a_token_of_no_sense_is_refused() {
    let home = Home::new().await.set("AUTH__SECRET", SECRET);
    for ttl in [
        "",
        "5",
        "5x",
        "x",
        "h",
        "-1s",
        "1h ago",
        "0s",
        "999ms",
        "1mo",
        "1y",
        "P1D",
        "1d,",
        "1h1d",
        "٣d",
        "99999999999999999999s",
        "213503982334601d",
        "9999999999999h",
        "1€",
    ] {
        let refused = home.run(&["token", "--user", "1", &format!("--ttl={ttl}")]).await;
        assert_eq!(refused.status.code(), Some(2), "{ttl}: {refused:#?}");
        let told = refused.err.lines().next().unwrap_or_default();
        assert!(told.starts_with("error: ") && told.contains("--ttl"), "{ttl}: {refused:#?}");
        assert!(refused.out.is_empty() && !refused.err.contains("panicked"), "{ttl}: {refused:#?}");
    }
    for ttl in ["7304484d", "253402300799s"] {
        let refused = home.run(&["token", "--user", "1", "--ttl", ttl]).await;
        assert!(refused.refused().contains("the token can't be created"), "{ttl}: {refused:#?}");
    }
    for user in ["", "a\nb", &"x".repeat(129)] {
        let refused = home.run(&["token", "--user", user]).await;
        assert_eq!(refused.status.code(), Some(2), "{user:?}: {refused:#?}");
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

    // The same rules apply while a server runs and uses the private database (the `mongod` that Parlor starts).
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
async fn health_asks_the_server_of_the_same_settings() {
    let port = free_port();
    let home = Home::new().await.set("LISTEN", &format!("0.0.0.0:{port}")).set("AUTH__SECRET", SECRET);
    let none = home.run(&["health"]).await;
    assert!(none.refused().contains(&format!("127.0.0.1:{port} does not answer")), "{none:#?}");

    let server = home.serve().await;
    assert_eq!(home.run(&["health"]).await.printed(), "");
    let own = format!("127.0.0.1:{port}");
    assert_eq!(home.run_with(&[("LISTEN", &own)], &["health"]).await.printed(), "");
    // `health` reports a running server as healthy, even if a server could not start with these settings. If `health`
    // failed, an orchestrator would stop the server.
    for (key, value) in [("AUTH__SECRET", ""), ("TLS__CERTIFICATE", ""), ("FEED__STALE_MS", "10")] {
        assert_eq!(home.run_with(&[(key, value)], &["health"]).await.printed(), "", "{key}");
    }
    server.stop().await;
    home.run(&["health"]).await.refused();

    // Another program listens on the port.
    let other = tokio::net::TcpListener::bind(("127.0.0.1", port)).await.unwrap();
    let answer = tokio::spawn(async move {
        use tokio::io::AsyncWriteExt;
        let (mut stream, _) = other.accept().await.unwrap();
        stream.write_all(b"HTTP/1.1 503 Service Unavailable\r\n\r\n").await.unwrap();
        stream.shutdown().await.unwrap();
        other
    });
    let other = home.run(&["health"]).await;
    assert!(other.refused().contains("not healthy"), "{other:#?}");

    // `serve` fails because the port is in use. The error says so and names the setting.
    let _taken = answer.await.unwrap();
    // A low limit of open files would cause a log line before the error. These bounds are so low that the limit is high
    // enough.
    let settings = [("LISTEN", &*own), ("LIMITS__SOCKETS", "100"), ("HTTP__CONNECTIONS", "100")];
    let refused = home.run_with(&settings, &["serve"]).await;
    let told = refused.refused();
    assert!(told.contains(&own) && told.contains("in use") && told.contains("PARLOR__LISTEN"), "{told}");
    assert_eq!(refused.err.lines().count(), 1, "{refused:#?}");
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
