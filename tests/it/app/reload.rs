//! SIGHUP, the signal by which a running server reads its configuration again. The tests check the changes that the
//! server applies, the changes that it refuses, and its log lines.

use std::fs;
use std::time::{Duration, Instant};

use jsonwebtoken::Algorithm;
use serde_json::json;
use tokio::time::timeout;

use crate::support::{
    Database, Home, Issuer, IssuerReply, Lines, PATIENCE, Process, RawConnection, Receiver, ReceiverReply,
    Serving, Signer, Token, chat, error, free_port,
};

const ONE: &str = "the first secret of these tests, 32 bytes long";
const TWO: &str = "the second secret of these tests, as long as that";
const QUERY: &str = "firts_user=1&second_user=2/";

/// If an event stream of the API has no event for this time, the server writes an empty line.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// The beginnings of the log lines of a reload. The first line says that the configuration was applied, the second that
/// it was refused, and the third that changed keys need a restart.
const TAKEN: &str = "the configuration was reloaded changed=";
const KEPT: &str = "could not apply the new configuration; keeping the current one error=";
const RESTART: &str = "these keys need a restart; keeping their current values keys=";

/// The Parlor program with its settings in a file, and with its own database.
struct Case {
    home: Home,
    _database: Database,
    server: Serving,
}

impl Case {
    async fn start(settings: &str) -> Self {
        let database = Database::new();
        let home = Home::new()
            .await
            .set("MONGODB__URI", Database::uri())
            .set("MONGODB__DATABASE", &database.name)
            .set("ADMIN__LISTEN", &format!("127.0.0.1:{}", free_port()));
        fs::write(home.path().join("settings.toml"), settings).unwrap();
        let arguments = ["--config", "settings.toml"];
        let server = home.start(&arguments, "serving on http://").await;
        let made = home.run(&[&arguments[..], &["room", "--members", "1,2"]].concat()).await;
        assert_eq!(made.printed(), "1");
        Self { home, _database: database, server }
    }

    /// Writes the configuration file, lets the server reload it, and waits for a log line with `words`. Returns the
    /// rest of that line after `words`.
    async fn reload(&self, settings: &str, words: &str) -> String {
        fs::write(self.home.path().join("settings.toml"), settings).unwrap();
        self.server.reload(words).await
    }

    async fn refusal(&self, token: &str) -> Option<u16> {
        self.server.dial(QUERY, token).open().await.refused_or_history().await
    }
}

fn secret(secret: &str, more: &str) -> String {
    format!("[auth]\nsecret = \"{secret}\"\n{more}")
}

