//! Function files that fail, loop, or take too much.

use serde_json::json;

use crate::support::{FunctionsFolder, Metered, Server, chat, error};

const HOSTILE: &str = "export default ({ request: { how } }) => ({
    loop() { for (;;) {} },
    regex() { return /^(a+)+$/.test('a'.repeat(41) + '!') },
    join() { return new Array(1e9) + '' },
    memory() { const a = []; for (;;) a.push(new Uint8Array(1e6)) },
    recursion() { const f = () => f() + 1; return f() },
    throws() { throw new TypeError('no such word') },
    odd() { throw null },
    never() { return new Promise(() => {}) },
    large() { return { reply: { text: 'x'.repeat(70000) } } },
    wrong() { return { unknown: 1 } },
    number() { return 5 },
    text() { return 'hello' },
    surrogate() { return { reply: { text: '\\ud800' } } },
    fine() { return { reply: {} } },
    calls() { for (;;) state.own.add('n', 1) },
    awaits: async () => { for (let i = 0; i < 40; i++) await state.own.get('n'); return { reply: { done: true } } },
})[how]()";

async fn server_with(overrides: &[(&str, &str)]) -> (FunctionsFolder, Server) {
    let folder = FunctionsFolder::with(&[("hostile.js", HOSTILE)]);
    // On a busy machine, the calls that must reach another limit may need more than the default of 50 ms.
    let own = [("FUNCTIONS__HOSTILE__BREAKER_FAILURES", "1000"), ("FUNCTIONS__HOSTILE__CPU_MS", "1000")];
    let server = Server::start(&[&folder.settings(), &own[..], overrides].concat()).await;
    server.room(&[1, 2]).await;
    (folder, server)
}

#[tokio::test]
async fn hostile_calls_fail_alone_and_the_socket_stays_open() {
    let metered = Metered::new();
    let (_folder, server) = server_with(&[metered.setting(), ("LIMITS__REFUSALS_PER_MINUTE", "1000")]).await;
    let mut two = server.join(2, 1).await;
    for (how, code) in [
        ("loop", "timeout"),
        ("regex", "timeout"),
        ("join", "timeout"),
        ("memory", "internal"),
        ("recursion", "internal"),
        ("throws", "internal"),
        ("odd", "internal"),
        ("never", "internal"),
        ("large", "internal"),
        ("wrong", "internal"),
        ("number", "internal"),
        ("text", "internal"),
        ("calls", "internal"),
        ("surrogate", "internal"),
    ] {
        // Ten refusals in ten seconds close a socket.
        let mut one = server.join(1, 2).await;
        one.send(json!({"action": "hostile", "how": how})).await;
        let frame = one.expect(error(code, Some("hostile"))).await;
        let text = frame.to_string();
        assert!(
            !text.contains("test.js") && !text.contains("no such word"),
            "the client sees no stack: {text}"
        );
        one.leave().await;
    }
    let mut one = server.join(1, 2).await;
    one.send(json!({"action": "hostile", "how": "fine"})).await;
    one.expect(json!({"type": "hostile"})).await;
    one.say("still here").await;
    two.until(chat(1, 1, "still here")).await;
    assert_eq!(metered.hits("function_cpu_ms").await, 3);
    assert_eq!(metered.hits("function_memory_mib").await, 1);
    let outcome = |outcome: &str| {
        format!(r#"parlor_function_calls_total{{function="hostile",export="default",outcome="{outcome}"}}"#)
    };
    assert_eq!(metered.sample(&outcome("cpu")).await, 3);
    assert_eq!(metered.sample(&outcome("trap")).await, 3);
}

#[tokio::test]
async fn waiting_for_the_database_is_no_cpu_time() {
    // Forty waits of a millisecond or more would use this time up.
    let own = [("FUNCTIONS__HOSTILE__CPU_MS", "20")];
    let (_folder, server) = server_with(&own).await;
    let mut one = server.join(1, 2).await;
    one.send(json!({"action": "hostile", "how": "awaits"})).await;
    one.expect(json!({"type": "hostile", "done": true})).await;
}

#[tokio::test]
async fn host_calls_and_log_lines_beyond_the_bounds_are_counted() {
    let code = "export default async () => { for (let i = 0; i < 5; i++) console.log('x'.repeat(100));
        const all = await Promise.allSettled([1, 2, 3, 4].map(() => state.own.get('k')));
        return { reply: { codes: all.map((r) => r.reason?.code ?? 'ok') } } }";
    let folder = FunctionsFolder::with(&[("f.js", code)]);
    let metered = Metered::new();
    let own = [
        ("FUNCTIONS__F__HOST_CALLS", "3"),
        ("FUNCTIONS__F__LOG_LINES", "2"),
        ("FUNCTIONS__F__LOG_LINE_BYTES", "64"),
        metered.setting(),
    ];
    let server = Server::start(&[&folder.settings(), &own[..]].concat()).await;
    server.room(&[1, 2]).await;
    let mut one = server.join(1, 2).await;
    one.send(json!({"action": "f"})).await;
    one.expect(json!({"type": "f", "codes": ["ok", "ok", "ok", "rate_limited"]})).await;
    for (bound, hits) in
        [("function_host_calls", 1), ("function_log_lines", 3), ("function_log_line_bytes", 2)]
    {
        assert_eq!(metered.hits(bound).await, hits, "{bound}");
    }
}

#[tokio::test]
async fn breaker_opens_after_failures_in_a_row() {
    let own =
        [("FUNCTIONS__HOSTILE__BREAKER_FAILURES", "2"), ("FUNCTIONS__HOSTILE__BREAKER_OPEN_MS", "600000")];
    let (_folder, server) = server_with(&own).await;
    let mut one = server.join(1, 2).await;
    for (how, code) in [
        ("throws", "internal"),
        ("throws", "internal"),
        ("throws", "internal"),
        ("loop", "timeout"),
        ("recursion", "internal"),
        ("fine", "unavailable"),
    ] {
        one.send(json!({"action": "hostile", "how": how})).await;
        one.expect(error(code, Some("hostile"))).await;
    }
}

#[tokio::test]
async fn memory_of_all_instances_is_bounded() {
    let code = "export default async () => { const kept = new Uint8Array(3e6); for (;;) await state.own.get('k' + kept[0]) }";
    let folder = FunctionsFolder::with(&[("waits.js", code)]);
    let metered = Metered::new();
    let own = [
        ("FUNCTIONS__MEMORY_MIB", "16"),
        ("FUNCTIONS__WAITS__BREAKER_FAILURES", "1000"),
        ("FUNCTIONS__WAITS__CPU_MS", "60000"),
        ("FUNCTIONS__WAITS__TIMEOUT_MS", "1000"),
        metered.setting(),
    ];
    let server = Server::start(&[&folder.settings(), &own[..]].concat()).await;
    server.room(&[1, 2]).await;
    let mut clients = Vec::new();
    for _ in 0..8 {
        clients.push(server.join(1, 2).await);
    }
    for client in &mut clients {
        client.send(json!({"action": "waits"})).await;
    }
    let mut codes = Vec::new();
    for client in &mut clients {
        codes.push(client.until_kind("error").await["code"].as_str().unwrap().to_owned());
    }
    let refused = codes.iter().filter(|code| *code == "rate_limited").count();
    assert!((1..codes.len()).contains(&refused), "{codes:?}");
    assert_eq!(metered.hits("function_instances_memory").await, refused as u64);
}
