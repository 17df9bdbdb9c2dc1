//! Tests of valid configurations and their values.

pub(crate) mod functions;
pub(crate) mod hooks;
mod reference;
pub(crate) mod refusals;

use std::io::Write;

use jsonwebtoken::Algorithm;

use super::*;

fn long(start: &str) -> String {
    format!("{start}{}", "x".repeat(40))
}

fn env(variables: &[(&str, &str)]) -> Result<Config, String> {
    load(None, variables)
}

fn file(toml: &str) -> Result<Config, String> {
    load(Some(toml), &[])
}

/// Loads a configuration. In an error text, `x.toml` replaces the path of the temporary file.
fn load(toml: Option<&str>, variables: &[(&str, &str)]) -> Result<Config, String> {
    let variables = variables.iter().map(|(name, text)| (format!("PARLOR__{name}"), (*text).to_owned()));
    let Some(toml) = toml else {
        return Config::load(None, variables).map_err(|error| error.to_string());
    };
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(toml.as_bytes()).unwrap();
    let path = file.path().to_str().unwrap();
    Config::load(Some(file.path()), variables).map_err(|error| error.to_string().replace(path, "x.toml"))
}

#[test]
fn the_defaults_stand_by_themselves() {
    let config = env(&[]).unwrap();
    assert_eq!(config.listen.to_string(), "127.0.0.1:8001");
    assert!(config.mongodb.uri.is_none() && config.mongodb.mongod.is_none());
    assert!(config.auth.secret.is_none() && config.auth.public_key.is_none());
    assert!(
        config.auth.algorithms.is_empty() && config.api.keys.is_empty() && config.http.origins.is_empty()
    );
    assert_eq!((config.limits.text_chars, config.limits.frame_bytes), (4_096, 65_536));
    assert_eq!(config.limits.write, Duration::from_secs(10));
    assert_eq!(
        (config.sockets.ping, config.sockets.dead),
        (Duration::from_secs(25), Duration::from_secs(20))
    );
    assert_eq!(config.feed.heartbeat, Duration::from_secs(1));
    assert_eq!((config.page.enabled, config.log.format), (PageEnabled::Auto, LogFormat::Text));
    assert_eq!(file("").unwrap().limits.batch, 500);
    assert_eq!(file("[limits]\n[auth]\n").unwrap().limits.batch, 500);
}

#[test]
fn action_limits_may_be_overridden() {
    let declared = |action: &str| handlers::Action::named(action).unwrap().spec.limits;
    let limits = env(&[]).unwrap().actions;
    assert_eq!(limits.len(), handlers::ACTIONS.len());
    assert!(limits.iter().all(|(action, limits)| *limits == declared(action)), "{limits:?}");

    let toml = "[actions.send]\nper_minute = 7\nmax_bytes = 100\nmax_in_flight = 3\n";
    let variables = [
        ("ACTIONS__SEND__PER_MINUTE", "9"),
        ("ACTIONS__EDIT__BURST", "2"),
        ("ACTIONS__EDIT__TIMEOUT_MS", "50"),
    ];
    let limits = load(Some(toml), &variables).unwrap().actions;
    let send =
        handlers::Limits { per_minute: Some(9), max_bytes: Some(100), max_in_flight: 3, ..declared("send") };
    let edit = handlers::Limits { burst: Some(2), timeout_ms: Some(50), ..declared("edit") };
    assert_eq!((limits["send"], limits["edit"], limits["delete"]), (send, edit, declared("delete")));
}

#[test]
fn traces_take_the_feature_and_a_url() {
    let refused = env(&[("TRACES__OTLP", "localhost:4318")]).unwrap_err();
    assert!(refused.starts_with("traces.otlp: ") && refused.ends_with("(PARLOR__TRACES__OTLP)"), "{refused}");
    let url = env(&[("TRACES__OTLP", "http://127.0.0.1:4318")]);
    assert_eq!(url.is_ok(), cfg!(feature = "otlp"), "{url:?}");
}

#[test]
fn environment_overrides_the_file_and_the_file_the_defaults() {
    let toml = "listen = '[::1]:0'\nlimits.batch = 0x10\n[feed]\nheartbeat_ms = 1_500\n";
    let config = load(Some(toml), &[("LIMITS__BATCH", " 7 "), ("FEED__STALE_MS", "2001")]).unwrap();
    assert_eq!(config.listen.to_string(), "[::1]:0");
    assert_eq!(config.limits.batch, 7);
    assert_eq!(
        (config.feed.heartbeat, config.feed.stale),
        (Duration::from_millis(1_500), Duration::from_millis(2_001))
    );
    assert_eq!(config.limits.text_chars, 4_096);
}

#[test]
fn a_stream_is_overdue_a_second_after_its_heartbeat_by_default() {
    for (settings, ms) in [
        (&[][..], 2_000),
        (&[("FEED__HEARTBEAT_MS", "100")], 1_100),
        (&[("FEED__HEARTBEAT_MS", "100"), ("FEED__STALE_MS", "500")], 500),
        (&[("FEED__OVERDUE_MS", "4000")], 4_000),
    ] {
        assert_eq!(env(settings).unwrap().feed.overdue, Duration::from_millis(ms), "{settings:?}");
    }
}

