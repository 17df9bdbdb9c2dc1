//! Tests of scripts, with the real engine.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use serde_json::{Value, json};

use super::Script;
use super::engine::{ScriptEngine, ScriptLoad};
use super::source::ScriptSource;
use crate::functions::call::{CallResult, Export, ProgramCall, ProgramError, ProgramLimits};
use crate::functions::host_call::{
    FetchResponse, Host, HostCall, HostFuture, HostValue, LogLevel, StateEntry, StateOperation,
};
use crate::functions::host_error::{HostCode, HostError};
use crate::functions::wasm::memory::MemoryBudget;

const LIMITS: ProgramLimits =
    ProgramLimits { memory_bytes: 16 << 20, cpu: Duration::from_millis(500), max_response_bytes: 65_536 };

/// A server that answers each host call with what it was asked.
#[derive(Default)]
struct EchoHost {
    lines: Mutex<Vec<(LogLevel, String)>>,
}

impl Host for EchoHost {
    fn run(&self, call: HostCall) -> HostFuture<'_> {
        Box::pin(async move {
            match call {
                HostCall::State(_, StateOperation::Get { key }) if key == "missing" => {
                    Ok(HostValue::Entry(None))
                }
                HostCall::State(scope, StateOperation::Get { key }) => {
                    let value = json!([format!("{scope:?}"), key]).to_string();
                    Ok(HostValue::Entry(Some(StateEntry { value, version: 7 })))
                }
                HostCall::State(_, StateOperation::Add { amount, .. }) => Ok(HostValue::Number(amount)),
                HostCall::Fetch(request) => Ok(HostValue::Response(FetchResponse {
                    status: 201,
                    headers: request.headers,
                    body: request.body,
                })),
                HostCall::About => Err(HostError::new(HostCode::NotFound, "no such room")),
                HostCall::History { .. } => std::future::pending().await,
                call => Ok(HostValue::Json(json!(format!("{call:?}")).to_string())),
            }
        })
    }

    fn env(&self, name: &str) -> Option<&str> {
        (name == "KEY").then_some("secret")
    }

    fn log(&self, level: LogLevel, text: &str) {
        self.lines.lock().unwrap().push((level, text.to_owned()));
    }
}

/// Returns the engine that the tests share, because to compile it takes a second.
fn engine() -> Arc<ScriptEngine> {
    static ENGINE: OnceLock<Arc<ScriptEngine>> = OnceLock::new();
    let engine = || Arc::new(ScriptEngine::new(512 << 10, MemoryBudget::new(512 << 20)).unwrap());
    ENGINE.get_or_init(engine).clone()
}

async fn load(engine: &Arc<ScriptEngine>, code: &str) -> Result<Script, ProgramError> {
    load_with(engine, code, &[]).await
}

async fn load_with(
    engine: &Arc<ScriptEngine>,
    code: &str,
    modules: &[(String, String)],
) -> Result<Script, ProgramError> {
    let how = ScriptLoad {
        cpu: Duration::from_secs(1),
        memory_bytes: LIMITS.memory_bytes,
        idle_instances: 2,
        env: BTreeMap::from([("KEY".to_owned(), crate::config::Secret::new("secret"))]),
    };
    Script::load(engine, ScriptSource { file: "test.js", code, modules }, how).await
}

async fn call(script: &Script, input: &Value) -> Result<CallResult, ProgramError> {
    call_on(script, Export::Call, input, Arc::<EchoHost>::default()).await
}

async fn call_on(
    script: &Script,
    export: Export,
    input: &Value,
    host: Arc<EchoHost>,
) -> Result<CallResult, ProgramError> {
    script.call(ProgramCall { export, input: &input.to_string(), host, limits: LIMITS }).await
}

/// Runs the body of a function once. Returns its result.
async fn run(body: &str) -> Result<Value, ProgramError> {
    let script = load(&engine(), &format!("export default async function (call) {{ {body} }}")).await?;
    let result = call(&script, &json!({ "n": 1 })).await?;
    Ok(if result.json.is_empty() { Value::Null } else { serde_json::from_str(&result.json).unwrap() })
}

