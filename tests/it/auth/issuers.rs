//! Keys that the server fetches from a token issuer (for example an OpenID provider): discovery, key rotation while
//! sockets are open, and an unreachable issuer.

use jsonwebtoken::Algorithm;
use serde_json::{Value, json};
use tokio::time::timeout;

use crate::support::{Issuer, IssuerReply, PATIENCE, Server, Signer, Token, chat, eventually, free_port};

const TARGET: &str = "/ws/chat/?firts_user=1&second_user=2/";

/// Starts a server that accepts the issuer's tokens. Unless overridden, the server waits only 10 ms between two
/// requests to the issuer.
async fn server_of(issuer: &Issuer, overrides: &[(&str, &str)]) -> Server {
    let url = issuer.url();
    let own = [("AUTH__SECRET", ""), ("AUTH__DISCOVERY", &*url), ("AUTH__REFETCH_MS", "10")];
    let own = own.into_iter().filter(|(key, _)| !overrides.iter().any(|(other, _)| other == key));
    let server = Server::start(&own.chain(overrides.iter().copied()).collect::<Vec<_>>()).await;
    server.room(&[1, 2]).await;
    server
}

fn token(issuer: &Issuer, user: i64, signer: &Signer) -> String {
    let token = Token::of("", user).algorithm(Algorithm::EdDSA).with("iss", issuer.url());
    token.sign_named(&signer.name, &signer.key)
}

/// Connects with this token. Returns the close code, or `None` if the token is accepted.
async fn refusal(server: &Server, token: &str) -> Option<u16> {
    let mut client = server.dial(TARGET).token(token).open().await;
    client.refused_or_history().await
}

/// Connects again and again, until the close code is `expected`. `None` means that the token is accepted.
async fn until(server: &Server, token: &str, expected: Option<u16>) {
    let what = format!("the handshake ends with {expected:?}");
    eventually(&what, async || refusal(server, token).await, |code| *code == expected).await;
}

/// Returns the HTTP status of `/readyz`, and the field `keys` of its answer.
async fn ready(server: &Server) -> (u16, Value) {
    let (status, _, body) = server.request(reqwest::Method::GET, "/readyz", None, "").await;
    (status, serde_json::from_str::<Value>(&body).unwrap()["keys"].take())
}

async fn hits(admin: &str, bound: &str) -> u32 {
    let page = reqwest::get(format!("http://{admin}/metrics")).await.unwrap().text().await.unwrap();
    let name = format!("parlor_limits_hit_total{{bound=\"{bound}\"}} ");
    page.lines().find_map(|line| line.strip_prefix(&name)).map_or(0, |hits| hits.parse().unwrap())
}

#[tokio::test]
async fn a_key_is_rotated_under_live_sockets() {
    let (old, new) = (Signer::new("old"), Signer::new("new"));
    let issuer = Issuer::start(IssuerReply::Keys(vec![old.public.clone()])).await;
    let server = server_of(&issuer, &[]).await;
    let mut one = server.dial(TARGET).token(&token(&issuer, 1, &old)).open().await;
    one.history().await;
    one.say_alone(1, 1, "by the old key").await;
    let mut renewed = server.dial(TARGET).token(&token(&issuer, 1, &old)).open().await;
    renewed.history().await;

    // In a usual rotation, the issuer publishes both keys for some time. The server fetches the new key when it
    // receives the first token that this key has signed.
    issuer.says(IssuerReply::Keys(vec![old.public.clone(), new.public.clone()]));
    until(&server, &token(&issuer, 1, &new), None).await;
    assert_eq!(refusal(&server, &token(&issuer, 1, &old)).await, None);
    one.say("still here").await;
    one.until(chat(2, 1, "still here")).await;
    renewed.send(json!({"action": "auth", "token": token(&issuer, 1, &new)})).await;
    renewed.until_kind("auth").await;

    issuer.says(IssuerReply::Keys(vec![new.public.clone()]));
    // A token with an unknown key makes the server fetch the keys again.
    let nobodys = token(&issuer, 1, &Signer::new("nobody's"));
    let tried = async || {
        let code = refusal(&server, &token(&issuer, 1, &old)).await;
        if code.is_none() {
            assert_eq!(refusal(&server, &nobodys).await, Some(4001));
        }
        code
    };
    eventually("the old key is forgotten", tried, Option::is_some).await;
    assert_eq!(refusal(&server, &token(&issuer, 1, &new)).await, None);
    // After the first fetch without the old key, sockets stay open. The second fetch without the old key closes the
    // sockets that were opened with this key, and no other sockets.
    let ended = async {
        let closed = one.closed_in_the_end();
        tokio::pin!(closed);
        loop {
            tokio::select! {
                code = &mut closed => return code,
                refused = refusal(&server, &nobodys) => assert_eq!(refused, Some(4001)),
            }
        }
    };
    assert_eq!(timeout(PATIENCE, ended).await.expect("its socket ends in time"), 4001);
    renewed.say("still here").await;
    renewed.until(chat(3, 1, "still here")).await;
}

