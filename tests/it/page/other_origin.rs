//! A page of another application, on its own origin, uses Parlor as a Level 1 client (basic mode: one room, no cursor).

use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use crate::support::{Browser, Home, Pointer, chat, deleted, edited};

/// A page with a client as the documentation describes it. The client uses the documented URL, and sends some ids as
/// texts.
const SAMPLE: &str = r#"<!doctype html>
<ul id="heard"></ul>
<button id="send">Send</button> <button id="edit">Edit</button> <button id="delete">Delete</button>
<script>
  const socket = new WebSocket("ws://ADDRESS/ws/chat/?firts_user=1&second_user=2/", ["Bearer", "TOKEN"]);
  const hear = (type, text) => {
    const item = document.createElement("li");
    item.dataset.type = type;
    item.textContent = text;
    document.getElementById("heard").append(item);
  };
  let last;
  socket.onopen = () => hear("open", socket.protocol);
  socket.onclose = ({ code }) => hear("close", code);
  socket.onmessage = ({ data }) => {
    const frame = JSON.parse(data);
    if (frame.type === "chat_message") last = String(frame.message.message_id);
    hear(Array.isArray(frame) ? "history" : frame.type, data);
  };
  const buttons = {
    send: () => ({ action: "send", message: "Hello from elsewhere" }),
    edit: () => ({ action: "edit", message_id: Number(last), text: "Hello again" }),
    delete: () => ({ action: "delete", message_id: last }),
  };
  for (const [id, frame] of Object.entries(buttons)) {
    document.getElementById(id).onclick = () => socket.send(JSON.stringify(frame()));
  }
</script>
"#;

#[tokio::test]
async fn a_page_elsewhere_works_as_it_is() {
    let home = Home::new().await;
    let server = home.serve().await;
    let token = async |user| home.run(&["token", "--user", user]).await.printed().to_owned();
    let mut two = server.dial("firts_user=2&second_user=1/", &token("2").await).open().await;
    two.history().await;
    let page = SAMPLE.replace("ADDRESS", &server.address.to_string()).replace("TOKEN", &token("1").await);
    let elsewhere = serve_page(page).await;

    let browser = Browser::open(Pointer::Mouse).await;
    let window = browser.window(&elsewhere).await;
    assert_eq!(window.text("[data-type=open]").await, "Bearer");
    assert_eq!(window.text("[data-type=history]").await, "[]");
    window.click("#send").await;
    two.expect(chat(1, 1, "Hello from elsewhere")).await;
    window.see("[data-type=chat_message]").await;
    window.see("[data-type=mark_message_as_delivered]").await;
    window.see("[data-type=mark_message_as_read]").await;
    window.click("#edit").await;
    two.until(edited(1, "Hello again")).await;
    window.see("[data-type=message_edited]").await;
    window.click("#delete").await;
    two.until(deleted(1)).await;
    window.see("[data-type=message_deleted]").await;
    let order =
        window.script("return [...document.querySelectorAll('li')].map((item) => item.dataset.type)").await;
    let expected = json!([
        "open",
        "history",
        "chat_message",
        "mark_message_as_delivered",
        "mark_message_as_read",
        "message_edited",
        "message_deleted"
    ]);
    assert_eq!(order, expected);
    browser.close().await;
}

/// Serves this page on an origin (a port) of its own. Returns its URL.
async fn serve_page(page: String) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut request = vec![0; 8192];
            let count = stream.read(&mut request).await.unwrap_or(0);
            let is_page = request[..count].starts_with(b"GET / ");
            let (status, body) = if is_page { ("200 OK", page.as_str()) } else { ("404 Not Found", "") };
            let head = "Content-Type: text/html; charset=utf-8\r\nConnection: close";
            let answer =
                format!("HTTP/1.1 {status}\r\n{head}\r\nContent-Length: {}\r\n\r\n{body}", body.len());
            // The browser also opens connections that it doesn't use, so a failed write is ignored.
            let _ = stream.write_all(answer.as_bytes()).await;
        }
    });
    url
}
