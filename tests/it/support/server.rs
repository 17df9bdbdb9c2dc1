//! A Parlor server that a test runs in the test process, on a database of its own.

pub(super) mod api;
mod backend;
pub(super) mod described;
pub(super) mod others;

use std::net::SocketAddr;
use std::sync::Arc;

use mongodb::bson::Document;
use parlor::config::Config;
use reqwest::Method;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::mongo::Database;
use super::transcript::Transcript;
use super::{Client, Dial, PATIENCE, Token, encoded, eventually_within};

/// The signing key: the tests sign users' tokens with it, as an application does.
const SECRET: &str = "a secret of the tests, at least 32 bytes long";

/// The service key of the HTTP API in the tests.
pub(crate) const API_KEY: &str = "an-api-key-of-the-tests-at-least-32-characters";

/// Settings with limits so high that tests don't hit them. A test of a limit sets that limit itself.
const DEFAULTS: [(&str, &str); 7] = [
    ("ADMIN__LISTEN", ""),
    ("LIMITS__FRAMES_PER_MINUTE", "1000000"),
    ("LIMITS__MESSAGES_PER_MINUTE", "1000000"),
    ("LIMITS__SOCKETS_PER_USER", "1000"),
    ("SHUTDOWN__DRAIN_SECONDS", "5"),
    ("AUTH__SECRET", SECRET),
    ("API__KEYS", API_KEY),
];

/// A running server. Dropping this value stops the server. When the last server of a database is dropped, the database
/// is dropped, too.
pub(crate) struct Server {
    address: SocketAddr,
    shutdown: CancellationToken,
    task: JoinHandle<()>,
    http: reqwest::Client,
    secret: String,
    database: Arc<Database>,
    transcript: Transcript,
}

impl Server {
    /// Starts a server on a new database. `overrides` are settings in the form of environment variables, without the
    /// prefix `PARLOR__`.
    pub(crate) async fn start(overrides: &[(&str, &str)]) -> Self {
        Self::run(overrides, Database::uri(), Arc::new(Database::new()), Transcript::new()).await
    }

    /// Starts a server on a new database, which the server reaches by this URI.
    pub(crate) async fn start_over(uri: &str, overrides: &[(&str, &str)]) -> Self {
        Self::run(overrides, uri, Arc::new(Database::new()), Transcript::new()).await
    }

    /// Starts another server on the same database.
    pub(crate) async fn beside(&self) -> Self {
        self.beside_with(&[]).await
    }

    /// Starts another server on the same database, with other settings.
    pub(crate) async fn beside_with(&self, overrides: &[(&str, &str)]) -> Self {
        Self::run(overrides, Database::uri(), Arc::clone(&self.database), self.transcript.clone()).await
    }

    async fn run(
        overrides: &[(&str, &str)],
        uri: &str,
        database: Arc<Database>,
        transcript: Transcript,
    ) -> Self {
        let own = [("MONGODB__URI", uri), ("MONGODB__DATABASE", &database.name)];
        let settings =
            DEFAULTS.iter().chain(&own).filter(|(key, _)| !overrides.iter().any(|(o, _)| o == key));
        let settings = settings.chain(overrides);
        let secret =
            settings.clone().find(|(key, _)| *key == "AUTH__SECRET").map_or("", |(_, secret)| secret);
        let settings = settings.map(|(key, value)| (format!("PARLOR__{key}"), (*value).to_owned()));
        let config = Config::load(None, settings.collect::<Vec<_>>())
            .unwrap_or_else(|error| panic!("configuration: {error}"));

        log_with_the_output();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let shutdown = CancellationToken::new();
        let serve = parlor::serve(config, listener, shutdown.clone());
        let noted = transcript.clone();
        let task = tokio::spawn(async move {
            if let Err(error) = serve.await {
                noted.note("server", "!!", &format!("ended: {error}"));
            }
        });
        Self {
            address,
            shutdown,
            task,
            http: reqwest::Client::new(),
            secret: secret.to_owned(),
            database,
            transcript,
        }
    }

    /// Tells the server to shut down, as SIGTERM does.
    pub(crate) fn shut_down(&self) {
        self.shutdown.cancel();
    }

    /// Waits until the server has shut down.
    pub(crate) async fn ended(&mut self) {
        let Ok(ended) = timeout(PATIENCE, &mut self.task).await else {
            panic!("the server still runs {PATIENCE:?} after it was told to end")
        };
        ended.unwrap();
    }

    /// Returns a token of this user that the server accepts. It is not signed yet.
    pub(crate) fn token(&self, user: impl Into<Value>) -> Token {
        Token::of(&self.secret, user)
    }

    /// Returns a handshake for this target, without a token. It is not sent yet.
    pub(crate) fn dial(&self, target: &str) -> Dial {
        Dial::new(self.address, target, self.transcript.clone())
    }

    /// Returns a handshake for `/ws/chat/` with this query and a valid token of the user. It is not sent yet.
    pub(crate) fn dial_as(&self, user: impl Into<Value>, query: &str) -> Dial {
        let user = user.into();
        let token = self.token(user.clone()).sign();
        self.dial(&format!("/ws/chat/?{query}")).called(format!("user {user}")).token(&token)
    }

