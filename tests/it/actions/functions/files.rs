//! Functions that are files: actions and `before_send` in JavaScript.

use serde_json::json;

use crate::support::{FunctionsFolder, Receiver, ReceiverReply, Server, WORDS, chat, edited};

fn error(action: &str, code: &str, message: &str) -> serde_json::Value {
    json!({"type": "error", "code": code, "message": message, "action": action})
}

async fn server_with(files: &[(&str, &str)], overrides: &[(&str, &str)]) -> (FunctionsFolder, Server) {
    let folder = FunctionsFolder::with(files);
    let server = Server::start(&[&folder.settings(), overrides].concat()).await;
    server.room(&[1, 2]).await;
    (folder, server)
}

#[tokio::test]
async fn file_is_an_action_that_gets_the_call() {
    let code = "export default (call) => ({ reply: { call } });";
    let (_folder, server) =
        server_with(&[("echo.js", code), ("request.json", "{}"), ("parlor.d.ts", "")], &[]).await;
    let mut one = server.join(1, 2).await;
    one.send_text(r#"{"action":"echo","n":1.50,"ref":"a"}"#).await;
    let call = json!({"request_id": WORDS, "action": "echo", "user": {"id": 1, "email": "user1@example.com"},
        "room_id": 1, "request": {"action": "echo", "n": 1.5, "ref": "a"}});
    one.expect(json!({"type": "echo", "call": call, "ref": "a"})).await;
}

#[tokio::test]
async fn answers_of_a_file_have_all_effects_of_http() {
    let code = "export default async ({ request }) => request.answer";
    let (_folder, server) = server_with(&[("do_it.js", code)], &[]).await;
    let (mut one, mut two) = (server.join(1, 2).await, server.join(2, 1).await);
    one.send(json!({"action": "do_it", "ref": "r", "answer":
        {"send": {"message": "hello"}, "event": {"n": 1}, "reply": {"ok": true}}}))
        .await;
    two.expect(chat(1, 1, "hello")).await;
    two.until(json!({"type": "custom", "name": "do_it", "n": 1})).await;
    one.until(json!({"type": "do_it", "ok": true, "ref": "r"})).await;
    one.send(json!({"action": "do_it", "ref": "s"})).await;
    one.send(json!({"action": "do_it", "answer": {"reject": " not today "}})).await;
    one.until(error("do_it", "rejected", "not today")).await;
    one.send(json!({"action": "do_it", "answer": {"reject": "no", "reply": {}}})).await;
    one.until(error("do_it", "internal", WORDS)).await;
}

#[tokio::test]
async fn function_sends_as_a_listed_bot_only() {
    let code = "export default ({ request }) => ({ send: { as: request.as, message: 'beep' } })";
    let bots = [("FUNCTIONS__BOT__MAY_SEND_AS", "bot:beep")];
    let (_folder, server) = server_with(&[("bot.js", code)], &bots).await;
    let (mut one, mut two) = (server.join(1, 2).await, server.join(2, 1).await);
    one.send(json!({"action": "bot", "as": "bot:beep", "ref": "b"})).await;
    two.expect(chat(1, "bot:beep", "beep")).await;
    let event = one.next().await;
    assert_eq!((&event["message"]["sender_id"], &event["ref"]), (&json!("bot:beep"), &json!("b")), "{event}");
    for sender in [json!("bot:other"), json!(2)] {
        one.send(json!({"action": "bot", "as": sender})).await;
        one.expect(error("bot", "internal", WORDS)).await;
    }
    two.quiet().await;
}

#[tokio::test]
async fn http_function_sends_as_a_bot_and_rejects() {
    let receiver =
        Receiver::start(|asked| ReceiverReply::Ok(asked.json()["request"]["answer"].to_string())).await;
    let url = receiver.url("/");
    let server =
        Server::start(&[("FUNCTIONS__BOT__URL", &url), ("FUNCTIONS__BOT__MAY_SEND_AS", "bot:beep,7")]).await;
    server.room(&[1, 2]).await;
    let mut one = server.join(1, 2).await;
    for (sender, id) in [(json!("bot:beep"), 1), (json!(7), 2)] {
        one.send(json!({"action": "bot", "answer": {"send": {"message": "m", "as": sender}}})).await;
        one.expect(chat(id, sender, "m")).await;
    }
    one.send(json!({"action": "bot", "answer": {"send": {"message": "m", "as": "bot:x"}, "event": {}}}))
        .await;
    one.expect(error("bot", "internal", WORDS)).await;
    one.send(json!({"action": "bot", "answer": {"reject": ""}})).await;
    one.expect(error("bot", "rejected", "the message was rejected")).await;
}

#[tokio::test]
async fn before_send_files_are_asked_in_the_order_of_names() {
    let first = "export const before_send = ({ text }) => ({ text: text.replace('bad', '***') })";
    let second = "export function before_send({ text, sender_id, message_id, room_id, hook }) {
        if (text.includes('stop')) return { reject: `${hook} ${sender_id} ${room_id} ${message_id}` };
        return text.endsWith('!') ? {} : { text: text + '!' }; }";
    let receiver = Receiver::start(|asked| {
        let text = asked.json()["text"].as_str().unwrap().to_uppercase();
        ReceiverReply::Ok(json!({ "text": text }).to_string())
    })
    .await;
    let url = receiver.url("/");
    let (_folder, server) =
        server_with(&[("a_words.js", first), ("b_marks.js", second)], &[("HOOKS__BEFORE_SEND__URL", &url)])
            .await;
    let mut one = server.join(1, 2).await;
    one.say("a bad word").await;
    one.expect(chat(1, 1, "A *** WORD!")).await;
    one.send(json!({"action": "edit", "message_id": 1, "text": "bad stop"})).await;
    one.expect(error("edit", "rejected", "before_send 1 1 1")).await;
    one.send(json!({"action": "edit", "message_id": 1, "text": "b"})).await;
    one.expect(edited(1, "B!")).await;
    assert_eq!(
        receiver.asked(2).await[1].json()["text"],
        "b!",
        "the last one is asked about the changed text"
    );
}

