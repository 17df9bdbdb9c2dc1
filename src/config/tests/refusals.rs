//! Tests of invalid configurations and their errors.

use proptest::prelude::*;

use std::path::Path;

use super::*;

/// A text that is part of every secret of the test `secrets_are_never_shown`. No error and no `Debug` output may
/// contain this text.
const MARK: &str = "hunter2";

#[test]
fn a_file_is_refused_by_key_and_line() {
    for (toml, refusal) in [
        ("lisen = ''", "lisen: no such key (x.toml, line 1)"),
        ("\n[limit]\nbatch = 1", "limit.batch: no such key (x.toml, line 3)"),
        ("[limit]", "limit: no such key (x.toml, line 1)"),
        ("[limits]\n\nbatches = 1", "limits.batches: no such key (x.toml, line 3)"),
        ("[actions.sent]\nburst = 1", "actions.sent.burst: no such key (x.toml, line 2)"),
        (
            "[actions.send]\nmax_in_flight = 0",
            "actions.send.max_in_flight: must be from 1 to 1000000, which 0 is not (x.toml, line 2)",
        ),
        ("limits = 1", "limits: a section of keys, not a key itself (x.toml, line 1)"),
        ("[limits.batch]\nx = 1", "limits.batch: takes a whole number, not a table (x.toml, line 2)"),
        ("[auth.secret]", "auth.secret: takes a string, which this table is not (x.toml, line 1)"),
        (
            "[limits]\nbatch = '1'",
            "limits.batch: takes a whole number, which this string is not (x.toml, line 2)",
        ),
        (
            "limits.batch = 1.0",
            "limits.batch: takes a whole number, which this float is not (x.toml, line 1)",
        ),
        ("limits.batch = 0", "limits.batch: must be from 1 to 100000, which 0 is not (x.toml, line 1)"),
        ("api.keys = 'x'", "api.keys: takes a list of strings, which this string is not (x.toml, line 1)"),
        ("api.keys = [1]", "api.keys: takes a list of strings, which this array is not (x.toml, line 1)"),
        ("page.enabled = true", "page.enabled: takes a string, which this boolean is not (x.toml, line 1)"),
        (
            "page.enabled = 'yes'",
            "page.enabled: takes \"auto\", \"on\" or \"off\", which \"yes\" is not (x.toml, line 1)",
        ),
        ("'a\\nb'.c = 1", "a\\nb.c: no such key (x.toml, line 1)"),
        ("\"a\\nb\" = 1", "a b: no such key (x.toml, line 1)"),
        ("'limits.batch' = 1", "\"limits.batch\": no such key (x.toml, line 1)"),
    ] {
        assert_eq!(file(toml).unwrap_err(), refusal, "{toml}");
    }
    let syntax = file("[limits]\nbatch = = 1\n").unwrap_err();
    assert!(syntax.starts_with("x.toml, line 2: not TOML: "), "{syntax}");
    let absent = Config::load(Some(Path::new("/no/such.toml")), []).unwrap_err().to_string();
    assert!(absent.starts_with("/no/such.toml: can't be read: "), "{absent}");
}

#[test]
fn a_variable_is_refused_by_key_and_name() {
    let secret = long("s");
    for (name, text, refusal) in [
        (
            "HTTP__PROXIES",
            "127.0.0.1,10.0.0.0/33",
            "http.proxies: \"10.0.0.0/33\" is neither an address nor a network like 10.0.0.0/8",
        ),
        ("TLS__KEY", "key.pem", "tls.key: must be given with tls.certificate"),
        ("BATCH", "1", "batch: no such key"),
        ("LIMITS__BATCHES", "1", "limits.batches: no such key"),
        ("LIMITS", "1", "limits: no such key"),
        (
            "LISTEN",
            "localhost",
            "listen: takes an address and port such as \"127.0.0.1:8001\", which \"localhost\" is not",
        ),
        (
            "LISTEN",
            "0.0.0.0:80",
            "listen: beyond loopback a key of your own is required: set auth.secret, auth.public_key, auth.jwks or auth.discovery",
        ),
        (
            "LISTEN",
            "[::]:80",
            "listen: beyond loopback a key of your own is required: set auth.secret, auth.public_key, auth.jwks or auth.discovery",
        ),
        ("MONGODB__URI", "localhost", "mongodb.uri: must begin with mongodb:// or mongodb+srv://"),
        ("MONGODB__DATABASE", "", "mongodb.database: must have 1 to 63 bytes"),
        ("MONGODB__DATABASE", "a.b", "mongodb.database: \"a.b\" has a character that MongoDB refuses there"),
        ("MONGODB__DATA_DIR", "", "mongodb.data_dir: must name a directory"),
        ("AUTH__SECRET", "short", "auth.secret: has fewer than 32 bytes"),
        (
            "AUTH__ALGORITHMS",
            "HS256,none",
            "auth.algorithms: none is refused: it would accept anyone's token",
        ),
        ("AUTH__ALGORITHMS", "hs256", "auth.algorithms: \"hs256\" is no algorithm that is known here"),
        ("AUTH__ALGORITHMS", "HS256,", "auth.algorithms: \"\" is no algorithm that is known here"),
        (
            "AUTH__ALGORITHMS",
            "ES384",
            "auth.algorithms: ES384 doesn't fit a shared secret, which is [HS256, HS384, HS512]'s",
        ),
        ("AUTH__USER_CLAIM", "", "auth.user_claim: must name a claim"),
        ("AUTH__EMAIL_CLAIM", "aud", "auth.email_claim: aud means something else in every token"),
        ("AUTH__EMAIL_CLAIM", "user_id", "auth.email_claim: is auth.user_claim too"),
        (
            "FEED__STALE_MS",
            "1000",
            "feed.stale_ms: must be more than feed.heartbeat_ms, or the server is never ready",
        ),
        (
            "FEED__OVERDUE_MS",
            "1000",
            "feed.overdue_ms: must be more than feed.heartbeat_ms, and feed.stale_ms at most",
        ),
        (
            "FEED__OVERDUE_MS",
            "5001",
            "feed.overdue_ms: must be more than feed.heartbeat_ms, and feed.stale_ms at most",
        ),
        (
            "FEED__CLOSE_MS",
            "2000",
            "feed.close_ms: must be more than feed.overdue_ms, or sockets are closed for nothing",
        ),
        ("FEED__HANGING", "0", "feed.hanging: must be from 1 to 100, which 0 is not"),
        ("MONGODB__INDEXES_SECONDS", "0", "mongodb.indexes_seconds: must be from 1 to 86400, which 0 is not"),
        (
            "MONGODB__URI",
            "mongodb://localhost/?retryWrites=true&w=1",
            "mongodb.uri: its option w contradicts what Parlor needs: Parlor acknowledges what a majority has; remove the option, or set w=majority",
        ),
        (
            "FEED__READ_FROM",
            "nearest",
            "feed.read_from: takes \"primary\" or \"secondary\", which \"nearest\" is not",
        ),
        ("LOG__FORMAT", "xml", "log.format: takes \"text\" or \"json\", which \"xml\" is not"),
    ] {
        assert_eq!(env(&[(name, text)]).unwrap_err(), format!("{refusal} (PARLOR__{name})"));
    }
    assert!(env(&[("LISTEN", "[::ffff:127.0.0.1]:80")]).is_ok());
    assert!(env(&[("LISTEN", "0.0.0.0:80"), ("AUTH__SECRET", &secret)]).is_ok());
    let both = env(&[("AUTH__SECRET", &secret), ("AUTH__PUBLIC_KEY", "x.pem")]).unwrap_err();
    assert_eq!(
        both,
        "auth.public_key: given beside auth.secret: give one of them (PARLOR__AUTH__PUBLIC_KEY)"
    );
    let filter = env(&[("LOG__FILTER", "parlor=loud")]).unwrap_err();
    assert!(filter.starts_with("log.filter: \"parlor=loud\" is no filter: "), "{filter}");
}

