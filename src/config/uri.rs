//! Checks that no option of `mongodb.uri` contradicts an option that Parlor needs.
//!
//! Every database operation of Parlor sets its own read preference, read concern and write concern. If an option of
//! the URI contradicts these settings, the start fails with an error that names the option.

use std::borrow::Cow;

use percent_encoding::percent_decode_str;

/// An option for which Parlor accepts only certain values, and the advice for the operator.
struct OptionRule {
    /// The option's name, as MongoDB's documentation spells it.
    option: &'static str,
    /// The accepted values, in lower case. Parlor uses these values even if the URI does not set them.
    accepted: &'static [&'static str],
    advice: &'static str,
}

const RULES: &[OptionRule] = &[
    OptionRule {
        option: "readPreference",
        accepted: &["primary"],
        advice: "Parlor reads from the primary, so that it never misses its own writes; remove the option. To read change streams \
                 from a secondary set feed.read_from = \"secondary\"",
    },
    OptionRule {
        option: "readPreferenceTags",
        accepted: &[],
        advice: "Parlor reads from the primary, which has no tags to be chosen by; remove the option",
    },
    OptionRule {
        option: "maxStalenessSeconds",
        accepted: &["-1"],
        advice: "Parlor reads from the primary, which is never stale; remove the option",
    },
    OptionRule {
        option: "readConcernLevel",
        accepted: &["local"],
        advice: "each of Parlor's reads states its own read concern; remove the option",
    },
    OptionRule {
        option: "w",
        accepted: &["majority"],
        advice: "Parlor acknowledges what a majority has; remove the option, or set w=majority",
    },
    OptionRule {
        option: "journal",
        accepted: &["true"],
        advice: "Parlor acknowledges what is in the journal of a majority; remove the option",
    },
    OptionRule {
        option: "wtimeoutMS",
        accepted: &["0"],
        advice: "a write that times out is not undone; remove the option. mongodb.operation_ms limits every operation",
    },
    OptionRule {
        option: "retryWrites",
        accepted: &["true"],
        advice: "without retries an election fails the requests of that moment; remove the option",
    },
    OptionRule {
        option: "retryReads",
        accepted: &["true"],
        advice: "without retries an election fails the requests of that moment; remove the option",
    },
    OptionRule {
        option: "loadBalanced",
        accepted: &["false"],
        advice: "Parlor needs to see the members of the replica set or the routers of the cluster; name these, and remove the option",
    },
    OptionRule {
        option: "socketTimeoutMS",
        accepted: &[],
        advice: "it would end operations whose outcome is then unknown; remove the option. mongodb.operation_ms limits every operation",
    },
];

/// Options that the driver ignores, each with the setting to use instead.
const WITHOUT_EFFECT: &[(&str, &str)] =
    &[("waitQueueTimeoutMS", "mongodb.operation_ms limits every operation")];

/// Checks a URI. Fails if an option contradicts an option that Parlor needs, or if an `@` stands after the first
/// question mark. The error says what is wrong and what to do, but does not show the option's value.
pub(super) fn check(uri: &str) -> Result<(), String> {
    if has_late_at_sign(uri) {
        return Err("has an @ after its first question mark: write a ? in the user or the password as %3F, and an @ in an \
                    option as %40"
            .to_owned());
    }
    for (name, value) in options(uri) {
        let value = value.to_ascii_lowercase();
        let rule = RULES.iter().find(|rule| name.eq_ignore_ascii_case(rule.option));
        if let Some(OptionRule { option, advice, .. }) = rule.filter(|rule| !rule.accepted.contains(&&*value))
        {
            return Err(format!("its option {option} contradicts what Parlor needs: {advice}"));
        }
    }
    Ok(())
}

/// Returns whether the user name or the password of a URI seems to contain a question mark. The MongoDB driver would
/// read the text before the question mark, a part of the password, as addresses. The driver's error would show this
/// text.
fn has_late_at_sign(uri: &str) -> bool {
    uri.split_once('?').is_some_and(|(before, after)| !before.contains('@') && after.contains('@'))
}

/// Returns a warning for each option of a URI that the driver ignores.
pub(super) fn without_effect(uri: &str) -> Vec<String> {
    let options = options(uri);
    let given = |name: &str| options.iter().any(|(option, _)| option.eq_ignore_ascii_case(name));
    let found = WITHOUT_EFFECT.iter().filter(|(name, _)| given(name));
    found.map(|(name, instead)| format!("mongodb.uri: {name} has no effect: {instead}")).collect()
}

