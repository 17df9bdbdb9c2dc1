//! The application's HTTP server that Parlor calls for functions and hooks: HTTP/1.1, plain or over TLS. The test
//! chooses its answers.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use aws_lc_rs::hmac;
use serde_json::Value;
use tokio::io::{
    AsyncBufRead, AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader,
};
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;

use super::{PATIENCE, now};

/// A request that the receiver got from Parlor.
#[derive(Clone, Debug)]
pub(crate) struct ReceivedRequest {
    /// The method and the target (path and query).
    pub(crate) line: String,
    /// The headers, by their names in lower case.
    pub(crate) headers: HashMap<String, String>,
    pub(crate) body: String,
    /// The number of the connection on which the request came. The first connection has the number 1.
    pub(crate) connection: usize,
}

impl ReceivedRequest {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.body))
    }

    /// Asserts that the request has a valid signature with this secret, as `outbound/signature.rs` describes it.
    pub(crate) fn is_signed_with(&self, secret: &str) {
        let header = &self.headers["parlor-signature"];
        let (time, hex) = header.strip_prefix("t=").and_then(|rest| rest.split_once(",v1=")).expect(header);
        assert!(now().as_secs() - time.parse::<u64>().unwrap() < 60, "{header}");
        let bytes = (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap());
        let key = hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes());
        let signed = format!("{time}.{}", self.body);
        hmac::verify(&key, signed.as_bytes(), &bytes.collect::<Vec<_>>()).expect("the signature is good");
    }
}

/// A receiver's answer to a request.
#[derive(Clone, Debug)]
pub(crate) enum ReceiverReply {
    /// Status 200 with this body.
    Ok(String),
    /// This status, these headers (each ended by `\r\n`), and this body.
    Status(u16, String, String),
    /// The receiver sends no answer and keeps the connection open.
    Nothing,
    /// The receiver sends only the beginning of an answer and keeps the connection open.
    Half,
    /// The receiver closes the connection without an answer.
    HangUp,
    /// The receiver waits for a permit of the semaphore, and then answers status 200 with this body.
    Held(Arc<Semaphore>, String),
}

type Answer = dyn Fn(&ReceivedRequest) -> ReceiverReply + Send + Sync;

struct Shared {
    answer: Mutex<Arc<Answer>>,
    asked: watch::Sender<Vec<ReceivedRequest>>,
}

/// A running receiver. Dropping it closes its connections.
pub(crate) struct Receiver {
    address: SocketAddr,
    tls: Option<TlsAcceptor>,
    shared: Arc<Shared>,
    tasks: JoinSet<()>,
}

impl Receiver {
    pub(crate) async fn start(
        answer: impl Fn(&ReceivedRequest) -> ReceiverReply + Send + Sync + 'static,
    ) -> Self {
        Self::run(None, answer).await
    }

    /// Starts a receiver that accepts only TLS.
    pub(crate) async fn start_tls(
        tls: TlsAcceptor,
        answer: impl Fn(&ReceivedRequest) -> ReceiverReply + Send + Sync + 'static,
    ) -> Self {
        Self::run(Some(tls), answer).await
    }

    async fn run(
        tls: Option<TlsAcceptor>,
        answer: impl Fn(&ReceivedRequest) -> ReceiverReply + Send + Sync + 'static,
    ) -> Self {
        let shared = Shared { answer: Mutex::new(Arc::new(answer)), asked: watch::Sender::new(Vec::new()) };
        let address = ([127, 0, 0, 1], 0).into();
        let mut receiver = Self { address, tls, shared: Arc::new(shared), tasks: JoinSet::new() };
        receiver.listen().await;
        receiver
    }

