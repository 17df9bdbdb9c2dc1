//! Adds to a frame what is for one socket alone. An event is encoded once for all sockets of its room; what differs
//! between them, a `ref` or a `cursor`, is written behind it.

use tokio_tungstenite::tungstenite::Utf8Bytes;

/// The object with these fields at its end.
pub(crate) fn splice(object: &str, fields: &[(&str, &str)]) -> Utf8Bytes {
    let Some(open) = object.strip_suffix('}') else { return object.to_owned().into() };
    let more: usize = fields.iter().map(|(name, text)| name.len() + text.len() + 8).sum();
    let mut spliced = String::with_capacity(object.len() + more);
    spliced.push_str(open);
    for (name, text) in fields {
        if !spliced.ends_with('{') {
            spliced.push(',');
        }
        // A text can always be written as JSON.
        let text = serde_json::to_string(text).unwrap_or_default();
        spliced.push('"');
        spliced.push_str(name);
        spliced.push_str("\":");
        spliced.push_str(&text);
    }
    spliced.push('}');
    spliced.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_stand_behind_those_that_are_there() {
        assert_eq!(
            splice(r#"{"a":{}}"#, &[("b", "c\""), ("d", "")]).as_str(),
            r#"{"a":{},"b":"c\"","d":""}"#
        );
        assert_eq!(splice("{}", &[("b", "c")]).as_str(), r#"{"b":"c"}"#);
        assert_eq!(splice("", &[("b", "c")]).as_str(), "");
    }
}
