//! Reads the purpose of a token from its claims. An issuer may sign tokens for many purposes with one key: access,
//! refresh, reset of a password, verification of an address, logout. Only access tokens may open a socket.
//!
//! The rules of this module need no configuration. A token that states no purpose is accepted, because most issuers
//! state no purpose.

use serde_json::{Map, Value};

/// Claims whose only meaning is the token's purpose. `ACCESS` lists the values of these claims in access tokens. `ID`
/// lists their values in ID tokens, which tell a client who has logged in.
const KIND_CLAIMS: &[&str] = &["token_type", "token_use", "tokenType", "tokenUse"];
const ACCESS: &[&str] = &["access", "access_token", "bearer"];
const ID: &[&str] = &["id", "id_token"];

/// Claims that state the purpose in some products (Keycloak, Flask-JWT-Extended) but mean something different in
/// other products. A token is refused only if one of these claims contains a word of [`OTHER_WORDS`].
const MAYBE_KIND_CLAIMS: &[&str] = &["typ", "type", "purpose"];
const OTHER_WORDS: &[&str] = &[
    "refresh",
    "offline",
    "logout",
    "reset",
    "recovery",
    "verify",
    "verification",
    "confirm",
    "confirmation",
    "activate",
    "activation",
    "invite",
    "invitation",
];

/// Claims that only ID tokens have (OpenID Connect Core 1.0, 2 and 3.3.2.11).
const ID_CLAIMS: &[&str] = &["at_hash", "c_hash", "s_hash"];

/// The registered media types of JWTs for other purposes, in lower case and without `application/`. A media type that
/// contains one of [`OTHER_WORDS`], such as `refresh+jwt`, also states a purpose other than access.
const OTHER_TYPES: &[&str] = &[
    "authorization-grant+jwt",
    "client-authentication+jwt",
    "dc+sd-jwt",
    "dpop+jwt",
    "entity-statement+jwt",
    "explicit-registration-response+jwt",
    "jwk-set+jwt",
    "kb+jwt",
    "key-attestation+jwt",
    "keyattestation+jwt",
    "oauth-authz-req+jwt",
    "oauth-client-attestation+jwt",
    "oauth-client-attestation-pop+jwt",
    "openid4vci-proof+jwt",
    "passport",
    "provider-configuration+jwt",
    "resolve-response+jwt",
    "rt+jwt",
    "sd-jwt",
    "secevent+jwt",
    "statuslist+jwt",
    "token-introspection+jwt",
    "trust-mark+jwt",
    "trust-mark-delegation+jwt",
    "vc+jwt",
    "vc+sd-jwt",
    "vp+jwt",
];

/// The purpose of a token, according to its claims.
pub(super) enum TokenPurpose {
    /// The token is for access, states no purpose, or is an ID token whose audience is checked.
    Access,
    /// The token is for any other purpose.
    Other,
    /// The token is an ID token and names its audience (the client that it is for). But `auth.audience` is not
    /// configured, so Parlor can't check the token's audience.
    IdOfUnknownAudience,
}

/// Reads the purpose from the claims. Ignores each claim for which `required` returns true.
pub(super) fn of(
    claims: &Map<String, Value>,
    audience_is_checked: bool,
    required: impl Fn(&str) -> bool,
) -> TokenPurpose {
    let get = |claim: &&str| claims.get(*claim).filter(|value| !value.is_null() && !required(claim));
    let mut is_id = ID_CLAIMS.iter().any(|claim| get(claim).is_some());
    for value in KIND_CLAIMS.iter().filter_map(get) {
        let Some(value) = value.as_str().map(str::to_ascii_lowercase) else { return TokenPurpose::Other };
        is_id |= ID.contains(&&*value);
        if !ACCESS.contains(&&*value) && !ID.contains(&&*value) {
            return TokenPurpose::Other;
        }
    }
    let texts: Vec<_> = MAYBE_KIND_CLAIMS.iter().filter_map(get).filter_map(Value::as_str).collect();
    if texts.iter().any(|text| has_other_word(text)) {
        return TokenPurpose::Other;
    }
    is_id |= texts.iter().any(|text| text.eq_ignore_ascii_case("id"));
    // `events` is the claim of a security event (RFC 8417, 2.2). For example, a logout token has it.
    if get(&"events").is_some_and(Value::is_object) {
        return TokenPurpose::Other;
    }
    match claims.get("aud").filter(|_| !audience_is_checked) {
        // fastapi-users writes the purpose into the audience: `fastapi-users:reset`.
        Some(aud) if audiences(aud).any(|aud| aud.rsplit(':').next().is_some_and(is_other_word)) => {
            TokenPurpose::Other
        }
        // An ID token is for one client. This client is the token's audience. If no audience is configured, Parlor
        // can't know whether the token is for this application.
        Some(aud) if is_id && audiences(aud).next().is_some() => TokenPurpose::IdOfUnknownAudience,
        _ => TokenPurpose::Access,
    }
}

fn audiences(aud: &Value) -> impl Iterator<Item = &str> {
    let one = aud.as_str().into_iter();
    one.chain(aud.as_array().into_iter().flatten().filter_map(Value::as_str))
}

/// Returns a `typ` in the form in which two `typ` values are compared: in lower case and without `application/`.
/// Media types are case-insensitive, and the prefix `application/` may be missing (RFC 7515, 4.1.9).
pub(super) fn media_type(typ: &str) -> String {
    let typ = typ.trim().to_ascii_lowercase();
    typ.strip_prefix("application/").map_or_else(|| typ.clone(), str::to_owned)
}

/// Returns whether the `typ` of a token's header states a purpose other than access.
pub(super) fn is_another_type(typ: &str) -> bool {
    OTHER_TYPES.contains(&&*media_type(typ)) || has_other_word(typ)
}

/// Returns whether a name contains one of [`OTHER_WORDS`], as `password_reset`, `refreshToken` and `logout+jwt` do.
fn has_other_word(name: &str) -> bool {
    let mut words = String::with_capacity(name.len() + 4);
    let mut was_lower = false;
    for char in name.chars() {
        if char.is_ascii_uppercase() && was_lower {
            words.push(' ');
        }
        was_lower = char.is_ascii_lowercase();
        words.push(if char.is_ascii_alphanumeric() { char } else { ' ' });
    }
    words.split(' ').any(is_other_word)
}

fn is_other_word(word: &str) -> bool {
    OTHER_WORDS.iter().any(|other| word.eq_ignore_ascii_case(other))
}