    async fn listen(&mut self) {
        let listener = TcpListener::bind(self.address).await.unwrap();
        self.address = listener.local_addr().unwrap();
        let (shared, tls) = (self.shared.clone(), self.tls.clone());
        self.tasks.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let (number, shared, tls) = (connections.len() + 1, shared.clone(), tls.clone());
                connections.spawn(async move {
                    let Some(tls) = tls else { return serve(stream, number, shared).await };
                    // If the TLS handshake fails, Parlor does not trust the certificate and has disconnected.
                    let Ok(stream) = tls.accept(stream).await else { return };
                    serve(stream, number, shared).await;
                });
            }
        });
    }

    /// Returns the receiver's URL for this path.
    pub(crate) fn url(&self, path: &str) -> String {
        let scheme = if self.tls.is_some() { "https" } else { "http" };
        format!("{scheme}://{}{path}", self.address)
    }

    /// Sets the receiver's answers to later requests.
    pub(crate) fn answers(&self, answer: impl Fn(&ReceivedRequest) -> ReceiverReply + Send + Sync + 'static) {
        *self.shared.answer.lock().unwrap() = Arc::new(answer);
    }

    /// Stops listening, and closes all connections.
    pub(crate) async fn stop(&mut self) {
        self.tasks.shutdown().await;
    }

    /// Listens again at the same address.
    pub(crate) async fn start_again(&mut self) {
        self.listen().await;
    }

    /// Waits for `count` requests, and returns them. Panics if there are more.
    pub(crate) async fn asked(&self, count: usize) -> Vec<ReceivedRequest> {
        let mut asked = self.shared.asked.subscribe();
        let asked = timeout(PATIENCE, asked.wait_for(|asked| asked.len() >= count)).await;
        let asked = asked.unwrap_or_else(|_| panic!("it was not asked {count} times")).unwrap().clone();
        assert_eq!(asked.len(), count, "{asked:#?}");
        asked
    }

    /// Waits until `enough` accepts the list of all received requests, and returns the list.
    pub(crate) async fn until(&self, enough: impl Fn(&[ReceivedRequest]) -> bool) -> Vec<ReceivedRequest> {
        let mut asked = self.shared.asked.subscribe();
        let Ok(asked) = timeout(PATIENCE, asked.wait_for(|asked| enough(asked))).await else {
            panic!("it was not asked enough: {:#?}", self.shared.asked.borrow())
        };
        asked.unwrap().clone()
    }

    /// Returns the number of requests so far.
    pub(crate) fn count(&self) -> usize {
        self.shared.asked.borrow().len()
    }
}

async fn serve(stream: impl AsyncRead + AsyncWrite + Unpin, connection: usize, shared: Arc<Shared>) {
    let mut stream = BufReader::new(stream);
    while let Some(asked) = read(&mut stream, connection).await {
        let answer = shared.answer.lock().unwrap().clone();
        shared.asked.send_modify(|all| all.push(asked.clone()));
        let (status, headers, body) = match answer(&asked) {
            ReceiverReply::Ok(body) => (200, String::new(), body),
            ReceiverReply::Status(status, headers, body) => (status, headers, body),
            ReceiverReply::Nothing => return std::future::pending().await,
            ReceiverReply::Half => {
                let half = "HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{";
                stream.write_all(half.as_bytes()).await.unwrap();
                return std::future::pending().await;
            }
            ReceiverReply::HangUp => return,
            ReceiverReply::Held(leave, body) => {
                leave.acquire().await.unwrap().forget();
                (200, String::new(), body)
            }
        };
        let chunked = headers.contains("chunked");
        let length = if chunked { String::new() } else { format!("content-length: {}\r\n", body.len()) };
        let head = format!("HTTP/1.1 {status} .\r\n{headers}{length}\r\n");
        let answered = stream.write_all((head + &body).as_bytes()).await;
        // TLS may hold back bytes until they are flushed.
        if answered.is_err() || stream.flush().await.is_err() {
            return;
        }
    }
}

/// Reads one request. Returns `None` if the connection has ended.
async fn read(stream: &mut (impl AsyncBufRead + Unpin), connection: usize) -> Option<ReceivedRequest> {
    let mut line = String::new();
    let mut headers = HashMap::new();
    if stream.read_line(&mut line).await.ok()? == 0 {
        return None;
    }
    loop {
        let mut header = String::new();
        stream.read_line(&mut header).await.ok()?;
        let Some((name, value)) = header.trim_end().split_once(':') else { break };
        headers.insert(name.to_ascii_lowercase(), value.trim().to_owned());
    }
    // A request without a body has no length.
    let length = headers.get("content-length").map_or(Ok(0), |length| length.parse());
    let mut body = vec![0; length.ok()?];
    stream.read_exact(&mut body).await.ok()?;
    let line = line.trim_end().trim_end_matches(" HTTP/1.1").to_owned();
    Some(ReceivedRequest { line, headers, body: String::from_utf8(body).ok()?, connection })
}
