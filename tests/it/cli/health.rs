//! `parlor health`: the server that it asks, and the answers that it takes for healthy.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::SECRET;
use crate::support::{Home, free_port};

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
    let other = TcpListener::bind(("127.0.0.1", port)).await.unwrap();
    let answer = tokio::spawn(async move {
        let (mut stream, _) = other.accept().await.unwrap();
        assert!(stream.read(&mut [0; 4096]).await.unwrap() > 0);
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

/// Answers each request with `answer`, and keeps the connection open.
async fn answering(answer: &'static str) -> (SocketAddr, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (address, asked) = (listener.local_addr().unwrap(), Arc::new(AtomicUsize::new(0)));
    let count = Arc::clone(&asked);
    tokio::spawn(async move {
        let mut open = Vec::new();
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            count.fetch_add(1, Ordering::Relaxed);
            let _ = stream.read(&mut [0; 4096]).await;
            let _ = stream.write_all(answer.as_bytes()).await;
            open.push(stream);
        }
    });
    (address, asked)
}

#[tokio::test]
async fn health_trusts_only_a_timely_200_of_its_own_server() {
    let (endless, _) = answering("HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\n").await;
    let (failing, _) = answering("HTTP/1.1 503 Service Unavailable\r\nContent-Length: 9\r\n\r\n").await;
    let (silent, _) = answering("").await;
    let redirect = format!("HTTP/1.1 302 Found\r\nLocation: http://{endless}/\r\nContent-Length: 0\r\n\r\n");
    let (redirecting, _) = answering(redirect.leak()).await;
    let (proxy, asked) = answering("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await;
    let home = Home::new().await.set("AUTH__SECRET", SECRET);
    let ask = async |server: SocketAddr| {
        let mut health = home.command(&[("LISTEN", &server.to_string())], &["health"]);
        let proxy = format!("http://{proxy}/");
        health.env("http_proxy", &proxy).env("HTTP_PROXY", &proxy).env("ALL_PROXY", &proxy);
        let ended = tokio::process::Command::from(health).output().await.unwrap();
        (ended.status.code(), String::from_utf8(ended.stderr).unwrap())
    };
    assert_eq!(ask(endless).await, (Some(0), String::new()));
    for (server, why) in [
        (failing, "the server is not healthy".to_owned()),
        (redirecting, "the server is not healthy".to_owned()),
        (silent, format!("{silent} does not answer")),
    ] {
        assert_eq!(ask(server).await, (Some(1), format!("parlor: {why}\n")));
    }
    assert_eq!(asked.load(Ordering::Relaxed), 0, "no request goes through a proxy");
}
