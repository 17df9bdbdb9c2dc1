//! Warns about settings that are allowed but probably a mistake. Examples: limits that contradict each other,
//! unusable keys in a key set (JWKS), a missing `auth.audience`, and environment variables that the server does not
//! read. The server logs the warnings at its start and at a reload. `parlor check` prints them.

use super::{AuthConfig, Config, KeySetLocation, KeySource};

/// The most bytes that one character takes in JSON. Python's `json.dumps` writes a character such as an emoji as two
/// escapes of six bytes each.
const CHAR_BYTES: usize = 12;

/// The number of bytes that a frame or a request's body needs besides its text or token.
const FRAME_REST: usize = 1_024;

/// The number of bytes that a request head needs besides its token: path, cookies and the browser's headers.
const HEAD_REST: usize = 2_048;

impl Config {
    /// Returns the warnings, one line each. A line begins with the key or the environment variable.
    pub fn warnings(&self) -> Vec<String> {
        let mut warnings = self.given.unread_variables().to_vec();
        warnings.extend(self.auth.warnings());
        warnings.extend(self.texts().into_iter().chain(self.tokens()).chain(self.without_effect()));
        warnings
    }

    /// Returns a warning for each limit that is too low for a text of `limits.text_chars` characters.
    fn texts(&self) -> Vec<String> {
        let needed = self.limits.text_chars * CHAR_BYTES + FRAME_REST;
        let of_action = |action: &str| self.actions.get(action).and_then(|limits| limits.max_bytes);
        let of_hook = self.hooks.before_send.as_ref().map(|hook| hook.max_response_bytes);
        let bounds = [
            ("limits.frame_bytes", Some(self.limits.frame_bytes), "its socket is closed with 1009"),
            ("actions.send.max_bytes", of_action("send"), "it is refused"),
            ("actions.edit.max_bytes", of_action("edit"), "it is refused"),
            ("api.body_bytes", Some(self.api.body_bytes), "it is answered 413"),
            ("hooks.before_send.max_response_bytes", of_hook, "a rewritten one counts as no answer"),
        ];
        let too_small = |(key, bound, outcome): (&str, Option<usize>, &str)| {
            let bound = bound.filter(|bound| *bound < needed)?;
            let chars = self.limits.text_chars;
            Some(format!(
                "{key}: {bound} bytes may be too few for a text of limits.text_chars ({chars}), which takes up to {needed} as JSON; then {outcome}"
            ))
        };
        bounds.into_iter().filter_map(too_small).collect()
    }

    /// Returns a warning for each limit that is too low for a token of `auth.token_bytes` bytes.
    fn tokens(&self) -> Vec<String> {
        let token = self.auth.token_bytes;
        let frame = self.actions.get("auth").and_then(|limits| limits.max_bytes);
        let bounds = [
            ("http.head_bytes", Some(self.http.head_bytes), HEAD_REST, "its connect is answered 431"),
            (
                "limits.frame_bytes",
                Some(self.limits.frame_bytes),
                FRAME_REST,
                "it can't be renewed by `auth`",
            ),
            ("actions.auth.max_bytes", frame, FRAME_REST, "it can't be renewed by `auth`"),
        ];
        let too_small = |(key, bound, rest, outcome): (&str, Option<usize>, usize, &str)| {
            let bound = bound.filter(|bound| *bound < token + rest)?;
            Some(format!(
                "{key}: {bound} bytes are too few for a token of auth.token_bytes ({token}) and what is around it; then {outcome}"
            ))
        };
        bounds.into_iter().filter_map(too_small).collect()
    }

    /// Returns a warning for each limit that is never reached, because a lower limit is reached first.
    fn without_effect(&self) -> Vec<String> {
        let limits = &self.limits;
        let millis = |time: std::time::Duration| usize::try_from(time.as_millis()).unwrap_or(usize::MAX);
        let number = |number: u32| usize::try_from(number).unwrap_or(usize::MAX);
        let mut pairs = vec![
            (
                "limits.messages_per_minute".to_owned(),
                number(limits.messages_per_minute),
                "limits.frames_per_minute",
                number(limits.frames_per_minute),
            ),
            ("limits.sockets_per_user".to_owned(), limits.sockets_per_user, "limits.sockets", limits.sockets),
            (
                "http.connections_per_address".to_owned(),
                self.http.connections_per_address.unwrap_or(0),
                "http.connections",
                self.http.connections,
            ),
            ("limits.batch".to_owned(), limits.batch, "limits.write_queue", limits.write_queue),
            (
                "mongodb.selection_ms".to_owned(),
                millis(self.mongodb.selection),
                "mongodb.operation_ms",
                millis(self.mongodb.operation),
            ),
            (
                "auth.refetch_ms".to_owned(),
                millis(self.auth.refetch),
                "auth.refresh_seconds, in ms",
                millis(self.auth.refresh),
            ),
        ];
        let frame = limits.frame_bytes;
        let own = self.actions.iter().map(|(name, limits)| (format!("actions.{name}"), limits.max_bytes));
        let others =
            self.functions.iter().map(|(name, limits)| (format!("functions.{name}"), limits.max_bytes));
        for (section, most) in own.chain(others) {
            pairs.push((format!("{section}.max_bytes"), most.unwrap_or(0), "limits.frame_bytes", frame));
        }
        if let Some(hook) = &self.hooks.before_send {
            let send = self.actions.get("send").and_then(|limits| limits.timeout_ms).map(number);
            let half = send.unwrap_or(millis(limits.handler)) / 2;
            pairs.push((
                "hooks.before_send.timeout_ms".to_owned(),
                millis(hook.timeout),
                "half of what `send` may take, in ms",
                half,
            ));
        }
        let never = |(key, value, by, bound): (String, usize, &str, usize)| {
            (value > bound).then(|| format!("{key}: {value} is never reached: {by} is {bound}"))
        };
        pairs.into_iter().filter_map(never).collect()
    }
}

