//! Functions (HTTP servers that execute the application's own actions) over HTTPS. Parlor calls only servers whose
//! certificate the system trusts.

use serde_json::json;
use tempfile::NamedTempFile;

use super::{SECRET, translate};
use crate::support::{Authority, Program, Receiver, ReceiverReply, error};

/// Writes a file with the certificate of this authority. The Parlor server of the test trusts only the certificates in
/// this file.
fn trusting(authority: &Authority) -> NamedTempFile {
    let file = NamedTempFile::new().unwrap();
    std::fs::write(file.path(), authority.pem()).unwrap();
    file
}

#[tokio::test]
async fn function_is_called_over_https_with_a_signature() {
    let authority = Authority::new("an authority");
    let receiver = Receiver::start_tls(authority.acceptor("127.0.0.1"), |asked| {
        ReceiverReply::Ok(asked.json()["request"]["answer"].to_string())
    })
    .await;
    let trusted = trusting(&authority);
    let url = receiver.url("/translate");
    assert!(url.starts_with("https://"), "{url}");
    let settings = [("FUNCTIONS__TRANSLATE__URL", &*url), ("FUNCTIONS__TRANSLATE__SECRET", SECRET)];
    let program = Program::start_trusting(trusted.path(), &settings).await;
    program.room(&[1, 2]).await;
    let mut one = program.join(1, 2).await;
    for text in ["Hallo", "Zwölf 🦀"] {
        one.send(translate(&json!({"reply": {"text": text}}))).await;
        one.expect(json!({"type": "translate", "text": text})).await;
    }
    for asked in receiver.asked(2).await {
        assert_eq!(asked.line, "POST /translate");
        assert_eq!(asked.json()["user"]["id"], 1);
        asked.is_signed_with(SECRET);
        assert_eq!(asked.connection, 1, "the first connection is used again");
    }
}

#[tokio::test]
async fn function_with_an_untrusted_certificate_gets_no_request() {
    let (authority, stranger) = (Authority::new("an authority"), Authority::new("a stranger"));
    let answer = || |_: &_| ReceiverReply::Ok(r#"{"reply":{}}"#.to_owned());
    let strange = Receiver::start_tls(stranger.acceptor("127.0.0.1"), answer()).await;
    let misnamed = Receiver::start_tls(authority.acceptor("elsewhere.example"), answer()).await;
    let plain = Receiver::start(answer()).await;
    let url = |receiver: &Receiver| receiver.url("/?key=hunter2").replace("http:", "https:");
    let urls = [url(&strange), url(&misnamed), url(&plain)];
    let trusted = trusting(&authority);
    let settings = [
        ("LOG__FILTER", "debug"),
        ("FUNCTIONS__STRANGE__URL", &*urls[0]),
        ("FUNCTIONS__MISNAMED__URL", &*urls[1]),
        ("FUNCTIONS__PLAIN__URL", &*urls[2]),
    ];
    let mut program = Program::start_trusting(trusted.path(), &settings).await;
    program.room(&[1, 2]).await;
    let mut one = program.join(1, 2).await;
    for (action, why) in [
        ("strange", "invalid peer certificate: UnknownIssuer"),
        ("misnamed", "invalid peer certificate: certificate not valid for name \"127.0.0.1\""),
        ("plain", "tls handshake"),
    ] {
        one.send(json!({"action": action})).await;
        one.expect(error("unavailable", Some(action))).await;
        program.logged(&format!("functions.{action}: the receiver can't be reached")).await;
        let log = program.log();
        let line = log.lines().find(|line| line.contains(&format!("functions.{action}: "))).unwrap();
        assert!(line.contains(why), "{line}");
    }
    assert_eq!([strange.count(), misnamed.count(), plain.count()], [0; 3], "none has heard anything");
    assert!(!program.log().contains("hunter2"), "no URL is shown");
}
