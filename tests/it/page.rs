//! The chat page as people have it: in a browser, on the program's own server.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use crate::support::{Browser, Home, Pointer, Window, chat, deleted, edited, free_port, key};

const SECRET: &str = "a secret of the tests, at least 32 bytes long";
const OTHER_SECRET: &str = "another secret, of which the server knows nothing";

/// What nobody may be able to say so that another's browser does it.
const MARKUP: &str = "<img src=x onerror=alert(1)>";
const SCRIPT: &str = "<script>alert(2)</script>";

/// `XPath` of the messages with a text, as far as the server has confirmed them.
fn message(text: &str) -> String {
    format!(r#"//li[contains(@class,"message")][@data-id][.//*[@class="text"][.="{text}"]]"#)
}

/// The same, for one with a status.
fn message_that_is(status: &str, text: &str) -> String {
    format!(r#"{}[@data-status="{status}"]"#, message(text))
}

const OPEN: &str = "#state[data-state=open]";

async fn say(window: &Window<'_>, text: &str) {
    window.fill("#composer", text).await;
    window.click("#send").await;
    window.see(&message(text)).await;
}

/// Lets the page note each value that an attribute takes from now on, however soon the next one comes.
async fn note(window: &Window<'_>, what: &str, attribute: &str) {
    let script = format!(
        "const noted = window.noted = []; const element = document.querySelector('{what}'); \
         const note = () => {{ const value = element.getAttribute('{attribute}'); \
                              if (value !== noted.at(-1)) noted.push(value); }}; \
         new MutationObserver(note).observe(element, {{ attributeFilter: ['{attribute}'] }})"
    );
    window.script(&script).await;
}

async fn noted(window: &Window<'_>) -> Value {
    window.script("return window.noted").await
}

#[tokio::test]
async fn two_people_chat() {
    let home = Home::new().await;
    let server = home.serve().await;
    let browser = Browser::open(Pointer::Mouse).await;

    let one = browser.window(&server.url("/")).await;
    one.click("#choose-1").await;
    one.see(OPEN).await;
    one.see("#empty:not([hidden])").await;
    say(&one, "Shall we have lunch?").await;
    // Nobody else has it yet.
    one.see(&message_that_is("send", "Shall we have lunch?")).await;
    note(&one, ".own", "data-status").await;

    let two = browser.window(&server.url("/")).await;
    two.click("#choose-2").await;
    two.see(&format!(r#"{}[contains(@class,"theirs")]"#, message("Shall we have lunch?"))).await;
    one.see(&message_that_is("read", "Shall we have lunch?")).await;
    one.see(r#".own[data-status=read] .status[aria-label="Read"]"#).await;
    assert_eq!(noted(&one).await, json!(["delivered", "read"]));

    say(&two, "Yes, at noon").await;
    one.see(&format!(r#"{}[contains(@class,"theirs")]"#, message("Yes, at noon"))).await;
    two.see(&message_that_is("read", "Yes, at noon")).await;

    // What people type is text, wherever it is shown.
    for text in [MARKUP, SCRIPT] {
        say(&one, text).await;
        two.see(&message(text)).await;
        one.click(&format!("{}//button[@data-action='edit']", message(text))).await;
        assert_eq!(one.text("#editing-text").await, text);
        one.click("#cancel-edit").await;
    }
    for window in [&one, &two] {
        let planted = "return document.querySelectorAll('#chat img[src=x], #chat script').length";
        assert_eq!(window.script(planted).await, 0);
        assert!(!window.has_alert().await);
    }

    one.click(&format!("{}//button[@data-action='edit']", message("Shall we have lunch?"))).await;
    one.press(key::END).await;
    one.press(" And coffee?").await;
    one.click("#send").await;
    let after = message("Shall we have lunch? And coffee?");
    for window in [&one, &two] {
        window.see(&format!("{after}//*[@class='edited'][not(@hidden)]")).await;
        window.miss(&message("Shall we have lunch?")).await;
    }

    // Deleting takes two buttons, and the first can be taken back.
    let delete = |button: &str| format!("{}//button[@data-action='{button}']", message("Yes, at noon"));
    two.click(&delete("delete")).await;
    two.click(&delete("keep")).await;
    two.click(&delete("delete")).await;
    two.click(&delete("confirm-delete")).await;
    for window in [&one, &two] {
        window.miss(&message("Yes, at noon")).await;
    }

    // All of it is still there for one who comes again.
    for window in [&one, &two] {
        window.reload().await;
        window.see(OPEN).await;
        window.see(&format!("{after}[@data-status='read']//*[@class='edited'][not(@hidden)]")).await;
        window.see(&message(MARKUP)).await;
        window.see(&message(SCRIPT)).await;
        window.miss(&message("Yes, at noon")).await;
        assert!(!window.has_alert().await);
    }

    // Neither the page nor its contents were ever refused anything; and what is put into it is.
    assert_eq!(browser.log().await, [""; 0]);
    one.script("document.body.insertAdjacentHTML('beforeend', '<img src=x onerror=alert(3)>')").await;
    one.script("document.body.append(Object.assign(document.createElement('script'), {text: 'alert(4)'}))")
        .await;
    let log = browser.log().await.join("\n");
    assert!(log.contains("Content Security Policy") && log.contains("script-src"), "{log}");
    assert!(!one.has_alert().await);

    browser.close().await;
    let log = server.stop().await;
    assert!(!log.contains("ERROR") && !log.contains("WARN"), "{log}");
}

#[tokio::test]
async fn the_keyboard_alone_will_do() {
    let home = Home::new().await;
    let server = home.serve().await;
    let browser = Browser::open(Pointer::Mouse).await;
    let window = browser.window(&server.url("/")).await;
    window.see("#choose-1").await;
    until_focus_is(&window, key::TAB, "#choose-1").await;
    window.press(key::ENTER).await;
    window.see(OPEN).await;
    window.see("#composer:focus").await;

    window.press("Good mornin").await;
    window.press(key::ENTER).await;
    window.see(&message("Good mornin")).await;

    // Up takes the last message, Escape lets go of it.
    window.press(key::UP).await;
    window.see("#editing:not([hidden])").await;
    window.press(" to nobody").await;
    window.press(key::ESCAPE).await;
    window.see("#editing[hidden]").await;
    window.press(key::UP).await;
    window.press("g").await;
    window.press(key::ENTER).await;
    window.see(&message("Good morning")).await;
    window.miss(&message("Good mornin")).await;

    until_focus_is(&window, key::BACK_TAB, "[data-action=delete]").await;
    window.press(key::ENTER).await;
    window.see("[data-action=keep]:focus").await;
    window.press(key::ESCAPE).await;
    window.see("[data-action=delete]:focus").await;
    window.press(key::ENTER).await;
    until_focus_is(&window, key::BACK_TAB, "[data-action=confirm-delete]").await;
    window.press(key::ENTER).await;
    window.miss(&message("Good morning")).await;
    window.see("#composer:focus").await;

    // Shift and Enter is a new line of the same message.
    window.press("one\u{E008}\u{E007}\u{E000}two\u{E007}").await;
    window.see(&message("one\ntwo")).await;
    assert_eq!(browser.log().await, [""; 0]);
    browser.close().await;
}

/// Moves the focus by a key until it is on an element.
async fn until_focus_is(window: &Window<'_>, key: &str, what: &str) {
    for _ in 0..12 {
        if window.script(&format!("return document.activeElement.matches('{what}')")).await == true {
            return;
        }
        window.press(key).await;
    }
    panic!("the focus does not come to {what}");
}

#[tokio::test]
async fn a_phone_shows_all_of_it() {
    let home = Home::new().await;
    let server = home.serve().await;
    let browser = Browser::open(Pointer::Finger).await;
    let window = browser.window(&server.url("/")).await;
    window.phone(360).await;
    window.see("#choose-1").await;
    fits(&window, "the chooser").await;
    window.click("#use-token").await;
    window.see("#sign-in:not([hidden])").await;
    fits(&window, "the form").await;

    window.goto(&server.url("/#1")).await;
    window.reload().await;
    window.see(OPEN).await;
    fits(&window, "the empty room").await;
    let words = "many words ".repeat(30);
    let words = words.trim_end();
    let word = "W".repeat(400);
    say(&window, words).await;
    say(&window, &word).await;
    fits(&window, "long messages").await;
    let button = |action: &str| format!("{}//button[@data-action='{action}']", message(words));
    window.click(&button("edit")).await;
    window.see("#editing:not([hidden])").await;
    fits(&window, "an edit").await;
    window.click("#cancel-edit").await;
    window.click(&button("delete")).await;
    window.see(&button("confirm-delete")).await;
    fits(&window, "the question before a delete").await;

    let too_long = "const box = document.getElementById('composer'); \
                    box.value = 'x'.repeat(4097); box.dispatchEvent(new Event('input'))";
    window.script(too_long).await;
    assert_eq!(window.text("#counter").await, "1 too many");
    fits(&window, "a text that is too long").await;
    assert!(window.see("#send").await.attr("disabled").await.unwrap().is_some());
    browser.close().await;
}

/// Nothing is wider than the screen, and nothing scrolls sideways.
async fn fits(window: &Window<'_>, what: &str) {
    let sideways = "const sideways = [...document.querySelectorAll('body *')].filter((element) => \
                      ['auto', 'scroll'].includes(getComputedStyle(element).overflowX) \
                      && element.scrollWidth > element.clientWidth); \
                    const names = sideways.map((element) => element.id || element.className); \
                    return [innerWidth, document.documentElement.scrollWidth, names]";
    assert_eq!(window.script(sideways).await, json!([360, 360, []]), "{what}");
}

#[tokio::test]
async fn a_server_that_comes_back_is_found_again() {
    let port = free_port();
    let home = Home::new().await.set("LISTEN", &format!("127.0.0.1:{port}"));
    let server = home.serve().await;
    let browser = Browser::open(Pointer::Mouse).await;
    let window = browser.window(&server.url("/#1")).await;
    window.see(OPEN).await;
    say(&window, "Before").await;

    note(&window, "#why", "data-code").await;
    server.stop().await;
    window.see("#banner:not([hidden])").await;
    window.see("#state[data-state=waiting], #state[data-state=connecting]").await;
    window.see("#why[data-code='1006']").await;
    assert_eq!(noted(&window).await, json!(["1012", "1006"]), "a deploy, and then nobody there");
    assert!(window.text("#why").await.contains("(1006)"));
    window.fill("#composer", "While it was away").await;
    window.press(key::ENTER).await;
    window.see(".pending[data-status=queued]").await;

    let server = home.serve().await;
    // The page tries again by itself, every 15 s at the least.
    window.see_within(Duration::from_secs(40), OPEN).await;
    window.see("#banner[hidden]").await;
    window.see(&message("Before")).await;
    window.see(&message("While it was away")).await;
    window.miss("//li[contains(@class,'pending')]").await;
    say(&window, "After").await;
    browser.close().await;
    server.stop().await;
}

#[tokio::test]
async fn a_refusal_shows_its_code() {
    let home = Home::new().await.set("LISTEN", "0.0.0.0:0").set("AUTH__SECRET", SECRET);
    let server = home.serve().await;
    home.run(&["room", "--members", "1,2"]).await.printed();
    let tokens = home.run(&["token", "--user", "1"]).await;
    let stranger = home.run(&["token", "--user", "3"]).await;
    let forged = home.run_with(&[("AUTH__SECRET", OTHER_SECRET)], &["token", "--user", "1"]).await;

    let browser = Browser::open(Pointer::Mouse).await;
    // On a server that serves more than this machine nobody gets a token for the asking.
    let window = browser.window(&server.url("/#1")).await;
    window.see("#sign-in:not([hidden])").await;
    for (token, own, peer, code) in [
        (tokens.printed(), "3", "2", "4003"),
        (stranger.printed(), "3", "2", "4004"),
        (tokens.printed(), "1", "1", "4400"),
        (forged.printed(), "1", "2", "4001"),
    ] {
        sign_in(&window, token, own, peer).await;
        window.see(&format!("#why[data-code='{code}']")).await;
        window.see("#state[data-state=refused]").await;
        assert!(window.text("#why").await.contains(code), "{code}");
        window.click("#try-again").await;
    }
    sign_in(&window, tokens.printed(), "1", "2").await;
    window.see(OPEN).await;
    window.see("#banner[hidden]").await;
    say(&window, "It fits").await;
    browser.close().await;
}

async fn sign_in(window: &Window<'_>, token: &str, own: &str, peer: &str) {
    for (field, text) in [("#token", token), ("#own-id", own), ("#peer-id", peer)] {
        window.see(field).await.clear().await.unwrap();
        window.fill(field, text).await;
    }
    window.click("#enter").await;
}

/// A client as the protocol's users wrote theirs: the documented URL, ids as the page has them, which is texts.
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

/// A server of one page, at an origin of its own.
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
            // The browser opens connections that it then doesn't use.
            let _ = stream.write_all(answer.as_bytes()).await;
        }
    });
    url
}

#[tokio::test]
async fn the_page_may_load_nothing_but_itself() {
    let home = Home::new().await;
    let server = home.serve().await;
    for (path, kind) in [
        ("/", "text/html; charset=utf-8"),
        ("/page/style.css", "text/css; charset=utf-8"),
        ("/page/chat.js", "text/javascript; charset=utf-8"),
        ("/page/composer.js", "text/javascript; charset=utf-8"),
        ("/page/connection.js", "text/javascript; charset=utf-8"),
        ("/page/dom.js", "text/javascript; charset=utf-8"),
        ("/page/log.js", "text/javascript; charset=utf-8"),
        ("/page/outbox.js", "text/javascript; charset=utf-8"),
        ("/page/session.js", "text/javascript; charset=utf-8"),
        ("/page/favicon.svg", "image/svg+xml"),
    ] {
        let answer = reqwest::get(server.url(path)).await.unwrap();
        assert_eq!(answer.status(), 200, "{path}");
        let header = |name: &str| answer.headers()[name].to_str().unwrap();
        assert_eq!(header("content-type"), kind);
        assert_eq!(header("x-content-type-options"), "nosniff");
        assert_eq!(header("referrer-policy"), "no-referrer");
        let policy = header("content-security-policy");
        for rule in [
            "default-src 'none'",
            "script-src 'self'",
            "style-src 'self'",
            "connect-src 'self'",
            "base-uri 'none'",
            "form-action 'none'",
            "frame-ancestors 'none'",
        ] {
            assert!(policy.split(';').any(|part| part.trim() == rule), "{rule} is not in {policy}");
        }
        assert!(!policy.contains("unsafe") && !policy.contains('*'), "{policy}");
    }
    for path in ["/page", "/page/", "/page/chat", "/page/../Cargo.toml", "/index.html"] {
        assert_eq!(reqwest::get(server.url(path)).await.unwrap().status(), 404, "{path}");
    }
}

#[tokio::test]
async fn only_this_machine_gets_a_session() {
    let home = Home::new().await;
    let server = home.serve().await;
    let session = async |url: &str, host: &str, body: &str| {
        let request = reqwest::Client::new().post(format!("{url}/page/session"));
        let answer = request.header("host", host).body(body.to_owned()).send().await.unwrap();
        answer.status().as_u16()
    };
    let one = r#"{"user":1}"#;
    let url = server.url("");
    let port = server.address.port();
    for host in ["localhost".to_owned(), format!("localhost:{port}"), format!("127.0.0.1:{port}")] {
        assert_eq!(session(&url, &host, one).await, 200, "{host}");
    }
    // A name that its owner has made to mean 127.0.0.1.
    for host in [format!("evil.example:{port}"), "127.0.0.1.evil.example".to_owned()] {
        assert_eq!(session(&url, &host, one).await, 404, "{host}");
    }
    for body in ["", "1", "{}", r#"{"user":3}"#, r#"{"user":"1"}"#] {
        assert_eq!(session(&url, "localhost", body).await, 400, "{body}");
    }
    server.stop().await;

    let home = home.set("LISTEN", "0.0.0.0:0").set("AUTH__SECRET", SECRET);
    let server = home.serve().await;
    assert_eq!(session(&server.url(""), "localhost", one).await, 404);
    assert_eq!(reqwest::get(server.url("/")).await.unwrap().status(), 200);
    server.stop().await;

    let home = home.set("LISTEN", "127.0.0.1:0").set("PAGE__ENABLED", "off");
    let server = home.serve().await;
    assert_eq!(session(&server.url(""), "localhost", one).await, 404);
    assert_eq!(reqwest::get(server.url("/")).await.unwrap().status(), 404);
    server.stop().await;
}
