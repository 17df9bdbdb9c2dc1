//! The commands `parlor function new` and `parlor function test`.

use std::fs;

use crate::support::Home;

#[tokio::test]
async fn new_function_works_with_its_own_test() {
    let home = Home::new().await;
    let help = home.run(&["--help"]).await;
    assert!(help.printed().contains("Create, try and list function files"), "{help:#?}");
    let made = home.run(&["function", "new", "shout"]).await;
    let command = made.printed().lines().last().unwrap().to_owned();
    let command: Vec<&str> = command.strip_prefix("try it: parlor ").unwrap().split(' ').collect();
    let tried = home.run(&command).await;
    let printed = tried.printed();
    assert!(printed.contains(r#"answer  {"reply":{"calls":1,"text":"HELLO","user_id":1}}"#), "{printed}");
    assert!(printed.contains(r#"state   {"room":{"calls":1}}"#), "{printed}");
    let again = home.run(&["function", "new", "shout"]).await;
    assert!(again.refused().contains("exists"), "{again:#?}");
    for name in ["send", "Loud", "a__b", ""] {
        let refused = home.run(&["function", "new", name]).await;
        assert!(
            refused.refused().contains("can't be taken over") || refused.refused().contains("a-z"),
            "{name}"
        );
    }
}

#[tokio::test]
async fn failing_function_or_other_answer_is_exit_code_one() {
    let home = Home::new().await;
    let write = |name: &str, text: &str| {
        let path = home.path().join(name);
        fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let file = write("f.js", "export default async ({ request: { how } }) => {
        console.warn('asked', how);
        if (how === 'throw') throw new RangeError('no');
        if (how === 'loop') for (;;) {}
        if (how === 'fetch') return { code: await fetch('https://a.example/').catch((e) => e.code) };
        const page = await room.history({ limit: 1 });
        return { last: page.messages[0].text, more: page.has_more, name: (await room.about()).name, old: await state.room.get('n') }; };
        export const before_send = ({ text }) => ({ text: text + '!' });");
    let room = write(
        "room.json",
        r#"{"name":"tea","messages":[{"message_id":1,"text":"a"},{"message_id":2,"text":"b"}]}"#,
    );
    let state = write("state.json", r#"{"room":{"n":[1]}}"#);
    let ok = write("ok.json", r#"{"request":{"how":"read"}}"#);
    let answer = write("answer.json", r#"{"last":"b","more":true,"name":"tea","old":[1]}"#);
    let whole = ["function", "test", &file, &ok, "--room", &room, "--state", &state, "--expect", &answer];
    assert!(home.run(&whole).await.printed().contains("log     warn: asked read"));
    let other = write("other.json", r#"{"last":"c"}"#);
    let refused = home.run(&[&whole[..9], &[&other]].concat()).await;
    assert_eq!(refused.status.code(), Some(1), "{refused:#?}");
    assert!(refused.out.contains(r#"not     {"last":"c"}"#), "{refused:#?}");
    for (how, said) in [("throw", "RangeError: no"), ("loop", "used up its CPU time of 50 ms")] {
        let call = write("call.json", &format!(r#"{{"request":{{"how":"{how}"}}}}"#));
        let failed = home.run(&["function", "test", &file, &call]).await;
        assert_eq!(failed.status.code(), Some(1), "{failed:#?}");
        assert!(failed.out.contains(said), "{failed:#?}");
    }
    let call = write("call.json", r#"{"request":{"how":"fetch"}}"#);
    assert!(
        home.run(&["function", "test", &file, &call]).await.printed().contains(r#"{"code":"not_allowed"}"#)
    );
    let message = write("message.json", r#"{"hook":"before_send","text":"hi"}"#);
    assert!(home.run(&["function", "test", &file, &message]).await.printed().contains(r#"{"text":"hi!"}"#));
    let hook = write("hook.json", r#"{"hook":"after_send"}"#);
    let missing = home.run(&["function", "test", &file, &hook]).await;
    assert!(missing.refused().contains("exports no after_send, but: default, before_send"), "{missing:#?}");
}
