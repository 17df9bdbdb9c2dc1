//! Tests of sections whose names the operator chooses, such as `[functions.translate]`.

use super::*;

const URL: &str = "http://127.0.0.1:9100/translate";

#[test]
fn functions_are_empty_by_default() {
    assert!(env(&[]).unwrap().functions.is_empty());
    assert!(file("[functions]").unwrap().functions.is_empty());
}

#[test]
fn a_function_is_made_by_naming_it_in_a_file_or_a_variable() {
    let toml = format!("[functions.translate]\nurl = '{URL}'\ntimeout_ms = 70\nburst = 3\n");
    let secret = long("s");
    let variables = [
        ("FUNCTIONS__TRANSLATE__TIMEOUT_MS", "80"),
        ("FUNCTIONS__ROLL_2_DICE__URL", "https://dice.example/?key=1"),
        ("FUNCTIONS__ROLL_2_DICE__SECRET", &secret),
    ];
    let functions = load(Some(&toml), &variables).unwrap().functions;
    assert_eq!(functions.keys().collect::<Vec<_>>(), ["roll_2_dice", "translate"]);
    let FunctionConfig { receiver, per_minute, burst, max_bytes, .. } = &functions["translate"];
    assert_eq!((receiver.url.expose(), receiver.secret.is_none()), (URL, true));
    assert_eq!(receiver.timeout, Duration::from_millis(80));
    assert_eq!((*per_minute, *burst, *max_bytes), (None, Some(3), None));
    let ReceiverConfig { url, secret: given, timeout, max_in_flight, max_response_bytes, .. } =
        &functions["roll_2_dice"].receiver;
    assert_eq!(url.expose(), "https://dice.example/?key=1");
    assert_eq!(given.as_ref().map(Secret::expose), Some(&*secret));
    assert_eq!((*timeout, *max_in_flight, *max_response_bytes), (Duration::from_secs(5), 100, 65_536));
}

#[test]
fn a_file_with_a_bad_function_is_refused_by_key_and_line() {
    let name = "a name is of a-z, 0-9 and single _ between them, 64 at most";
    for (toml, refusal) in [
        ("functions = 1", "functions: a section of keys, not a key itself"),
        ("functions.a = 1", "functions.a: a section of keys, not a key itself"),
        ("functions.folder.url = ''", "functions.folder: takes a string, not a table"),
        ("functions.a.hosts = ['a/b']", "functions.a.hosts: takes hosts such as"),
        ("functions.a.may_send_as = ['']", "functions.a.may_send_as: takes ids of users, which \"\" is not"),
        ("functions.a.env.'a b' = ''", "functions.a.env.a b: takes a string, and a variable's name is of"),
        ("functions.a.env.A = 1", "functions.a.env.A: takes a string, and a variable's name is of"),
        ("functions.a.uri = ''", "functions.a.uri: no such key"),
        ("functions.a.url.b = ''", "functions.a.url: takes a string, not a table"),
        ("functions.a.url = 1", "functions.a.url: takes a string, which this integer is not"),
        ("functions.a.timeout_ms = 9", "functions.a.timeout_ms: must be from 10 to 600000, which 9 is not"),
        ("functions.A.url = ''", &format!("functions.A: {name}")),
        ("functions.a__b.url = ''", &format!("functions.a__b: {name}")),
        ("functions._a.url = ''", &format!("functions._a: {name}")),
        ("functions.'<name>'.url = ''", &format!("functions.<name>: {name}")),
        ("functions.''.url = ''", &format!("functions.\"\": {name}")),
        (
            "functions.send.url = 'http://127.0.0.1/'",
            "functions.send.url: is an action of Parlor's own, which can't be taken over",
        ),
    ] {
        let error = file(toml).unwrap_err();
        assert!(error.starts_with(refusal), "{toml}: {error}");
        let origin = "x.toml, line 1";
        assert!(error.ends_with(&format!("({origin})")), "{toml}: {error}");
    }
}

#[test]
fn a_variable_with_a_bad_function_is_refused_by_its_name() {
    for (name, text, refusal) in [
        ("FUNCTIONS__A", "1", "functions.a: no such key"),
        ("FUNCTIONS__A__URI", "1", "functions.a.uri: no such key"),
        ("FUNCTIONS__a__URL", URL, "functions.a.url: no such key"),
        (
            "FUNCTIONS__Ä__URL",
            URL,
            "functions.ä: a name is of a-z, 0-9 and single _ between them, 64 at most",
        ),
        ("FUNCTIONS__A__URL", "translate", "functions.a.url: is no URL"),
        ("FUNCTIONS__A__URL", "ftp://a/", "functions.a.url: must begin with http:// or https://"),
        (
            "FUNCTIONS__A__URL",
            "http://a:hunter2@127.0.0.1/",
            "functions.a.url: must have no login in it: requests are signed with the secret",
        ),
        (
            "FUNCTIONS__PING__URL",
            URL,
            "functions.ping.url: is an action of Parlor's own, which can't be taken over",
        ),
    ] {
        assert_eq!(env(&[(name, text)]).unwrap_err(), format!("{refusal} (PARLOR__{name})"));
    }
}