#[tokio::test]
async fn reload_adds_and_removes_the_before_send_hook() {
    let receiver = Receiver::start(|_| ReceiverReply::Ok(r#"{"reject":"no"}"#.to_owned())).await;
    let case = Case::start(&secret(ONE, "")).await;
    let mut one = case.server.dial(QUERY, &Token::of(ONE, 1).sign()).open().await;
    one.history().await;
    one.say_alone(1, 1, "unasked").await;
    let hook = format!("[hooks.before_send]\nurl = \"{}\"\n", receiver.url("/"));
    let told = case.reload(&secret(ONE, &hook), TAKEN).await;
    assert!(told.contains("hooks.before_send.url"), "{told}");
    one.say("asked").await;
    one.expect(error("rejected", Some("send"))).await;
    case.reload(&secret(ONE, ""), TAKEN).await;
    one.say_alone(2, 1, "unasked").await;
    receiver.asked(1).await;
}

#[tokio::test]
async fn reload_adds_and_changes_the_message_hook() {
    let (first, second) = (
        Receiver::start(|_| ReceiverReply::Ok(String::new())).await,
        Receiver::start(|_| ReceiverReply::Ok(String::new())).await,
    );
    let case = Case::start(&secret(ONE, "")).await;
    let mut one = case.server.dial(QUERY, &Token::of(ONE, 1).sign()).open().await;
    one.history().await;
    one.say_alone(1, 1, "untold").await;
    for (id, receiver) in [(2, &first), (3, &second)] {
        let hook = format!("[hooks.after_send]\nurl = \"{}\"\n", receiver.url("/"));
        let told = case.reload(&secret(ONE, &hook), TAKEN).await;
        assert!(told.contains("hooks.after_send.url"), "{told}");
        one.say_alone(id, 1, "told").await;
        let body = receiver.asked(1).await[0].json();
        assert_eq!((&body["type"], &body["message_id"]), (&json!("sent"), &json!(id)), "{body}");
    }
    first.asked(1).await;
}

#[tokio::test]
async fn limits_change_for_who_is_connected() {
    let case = Case::start(&secret(ONE, "[limits]\ntext_chars = 5\n")).await;
    let mut one = case.server.dial(QUERY, &Token::of(ONE, 1).sign()).open().await;
    one.history().await;
    one.say("longer").await;
    assert_eq!(one.next().await["code"], "invalid_request");

    let told = case.reload(&secret(ONE, "[limits]\ntext_chars = 6\nsockets = 1\n"), TAKEN).await;
    assert_eq!(told, "\"limits.sockets, limits.text_chars\"");
    one.say("longer").await;
    one.expect(chat(1, 1, "longer")).await;
    // The limit `sockets` is now 1, and one socket is open. This socket stays open, but a new socket is refused.
    let dial = case.server.dial(QUERY, &Token::of(ONE, 1).sign());
    assert_eq!(dial.rejected().await, 503);

    case.reload(&secret(ONE, "[limits]\nframes_per_minute = 2\n"), &format!("{TAKEN}\"limits.frames")).await;
    for n in 2..4 {
        one.say("a frame").await;
        one.expect(chat(n, 1, "a frame")).await;
    }
    one.say("a frame").await;
    assert_eq!(one.next().await["code"], "rate_limited");

    // A reload also changes the limit of a single action. The change of `frames_per_minute` gives each user the full
    // quota of a minute.
    let actions = "[actions.send]\nmax_bytes = 60\n[limits]\nframes_per_minute = 1000\n";
    case.reload(&secret(ONE, actions), &format!("{TAKEN}\"actions.send.max_bytes, ")).await;
    one.say(&"x".repeat(60)).await;
    assert_eq!(one.next().await["code"], "invalid_request");
    one.say("a frame").await;
    one.expect(chat(4, 1, "a frame")).await;
    case.server.stop().await;
}

#[tokio::test]
async fn sockets_end_when_the_rules_for_tokens_get_stricter() {
    let case = Case::start(&secret(ONE, "[auth.require]\ntenant = \"a\"\n")).await;
    let a = Token::of(ONE, 1).with("tenant", "a").sign();
    let both = Token::of(ONE, 1).with("tenant", "a").with("chat", true).sign();
    let mut one = case.server.dial(QUERY, &a).open().await;
    one.history().await;

    // A rule that accepts more leaves the socket open.
    case.reload(
        &secret(ONE, "max_lifetime_seconds = 0\nemail_claim = \"mail\"\n[auth.require]\ntenant = \"a\"\n"),
        TAKEN,
    )
    .await;
    one.say("still here").await;
    one.expect(chat(1, 1, "still here")).await;

    let stricter = "[auth.require]\ntenant = \"a\"\nchat = \"true\"\n";
    case.reload(&secret(ONE, stricter), TAKEN).await;
    assert_eq!(one.closed().await, (4001, "the rules for tokens were changed".to_owned()));
    assert_eq!(case.refusal(&a).await, Some(4001));
    assert_eq!(case.refusal(&both).await, None);
    case.server.stop().await;
}

#[tokio::test]
async fn removed_keys_end_the_sockets_they_opened() {
    let case = Case::start(&secret(ONE, "")).await;
    let (old, new) = (Token::of(ONE, 1).sign(), Token::of(TWO, 1).sign());
    let mut one = case.server.dial(QUERY, &old).open().await;
    one.history().await;
    assert_eq!(case.refusal(&new).await, Some(4001));

    let key = "a-service-key-that-has-32-characters-or-more";
    let told = case.reload(&secret(TWO, &format!("[api]\nkeys = [\"{key}\"]\n")), TAKEN).await;
    assert_eq!(told, "\"api.keys, auth.secret\"");
    assert_eq!(case.refusal(&new).await, None);
    assert_eq!(case.refusal(&old).await, Some(4001));
    assert_eq!(one.closed().await, (4001, "the token's key was removed".to_owned()));
    let mut one = case.server.dial(QUERY, &new).open().await;
    one.history().await;

    let pair = json!({"members": [{"user_id": 3}, {"user_id": 4}]}).to_string();
    let post = reqwest::Client::new().post(case.server.url("/api/v1/rooms")).bearer_auth(key);
    let answer = post.header("content-type", "application/json").body(pair).send().await.unwrap();
    assert_eq!(answer.status(), 201);

    // A reload also notices that the content of the key file has changed, although the configured path is the same.
    let set = case.home.path().join("keys.json");
    let write = |signers: &[&Signer]| {
        let keys: Vec<_> = signers.iter().map(|signer| &signer.public).collect();
        fs::write(&set, json!({"keys": keys}).to_string()).unwrap();
    };
    let signers = [Signer::new("a"), Signer::new("b")];
    let token = Token::of("", 1).algorithm(Algorithm::EdDSA);
    let tokens = [0, 1].map(|n: usize| token.sign_named(&signers[n].name, &signers[n].key));
    write(&[&signers[0]]);
    case.reload("[auth]\njwks = \"keys.json\"\n", &format!("{TAKEN}\"api.keys, auth.jwks, auth.secret\""))
        .await;
    assert_eq!((case.refusal(&tokens[0]).await, case.refusal(&tokens[1]).await), (None, Some(4001)));
    assert_eq!(one.closed_in_the_end().await, 4001);
    let [mut one, mut renewed] =
        [case.server.dial(QUERY, &tokens[0]).open().await, case.server.dial(QUERY, &tokens[0]).open().await];
    one.history().await;
    renewed.history().await;
    // An added key closes no socket. A socket can replace its token by a token that the new key has signed.
    write(&[&signers[1], &signers[0]]);
    case.reload("[auth]\njwks = \"keys.json\"\n", &format!("{TAKEN}\"\"")).await;
    one.say("still here").await;
    one.until(chat(1, 1, "still here")).await;
    renewed.send(json!({"action": "auth", "token": tokens[1]})).await;
    renewed.until_kind("auth").await;
    write(&[&signers[1]]);
    case.reload("[auth]\njwks = \"keys.json\"\n", &format!("{TAKEN}\"\"")).await;
    assert_eq!((case.refusal(&tokens[0]).await, case.refusal(&tokens[1]).await), (Some(4001), None));
    assert_eq!(one.closed_in_the_end().await, 4001);
    renewed.say("still here").await;
    renewed.until(chat(2, 1, "still here")).await;
    let log = case.server.stop().await;
    for hidden in [ONE, TWO, key, &old, &new] {
        assert!(!log.contains(hidden), "{log}");
    }
}

/// When a service key is removed, the streams that were opened with this key must end, even if their clients do not
/// read.
#[tokio::test]
async fn removed_service_keys_end_what_they_opened() {
    let keys = ["the-first-service-key-32-characters", "the-second-service-key-32-characters"];
    let both = secret(ONE, &format!("[api]\nkeys = [\"{}\", \"{}\"]\n", keys[0], keys[1]));
    let case = Case::start(&both).await;
    let http = reqwest::Client::new();
    let post = |room: i64, text: String| {
        let message = json!({"sender_id": 1, "text": text});
        let url = case.server.url(&format!("/api/v1/rooms/{room}/messages"));
        http.post(url).bearer_auth(keys[1]).json(&message).send()
    };
    // The messages of room 2 make the export of user 1 larger than the connection's buffers. So the export can't end
    // before the test reads it. In JSON, the character U+0001 takes 6 bytes.
    assert_eq!(
        case.home.run(&["--config", "settings.toml", "room", "--members", "1,3"]).await.printed(),
        "2"
    );
    for _ in 0..10 {
        let posts = (0..70).map(|_| post(2, "\u{1}".repeat(4_000)));
        let posted = futures_util::future::join_all(posts).await;
        assert!(posted.into_iter().all(|answer| answer.unwrap().status() == 201));
    }
    let events = |key: &str| http.get(case.server.url("/api/v1/rooms/1/events")).bearer_auth(key);
    let mut streams = [Lines::of(events(keys[0])).await, Lines::of(events(keys[1])).await];
    for stream in &mut streams {
        assert_eq!(stream.line().await["type"], "history");
    }
    let arguments = ["tail", "--room", "1", "--key", keys[0], "--url", &case.server.url("/")];
    let tail = Process::start("tail", case.home.command(&[], &arguments), Duration::from_secs(5));
    assert_eq!(post(1, "seen".to_owned()).await.unwrap().status(), 201);
    tail.says("seen", PATIENCE).await;
    for stream in &mut streams {
        assert_eq!(stream.line().await["message"]["text"], "seen");
    }
    let mut export = RawConnection::to(case.server.address).await;
    let request = format!(
        "GET /api/v1/users/1/export HTTP/1.1\r\nHost: parlor\r\nAuthorization: Bearer {}\r\nConnection: close\r\n\r\n",
        keys[0]
    );
    export.say(request.as_bytes()).await;
    assert!(export.head().await.starts_with("HTTP/1.1 200"));

    let [mut ended, mut lasting] = streams;
    let one = secret(ONE, &format!("[api]\nkeys = [\"{}\"]\n", keys[1]));
    let reloaded = Instant::now();
    case.reload(&one, &format!("{TAKEN}\"api.keys\"")).await;
    let last = async { while let Ok(Some(_)) = ended.next().await {} };
    timeout(PATIENCE, last).await.expect("the stream of the removed key ends");
    assert!(reloaded.elapsed() < KEEP_ALIVE, "it ended by the next line that it wrote");
    tail.says("a service key is needed", PATIENCE).await;
    let exported = export.heard_out().await;
    assert!(!String::from_utf8_lossy(&exported).contains(r#"{"type":"end""#), "the export was finished");

    assert_eq!(post(1, "by the other".to_owned()).await.unwrap().status(), 201);
    while lasting.line().await["message"]["text"] != "by the other" {}
    case.server.stop().await;
}

#[tokio::test]
async fn a_bad_file_keeps_the_old_one_and_says_why() {
    let good = secret(ONE, "[limits]\ntext_chars = 5\n");
    let case = Case::start(&good).await;
    let token = Token::of(ONE, 1).sign();
    let mut one = case.server.dial(QUERY, &token).open().await;
    one.history().await;
    let away = format!("http://127.0.0.1:{}/keys", free_port());
    for (settings, fault) in [
        (
            format!("{good}batch = \"many\"\n"),
            "limits.batch: takes a whole number, which this string is not (settings.toml, line 5)",
        ),
        (good.replace("text_chars", "text_char"), "limits.text_char: no such key (settings.toml, line 4)"),
        (secret("hunter2", ""), "auth.secret: has fewer than 32 bytes (settings.toml, line 2)"),
        (secret("hunter2", "").replace('=', "= ="), "settings.toml, line 2: not TOML"),
        ("[auth]\njwks = \"none.json\"\n".to_owned(), "auth.jwks: can't be read"),
        (format!("[auth]\njwks = \"{away}\"\n[limits]\ntext_chars = 6\n"), &format!("auth.jwks: {away}")),
    ] {
        case.reload(&settings, &format!("{KEPT}{fault}")).await;
        one.say("longer").await;
        assert_eq!(one.next().await["code"], "invalid_request", "{fault}");
        assert_eq!(case.refusal(&token).await, None, "{fault}");
    }
    fs::remove_file(case.home.path().join("settings.toml")).unwrap();
    case.server.reload(&format!("{KEPT}settings.toml: can't be read")).await;
    // The next valid file is applied.
    case.reload(&secret(ONE, "[limits]\ntext_chars = 6\n"), TAKEN).await;
    one.say("longer").await;
    one.expect(chat(1, 1, "longer")).await;
    let log = case.server.stop().await;
    assert!(!log.contains("hunter2"), "{log}");
}

#[tokio::test]
async fn reload_names_keys_that_need_a_restart() {
    let case = Case::start(&secret(ONE, "")).await;
    let settings =
        format!("listen = \"127.0.0.1:1\"\n{}[limits]\nbatch = 7\ntext_chars = 5\n", secret(ONE, ""));
    let told = case.reload(&settings, RESTART).await;
    // The key `listen` is not named, because an environment variable overrides its value in the file.
    assert_eq!(told, "\"limits.batch\"");
    let mut one = case.server.dial(QUERY, &Token::of(ONE, 1).sign()).open().await;
    one.history().await;
    one.say("longer").await;
    one.expect(error("invalid_request", Some("send"))).await;
    case.server.stop().await;
}

#[tokio::test]
async fn an_issuer_can_come_and_go() {
    let signer = Signer::new("a");
    let issuer = Issuer::start(IssuerReply::Keys(vec![signer.public.clone()])).await;
    let by_issuer = format!("[auth]\ndiscovery = \"{}\"\nrefetch_ms = 10\n", issuer.url());
    let case = Case::start(&secret(ONE, "")).await;
    let own = Token::of(ONE, 1).sign();
    let token = Token::of("", 1).algorithm(Algorithm::EdDSA).with("iss", issuer.url());
    let theirs = token.sign_named("a", &signer.key);
    case.reload(&by_issuer, &format!("{TAKEN}\"auth.discovery, ")).await;
    assert_eq!((case.refusal(&theirs).await, case.refusal(&own).await), (None, Some(4001)));

    // The issuer is now unreachable. The server already has the issuer's keys, so the other settings can change.
    issuer.says(IssuerReply::Nothing);
    case.reload(&format!("{by_issuer}[limits]\ntext_chars = 5\n"), &format!("{TAKEN}\"limits.text_chars\""))
        .await;
    assert_eq!(case.refusal(&theirs).await, None);
    // A second reload without the issuer also works.
    case.reload(&format!("{by_issuer}[limits]\ntext_chars = 6\n"), &format!("{TAKEN}\"limits.text_chars\""))
        .await;
    assert_eq!(case.refusal(&theirs).await, None);

    case.reload(
        &secret(ONE, ""),
        &format!("{TAKEN}\"auth.discovery, auth.refetch_ms, auth.secret, limits.text_chars"),
    )
    .await;
    assert_eq!((case.refusal(&theirs).await, case.refusal(&own).await), (Some(4001), None));
    case.server.stop().await;
}

#[tokio::test]
async fn functions_come_change_and_go_for_who_is_connected() {
    let answering = |text: &'static str| {
        Receiver::start(move |_| ReceiverReply::Ok(json!({"reply": {"by": text}}).to_string()))
    };
    let (first, second) = (answering("first").await, answering("second").await);
    let function = |receiver: &Receiver| {
        secret(ONE, &format!("[functions.translate]\nurl = \"{}\"\n", receiver.url("/")))
    };
    let case = Case::start(&secret(ONE, "")).await;
    let mut one = case.server.dial(QUERY, &Token::of(ONE, 1).sign()).open().await;
    one.history().await;
    one.send(json!({"action": "translate"})).await;
    one.expect(error("unknown_action", Some("translate"))).await;
    let words = [r#""functions.translate.before_send_cpu_ms, "#, r#""functions.translate.url""#];
    for ((receiver, by), words) in [(&first, "first"), (&second, "second")].into_iter().zip(words) {
        case.reload(&function(receiver), &format!("{TAKEN}{words}")).await;
        one.send(json!({"action": "translate"})).await;
        one.expect(json!({"type": "translate", "by": by})).await;
    }
    let bad = secret(ONE, "[functions.send]\nurl = \"http://127.0.0.1:1/\"\n");
    let refused = case.reload(&bad, KEPT).await;
    assert!(refused.contains("functions.send.url: is an action of Parlor's own"), "{refused}");
    one.send(json!({"action": "translate"})).await;
    one.expect(json!({"type": "translate", "by": "second"})).await;
    let none = secret(ONE, "[actions.send]\nmax_bytes = 60\n");
    case.reload(&none, &format!("{TAKEN}\"actions.send.max_bytes, functions.translate.")).await;
    one.send(json!({"action": "translate"})).await;
    one.expect(error("unknown_action", Some("translate"))).await;
    case.server.stop().await;
}
