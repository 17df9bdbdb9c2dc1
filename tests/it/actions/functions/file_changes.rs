//! Function files that change while the server runs.

use std::fs;

use serde_json::{Value, json};

use crate::support::{FunctionsFolder, Home, Metered, Server, chat, error};

fn replies(text: &str) -> String {
    format!("export default () => ({{ reply: {{ text: '{text}' }} }})")
}

async fn answer(client: &mut crate::support::Client) -> Value {
    client.send(json!({"action": "f"})).await;
    client.next().await
}

#[tokio::test]
async fn new_changed_and_removed_files_apply_without_a_restart() {
    let folder = FunctionsFolder::with(&[]);
    let metered = Metered::new();
    let server = Server::start(&[&folder.settings()[..], &[metered.setting()]].concat()).await;
    server.room(&[1, 2]).await;
    let mut one = server.join(1, 2).await;
    one.send(json!({"action": "f"})).await;
    one.expect(error("unknown_action", Some("f"))).await;
    let mut seen = Value::Null;
    for text in ["one", "two"] {
        folder.write("f.js", replies(text));
        let listed =
            FunctionsFolder::listed(&server, "f", |f| f["version"] != seen && f["version"].is_object()).await;
        seen = listed["version"].clone();
        assert_eq!(answer(&mut one).await["text"], text);
    }
    let version = &seen["sha256"].as_str().unwrap()[..7];
    let info =
        format!(r#"parlor_function_info{{function="f",version="{version}",kind="js",source="folder"}}"#);
    assert_eq!(metered.sample(&info).await, 1);
    folder.remove("f.js");
    let list = async || server.api_get("/functions").await.1;
    crate::support::eventually("no function is left", list, |list| *list == json!({"functions": []})).await;
    one.send(json!({"action": "f"})).await;
    one.expect(error("unknown_action", Some("f"))).await;
    assert!(!metered.page().await.contains("parlor_function_info{"), "no version runs");
}

#[tokio::test]
async fn bad_file_keeps_the_version_before_it() {
    let folder = FunctionsFolder::with(&[("f.js", &replies("good"))]);
    let metered = Metered::new();
    let server = Server::start(&[&folder.settings()[..], &[metered.setting()]].concat()).await;
    server.room(&[1, 2]).await;
    let mut one = server.join(1, 2).await;
    for (code, why) in [
        ("export default () => {\n  return {;\n}", "SyntaxError: "),
        ("throw new Error('at load')", "Error: at load"),
        ("for (;;) {}", "used up its CPU time of 1000 ms"),
        ("import x from 'axios'; export default x", "npx esbuild"),
        ("export const a = 1", "it exports no function of these"),
        ("let s = []; for (;;) s.push(new Uint8Array(1e6))", "out of memory"),
    ] {
        folder.write("f.js", code);
        let refused =
            FunctionsFolder::listed(&server, "f", |f| f["refused"].as_str().is_some_and(|r| r.contains(why)));
        let refused = refused.await;
        assert!(refused["version"].is_object() && refused["exports"] == json!(["default"]), "{refused}");
        assert_eq!(answer(&mut one).await["text"], "good", "{code}");
    }
    let counted =
        |outcome: &str| format!(r#"parlor_function_loads_total{{function="f",outcome="{outcome}"}}"#);
    assert_eq!((metered.sample(&counted("ok")).await, metered.sample(&counted("refused")).await), (1, 6));
    assert_eq!(metered.hits("function_load_ms").await, 1);
    folder.write("f.js", replies("better"));
    FunctionsFolder::listed(&server, "f", |f| f["refused"].is_null()).await;
    assert_eq!(answer(&mut one).await["text"], "better");
}

#[tokio::test]
async fn files_that_can_not_be_functions_are_refused_by_name() {
    let ok = replies("ok");
    let folder = FunctionsFolder::with(&[
        ("send.js", &ok),
        ("Loud.js", &ok),
        ("a__b.js", &ok),
        ("twice.js", &ok),
        ("twice.wasm", "x"),
        ("remote.js", &ok),
        ("large.js", &" ".repeat(2_000)),
        ("broken.js", "\u{fffd}"),
        ("fine.js", &ok),
    ]);
    folder.write("bytes.js", [0xff, 0xfe]);
    let own = [("FUNCTIONS__REMOTE__URL", "http://127.0.0.1:1/"), ("FUNCTIONS__FILE_BYTES", "1024")];
    let server = Server::start(&[&folder.settings(), &own[..]].concat()).await;
    for (name, why) in [
        ("send", "is an action of Parlor's own"),
        ("Loud", "a name is of a-z"),
        ("a__b", "a name is of a-z"),
        ("twice", "twice.js and twice.wasm have the same name"),
        ("remote", "functions.remote.url is set, too"),
        ("large", "has more than 1024 bytes"),
        ("bytes", "is not UTF-8"),
        ("broken", "SyntaxError"),
    ] {
        let listed = FunctionsFolder::listed(&server, name, |_| true).await;
        let refused = listed["refused"].as_str().unwrap();
        assert!(refused.contains(why) && listed["version"].is_null(), "{name}: {refused}");
    }
    FunctionsFolder::listed(&server, "fine", |f| f["version"].is_object()).await;
}

#[tokio::test]
async fn change_of_a_module_loads_its_importers_again() {
    let code = "import { word } from './lib/words.js'; export default () => ({ reply: { word } })";
    let folder = FunctionsFolder::with(&[("f.js", code), ("lib/words.js", "export const word = 'a'")]);
    let server = Server::start(&folder.settings()).await;
    server.room(&[1, 2]).await;
    let mut one = server.join(1, 2).await;
    assert_eq!(answer(&mut one).await["word"], "a");
    folder.write("lib/words.js", "export const word = 'b'");
    let word = async || answer(&mut one).await["word"].clone();
    crate::support::eventually("the new module is used", word, |word| *word == "b").await;
}

#[tokio::test]
async fn before_send_starts_and_ends_with_its_file() {
    let folder = FunctionsFolder::with(&[]);
    let server = Server::start(&folder.settings()).await;
    server.room(&[1, 2]).await;
    let mut one = server.join(1, 2).await;
    folder.write("loud.js", "export const before_send = ({ text }) => ({ text: text.toUpperCase() })");
    FunctionsFolder::listed(&server, "loud", |f| f["version"].is_object()).await;
    one.say("a").await;
    one.expect(chat(1, 1, "A")).await;
    folder.remove("loud.js");
    let list = async || server.api_get("/functions").await.1;
    crate::support::eventually("no function is left", list, |list| *list == json!({"functions": []})).await;
    one.say("b").await;
    one.expect(chat(2, 1, "b")).await;
}

#[tokio::test]
async fn check_loads_the_files_and_fails_at_a_bad_one() {
    let home = Home::new().await;
    let folder = FunctionsFolder::with(&[("f.js", "export default () => ({})")]);
    let config = home.path().join("parlor.toml");
    fs::write(&config, format!("[functions]\nfolder = '{}'\n", folder.path("").display())).unwrap();
    let checked = home.run(&["check", "--config", config.to_str().unwrap()]).await;
    assert!(checked.printed().contains("ok     function f (default)"));
    folder.write("g.js", "export default 1 +");
    let checked = home.run(&["check", "--config", config.to_str().unwrap()]).await;
    assert_eq!(checked.status.code(), Some(1), "{checked:#?}");
    assert!(checked.out.contains("FAULT  function g: SyntaxError"), "{checked:#?}");
}