    /// Opens a socket of `user` in the direct room with `peer`. Its first frame, the history, is not read yet.
    pub(crate) async fn connect(&self, user: impl Into<Value>, peer: impl Into<Value>) -> Client {
        let (user, peer) = (user.into(), peer.into());
        let id = |id: &Value| encoded(id.as_str().unwrap_or(&id.to_string()));
        let query = format!("firts_user={}&second_user={}/", id(&user), id(&peer));
        self.dial_as(user, &query).open().await
    }

    /// Opens a socket of `user` in the direct room with `peer`, and reads its history.
    pub(crate) async fn join(&self, user: impl Into<Value>, peer: impl Into<Value>) -> Client {
        let mut client = self.connect(user, peer).await;
        client.history().await;
        client
    }

    /// Opens a socket of `user` in the room with this id, and reads its history.
    pub(crate) async fn enter(&self, user: i64, room: i64) -> Client {
        let mut client = self.dial_as(user, &format!("room_id={room}")).open().await;
        client.history().await;
        client
    }

    /// Makes a room of these users, or finds their direct room. Each user's email is `user<id>@example.com`. Returns
    /// the room's id.
    pub(crate) async fn room(&self, users: &[i64]) -> i64 {
        let member = |user: &i64| json!({"user_id": user, "email": format!("user{user}@example.com")});
        self.room_of(users.iter().map(member).collect()).await
    }

    /// Makes a room of members in the form of the API, and returns the room's id.
    pub(crate) async fn room_of(&self, members: Vec<Value>) -> i64 {
        let (status, body) = self.post_room(Some(API_KEY), &json!({"members": members}).to_string()).await;
        assert!(status == 201 || status == 200, "POST /api/v1/rooms answered {status} {body}");
        body["room_id"].as_i64().unwrap_or_else(|| panic!("no room_id in {body}"))
    }

    /// Sends `POST /api/v1/rooms` with any body. Returns the status and the JSON body, or `null` if the answer is no
    /// JSON.
    pub(crate) async fn post_room(&self, key: Option<&str>, body: &str) -> (u16, Value) {
        let (status, _, body) = self.request(Method::POST, "/api/v1/rooms", key, body).await;
        (status, serde_json::from_str(&body).unwrap_or_default())
    }

    /// Sends a request. Returns the status, the content type and the body of the answer.
    pub(crate) async fn request(
        &self,
        method: Method,
        path: &str,
        key: Option<&str>,
        body: &str,
    ) -> (u16, String, String) {
        let mut request = self.http.request(method.clone(), format!("http://{}{path}", self.address));
        if method == Method::POST {
            request = request.header("content-type", "application/json").body(body.to_owned());
        }
        if let Some(key) = key {
            request = request.header("authorization", format!("Bearer {key}"));
        }
        self.transcript.note("http", "->", &format!("{method} {path} {body}"));
        let answer = timeout(PATIENCE, async {
            let response = request.send().await.unwrap();
            let kind = response.headers().get("content-type").map(|kind| kind.to_str().unwrap().to_owned());
            (response.status().as_u16(), kind.unwrap_or_default(), response.text().await.unwrap())
        });
        let Ok(answer) = answer.await else { panic!("{method} {path}: no answer within {PATIENCE:?}") };
        self.transcript.note("http", "<-", &format!("{} {} {}", answer.0, answer.1, answer.2));
        let (status, kind, body) = (answer.0, answer.1.as_str(), Some(answer.2.as_str()));
        described::assert_described(&method, path, &described::Answer { status, kind, body });
        answer
    }

    /// Repeats a `GET` until it is answered with this status.
    pub(crate) async fn until_status(&self, path: &str, status: u16) {
        let what = format!("GET {path} is answered with {status}");
        let answered = async || self.get(path).await;
        eventually_within(4 * PATIENCE, &what, answered, |answered| *answered == status).await;
    }

    /// Sends a `GET`, and returns the status.
    pub(crate) async fn get(&self, path: &str) -> u16 {
        self.request(Method::GET, path, None, "").await.0
    }

    /// Returns a collection of the server's database, for changes that no client can make.
    pub(crate) async fn collection(&self, name: &str) -> mongodb::Collection<Document> {
        let client = mongodb::Client::with_uri_str(Database::uri()).await.unwrap();
        client.database(&self.database.name).collection(name)
    }
}

/// Prints warnings and errors of servers together with the output of their test. `RUST_LOG` sets another level.
fn log_with_the_output() {
    let level = std::env::var("RUST_LOG").unwrap_or_else(|_| "warn".to_owned());
    // The first test installs the logger. In the other tests this call fails, as expected.
    let _ = tracing_subscriber::fmt().with_env_filter(level).with_ansi(false).with_test_writer().try_init();
}

impl Drop for Server {
    fn drop(&mut self) {
        self.shutdown.cancel();
    }
}