#[test]
fn the_environment_can_say_it_all() {
    let keys = format!(" {} , {} ", long("a"), long("b"));
    let digits = "1".repeat(32);
    let config = env(&[
        ("LISTEN", "0.0.0.0:80"),
        ("MONGODB__URI", "mongodb+srv://a:b@example.com/"),
        ("MONGODB__DATABASE", "chat"),
        ("MONGODB__DATA_DIR", "/var/lib/parlor"),
        ("AUTH__SECRET", &digits),
        ("AUTH__PUBLIC_KEY", ""),
        ("AUTH__ALGORITHMS", "HS512, HS256"),
        ("AUTH__ISSUER", "app"),
        ("AUTH__AUDIENCE", "12"),
        ("AUTH__USER_CLAIM", "sub"),
        ("AUTH__EMAIL_CLAIM", "mail"),
        ("API__KEYS", &keys),
        ("HTTP__ORIGINS", "https://App.example.com:443,http://localhost:3000"),
        ("LIMITS__TEXT_CHARS", "10"),
        ("LIMITS__FRAME_BYTES", "1000"),
        ("LIMITS__FRAMES_PER_MINUTE", "11"),
        ("LIMITS__MESSAGES_PER_MINUTE", "12"),
        ("LIMITS__SOCKETS_PER_USER", "13"),
        ("LIMITS__SOCKETS", "14"),
    ])
    .unwrap();
    assert_eq!(config.listen.to_string(), "0.0.0.0:80");
    assert_eq!(config.mongodb.uri.unwrap().expose(), "mongodb+srv://a:b@example.com/");
    assert_eq!(
        (config.mongodb.database.as_str(), config.mongodb.data_dir),
        ("chat", "/var/lib/parlor".into())
    );
    assert_eq!(config.auth.secret.unwrap().expose(), digits);
    assert_eq!(config.auth.public_key, None);
    assert_eq!(config.auth.algorithms, [Algorithm::HS512, Algorithm::HS256]);
    assert_eq!((config.auth.issuer.as_deref(), config.auth.audience.as_deref()), (Some("app"), Some("12")));
    assert_eq!((config.auth.user_claim.as_str(), config.auth.email_claim.as_str()), ("sub", "mail"));
    assert_eq!(config.api.keys.iter().map(Secret::expose).collect::<Vec<_>>(), [long("a"), long("b")]);
    assert_eq!(config.http.origins, ["https://app.example.com", "http://localhost:3000"]);
    let limits = config.limits;
    assert_eq!((limits.text_chars, limits.frame_bytes, limits.sockets), (10, 1_000, 14));
    assert_eq!((limits.frames_per_minute, limits.messages_per_minute, limits.sockets_per_user), (11, 12, 13));

    let emptied = load(Some("http.origins = ['https://a.example']"), &[("HTTP__ORIGINS", " ")]).unwrap();
    assert!(emptied.http.origins.is_empty());
}

#[test]
fn unrelated_environment_variables_are_ignored() {
    let others = [("PARLOR_LIMITS__BATCH", "x"), ("parlor__limits__batch", "x"), ("PATH", "/bin")];
    assert!(Config::load(None, others.map(|(name, text)| (name.to_owned(), text.to_owned()))).is_ok());
}

#[test]
fn configuration_numbers_are_bounded() {
    let defaults: toml::Table = include_str!("../../../config/default.toml").parse().unwrap();
    let sections = defaults.iter().filter_map(|(name, value)| Some((name, value.as_table()?)));
    let numbers: Vec<_> = sections
        .flat_map(|(section, keys)| keys.iter().map(move |(key, value)| (section, key, value)))
        .filter(|(_, _, value)| value.is_integer())
        .collect();
    assert!(numbers.len() > 15);
    for (section, key, _) in numbers {
        let name = format!("{section}__{key}").to_uppercase();
        for text in ["-1", "9999999999", "99999999999999999999", "x", "", "1.5", "1\n2"] {
            let error = env(&[(&name, text)]).unwrap_err();
            assert!(error.starts_with(&format!("{section}.{key}: ")), "{error}");
            assert!(error.ends_with(&format!("(PARLOR__{name})")), "{error}");
        }
        // Only the keys in this list accept zero. The comment of each key in default.toml says what
        // zero means.
        let may_be_zero = section != "admin"
            && matches!(
                key.as_str(),
                "drain_seconds"
                    | "discard_bytes"
                    | "grace_ms"
                    | "idle_instances"
                    | "connections_per_address"
                    | "max_lifetime_seconds"
                    | "max_tries"
                    | "min_bytes_per_second"
                    | "overdue_ms"
                    | "probe_ms"
                    | "unread_text_bytes"
            );
        assert_eq!(env(&[(&name, "0")]).is_ok(), may_be_zero, "{key}");
    }
}
