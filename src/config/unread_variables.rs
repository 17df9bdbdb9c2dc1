//! Finds environment variables that look like settings of Parlor, but that the server does not read.

use super::variable::variable;

/// The prefix of variable names that look like settings, in upper or lower case.
const LIKE_OURS: &str = "PARLOR_";

/// Variable names that the command line, the examples, the tests and the benchmarks of this project use. The server
/// does not read them, and does not warn of them.
const KNOWN: [&str; 7] = [
    "PARLOR_CONFIG",
    "PARLOR_SECRET",
    "PARLOR_API_KEYS",
    "PARLOR_KEY",
    "PARLOR_URL",
    "PARLOR_BINARY",
    "PARLOR_IT_SEED",
];
const KNOWN_BEGINNINGS: [&str; 2] = ["PARLOR_BENCH_", "PARLOR_TEST_"];

/// Returns whether a variable's name begins like that of a setting, in any case.
pub fn is_like_a_setting(name: &str) -> bool {
    name.to_uppercase().starts_with(LIKE_OURS)
}

/// Returns a warning if the variable `name` looks like a setting but is not read. If `name` differs from the
/// variable of a configuration key only in case and underscores, the warning gives the right spelling. `keys` are
/// all configuration keys in dotted form.
pub(super) fn warning<'a>(name: &str, keys: impl IntoIterator<Item = &'a String>) -> Option<String> {
    let upper = name.to_uppercase();
    let is_known = KNOWN.contains(&name) || KNOWN_BEGINNINGS.iter().any(|begin| name.starts_with(begin));
    if !is_like_a_setting(name) || is_known || is_service_link(name) {
        return None;
    }
    let meant = |key: &&String| words(&variable(key)).eq(words(&upper));
    Some(match keys.into_iter().find(meant) {
        Some(key) => format!("{name}: this variable is not read; set {}", variable(key)),
        None => format!("{name}: this variable is not read; a setting is spelt PARLOR__SECTION__KEY"),
    })
}

/// Returns whether a name has the form of the variables that Kubernetes or Docker sets for a service. These names
/// begin with `PARLOR_` if the service is named `parlor` or similar.
fn is_service_link(name: &str) -> bool {
    name.ends_with("_SERVICE_HOST")
        || name.contains("_SERVICE_PORT")
        || name.ends_with("_PORT")
        || name.contains("_PORT_")
}

fn words(name: &str) -> impl Iterator<Item = &str> {
    name.split('_').filter(|word| !word.is_empty())
}

#[cfg(test)]
mod tests {
    use crate::config::Config;

    fn warnings(names: &[&str]) -> Vec<String> {
        let env = names.iter().map(|name| ((*name).to_owned(), "x".to_owned()));
        Config::load(None, env).unwrap().warnings()
    }

    #[test]
    fn misspelt_variable_is_named_with_its_right_spelling() {
        for (name, meant) in [
            ("PARLOR_LISTEN", "PARLOR__LISTEN"),
            ("parlor__listen", "PARLOR__LISTEN"),
            ("PARLOR_MONGODB_URI", "PARLOR__MONGODB__URI"),
            ("PARLOR_LIMITS__TEXT_CHARS", "PARLOR__LIMITS__TEXT_CHARS"),
            ("PARLOR_HOOKS_AFTER_SEND_URL", "PARLOR__HOOKS__AFTER_SEND__URL"),
        ] {
            assert_eq!(warnings(&[name]), [format!("{name}: this variable is not read; set {meant}")]);
        }
        let unknown = "PARLOR_NO_SUCH: this variable is not read; a setting is spelt PARLOR__SECTION__KEY";
        assert_eq!(warnings(&["PARLOR_NO_SUCH"]), [unknown]);
    }

    #[test]
    fn variables_of_others_are_not_warned_of() {
        let others = [
            "PARLOR_CONFIG",
            "PARLOR_BENCH_KEY",
            "PARLOR_SERVICE_HOST",
            "PARLOR_SERVICE_PORT_CLIENTS",
            "PARLOR_PORT",
            "PARLOR_PORT_8001_TCP_ADDR",
            "PARLORS_LISTEN",
            "PATH",
        ];
        assert_eq!(warnings(&others), Vec::<String>::new());
    }
}
