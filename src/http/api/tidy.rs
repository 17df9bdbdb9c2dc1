//! Rewrites parts of the OpenAPI document that generators of client code misread.
//!
//! The document that salvo derives from the types puts a schema and its description into an `allOf`. Generators
//! interpret an `allOf` as a composed object. OpenAPI 3.1 allows a description beside a `$ref`, so no `allOf` is
//! needed. The derived document also describes a value that may be null by a `oneOf`. Generators recognize a nullable
//! value only in an `anyOf` that contains null.

use serde_json::{Map, Value, json};

/// Rewrites every schema of the OpenAPI document.
pub(super) fn tidy(value: Value) -> Value {
    match value {
        Value::Array(list) => list.into_iter().map(tidy).collect(),
        Value::Object(fields) => {
            let fields = fields.into_iter().map(|(name, value)| (name, tidy(value))).collect();
            Value::Object(nullable(flat(fields)))
        }
        other => other,
    }
}

/// Replaces an `allOf` of one schema and one description by the schema with the description.
fn flat(mut fields: Map<String, Value>) -> Map<String, Value> {
    let Some(Value::Array(all)) = fields.get_mut("allOf") else { return fields };
    let is_description = |schema: &Value| {
        schema.as_object().is_some_and(|fields| fields.len() == 1 && fields.contains_key("description"))
    };
    if all.len() != 2 || !is_description(&all[1]) {
        return fields;
    }
    let all = std::mem::take(all);
    fields.remove("allOf");
    for schema in all {
        if let Value::Object(inner) = schema {
            fields.extend(inner);
        }
    }
    fields
}

/// Rewrites a `oneOf` that contains null as an `anyOf` with null at the end.
fn nullable(mut fields: Map<String, Value>) -> Map<String, Value> {
    let null = json!({ "type": "null" });
    let Some(Value::Array(one)) = fields.get_mut("oneOf") else { return fields };
    if !one.contains(&null) {
        return fields;
    }
    let mut any = std::mem::take(one);
    any.retain(|schema| *schema != null);
    any.push(null);
    fields.remove("oneOf");
    fields.insert("anyOf".to_owned(), any.into());
    fields
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_description_stands_beside_what_it_describes() {
        let derived = json!({ "properties": {
            "role": { "allOf": [{ "$ref": "#/x" }, { "description": "What." }] },
            "last": { "allOf": [
                { "oneOf": [{ "type": "null" }, { "$ref": "#/y" }] }, { "description": "The last." },
            ] },
            "id": { "oneOf": [{ "type": "integer" }, { "type": "string" }] },
        } });
        let tidied = json!({ "properties": {
            "role": { "$ref": "#/x", "description": "What." },
            "last": { "anyOf": [{ "$ref": "#/y" }, { "type": "null" }], "description": "The last." },
            "id": { "oneOf": [{ "type": "integer" }, { "type": "string" }] },
        } });
        assert_eq!(tidy(derived), tidied);
    }
}
