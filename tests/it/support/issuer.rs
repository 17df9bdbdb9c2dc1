//! An OpenID Connect issuer (a login provider) over real HTTP. It serves the two documents by which Parlor checks the
//! issuer's tokens: the discovery document and the key set.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::EncodingKey;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// A new key pair that signs tokens, and its key id.
pub(crate) struct Signer {
    pub(crate) name: String,
    pub(crate) key: EncodingKey,
    pub(crate) public: Value,
}

impl Signer {
    pub(crate) fn new(name: &str) -> Self {
        let pair = Ed25519KeyPair::generate().unwrap();
        let key = EncodingKey::from_ed_der(pair.to_pkcs8v1().unwrap().as_ref());
        let x = URL_SAFE_NO_PAD.encode(pair.public_key());
        let public = json!({"kty": "OKP", "crv": "Ed25519", "use": "sig", "kid": name, "x": x});
        Self { name: name.to_owned(), key, public }
    }
}

/// An issuer's answer to later requests.
#[derive(Clone)]
pub(crate) enum IssuerReply {
    /// Both documents are valid, and the key set has these keys.
    Keys(Vec<Value>),
    /// The discovery document has these changed fields, and the key set has these keys.
    Discovery(Value, Vec<Value>),
    /// The answer to a request for the key set is this text.
    Raw(String),
    /// The issuer closes each connection without an answer.
    Nothing,
    /// The issuer keeps each connection open without an answer.
    Silence,
}

/// A running issuer. Dropping it ends the issuer.
pub(crate) struct Issuer {
    address: SocketAddr,
    state: Arc<Mutex<State>>,
    task: JoinHandle<()>,
}

struct State {
    says: IssuerReply,
    sets: usize,
    visits: usize,
}

impl Issuer {
    pub(crate) async fn start(says: IssuerReply) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let state = Arc::new(Mutex::new(State { says, sets: 0, visits: 0 }));
        let shared = state.clone();
        let task = tokio::spawn(async move {
            let mut silent = Vec::new();
            while let Ok((stream, _)) = listener.accept().await {
                if matches!(shared.lock().unwrap().says, IssuerReply::Silence) {
                    silent.push(stream);
                    continue;
                }
                tokio::spawn(answer(stream, address, shared.clone()));
            }
        });
        Self { address, state, task }
    }

    /// Returns the issuer's name in tokens, which is also its URL.
    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Returns the URL of the key set.
    pub(crate) fn keys_url(&self) -> String {
        format!("http://{}/keys", self.address)
    }

    /// Sets the issuer's answer to later requests.
    pub(crate) fn says(&self, says: IssuerReply) {
        self.state.lock().unwrap().says = says;
    }

    /// Returns the number of all requests so far.
    pub(crate) fn visits(&self) -> usize {
        self.state.lock().unwrap().visits
    }

    /// Returns the number of requests for the key set so far.
    pub(crate) fn asked(&self) -> usize {
        self.state.lock().unwrap().sets
    }
}

impl Drop for Issuer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Answers one request, and closes the connection. Ignores write errors, because they mean that the client has
/// disconnected.
async fn answer(stream: TcpStream, address: SocketAddr, state: Arc<Mutex<State>>) {
    let mut stream = BufReader::new(stream);
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        if stream.read_line(&mut head).await.unwrap_or(0) == 0 {
            return;
        }
    }
    let answer = {
        let mut state = state.lock().unwrap();
        let says = state.says.clone();
        let wants_keys = head.starts_with("GET /keys ");
        state.sets += usize::from(wants_keys);
        state.visits += 1;
        let mut discovery =
            json!({"issuer": format!("http://{address}"), "jwks_uri": format!("http://{address}/keys")});
        match says {
            IssuerReply::Nothing | IssuerReply::Silence => return,
            IssuerReply::Raw(raw) if wants_keys => raw,
            IssuerReply::Keys(keys) | IssuerReply::Discovery(_, keys) if wants_keys => {
                // Real key sets also hold keys of unknown kinds, and keys that are not for signatures. So this key set
                // holds such keys, and Parlor must ignore them.
                let others = [
                    json!({"kty": "RSA", "use": "enc", "kid": "e", "n": "AQAB", "e": "AQAB"}),
                    json!({"kty": "new"}),
                ];
                let keys: Vec<_> = keys.into_iter().chain(others).collect();
                ok(&json!({ "keys": keys }))
            }
            says if head.starts_with("GET /.well-known/openid-configuration ") => {
                if let IssuerReply::Discovery(Value::Object(changes), _) = says {
                    discovery.as_object_mut().unwrap().extend(changes);
                }
                ok(&discovery)
            }
            _ => "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n".to_owned(),
        }
    };
    let _ = stream.write_all(answer.as_bytes()).await;
    let _ = stream.shutdown().await;
}

fn ok(document: &Value) -> String {
    let body = document.to_string();
    format!(
        "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    )
}