#[tokio::test]
async fn exports_are_found_and_called_with_json() {
    let code = "export default (call) => ({ reply: call });
        export function before_send({ text }) { return { text: text + '!' }; }
        export const unknown = 1;";
    let script = load(&engine(), code).await.unwrap();
    assert_eq!(script.exports(), [Export::Call, Export::BeforeSend]);
    assert_eq!(call(&script, &json!({ "a": "ä\u{0}" })).await.unwrap().json, r#"{"reply":{"a":"ä\u0000"}}"#);
    let host = Arc::<EchoHost>::default();
    let answer = call_on(&script, Export::BeforeSend, &json!({ "text": "hi" }), host).await.unwrap();
    assert_eq!(answer.json, r#"{"text":"hi!"}"#);
}

#[tokio::test]
async fn calls_start_with_the_memory_after_loading() {
    let code = "let calls = 0; globalThis.seen = []; export default () => {
        calls++; seen.push(calls); Array.prototype.extra = calls; return { calls, seen: seen.length } }";
    let script = load(&engine(), code).await.unwrap();
    let first = call(&script, &json!({})).await.unwrap();
    assert!(first.is_new);
    for _ in 0..100 {
        let next = call(&script, &json!({})).await.unwrap();
        assert_eq!((next.json.as_str(), next.is_new), (r#"{"calls":1,"seen":1}"#, false));
        assert_eq!(next.memory_bytes, first.memory_bytes);
    }
}

#[tokio::test]
async fn random_numbers_differ_between_calls_and_in_a_call() {
    let code = "const early = Math.random(); export default () =>
        [early, Math.random(), Math.random(), crypto.randomUUID()]";
    let script = load(&engine(), code).await.unwrap();
    let mut seen = std::collections::HashSet::new();
    for _ in 0..20 {
        let json = call(&script, &json!({})).await.unwrap().json;
        let numbers: Vec<Value> = serde_json::from_str(&json).unwrap();
        assert!(numbers[..3].iter().all(|number| (0.0..1.0).contains(&number.as_f64().unwrap())), "{json}");
        assert_eq!(numbers[3].as_str().unwrap().len(), 36);
        for number in &numbers[1..] {
            assert!(seen.insert(number.to_string()), "{number} came twice");
        }
    }
}

#[tokio::test]
async fn host_calls_return_values_and_errors() {
    let answer = run("const a = await state.room.get('k'), none = await state.own.get('missing');
        const e = await state.user.entry('k');
        const code = await room.about().catch((e) => [e.code, e.message, e instanceof Error, /test.js:[0-9]/.test(e.stack)]);
        return [a, none === undefined, e, await state.own.add('n', 5), code, env.KEY, env.OTHER === undefined, 'KEY' in env]")
    .await
    .unwrap();
    let expected = json!([["Room", "k"], true, { "value": ["User", "k"], "version": 7 }, 5,
        ["not_found", "no such room", true, true], "secret", true, true]);
    assert_eq!(answer, expected);
}

#[tokio::test]
async fn fetch_sends_bodies_and_reads_answers() {
    let answer = run("const one = await fetch('https://a/', { method: 'post', headers: { 'X-A': '1' }, body: JSON.stringify({ b: 'ü' }) });
        const two = await fetch('https://a/', { body: new Uint8Array([255, 0, 1]) });
        const three = await fetch('https://a/', { body: new URLSearchParams({ q: 'a b&c' }) });
        return [one.status, one.ok, one.headers.get('x-a'), await one.json(), [...(await two.bytes())],
            three.headers.get('content-type'), await three.text()]")
    .await
    .unwrap();
    let expected = json!([201, true, "1", { "b": "ü" }, [255, 0, 1],
        "application/x-www-form-urlencoded;charset=UTF-8", "q=a+b%26c"]);
    assert_eq!(answer, expected);
}

#[tokio::test]
async fn concurrent_host_calls_are_all_answered() {
    let answer =
        run("const all = await Promise.all(Array.from({ length: 300 }, (_, i) => state.own.add('n', i)));
        const first = await Promise.race([room.history(), state.own.add('n', 9)]);
        return [all.length, all[299], first]");
    assert_eq!(answer.await.unwrap(), json!([300, 299, 9]));
}

#[tokio::test]
async fn urls_are_parsed_as_in_browsers() {
    let answer = run("const u = new URL('../x/./y?a=1&b=ü c#h', 'HTTPS://User:pw@Example.COM:443/p/q/r');
        u.searchParams.append('z', '&'); const s = new URLSearchParams('b=2&a=1&b=3'); s.set('b', '4'); s.sort();
        return [u.href, u.origin, u.host, u.pathname, URL.canParse('nope'), s.toString(), s.size, [...s.keys()],
            new TextDecoder().decode(new Uint8Array([0xef, 0xbb, 0xbf, 0x61, 0xf0, 0x9f, 0x62])), atob(btoa('hi'))]")
    .await
    .unwrap();
    let expected = json!([
        "https://User:pw@example.com/p/x/y?a=1&b=%C3%BC+c&z=%26#h",
        "https://example.com",
        "example.com",
        "/p/x/y",
        false,
        "a=1&b=4",
        2,
        ["a", "b"],
        "a\u{fffd}b",
        "hi"
    ]);
    assert_eq!(answer, expected);
}

#[tokio::test]
async fn errors_name_file_and_line() {
    let engine = engine();
    let thrown = |error: ProgramError| match error {
        ProgramError::Thrown(text) => text,
        error => panic!("{error:?}"),
    };
    for (code, expected) in [
        ("export default 1 +;\n", "SyntaxError: "),
        ("\n\nlet x = ;", "test.js:3"),
        ("throw new TypeError('at load')", "TypeError: at load"),
        ("import axios from 'axios'", "npx esbuild --bundle"),
        ("import a from './lib/none.js'", "no such file in the folder lib/"),
        ("await state.own.get('a')", "only during a call"),
        ("await new Promise(() => {})", "never settled"),
    ] {
        let text = thrown(load(&engine, code).await.unwrap_err());
        assert!(text.contains(expected), "{code}: {text}");
    }
    let script = load(&engine, "export default (f) => {\n  throw new RangeError('no'); }").await.unwrap();
    let text = thrown(call(&script, &json!({})).await.unwrap_err());
    assert!(text.starts_with("RangeError: no\n") && text.contains("test.js:2"), "{text}");
}

#[tokio::test]
async fn thrown_values_of_any_kind_are_errors() {
    for value in [
        "null",
        "undefined",
        "Symbol('x')",
        "{ toString() { throw 1 } }",
        "{ toJSON() { throw 1 } }",
        "new Proxy({}, { get() { throw 1 } })",
        "Object.defineProperty(new Error('a'), 'stack', { get() { throw 1 } })",
        "Object.assign(new Error(), { stack: 5 })",
        "Object.create(null)",
        "10n",
        "() => 1",
        "Object.defineProperty(new Error('a'), 'message', { get() { throw 1 } })",
    ] {
        let error = run(&format!("throw {value}")).await.unwrap_err();
        assert!(matches!(error, ProgramError::Thrown(ref text) if !text.is_empty()), "{value}: {error:?}");
    }
}

#[tokio::test]
async fn modules_of_the_lib_folder_are_imported() {
    let modules = [
        (
            "lib/words.js".to_owned(),
            "import { a } from './more.js'; export const words = [a, 'b'];".to_owned(),
        ),
        ("lib/more.js".to_owned(), "export const a = 'a';".to_owned()),
    ];
    let code = "import { words } from './lib/words.js'; export default () => words";
    let script = load_with(&engine(), code, &modules).await.unwrap();
    assert_eq!(call(&script, &json!({})).await.unwrap().json, r#"["a","b"]"#);
}

#[tokio::test]
async fn hostile_functions_end_by_their_limits() {
    for (body, expected) in [
        ("for (;;) {}", "used up its CPU time"),
        ("/^(a+)+$/.test('a'.repeat(41) + '!')", "used up its CPU time"),
        ("return new Array(1e9) + ''", "used up its CPU time"),
        ("const a = []; for (;;) a.push(new Uint8Array(1e6))", "out of memory"),
        ("let s = 'x'; for (;;) s += s", ""),
        ("return 'x'.repeat(1e6)", "more than 65536 bytes"),
        ("const f = () => f() + 1; f()", "too deep"),
        ("const f = (n) => n ? f(n - 1) + 1 : n; f(300); f(1e6)", "too deep"),
        ("for (;;) state.own.add('a', 1)", "more than 1000 host calls at once"),
        ("let j = '['.repeat(1e5); return JSON.parse(j)", ""),
        ("let a = []; for (let i = 0; i < 1e5; i++) a = [a]; return a", ""),
        ("await new Promise(() => {})", "never settled"),
    ] {
        let error = run(body).await.unwrap_err();
        assert!(error.to_string().contains(expected), "{body}: {error}");
    }
}

#[tokio::test]
async fn prototype_tricks_do_not_reach_the_host() {
    let answer = run("const seen = [];
        Map.prototype.get = Map.prototype.set = JSON.stringify = Array.prototype.push = (...a) => { seen[seen.length] = a; };
        Object.defineProperty(Object.prototype, 'code', { get() { return 'forged' }, configurable: true });
        globalThis.Promise = class {}; globalThis.Error = class {};
        const n = await state.own.add('n', 3);
        return { n, seen: seen.length, frozen: Object.isFrozen(state) && Object.isFrozen(state.own) && Object.isFrozen(room) }");
    assert_eq!(answer.await.unwrap(), json!({ "n": 3, "seen": 0, "frozen": true }));
}

#[tokio::test]
async fn log_lines_reach_the_host() {
    let code = "export default () => { console.log('a', { b: 1 }, null); console.error(new Error('e')); Promise.reject('x'); }";
    let script = load(&engine(), code).await.unwrap();
    let host = Arc::<EchoHost>::default();
    assert_eq!(call_on(&script, Export::Call, &json!({}), host.clone()).await.unwrap().json, "");
    let lines = host.lines.lock().unwrap();
    assert_eq!(lines[0], (LogLevel::Info, "a {\"b\":1} null".to_owned()));
    assert!(lines[1].1.starts_with("Error: e\n"), "{lines:?}");
    assert_eq!(lines[2], (LogLevel::Warn, "a promise was rejected and nobody waited for it: x".to_owned()));
}

#[tokio::test]
async fn memory_of_instances_returns_to_the_budget() {
    let budget = MemoryBudget::new(4 << 20);
    let engine = Arc::new(ScriptEngine::new(512 << 10, budget.clone()).unwrap());
    let script = Arc::new(load(&engine, "export default () => room.history()").await.unwrap());
    let before = budget.used();
    let calls: Vec<_> = (0..20)
        .map(|_| {
            let script = script.clone();
            tokio::spawn(async move {
                tokio::time::timeout(Duration::from_secs(2), call(&script, &json!({}))).await
            })
        })
        .collect();
    let mut refused = 0;
    for ended in calls {
        match ended.await.unwrap() {
            Ok(Err(ProgramError::NoInstance)) => refused += 1,
            Ok(other) => panic!("{other:?}"),
            Err(_) => {}
        }
    }
    assert!((10..20).contains(&refused), "{refused}");
    assert_eq!(budget.used(), before);
}

#[tokio::test]
async fn arguments_of_host_calls_are_bounded_by_the_memory() {
    let code = "export default () => { const s = 'x'.repeat(1e6); for (;;) state.own.set('a', s) }";
    let script = load(&engine(), code).await.unwrap();
    let limits = ProgramLimits { cpu: Duration::from_secs(20), ..LIMITS };
    let host = Arc::<EchoHost>::default();
    let call = ProgramCall { export: Export::Call, input: "{}", host, limits };
    let error = script.call(call).await.unwrap_err();
    assert!(error.to_string().contains("larger than the memory of a call"), "{error}");
}