#[test]
fn an_origin_has_no_path() {
    for good in [
        "https://app.example.com",
        "http://127.0.0.1:3000",
        "http://[::1]:8080",
        "http://[::1]",
        "tauri://localhost",
    ] {
        assert_eq!(env(&[("HTTP__ORIGINS", good)]).unwrap().http.origins, [good]);
    }
    for bad in [
        "*",
        "null",
        "app.example.com",
        "https://",
        "https://a/",
        "https://a/b",
        "https://a?b",
        "https://u@a",
        "://a",
        "https://a:0",
        "https://a:x",
        "https://a:",
        "https://a:65536",
        "https://a b",
        "https://*.a",
        "https://[x]:1",
        "1a://b",
        "a,,b",
    ] {
        let error = env(&[("HTTP__ORIGINS", bad)]).unwrap_err();
        assert!(
            error.starts_with("http.origins: ") && error.ends_with("(PARLOR__HTTP__ORIGINS)"),
            "{bad}: {error}"
        );
    }
}

#[test]
fn secrets_are_never_shown() {
    let good = [
        ("AUTH__SECRET", long(MARK)),
        ("API__KEYS", long(MARK)),
        ("MONGODB__URI", format!("mongodb://a:{MARK}@localhost")),
    ];
    let good: Vec<_> = good.iter().map(|(name, text)| (*name, text.as_str())).collect();
    let shown = format!("{:?}", env(&good).unwrap());
    assert!(shown.contains("Secret(..)") && !shown.contains(MARK), "{shown}");

    for name in ["AUTH__SECRET", "API__KEYS", "MONGODB__URI", "AUTH__PUBLIC_KEY"] {
        let error = env(&[(name, MARK)]).unwrap_err();
        assert!(error.contains(name) && !error.contains(MARK), "{error}");
    }
    for toml in [
        "auth.secret = 'hunter2",
        "auth.secret = hunter2",
        "auth.secret = [['hunter2']]",
        "api.keys = ['hunter2', 1]",
    ] {
        let error = file(toml).unwrap_err();
        assert!(!error.contains(MARK), "{error}");
    }
}

/// One configuration key of each type, and one key that doesn't exist, as environment variables without `PARLOR__`.
const KEYS: [&str; 8] = [
    "LISTEN",
    "MONGODB__DATABASE",
    "AUTH__ALGORITHMS",
    "AUTH__PUBLIC_KEY",
    "HTTP__ORIGINS",
    "LIMITS__BATCH",
    "LOG__FILTER",
    "X__Y",
];

proptest! {
    #[test]
    fn no_variable_panics(at in 0..KEYS.len(), text in "\\PC{0,40}|[\\x00-\\x7f]{0,20}") {
        if let Err(error) = env(&[(KEYS[at], &text)]) {
            prop_assert!(!error.contains(char::is_control), "{:?}", error);
        }
    }

    #[test]
    fn no_file_panics(toml in "((\\[[a-z.]{0,8}\\]|[a-z.\"]{0,9} ?= ?[\\[\\]0-9a-z\"'{}=,.]{0,9})\n){0,4}") {
        if let Err(error) = file(&toml) {
            prop_assert!(!error.contains(char::is_control), "{:?}", error);
        }
    }
}
