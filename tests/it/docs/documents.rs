//! Checks the documents against the contract (config/asyncapi.json). Each frame in an example must fit its schema.
//! docs/protocol.md must name every action, event, error code and close code.

use std::collections::BTreeSet;
use std::path::Path;

use serde_json::{Value, json};

use crate::support::fits;

/// The documents with examples of frames.
const WITH_FRAMES: [&str; 2] = ["docs/protocol.md", "docs/tokens.md"];

fn read(file: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(file);
    std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{file}: {error}"))
}

fn contract() -> Value {
    serde_json::from_str(&read("config/asyncapi.json")).unwrap()
}

/// Returns all frames in the JSON blocks of a document. A block may have several frames.
fn frames(file: &str) -> Vec<Value> {
    let document = read(file);
    let blocks = document.split("\n```json\n").skip(1).map(|rest| rest.split("\n```").next().unwrap());
    let parse = |block: &str| {
        let frames = serde_json::Deserializer::from_str(block).into_iter::<Value>();
        frames.map(|frame| frame.unwrap_or_else(|error| panic!("{file}: {error} in {block}"))).collect()
    };
    blocks.flat_map(|block| -> Vec<Value> { parse(block) }).collect()
}

/// Returns the messages of the contract whose `action` or `type` is equal to that of a frame. For an array, returns the
/// message `first_history`.
fn named<'a>(contract: &'a Value, frame: &Value) -> Vec<(&'a str, &'a Value)> {
    let messages = contract["components"]["messages"].as_object().unwrap();
    let is_named = |(name, message): &(&String, &Value)| {
        let tagged = |tag: &str| {
            let known = &message["payload"]["properties"][tag]["const"];
            !known.is_null() && *known == frame[tag]
        };
        if frame.is_array() { *name == "first_history" } else { tagged("action") || tagged("type") }
    };
    messages.iter().filter(is_named).map(|(name, message)| (name.as_str(), &message["payload"])).collect()
}

/// Tells whether a document contains a name as a code span.
fn names(document: &str, name: &str) -> bool {
    document.contains(&format!("`{name}`"))
}

/// Returns the names in the first column of the tables below a heading.
fn first_cells<'a>(document: &'a str, heading: &str) -> BTreeSet<&'a str> {
    let below = document.split(&format!("\n## {heading}\n")).nth(1).unwrap_or_else(|| panic!("no {heading}"));
    let section = below.split("\n## ").next().unwrap();
    let cells = section.lines().filter_map(|line| line.strip_prefix("| ")?.split(" |").next());
    cells.flat_map(|cell| cell.split(", ")).map(|cell| cell.trim_matches('`')).collect()
}

#[test]
fn documented_frames_fit_the_contract() {
    let contract = contract();
    let mut met = BTreeSet::new();
    for file in WITH_FRAMES {
        let frames = frames(file);
        assert!(!frames.is_empty(), "{file} shows no frame");
        for frame in frames {
            let known = named(&contract, &frame);
            assert!(!known.is_empty(), "{file}: the contract has no such frame: {frame}");
            let faults: Vec<_> = known.iter().filter_map(|(_, schema)| fits(&frame, schema).err()).collect();
            assert!(faults.len() < known.len(), "{file}: {faults:?} in {frame}");
            met.extend(
                known.iter().filter(|(_, schema)| fits(&frame, schema).is_ok()).map(|(name, _)| *name),
            );
        }
    }
    let messages = contract["components"]["messages"].as_object().unwrap();
    // The answer to a repeated `send` has the form of an event, so it needs no example of its own.
    let unmet: Vec<_> =
        messages.keys().filter(|name| *name != "send_answer" && !met.contains(name.as_str())).collect();
    assert!(unmet.is_empty(), "no document has an example of {unmet:?}");
}

#[test]
fn contract_messages_have_examples_that_fit() {
    for (name, message) in contract()["components"]["messages"].as_object().unwrap() {
        let examples = message["examples"].as_array().map(Vec::as_slice).unwrap_or_default();
        assert!(!examples.is_empty(), "{name} has no example");
        for example in examples {
            let fault = fits(&example["payload"], &message["payload"]).err();
            assert!(fault.is_none(), "{name}: {fault:?} in {example}");
        }
    }
}

