//! TLS in the server itself: sockets and answers over TLS, and a certificate that is renewed while sockets are open.

use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::sync::Arc;

use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::crypto::aws_lc_rs::default_provider;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::{WebSocketStream, client_async};

use crate::support::{Database, Home, Metered, PATIENCE, Server, chat, eventually, free_port, matches};

/// A self-signed certificate of localhost, and its key.
pub(super) struct Pair {
    pub(super) certificate: String,
    pub(super) key: String,
    pub(super) der: CertificateDer<'static>,
}

impl Pair {
    pub(super) fn new() -> Self {
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let der = made.cert.der().clone();
        Self { certificate: made.cert.pem(), key: made.signing_key.serialize_pem(), der }
    }
}

/// The server's certificate files.
pub(super) struct Files {
    dir: TempDir,
}

impl Files {
    pub(super) fn new(pair: &Pair) -> Self {
        let files = Self { dir: tempfile::tempdir().unwrap() };
        files.write("certificate.pem", &pair.certificate);
        files.write("key.pem", &pair.key);
        files
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Replaces a file by a rename, as a certificate renewal does. The server never sees a half-written file.
    pub(super) fn write(&self, name: &str, text: &str) {
        let new = self.path("new");
        fs::write(&new, text).unwrap();
        fs::set_permissions(&new, fs::Permissions::from_mode(0o600)).unwrap();
        fs::rename(new, self.path(name)).unwrap();
    }

    pub(super) fn settings(&self) -> [(&'static str, String); 2] {
        let path = |name| self.path(name).to_str().unwrap().to_owned();
        [("TLS__CERTIFICATE", path("certificate.pem")), ("TLS__KEY", path("key.pem"))]
    }
}

/// Starts a server without TLS, for making rooms, and a server with TLS on the same database.
async fn servers(files: &Files, overrides: &[(&str, &str)]) -> (Server, Server) {
    let plain = Server::start(&[]).await;
    plain.room(&[1, 2]).await;
    let own = files.settings();
    let own = own.iter().map(|(key, value)| (*key, value.as_str()));
    let settings: Vec<_> = own.chain(overrides.iter().copied()).collect();
    let secure = plain.beside_over(Database::uri(), &settings).await;
    (plain, secure)
}

/// Opens a TLS connection whose client trusts only these certificates.
async fn connect(address: SocketAddr, trusted: &[&Pair]) -> std::io::Result<TlsStream<TcpStream>> {
    let mut roots = RootCertStore::empty();
    for pair in trusted {
        roots.add(pair.der.clone()).unwrap();
    }
    let config = ClientConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let name = ServerName::try_from("localhost").unwrap();
    let made = async {
        let stream = TcpStream::connect(address).await?;
        TlsConnector::from(Arc::new(config)).connect(name, stream).await
    };
    timeout(PATIENCE, made).await.expect("a handshake ends in time")
}

type Socket = WebSocketStream<TlsStream<TcpStream>>;

/// Opens a socket of user 1 and reads its history.
async fn open(server: &Server, pair: &Pair) -> Socket {
    let stream = connect(server.address(), &[pair]).await.unwrap();
    let mut request = "wss://localhost/ws/chat/?firts_user=1&second_user=2/".into_client_request().unwrap();
    let offer = format!("Bearer, {}", server.token(1).sign());
    request.headers_mut().insert("sec-websocket-protocol", offer.parse().unwrap());
    let (mut socket, _) = timeout(PATIENCE, client_async(request, stream)).await.unwrap().unwrap();
    assert!(next(&mut socket).await.is_array());
    socket
}

async fn next(socket: &mut Socket) -> Value {
    loop {
        let message = timeout(PATIENCE, socket.next()).await.expect("a frame comes in time");
        if let Message::Text(text) = message.unwrap().unwrap() {
            return serde_json::from_str(&text).unwrap();
        }
    }
}

async fn say(socket: &mut Socket, id: i64, text: &str) {
    socket.send(Message::text(json!({"action": "send", "message": text}).to_string())).await.unwrap();
    let expected = chat(id, 1, text);
    let heard = next(socket).await;
    assert!(matches(&expected, &heard), "expected {expected}, heard {heard}");
}

/// Returns the whole answer to a GET over TLS.
async fn get(server: &Server, pair: &Pair, path: &str) -> String {
    let mut stream = connect(server.address(), &[pair]).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    // If the server ends the connection without TLS's closing message, the read fails, but the answer is complete.
    let _ = timeout(PATIENCE, stream.read_to_end(&mut answer)).await.expect("the answer ends in time");
    String::from_utf8(answer).unwrap()
}

#[tokio::test]
async fn sockets_and_answers_go_over_tls() {
    let pair = Pair::new();
    let files = Files::new(&pair);
    let settings = [("HTTP__REQUEST_MS", "300"), ("SOCKETS__PING_SECONDS", "1")];
    let (_plain, secure) = servers(&files, &settings).await;
    let answer = get(&secure, &pair, "/healthz").await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert!(answer.contains("strict-transport-security: max-age=31536000\r\n"), "{answer}");

    let mut socket = open(&secure, &pair).await;
    say(&mut socket, 1, "over TLS").await;
    // The client sends nothing for longer than `http.request_ms`, until the server pings it. This limit is for HTTP
    // requests, so it must not close the socket.
    let ping = async { while !matches!(socket.next().await.unwrap().unwrap(), Message::Ping(_)) {} };
    timeout(PATIENCE, ping).await.expect("a quiet socket is asked");
    say(&mut socket, 2, &"long ".repeat(800)).await;

    secure.shut_down();
    let close = loop {
        let heard = timeout(PATIENCE, socket.next()).await.unwrap().unwrap().unwrap();
        if let Message::Close(close) = heard {
            break close;
        }
    };
    assert_eq!(u16::from(close.unwrap().code), 1012);
}

#[tokio::test]
async fn plain_http_is_not_served_on_a_tls_port() {
    let pair = Pair::new();
    let files = Files::new(&pair);
    let (_plain, secure) = servers(&files, &[("HTTP__REQUEST_MS", "300")]).await;
    let stranger = Pair::new();
    assert!(connect(secure.address(), &[&stranger]).await.is_err(), "it shows its own certificate");
    for bytes in [&b""[..], b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n", b"\x16\x03\x01"] {
        let mut stream = TcpStream::connect(secure.address()).await.unwrap();
        stream.write_all(bytes).await.unwrap();
        let mut answer = Vec::new();
        let _ = timeout(PATIENCE, stream.read_to_end(&mut answer)).await.expect("it is given up in time");
        assert!(!answer.starts_with(b"HTTP/"), "{answer:?}");
    }
    assert!(get(&secure, &pair, "/healthz").await.starts_with("HTTP/1.1 200"));
}

#[tokio::test]
async fn a_certificate_is_renewed_under_live_sockets() {
    let (old, new) = (Pair::new(), Pair::new());
    let files = Files::new(&old);
    let metered = Metered::new();
    let (_plain, secure) = servers(&files, &[("TLS__WATCH_MS", "10"), metered.setting()]).await;
    let mut socket = open(&secure, &old).await;

    // The renewal renames two files. After this first rename, the certificate is new and the key is old, so they don't
    // match.
    files.write("certificate.pem", &new.certificate);
    let faults = async || metered.sample("parlor_faults_total{place=\"certificate\"}").await;
    eventually("the mismatch is counted at each look", faults, |count| *count >= 3).await;
    assert!(get(&secure, &old, "/healthz").await.starts_with("HTTP/1.1 200"));

    files.write("key.pem", &new.key);
    let connected = async || connect(secure.address(), &[&new]).await.is_ok();
    eventually("the new certificate is shown", connected, |connected| *connected).await;
    assert!(connect(secure.address(), &[&old]).await.is_err());
    say(&mut socket, 1, "still here").await;
    open(&secure, &new).await;
}

#[tokio::test]
async fn files_that_are_no_pair_refuse_to_start() {
    let (pair, other) = (Pair::new(), Pair::new());
    let files = Files::new(&pair);
    let home = Home::new().await;
    let settings = files.settings();
    let [certificate, key] = [&settings[0].1, &settings[1].1];
    files.write("other.pem", &other.key);
    files.write("empty.pem", "");
    let [open, loose] = [("open.pem", 0o644), ("loose.pem", 0o660)].map(|(name, mode)| {
        files.write(name, &pair.key);
        fs::set_permissions(files.path(name), fs::Permissions::from_mode(mode)).unwrap();
        files.path(name).to_str().unwrap().to_owned()
    });
    let other = files.path("other.pem").to_str().unwrap().to_owned();
    let empty = files.path("empty.pem").to_str().unwrap().to_owned();
    for (certificate, key, fault) in [
        (&**certificate, "", "tls.certificate: must be given with tls.key"),
        ("", &**key, "tls.key: must be given with tls.certificate"),
        (certificate, &other, "tls.key: can't be used with tls.certificate"),
        (certificate, &empty, "tls.key: holds no private key in PEM"),
        (certificate, certificate, "tls.key: holds no private key in PEM"),
        (&empty, key, "tls.certificate: holds no certificate in PEM"),
        (key, key, "tls.certificate: holds no certificate in PEM"),
        (certificate, "/no/such.pem", "tls.key: the file can't be read"),
        (
            certificate,
            &open,
            "tls.key: the file holds a secret that every user can read (mode 0644): run `chmod 600",
        ),
        (certificate, &loose, "tls.key: the file can be changed by other users (mode 0660): look"),
        (&loose, key, "tls.certificate: the file can be changed by other users (mode 0660): look"),
    ] {
        let refused =
            home.run_with(&[("TLS__CERTIFICATE", certificate), ("TLS__KEY", key)], &["check"]).await;
        assert!(refused.refused().contains(fault), "{refused:#?}");
        assert!(!refused.err.contains("PRIVATE KEY"), "{refused:#?}");
    }
}

#[tokio::test]
async fn health_is_asked_at_the_admin_listener_where_there_is_tls() {
    let pair = Pair::new();
    let files = Files::new(&pair);
    let admin = format!("127.0.0.1:{}", free_port());
    let mut home = Home::new().await;
    for (key, value) in files.settings() {
        home = home.set(key, &value);
    }
    let without = home.run(&["health"]).await;
    assert!(without.refused().contains("admin.listen"), "{without:#?}");
    let home = home.set("ADMIN__LISTEN", &admin);
    let server = home.start(&[], " https://").await;
    assert_eq!(home.run(&["health"]).await.printed(), "");
    server.stop().await;
}