/// Some issuers have only one key. They give this key no name, or give each new key the same name. A new key then
/// replaces the old key.
#[tokio::test]
async fn a_key_is_replaced_under_its_name() {
    let old = Signer::new("the key");
    let new = Signer { name: "the key".to_owned(), ..Signer::new("the key") };
    let issuer = Issuer::start(IssuerReply::Keys(vec![old.public.clone()])).await;
    let server = server_of(&issuer, &[]).await;
    let mut one = server.dial(TARGET).token(&token(&issuer, 1, &old)).open().await;
    one.history().await;
    issuer.says(IssuerReply::Keys(vec![new.public.clone()]));
    until(&server, &token(&issuer, 1, &new), None).await;
    // Only one fetch so far has returned keys without the old key, so the socket is still open. The socket can replace
    // its token by a token of the new key.
    one.send(json!({"action": "auth", "token": token(&issuer, 1, &new)})).await;
    assert_eq!(one.until_kind("auth").await["type"], "auth");
    assert_eq!(refusal(&server, &token(&issuer, 1, &old)).await, Some(4001));
}

#[tokio::test]
async fn tokens_are_accepted_only_from_the_configured_issuer() {
    let signer = Signer::new("a");
    let other = Signer { name: "a".to_owned(), ..Signer::new("b") };
    let issuer = Issuer::start(IssuerReply::Keys(vec![signer.public.clone()])).await;
    let server = server_of(&issuer, &[]).await;
    let good = Token::of("", 1).algorithm(Algorithm::EdDSA).with("iss", issuer.url());
    assert_eq!(refusal(&server, &good.sign_named("a", &signer.key)).await, None);
    assert_eq!(refusal(&server, &good.sign_with(&signer.key)).await, None, "the only key needs no name");
    for (case, token) in [
        ("another's signature", good.sign_named("a", &other.key)),
        ("no iss", good.clone().without("iss").sign_named("a", &signer.key)),
        ("another iss", good.clone().with("iss", "https://example.com").sign_named("a", &signer.key)),
        ("a shared secret", Token::of("", 1).with("iss", issuer.url()).sign()),
        ("no signature", Token::of("", 1).with("iss", issuer.url()).unsigned()),
        ("not a token", "a.b".to_owned()),
    ] {
        assert_eq!(refusal(&server, &token).await, Some(4001), "{case}");
    }
}

#[tokio::test]
async fn unknown_keys_do_not_make_it_ask_again_and_again() {
    let admin = format!("127.0.0.1:{}", free_port());
    let signer = Signer::new("a");
    let issuer = Issuer::start(IssuerReply::Keys(vec![signer.public.clone()])).await;
    let server = server_of(&issuer, &[("AUTH__REFETCH_MS", "600000"), ("ADMIN__LISTEN", &admin)]).await;
    assert_eq!(refusal(&server, &token(&issuer, 1, &signer)).await, None);
    for n in 0..20 {
        let stranger = Signer::new(&format!("stranger {n}"));
        assert_eq!(refusal(&server, &token(&issuer, 1, &stranger)).await, Some(4001));
    }
    assert_eq!(issuer.asked(), 1);
    assert_eq!(hits(&admin, "refetch_ms").await, 20);
}

#[tokio::test]
async fn issuer_keys_stay_valid_while_the_issuer_is_unreachable() {
    let (known, new) = (Signer::new("known"), Signer::new("new"));
    let issuer = Issuer::start(IssuerReply::Keys(vec![known.public.clone()])).await;
    let server = server_of(&issuer, &[("AUTH__FETCH_MS", "300")]).await;
    assert_eq!(refusal(&server, &token(&issuer, 1, &known)).await, None);
    for away in [
        IssuerReply::Nothing,
        IssuerReply::Silence,
        IssuerReply::Raw("HTTP/1.1 500 X\r\nContent-Length: 0\r\n\r\n".into()),
    ] {
        issuer.says(away);
        // The server can't fetch the key of this token, so it can't know whether the token is valid. After the close
        // code 1013, the client reconnects. After 4001, the user would have to log in again.
        until(&server, &token(&issuer, 1, &new), Some(1013)).await;
        assert_eq!(refusal(&server, &token(&issuer, 1, &known)).await, None);
        assert_eq!(ready(&server).await.0, 200);
        // The issuer is reachable again, and still has the same key.
        issuer.says(IssuerReply::Keys(vec![known.public.clone()]));
        until(&server, &token(&issuer, 1, &new), Some(4001)).await;
    }
}