#[test]
fn protocol_document_names_every_action_and_event() {
    let (contract, document) = (contract(), read("docs/protocol.md"));
    for (name, message) in contract["components"]["messages"].as_object().unwrap() {
        let fields = &message["payload"]["properties"];
        for tag in ["action", "type"] {
            if let Some(known) = fields[tag]["const"].as_str() {
                assert!(names(&document, known), "{name}: `{known}` is not in docs/protocol.md");
            }
        }
    }
    let query = &contract["channels"]["chat"]["bindings"]["ws"]["query"]["properties"];
    for parameter in query.as_object().unwrap().keys() {
        assert!(names(&document, parameter), "`{parameter}` is not in docs/protocol.md");
    }
}

#[test]
fn protocol_document_lists_every_error_code() {
    let (contract, document) = (contract(), read("docs/protocol.md"));
    let codes = &contract["components"]["messages"]["error"]["payload"]["properties"]["code"]["oneOf"];
    let codes = codes.as_array().unwrap().iter().map(|code| code["const"].as_str().unwrap());
    let mut listed = first_cells(&document, "Errors");
    assert!(listed.remove("code"), "{listed:?}");
    assert_eq!(listed, codes.collect());
}

#[test]
fn protocol_document_lists_every_close_code() {
    let (contract, document) = (contract(), read("docs/protocol.md"));
    let codes = contract["channels"]["chat"]["x-close-codes"].as_object().unwrap();
    let mut listed = first_cells(&document, "Close codes");
    assert!(listed.remove("code"), "{listed:?}");
    assert_eq!(listed, codes.keys().map(String::as_str).collect());
}

#[test]
fn http_document_names_every_operation_and_problem() {
    let document = read("docs/http-api.md");
    let description: Value = serde_json::from_str(&read("config/openapi.json")).unwrap();
    for (path, item) in description["paths"].as_object().unwrap() {
        let path = path.strip_prefix("/api/v1").unwrap();
        for method in item.as_object().unwrap().keys() {
            let operation = format!("`{} {path}", method.to_uppercase());
            assert!(document.contains(&operation), "{operation}` is not in docs/http-api.md");
        }
    }
    let codes = description["components"]["schemas"]["ProblemCode"]["enum"].as_array().unwrap();
    for code in codes {
        assert!(names(&document, code.as_str().unwrap()), "{code} is not in docs/http-api.md");
    }
}

#[test]
fn documents_link_to_files_and_headings_that_exist() {
    for file in ["docs/protocol.md", "docs/tokens.md", "docs/http-api.md"] {
        let document = read(file);
        for target in document.split("](").skip(1).map(|rest| rest.split(')').next().unwrap()) {
            if target.starts_with("http") {
                continue;
            }
            let (path, heading) = target.split_once('#').unwrap_or((target, ""));
            let path = if path.is_empty() { file.to_owned() } else { format!("docs/{path}") };
            let found = read(&path);
            let slug = |line: &str| {
                let text = line.trim_start_matches('#').trim().to_lowercase().replace(' ', "-");
                text.chars().filter(|char| char.is_alphanumeric() || *char == '-').collect::<String>()
            };
            let has = found.lines().filter(|line| line.starts_with('#')).any(|line| slug(line) == heading);
            assert!(heading.is_empty() || has, "{file}: {target}");
        }
    }
}

#[test]
fn frames_are_refused_by_a_schema_that_they_do_not_fit() {
    let contract = contract();
    for bad in [
        json!({"action": "send"}),
        json!({"action": "send", "message": 5}),
        json!({"action": "send", "message": "Hello", "text": "Hello"}),
        json!({"type": "pong", "ref": 1}),
        json!({"type": "presence", "user_id": 2}),
        json!([{"message_id": 1}]),
    ] {
        let known = named(&contract, &bad);
        assert!(!known.is_empty() && known.iter().all(|(_, schema)| fits(&bad, schema).is_err()), "{bad}");
    }
}
