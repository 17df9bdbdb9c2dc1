//! The two pages that describe Parlor: `/docs/` for the HTTP API, and `/docs/socket` for the WebSocket.

use reqwest::Method;
use serde_json::Value;

use crate::support::{Browser, Pointer, Server};

#[tokio::test]
async fn socket_page_shows_each_message_with_an_example() {
    let server = Server::start(&[]).await;
    let (_, _, contract) = server.request(Method::GET, "/asyncapi.json", None, "").await;
    let contract: Value = serde_json::from_str(&contract).unwrap();
    let browser = Browser::open(Pointer::Mouse).await;
    let window = browser.window(&format!("http://{}/docs/socket", server.address())).await;
    window.see("//h2[.='/ws/']").await;
    for (channel, described) in contract["channels"].as_object().unwrap() {
        for name in described["messages"].as_object().unwrap().keys() {
            window.see(&format!("#{channel}-{name} pre")).await;
        }
    }
    let send = window.text("#chat-send summary").await;
    assert!(send.starts_with("send "), "{send}");
    window.click("#chat-send summary").await;
    let example = window.text("#chat-send pre").await;
    let example: Value = serde_json::from_str(&example).unwrap();
    assert_eq!(example, serde_json::json!({"action": "send", "message": "Hello"}));
    window.see("//table//td[.='4001']").await;
    assert_eq!(browser.log().await, [""; 0]);
    browser.close().await;
}

#[tokio::test]
async fn socket_page_is_found_with_a_slash_and_from_the_api_page() {
    let server = Server::start(&[]).await;
    let browser = Browser::open(Pointer::Mouse).await;
    let window = browser.window(&format!("http://{}/docs/socket/", server.address())).await;
    window.see("//h2[.='/ws/chat/']").await;
    window.click("nav a").await;
    window.see(".swagger-ui .info").await;
    window.click("//a[.='The socket']").await;
    window.see("//h2[.='/ws/chat/']").await;
    browser.close().await;
}
