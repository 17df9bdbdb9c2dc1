//! Traces reach an OpenTelemetry collector. They contain the request's id, and no texts of users.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

use crate::support::{PATIENCE, Program, chat};

/// Reads one HTTP request and answers it with 200. Returns its head and its body.
async fn request(mut stream: TcpStream) -> (String, Vec<u8>) {
    let mut bytes = Vec::new();
    let end = loop {
        bytes.push(stream.read_u8().await.unwrap());
        if bytes.ends_with(b"\r\n\r\n") {
            break bytes.len();
        }
    };
    let head = String::from_utf8(bytes[..end].to_vec()).unwrap().to_lowercase();
    let length = head.split("content-length: ").nth(1).and_then(|rest| rest.split("\r\n").next()).unwrap();
    let mut body = vec![0; length.parse().unwrap()];
    stream.read_exact(&mut body).await.unwrap();
    stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n").await.unwrap();
    (head, body)
}

#[tokio::test]
async fn a_frame_is_traced_by_its_id_and_its_text_is_not() {
    let collector = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", collector.local_addr().unwrap());
    let program = Program::start(&[("TRACES__OTLP", &url)]).await;
    program.room(&[1, 2]).await;
    let mut one = program.join(1, 2).await;
    one.say("a confidential text").await;
    one.expect(chat(1, 1, "a confidential text")).await;
    let stored =
        program.collection("messages").await.find_one(mongodb::bson::doc! {}).await.unwrap().unwrap();
    let id = stored.get_object_id("write_id").unwrap().to_hex();

    let has = |body: &[u8], text: &str| body.windows(text.len()).any(|part| part == text.as_bytes());
    let found = timeout(2 * PATIENCE, async {
        loop {
            let (head, body) = request(collector.accept().await.unwrap().0).await;
            assert!(head.starts_with("post /v1/traces "), "{head}");
            assert!(!has(&body, "confidential"), "a message's text is traced");
            if has(&body, &id) {
                return body;
            }
        }
    });
    let body = found.await.expect("the frame's trace comes");
    for name in ["frame", "call", "send", "parlor"] {
        assert!(has(&body, name), "no {name} in the trace");
    }
}