/// Returns the database that the path of a URI names. Returns none for `admin`: MongoDB's users are usually created
/// in the database `admin`, and many URIs name this database only for the login.
pub(super) fn database(uri: &str) -> Option<String> {
    let (_, rest) = uri.split_once("://")?;
    let (_, path) = rest.split('?').next()?.split_once('/')?;
    // If the path contains an `@`, the path is the end of a password that contains a slash. The driver refuses such a
    // URI, with an error that doesn't show the password.
    if path.contains('@') || has_late_at_sign(uri) {
        return None;
    }
    let name = percent_decode_str(path).decode_utf8_lossy();
    (!name.is_empty() && name != "admin").then(|| name.into_owned())
}

/// Splits the options of a URI as the driver does. The options follow the first question mark and are separated by
/// ampersands.
fn options(uri: &str) -> Vec<(&str, Cow<'_, str>)> {
    let options = uri.split_once('?').map_or("", |(_, options)| options);
    let pairs = options.split('&').filter_map(|option| option.split_once('='));
    pairs.map(|(name, value)| (name, percent_decode_str(value).decode_utf8_lossy())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_that_contradict_are_refused_by_name() {
        for (option, name) in [
            ("readPreference=secondary", "readPreference"),
            ("READPREFERENCE=primaryPreferred", "readPreference"),
            ("readPreference=%6Eearest", "readPreference"),
            ("readPreferenceTags=dc:ny", "readPreferenceTags"),
            ("maxStalenessSeconds=120", "maxStalenessSeconds"),
            ("readConcernLevel=majority", "readConcernLevel"),
            ("readConcernLevel=snapshot", "readConcernLevel"),
            ("w=1", "w"),
            ("w=0", "w"),
            ("w=aTag", "w"),
            ("journal=false", "journal"),
            ("wtimeoutMS=100", "wtimeoutMS"),
            ("retryWrites=false", "retryWrites"),
            ("retryReads=false", "retryReads"),
            ("loadBalanced=true", "loadBalanced"),
            ("socketTimeoutMS=5000", "socketTimeoutMS"),
        ] {
            for uri in [
                format!("mongodb://a:hunter2@one,two/chat?{option}"),
                format!("mongodb+srv://example.com/?appName=x&{option}&tls=true"),
            ] {
                let fault = check(&uri).unwrap_err();
                let begin = format!("its option {name} contradicts what Parlor needs: ");
                assert!(fault.starts_with(&begin) && !fault.contains("hunter2"), "{uri}: {fault}");
                assert!(fault.contains("remove the option"), "it says what to do: {fault}");
            }
        }
    }

    #[test]
    fn options_that_change_nothing_are_accepted() {
        for options in [
            "",
            "?",
            "?retryWrites=true&w=majority&appName=x",
            "?readPreference=primary&readConcernLevel=local&journal=true&wtimeoutMS=0",
            "?maxStalenessSeconds=-1&retryReads=true&loadBalanced=false",
            "?replicaSet=rs0&authSource=admin&directConnection=true&compressors=zstd,snappy,zlib",
        ] {
            let uri = format!("mongodb://localhost/{options}");
            assert_eq!(check(&uri), Ok(()), "{uri}");
            assert_eq!(without_effect(&uri), Vec::<String>::new(), "{uri}");
        }
    }

    #[test]
    fn path_names_the_database_except_for_admin() {
        for (uri, named) in [
            ("mongodb://localhost", None),
            ("mongodb://localhost/", None),
            ("mongodb://localhost/?tls=true", None),
            ("mongodb://localhost?x=/y", None),
            ("mongodb://a:b@one,two:1/admin?x=y", None),
            ("mongodb://a:b/c@one", None),
            ("mongodb://a:b@one,two:1/chat?x=/y", Some("chat")),
            ("mongodb+srv://example.com/my%2Dchat", Some("my-chat")),
        ] {
            assert_eq!(database(uri).as_deref(), named, "{uri}");
        }
    }

    #[test]
    fn options_that_the_driver_ignores_are_named() {
        let said = without_effect("mongodb://localhost/?appName=x&waitqueuetimeoutms=1");
        assert_eq!(said.len(), 1, "{said:?}");
        assert!(said[0].starts_with("mongodb.uri: waitQueueTimeoutMS has no effect: "), "{said:?}");
    }
}
