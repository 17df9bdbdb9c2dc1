//! Checks each answer of the HTTP API against its description in `config/openapi.json`, and values against schemas.

use std::sync::OnceLock;

use reqwest::Method;
use serde_json::Value;

/// The parts of an answer that are checked against the description.
pub(crate) struct Answer<'a> {
    pub(crate) status: u16,
    /// The content type of the answer. Empty if the answer has none.
    pub(crate) kind: &'a str,
    /// The text of the answer, or `None` if the caller does not read it.
    pub(crate) body: Option<&'a str>,
}

/// Checks an answer against the description of its operation. The description must have the answer's status and content
/// type. The body must fit the described schema. If the body is a problem document, the description must name its code.
///
/// Paths outside the API are not checked. For an unknown path or method, the status must be 400 to 499.
///
/// # Panics
/// If the answer differs from its description.
pub(crate) fn assert_described(method: &Method, path: &str, answer: &Answer<'_>) {
    let path = path.split(['?', '#']).next().unwrap_or_default();
    if !path.starts_with("/api/v1/") {
        return;
    }
    let (method, body) = if method == Method::HEAD { (&Method::GET, None) } else { (method, answer.body) };
    let answer = &Answer { body, ..*answer };
    let Some(operation) = operation(method, path) else {
        assert!((400..500).contains(&answer.status), "{method} {path} answered {}", answer.status);
        return;
    };
    let place = format!("{method} {path}, {}", answer.status);
    let response = &operation["responses"][answer.status.to_string()];
    assert!(response.is_object(), "{place} is not described: {:?}", answer.body);
    let content = response["content"].as_object();
    let Some(content) = content else {
        assert!(answer.body.is_none_or(str::is_empty), "{place} has a body: {:?}", answer.body);
        return;
    };
    let kind = answer.kind.split(';').next().unwrap_or_default();
    let described = content.get(kind);
    let described =
        described.unwrap_or_else(|| panic!("{place}: the content type `{kind}` is not described"));
    if let (Some(body), true) = (answer.body, kind.ends_with("json")) {
        let body: Value =
            serde_json::from_str(body).unwrap_or_else(|error| panic!("{place}: {error} in {body}"));
        if let Err(fault) = fits(&body, &described["schema"]) {
            panic!("{place}: {fault} in {body}");
        }
        if let Some(code) = body["code"].as_str().filter(|_| kind == "application/problem+json") {
            let codes = response["description"].as_str().unwrap_or_default();
            assert!(codes.contains(&format!("`{code}`")), "{place}: the code `{code}` is not described");
        }
    }
}

fn description() -> &'static Value {
    static DESCRIPTION: OnceLock<Value> = OnceLock::new();
    let read = || {
        let file = concat!(env!("CARGO_MANIFEST_DIR"), "/config/openapi.json");
        serde_json::from_str(&std::fs::read_to_string(file).unwrap()).unwrap()
    };
    DESCRIPTION.get_or_init(read)
}

/// Returns the description of the operation of this path, or `None`. A described path is a template, such as
/// `/api/v1/rooms/{id}`.
fn operation(method: &Method, path: &str) -> Option<&'static Value> {
    let parts: Vec<_> = path.split('/').collect();
    let is_at = |(there, here): (&str, &&str)| there == *here || there.starts_with('{') && !here.is_empty();
    let fits = |template: &String| {
        template.split('/').count() == parts.len() && template.split('/').zip(&parts).all(is_at)
    };
    let paths = description()["paths"].as_object().unwrap();
    let (_, item) = paths.iter().find(|(template, _)| fits(template))?;
    item.get(method.as_str().to_lowercase())
}

/// Checks that a value fits a schema. The error says what is wrong, and in which field.
///
/// # Panics
/// If the schema has a keyword that this function does not know. Otherwise the keyword would go unchecked.
pub(crate) fn fits(value: &Value, schema: &Value) -> Result<(), String> {
    let mut schema = schema.as_object().unwrap_or_else(|| panic!("no schema: {schema}")).clone();
    let is_open = schema.get("additionalProperties") == Some(&Value::Bool(true));
    for (keyword, rule) in std::mem::take(&mut schema) {
        let text = value.as_str().map(|text| text.chars().count() as u64);
        let items = value.as_array().map(|items| items.len() as u64);
        let bound = rule.as_u64().unwrap_or_default();
        let holds = match keyword.as_str() {
            "description" | "examples" | "default" | "format" | "title" | "pattern" => true,
            "additionalProperties" => rule.is_boolean(),
            "const" => *value == rule,
            "$ref" => {
                let pointer = rule.as_str().unwrap().trim_start_matches('#');
                fits(value, description().pointer(pointer).unwrap_or_else(|| panic!("no {pointer}")))?;
                true
            }
            "type" => match &rule {
                Value::Array(types) => types.iter().any(|kind| is(value, kind)),
                kind => is(value, kind),
            },
            "enum" => rule.as_array().unwrap().contains(value),
            "oneOf" => {
                rule.as_array().unwrap().iter().filter(|schema| fits(value, schema).is_ok()).count() == 1
            }
            "anyOf" => rule.as_array().unwrap().iter().any(|schema| fits(value, schema).is_ok()),
            "required" => {
                let has = |name: &Value| value.get(name.as_str().unwrap()).is_some();
                !value.is_object() || rule.as_array().unwrap().iter().all(has)
            }
            "properties" => {
                if let Some(fields) = value.as_object() {
                    let known = rule.as_object().unwrap();
                    for (name, value) in fields {
                        match known.get(name) {
                            Some(schema) => {
                                fits(value, schema).map_err(|fault| format!("{name}: {fault}"))?;
                            }
                            None if is_open => {}
                            None => return Err(format!("`{name}` is not described")),
                        }
                    }
                }
                true
            }
            "items" => {
                for item in value.as_array().into_iter().flatten() {
                    fits(item, &rule)?;
                }
                true
            }
            "minimum" => value.as_f64().is_none_or(|value| value >= rule.as_f64().unwrap()),
            "maximum" => value.as_f64().is_none_or(|value| value <= rule.as_f64().unwrap()),
            "minLength" => text.is_none_or(|length| length >= bound),
            "maxLength" => text.is_none_or(|length| length <= bound),
            "minItems" => items.is_none_or(|count| count >= bound),
            "maxItems" => items.is_none_or(|count| count <= bound),
            other => panic!("the keyword `{other}` is not known here"),
        };
        if !holds {
            return Err(format!("{value} does not fit {keyword} {rule}"));
        }
    }
    Ok(())
}

fn is(value: &Value, kind: &Value) -> bool {
    match kind.as_str().unwrap() {
        "null" => value.is_null(),
        "boolean" => value.is_boolean(),
        "integer" => value.is_i64() || value.is_u64(),
        "number" => value.is_number(),
        "string" => value.is_string(),
        "array" => value.is_array(),
        "object" => value.is_object(),
        other => panic!("the type `{other}` is not known here"),
    }
}
