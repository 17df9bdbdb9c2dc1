//! Commands that ask a server with TLS: the authorities that they trust, and what they say about an error.

use serde_json::{Value, json};

use super::tls::{Files, Pair};
use crate::support::{API_KEY, Authority, Home, PATIENCE, Process};

#[tokio::test]
async fn command_names_the_cure_for_an_error_of_tls() {
    let pair = Pair::new();
    let files = Files::new(&pair);
    let mut home = Home::new().await.set("API__KEYS", API_KEY);
    for (key, value) in files.settings() {
        home = home.set(key, &value);
    }
    let server = home.start(&[], " https://").await;
    let port = server.address.port();
    let ask = async |url: &str| home.run(&["users", "--user", "1", "--url", url]).await;
    let plain = ask(&format!("http://localhost:{port}/")).await;
    assert!(plain.refused().ends_with("; the server speaks TLS: use https://"), "{plain:#?}");
    let unknown = ask(&format!("https://localhost:{port}/")).await;
    let said = unknown.refused();
    assert!(said.contains("invalid peer certificate") && said.contains("--ca FILE"), "{unknown:#?}");

    let mut command =
        home.command(&[], &["users", "--user", "1", "--url", &format!("https://localhost:{port}/")]);
    let trusted = command.env("SSL_CERT_FILE", files.path("certificate.pem")).output().unwrap();
    assert!(trusted.status.success(), "{trusted:?}");
    server.stop().await;
}

#[tokio::test]
async fn command_trusts_the_authority_of_its_option() {
    let authority = Authority::new("An authority of the team");
    let (certificate, key) = authority.certificate("localhost");
    let pair =
        Pair { der: certificate.der().clone(), certificate: certificate.pem(), key: key.serialize_pem() };
    let files = Files::new(&pair);
    files.write("ca.pem", &authority.pem());
    files.write("other.pem", &Authority::new("Someone else").pem());
    let mut home = Home::new().await.set("API__KEYS", API_KEY);
    for (key, value) in files.settings() {
        home = home.set(key, &value);
    }
    let server = home.start(&[], " https://").await;
    let url = format!("https://localhost:{}/", server.address.port());
    let ask = async |arguments: &[&str], ca: &str| {
        let ca = files.path(ca);
        home.run(&[arguments, &["--url", &url, "--ca", ca.to_str().unwrap()]].concat()).await
    };
    let user = ask(&["users", "--user", "1"], "ca.pem").await;
    assert!(user.printed().starts_with("1 is offline"), "{user:#?}");
    let http = reqwest::Client::builder()
        .tls_certs_merge([reqwest::Certificate::from_pem(authority.pem().as_bytes()).unwrap()]);
    let room = json!({"members": [{"user_id": 1}, {"user_id": 2}]});
    let made = http.build().unwrap().post(format!("{url}api/v1/rooms")).bearer_auth(API_KEY).json(&room);
    let room = made.send().await.unwrap().json::<Value>().await.unwrap()["room_id"].to_string();
    assert_eq!(ask(&["send", "--room", &room, "--user", "1", "Hello"], "ca.pem").await.printed(), "1");
    let ca = files.path("ca.pem");
    let tail = ["tail", "--room", &room, "--last", "1", "--url", &url, "--ca", ca.to_str().unwrap()];
    let tail = Process::start("tail", home.command(&[], &tail), PATIENCE);
    tail.says("#1 1: Hello", PATIENCE).await;
    drop(tail);

    for (ca, why) in [
        ("other.pem", "invalid peer certificate"),
        ("key.pem", "key.pem: the file holds no certificate in PEM"),
        ("missing.pem", "missing.pem: the file can't be read"),
    ] {
        let refused = ask(&["users", "--user", "1"], ca).await;
        assert!(refused.refused().contains(why), "{ca}: {refused:#?}");
    }
    server.stop().await;
}