impl AuthConfig {
    fn warnings(&self) -> Vec<String> {
        // If the server can't use the signing keys, `Config::check` returns the error, and this function returns no
        // warning.
        match self.keys() {
            Ok(KeySource::Set(set)) => {
                let faults = set.faults.iter().chain(&set.others);
                faults.map(|fault| format!("auth.jwks: {fault}; it is passed over")).collect()
            }
            Ok(KeySource::Remote(location)) if self.audience.is_none() && self.require.is_empty() => {
                let key = match location {
                    KeySetLocation::Set(_) => "auth.jwks",
                    KeySetLocation::Discovery(_) => "auth.discovery",
                };
                vec![format!(
                    "auth.audience: is not set, so a token that the issuer of {key} has made for another application is accepted; set it, or auth.require"
                )]
            }
            _ => Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn warnings(settings: &[(&str, &str)]) -> Vec<String> {
        let env = settings.iter().map(|(key, value)| (format!("PARLOR__{key}"), (*value).to_owned()));
        Config::load(None, env).unwrap().warnings()
    }

    #[test]
    fn defaults_have_no_warning() {
        assert_eq!(warnings(&[]), Vec::<String>::new());
    }

    #[test]
    fn bounds_that_contradict_each_other_are_named() {
        let hook = ("HOOKS__BEFORE_SEND__URL", "http://127.0.0.1:9/");
        let function = ("FUNCTIONS__F__URL", "http://127.0.0.1:9/");
        for (settings, keys) in [
            (&[("LIMITS__TEXT_CHARS", "6000")][..], &["limits.frame_bytes"][..]),
            (&[("LIMITS__FRAME_BYTES", "40000")], &["limits.frame_bytes"]),
            (&[("ACTIONS__EDIT__MAX_BYTES", "1000")], &["actions.edit.max_bytes"]),
            (&[("LIMITS__TEXT_CHARS", "100000"), ("LIMITS__FRAME_BYTES", "2000000")], &["api.body_bytes"]),
            (
                &[("LIMITS__TEXT_CHARS", "6000"), ("LIMITS__FRAME_BYTES", "100000"), hook],
                &["hooks.before_send.max_response_bytes"],
            ),
            (&[("HTTP__HEAD_BYTES", "8192")], &["http.head_bytes"]),
            (&[("AUTH__TOKEN_BYTES", "32768")], &["http.head_bytes"]),
            (&[("ACTIONS__AUTH__MAX_BYTES", "9000")], &["actions.auth.max_bytes"]),
            (&[("LIMITS__MESSAGES_PER_MINUTE", "601")], &["limits.messages_per_minute"]),
            (&[("LIMITS__SOCKETS", "10")], &["limits.sockets_per_user"]),
            (&[("HTTP__CONNECTIONS", "10")], &["http.connections_per_address"]),
            (&[("LIMITS__BATCH", "30000")], &["limits.batch"]),
            (&[("MONGODB__SELECTION_MS", "10001")], &["mongodb.selection_ms"]),
            (&[("AUTH__REFETCH_MS", "300001")], &["auth.refetch_ms"]),
            (&[("ACTIONS__TYPING__MAX_BYTES", "65537")], &["actions.typing.max_bytes"]),
            (&[function, ("FUNCTIONS__F__MAX_BYTES", "65537")], &["functions.f.max_bytes"]),
            (&[hook, ("HOOKS__BEFORE_SEND__TIMEOUT_MS", "5001")], &["hooks.before_send.timeout_ms"]),
            (&[("AUTH__JWKS", "https://a.example/keys")], &["auth.audience"]),
            (&[("AUTH__DISCOVERY", "https://a.example")], &["auth.audience"]),
            (&[("AUTH__DISCOVERY", "https://a.example"), ("AUTH__AUDIENCE", "chat")], &[]),
        ] {
            let warnings = warnings(settings);
            let named: Vec<_> = warnings.iter().map(|line| line.split(": ").next().unwrap()).collect();
            assert_eq!(named, keys, "{settings:?}: {warnings:?}");
        }
    }
}