#[tokio::test]
async fn a_start_without_the_issuer_is_not_ready_until_it_is_there() {
    let signer = Signer::new("a");
    let issuer = Issuer::start(IssuerReply::Nothing).await;
    let server = server_of(&issuer, &[]).await;
    assert_eq!(refusal(&server, &token(&issuer, 1, &signer)).await, Some(1013));
    assert_eq!(ready(&server).await, (503, json!("none could be fetched from the issuer yet")));
    // The missing keys are the only reason in `/readyz`.
    let (_, _, body) = server.request(reqwest::Method::GET, "/readyz", None, "").await;
    let body: Value = serde_json::from_str(&body).unwrap();
    assert_eq!((&body["feed"], &body["database"]), (&json!("ok"), &json!("ok")), "{body}");
    issuer.says(IssuerReply::Keys(vec![signer.public.clone()]));
    until(&server, &token(&issuer, 1, &signer), None).await;
    assert_eq!(ready(&server).await.0, 200);
}

#[tokio::test]
async fn invalid_key_set_of_an_issuer_is_refused() {
    let admin = format!("127.0.0.1:{}", free_port());
    let signer = Signer::new("a");
    let keys = || vec![signer.public.clone()];
    let issuer = Issuer::start(IssuerReply::Nothing).await;
    let server = server_of(&issuer, &[("AUTH__FETCH_BYTES", "2048"), ("ADMIN__LISTEN", &admin)]).await;
    let elsewhere = Issuer::start(IssuerReply::Keys(keys())).await;
    let raw = |head: &str, body: &str| {
        IssuerReply::Raw(format!("HTTP/1.1 {head}\r\nContent-Length: {}\r\n\r\n{body}", body.len()))
    };
    let set = json!({"keys": keys()}).to_string();
    let secret = json!({"keys": [{"kty": "oct", "kid": "a", "k": "A".repeat(64)}]}).to_string();
    let private =
        json!({"keys": [{"kty": "OKP", "crv": "Ed25519", "kid": "a", "x": signer.public["x"], "d": "x"}]});
    for (case, says) in [
        ("a redirect", raw(&format!("302 Found\r\nLocation: {}", elsewhere.keys_url()), "")),
        ("an error with keys in it", raw("500 Internal Server Error", &set)),
        ("no JSON", raw("200 OK", "<html>")),
        ("no keys", raw("200 OK", r#"{"keys":[]}"#)),
        ("a shared secret for all to read", raw("200 OK", &secret)),
        ("a private key", raw("200 OK", &private.to_string())),
        ("too large", raw("200 OK", &format!("{set}{}", " ".repeat(2048)))),
        (
            "half of it",
            IssuerReply::Raw(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{set}", set.len() + 1)),
        ),
        (
            "another issuer's document",
            IssuerReply::Discovery(json!({"issuer": "https://example.com"}), keys()),
        ),
        ("keys in the open", IssuerReply::Discovery(json!({"jwks_uri": "http://192.0.2.1/keys"}), keys())),
        ("no place of keys", IssuerReply::Discovery(json!({"jwks_uri": null}), keys())),
    ] {
        issuer.says(says);
        let visits = issuer.visits();
        // One attempt to fetch the keys makes one or two requests. After four requests, the server has read all answers
        // of at least one complete attempt.
        let refused = async {
            while issuer.visits() < visits + 4 {
                assert_eq!(refusal(&server, &token(&issuer, 1, &signer)).await, Some(1013), "{case}");
            }
        };
        timeout(PATIENCE, refused).await.expect("it is asked again and again");
    }
    assert_eq!(elsewhere.asked(), 0);
    assert!(hits(&admin, "fetch_bytes").await > 0);
    issuer.says(IssuerReply::Keys(keys()));
    until(&server, &token(&issuer, 1, &signer), None).await;
}

#[tokio::test]
async fn a_key_set_by_its_url_needs_no_discovery() {
    let signer = Signer::new("a");
    let issuer = Issuer::start(IssuerReply::Keys(vec![signer.public.clone()])).await;
    let keys = issuer.keys_url();
    let server = server_of(&issuer, &[("AUTH__DISCOVERY", ""), ("AUTH__JWKS", &keys)]).await;
    let any = Token::of("", 1).algorithm(Algorithm::EdDSA).with("iss", "anyone");
    assert_eq!(refusal(&server, &any.sign_named("a", &signer.key)).await, None);
    assert_eq!(refusal(&server, &any.sign_named("b", &signer.key)).await, Some(4001));
}

#[tokio::test]
async fn issuers_other_keys_stay_valid_when_one_is_bad() {
    let (one, other) = (Signer::new("one"), Signer::new("other"));
    let mut renamed = other.public.clone();
    renamed["alg"] = json!("Ed25519");
    let with_d = json!({"kty": "OKP", "crv": "Ed25519", "kid": "one", "x": one.public["x"], "d": "x"});
    let keys = [json!(null), json!([]), json!({"kid": "bad"}), with_d, one.public.clone(), renamed];
    let set = format!("\u{feff}{}", json!({"keys": keys}));
    let issuer = Issuer::start(IssuerReply::Raw(format!(
        "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{set}",
        set.len()
    )))
    .await;
    let server = server_of(&issuer, &[]).await;
    for signer in [&one, &other] {
        until(&server, &token(&issuer, 1, signer), None).await;
    }
}