#[test]
fn function_needs_a_secret_beyond_loopback() {
    let of = |url: &str, secret: &str| {
        env(&[("FUNCTIONS__A__URL", url), ("FUNCTIONS__A__SECRET", secret)]).map(|_| ())
    };
    for near in
        [URL, "http://localhost:1/", "https://[::1]/", "http://[::ffff:127.0.0.1]/", "http://127.9.9.9/"]
    {
        assert_eq!(of(near, ""), Ok(()), "{near}");
    }
    for far in
        ["http://10.0.0.1/", "https://functions.example/", "http://localhost.example/", "http://[::2]/"]
    {
        let error = of(far, "").unwrap_err();
        assert!(
            error.starts_with("functions.a.secret: must be given for an address beyond loopback"),
            "{far}: {error}"
        );
        assert_eq!(of(far, &long("s")), Ok(()), "{far}");
        let error = of(far, "hunter2").unwrap_err();
        assert_eq!(error, "functions.a.secret: has fewer than 32 bytes (PARLOR__FUNCTIONS__A__SECRET)");
    }
}

#[test]
fn function_numbers_are_bounded() {
    let defaults: toml::Table = include_str!("../../../config/default.toml").parse().unwrap();
    let keys = defaults["functions"]["<name>"].as_table().unwrap();
    let numbers: Vec<_> = keys.iter().filter(|(_, value)| value.is_integer()).collect();
    assert_eq!(numbers.len(), 23);
    for (key, default) in numbers {
        let name = format!("FUNCTIONS__A__{}", key.to_uppercase());
        let of = |text: &str| env(&[("FUNCTIONS__A__URL", URL), (&name, text)]).map(|_| ());
        for text in ["-1", "9999999999", "x", "", "1.5"] {
            let error = of(text).unwrap_err();
            assert!(error.starts_with(&format!("functions.a.{key}: ")), "{error}");
            assert!(error.ends_with(&format!("(PARLOR__{name})")), "{error}");
        }
        // A key accepts zero only if its default is zero. Zero then means that another setting applies.
        assert_eq!(of("0").is_ok(), default.as_integer() == Some(0), "{key}");
    }
}

#[test]
fn debug_output_shows_no_url_and_no_secret() {
    let url = format!("https://a.example/?key={}", "hunter2");
    let secret = long("hunter2");
    let config = env(&[("FUNCTIONS__A__URL", &url), ("FUNCTIONS__A__SECRET", &secret)]).unwrap();
    assert!(!format!("{config:?}").contains("hunter2"), "{config:?}");
    for url in ["hunter2", "ftp://hunter2", "http://hunter2@a/", "http://a.example/hunter2"] {
        let error = env(&[("FUNCTIONS__A__URL", url)]).unwrap_err();
        assert!(error.contains("functions.a.") && !error.contains("hunter2"), "{error}");
    }
}

#[test]
fn section_without_url_has_the_settings_of_a_file() {
    let toml = "[functions]\nfolder = 'code'\n[functions.a]\ncpu_ms = 7\nhosts = ['api.example.com']\nmay_send_as = ['bot:a']\n[functions.a.env]\nKEY = 'secret'\n";
    let config =
        load(Some(toml), &[("FUNCTIONS__A__ENV__OTHER_KEY", "more"), ("FUNCTIONS__B__ENV__K", "b")]).unwrap();
    let FunctionConfig { may_send_as, file, .. } = &config.functions["a"];
    assert_eq!(may_send_as, &["bot:a".parse().unwrap()]);
    assert_eq!((file.cpu, file.hosts.len()), (Duration::from_millis(7), 1));
    let env: Vec<_> = file.env.iter().map(|(name, value)| (name.as_str(), value.expose())).collect();
    assert_eq!(env, [("KEY", "secret"), ("OTHER_KEY", "more")]);
    assert_eq!(config.functions["b"].file.env["K"].expose(), "b");
    assert_eq!(config.function_default.file.cpu, Duration::from_millis(50));
    let folder = config.function_files.folder.unwrap();
    assert!(folder.is_absolute() && folder.ends_with("code"), "{folder:?}");
    assert!(load(None, &[("FUNCTIONS__FOLDER", "")]).unwrap().function_files.folder.is_none());
}