#[tokio::test]
async fn on_failure_decides_when_a_before_send_file_fails() {
    let code = "export function before_send({ text }) {
        if (text === 'throw') throw new Error('no'); if (text === 'loop') for (;;) {}
        if (text === 'odd') return 5; if (text === 'blank') return { text: ' ' }; return null; }";
    for (mode, passes) in [("open", true), ("closed", false)] {
        let (_folder, server) =
            server_with(&[("check.js", code)], &[("HOOKS__BEFORE_SEND__ON_FAILURE", mode)]).await;
        let mut one = server.join(1, 2).await;
        for (text, id) in ["throw", "loop", "odd", "blank"].into_iter().zip(1..) {
            one.say(text).await;
            if passes {
                one.expect(chat(id, 1, text)).await;
            } else {
                one.expect(error("send", "unavailable", WORDS)).await;
            }
        }
    }
}

#[tokio::test]
async fn functions_read_their_room() {
    let code = "export default async ({ request }) => {
        if (request.id) return { reply: await room.message(request.id) };
        const page = await room.history({ limit: 2 }), older = await room.history({ before: 2 });
        return { reply: { about: await room.about(), ids: page.messages.map((m) => m.message_id),
            more: page.has_more, older: older.messages.map((m) => m.text) } } }";
    let (_folder, server) = server_with(&[("look.js", code)], &[]).await;
    let mut one = server.join(1, 2).await;
    for (id, text) in (1..).zip(["a", "b", "c"]) {
        one.say_alone(id, 1, text).await;
    }
    one.send(json!({"action": "look"})).await;
    let about = json!({"kind": "direct", "name": null, "members":
        [{"user_id": 1, "role": "member"}, {"user_id": 2, "role": "member"}]});
    one.expect(json!({"type": "look", "about": about, "ids": [3, 2], "more": true, "older": ["a"]})).await;
    one.send(json!({"action": "look", "id": 2})).await;
    let message = one.next().await;
    assert_eq!((&message["message_id"], &message["text"]), (&json!(2), &json!("b")), "{message}");
    one.send(json!({"action": "look", "id": 9})).await;
    one.expect(error("look", "internal", WORDS)).await;
}

#[tokio::test]
async fn calls_beyond_the_limits_of_a_file_are_refused() {
    let code = "export default () => room.history().then(() => ({}))";
    let limits = [("FUNCTIONS__F__PER_MINUTE", "2"), ("FUNCTIONS__F__MAX_BYTES", "64")];
    let (_folder, server) = server_with(&[("f.js", code)], &limits).await;
    let mut one = server.join(1, 2).await;
    one.send(json!({"action": "f", "pad": "x".repeat(64)})).await;
    one.expect(error("f", "invalid_request", WORDS)).await;
    for _ in 0..3 {
        one.send(json!({"action": "f"})).await;
    }
    assert_eq!(one.until_kind("error").await["code"], "rate_limited");
}
