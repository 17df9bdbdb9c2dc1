//! Secrets and the command line: the program finds its secrets in the settings or in a file, and never prints a secret.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use super::SECRET;
use crate::support::{Home, free_port};

/// A word that is part of every secret in these tests. No output may contain it.
const HIDDEN: &str = "hunter2";

#[tokio::test]
async fn token_never_makes_a_secret() {
    let home = Home::new().await;
    let refused = home.run(&["token", "--user", "1"]).await;
    let file = home.path().canonicalize().unwrap().join("data/secret");
    let said = refused.refused();
    assert!(said.contains(&format!("no server has stored a secret in {}", file.display())), "{said}");
    assert!(said.contains("PARLOR__AUTH__SECRET") && said.contains("PARLOR__MONGODB__DATA_DIR"), "{said}");
    assert_eq!((refused.err.lines().count(), refused.out.as_str()), (1, ""), "{refused:#?}");
    assert_eq!(fs::read_dir(home.path()).unwrap().count(), 0);

    home.serve().await.stop().await;
    let made = home.run(&["token", "--user", "1"]).await;
    assert_eq!(made.printed().lines().count(), 1, "{made:#?}");
    assert_eq!(made.err, format!("parlor: signed with the secret in {}\n", file.display()));
    let configured = home.run_with(&[("AUTH__SECRET", SECRET)], &["token", "--user", "1"]).await;
    configured.printed();
    assert_eq!(configured.err, "");
}

#[tokio::test]
async fn a_secret_is_never_printed() {
    let home = Home::new().await;
    let away = free_port();
    let uris = [
        format!("mongodb://parlor:{HIDDEN}@{HIDDEN}@127.0.0.1:{away}/"),
        format!("mongodb://parlor:{HIDDEN}@127.0.0.1:{away}/?serverSelectionTimeoutMS=200"),
        format!("mongodb://parlor:{HIDDEN}@127.0.0.1:{away}/?authMechanism=PLAIN&tls=perhaps"),
        format!("mongodb://parlor:{HIDDEN}%zz@127.0.0.1:{away}/"),
        format!("mongodb://parlor:{HIDDEN}/@127.0.0.1:{away}/"),
        format!("mongodb://parlor:{HIDDEN}?x@127.0.0.1:{away}/chat"),
        format!("mongodb://parlor:1/{HIDDEN}?x@127.0.0.1:{away}/chat"),
        format!("mongo://parlor:{HIDDEN}@127.0.0.1:{away}/"),
    ];
    let long = format!("{HIDDEN}-{HIDDEN}-{HIDDEN}-{HIDDEN}-{HIDDEN}");
    let keys = format!("{long},{HIDDEN}");
    let pem = format!("-----BEGIN PUBLIC KEY-----\n{HIDDEN}\n-----END PUBLIC KEY-----\n");
    let mut settings = vec![
        vec![("AUTH__SECRET", HIDDEN)],
        vec![("AUTH__SECRETS", long.as_str())],
        vec![("AUTH__SECRET", &long), ("AUTH__ALGORITHMS", "RS256")],
        vec![("AUTH__SECRET", &long), ("AUTH__PUBLIC_KEY", &pem)],
        vec![("AUTH__PUBLIC_KEY", &pem)],
        vec![("API__KEYS", &keys)],
    ];
    settings.extend(uris.iter().map(|uri| vec![("MONGODB__URI", uri.as_str())]));
    for settings in settings {
        let refused = home.run_with(&settings, &["check"]).await;
        refused.refused();
        assert!(!refused.err.contains(HIDDEN) && !refused.out.contains(HIDDEN), "{settings:?}: {refused:#?}");
    }

    let file = home.path().join("settings.toml");
    for text in [
        format!("[auth]\nsecret = \"{long}\n"),
        format!("[auth]\nsecret = {long}\n"),
        format!("[auth]\nsecret = [\"{long}\"]\n"),
        format!("[auth]\nsecret = \"{HIDDEN}\"\n"),
        format!("[auth]\nsecret = \"{long}\"\nsecret = \"{long}\"\n"),
        format!("[auth.secret]\nvalue = \"{long}\"\n"),
        format!("[api]\nkeys = \"{long}\"\n"),
        format!("[api]\nkeys = [\"{HIDDEN}\"]\n"),
    ] {
        fs::write(&file, &text).unwrap();
        let refused = home.run(&["check", "--config", "settings.toml"]).await;
        assert!(refused.refused().contains("settings.toml, line"), "{text}{refused:#?}");
        assert!(!refused.err.contains(HIDDEN), "{text}{refused:#?}");
    }
}

#[tokio::test]
async fn service_key_is_needed_beyond_loopback() {
    let home = Home::new().await;
    for listen in ["0.0.0.0:0", "[::]:0", "192.0.2.1:8001"] {
        let refused = home.run_with(&[("LISTEN", listen)], &["serve"]).await;
        let told = refused.refused();
        assert!(told.contains("listen: ") && told.contains("auth.secret, auth.public_key"), "{told}");
        assert_eq!(fs::read_dir(home.path()).unwrap().count(), 0);
    }
    let home = home.set("LISTEN", "0.0.0.0:0").set("AUTH__SECRET", SECRET);
    home.serve().await.stop().await;
}

#[tokio::test]
async fn the_first_start_keeps_a_secret_to_itself() {
    let home = Home::new().await.set("LOG__FILTER", "trace");
    let server = home.serve().await;
    let data = home.path().join("data");
    let secret = fs::read_to_string(data.join("secret")).unwrap();
    assert_eq!(secret.trim_end().len(), 64);
    let mode = |path: &str| data.join(path).metadata().unwrap().permissions().mode() & 0o777;
    assert_eq!((mode("secret"), mode(""), mode("mongod")), (0o600, 0o700, 0o700));

    let page = reqwest::Client::new().post(server.url("/page/session")).body(r#"{"user":1}"#);
    let session: serde_json::Value = page.send().await.unwrap().json().await.unwrap();
    let token = session["token"].as_str().unwrap();
    let printed = home.run_with(&[("LOG__FILTER", "info")], &["token", "--user", "2"]).await;
    for (user, peer, token) in [(1, 2, token), (2, 1, printed.printed())] {
        let query = format!("firts_user={user}&second_user={peer}/");
        let mut socket = server.dial(&query, token).open().await;
        socket.history().await;
        let bad = format!("{token}x");
        assert_eq!(server.dial(&query, &bad).refused().await, 4001);
    }
    let log = server.stop().await;
    assert!(log.contains("DEBUG"), "{log}");
    for hidden in [secret.trim_end(), token, printed.printed()] {
        let line = log.lines().find(|line| line.contains(hidden));
        assert!(line.is_none(), "{line:?}");
    }

    // The next start uses the same secret. Its log names the setting `data_dir`, the folder that contains the secret.
    let home = home.set("LOG__FILTER", "info");
    let server = home.serve().await;
    assert_eq!(fs::read_to_string(data.join("secret")).unwrap(), secret);
    let mut two = server.dial("firts_user=2&second_user=1/", printed.printed()).open().await;
    two.history().await;
    let log = server.stop().await;
    assert!(log.contains("data_dir") && log.contains("chat is open at http://127.0.0.1:"), "{log}");
}
