//! Appends fields that differ between sockets. An event is encoded once for all sockets of its room. Then the field
//! `ref` or `cursor` is appended for each socket that needs this field.

use tokio_tungstenite::tungstenite::Utf8Bytes;

/// Returns the JSON object with these fields appended. The values must already be encoded as JSON.
pub(crate) fn append_fields(object: &str, fields: &[(&str, &str)]) -> Utf8Bytes {
    let Some(open) = object.strip_suffix('}') else { return object.to_owned().into() };
    let more: usize = fields.iter().map(|(name, json)| name.len() + json.len() + 4).sum();
    let mut spliced = String::with_capacity(object.len() + more);
    spliced.push_str(open);
    for (name, json) in fields {
        if !spliced.ends_with('{') {
            spliced.push(',');
        }
        spliced.push('"');
        spliced.push_str(name);
        spliced.push_str("\":");
        spliced.push_str(json);
    }
    spliced.push('}');
    spliced.into()
}

/// Encodes a text as JSON.
pub(crate) fn quoted(text: &str) -> String {
    // The encoding of a text as JSON can't fail.
    serde_json::to_string(text).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_stand_behind_those_that_are_there() {
        let fields = [("b", &*quoted("c\"")), ("d", "7")];
        assert_eq!(append_fields(r#"{"a":{}}"#, &fields).as_str(), r#"{"a":{},"b":"c\"","d":7}"#);
        assert_eq!(append_fields("{}", &[("b", "null")]).as_str(), r#"{"b":null}"#);
        assert_eq!(append_fields("", &[("b", "7")]).as_str(), "");
    }
}
