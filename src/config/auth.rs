//! `[auth]`: how tokens are verified, and with which keys.

use std::collections::BTreeMap;
use std::time::Duration;

use jsonwebtoken::Algorithm;

use super::layers::Values;
use super::ranges::NumberRange;
use super::{ConfigError, Secret};

/// Intervals below the minimum would overload the issuer. With an interval above the maximum, Parlor would learn of new
/// keys too late.
const REFRESH_SECONDS: NumberRange = 10..=86_400;
const REFETCH_MS: NumberRange = 10..=600_000;
const FETCH_MS: NumberRange = 100..=60_000;
const FETCH_BYTES: NumberRange = 1_024..=1 << 24;
/// Zero means no limit. The maximum is 100 years.
const LIFETIME_SECONDS: NumberRange = 0..=3_153_600_000;
/// The minimum is enough for a token of three short claims with any algorithm. The maximum is also the maximum of
/// `http.head_bytes`: a token arrives in the head of a request, so a longer token could never arrive.
const TOKEN_BYTES: NumberRange = 1_024..=1_048_576;

/// Claims that already have another meaning (RFC 7519, 4.1). So `auth.user_claim` and `auth.email_claim` can't
/// name these claims.
const TAKEN_CLAIMS: &[&str] = &["exp", "nbf", "iat", "iss", "aud"];

/// `[auth]`
#[derive(Clone, Debug)]
pub struct AuthConfig {
    /// Shared secret of the HS* algorithms, [`MIN_SECRET_BYTES`](super::MIN_SECRET_BYTES) or more.
    pub secret: Option<Secret>,
    /// Public key of the other algorithms: PEM, or the path of a PEM file.
    pub public_key: Option<String>,
    /// Key set (RFC 7517): the path of a file, or a URL.
    pub jwks: Option<String>,
    /// Issuer whose OpenID Connect discovery document contains the URL of the key set.
    pub discovery: Option<String>,
    /// The interval between two regular fetches of a key set from its URL.
    pub refresh: Duration,
    /// The shortest pause before a fetch that is not regular: after a failed fetch, or because a token has an
    /// unknown key.
    pub refetch: Duration,
    /// The longest time of one fetch. If the token of a connecting client has an unknown key, the client waits for a
    /// fetch, and so for at most this time.
    pub fetch: Duration,
    /// The largest document that is fetched, in bytes.
    pub fetch_bytes: usize,
    /// Accepted algorithms. Empty: the first algorithm that fits the key.
    pub algorithms: Vec<Algorithm>,
    /// Required `iss`. None: the `iss` may have any value or be missing.
    pub issuer: Option<String>,
    /// Required `aud`. None: the `aud` may have any value or be missing.
    pub audience: Option<String>,
    /// Accepted `typ` values of a token's header. Empty: any `typ` that doesn't name a purpose other than access.
    pub types: Vec<String>,
    /// The claims that every token must have, by name. The map's value is the value that the claim must be or contain.
    pub require: BTreeMap<String, String>,
    /// The longest time from `iat` to `exp`. None: no limit.
    pub max_lifetime: Option<Duration>,
    /// The longest token that is accepted, in bytes.
    pub token_bytes: usize,
    /// The claim that holds the user's id. If a token lacks this claim, Parlor reads `sub`.
    pub user_claim: String,
    /// The claim that holds the user's e-mail address.
    pub email_claim: String,
    /// Whether the server itself created the secret, because no key is configured.
    pub(crate) secret_is_own: bool,
}

impl AuthConfig {
    pub(super) fn read(values: &mut Values) -> Result<Self, ConfigError> {
        Ok(Self {
            secret: values.optional("auth.secret")?.map(Secret),
            public_key: values.optional("auth.public_key")?,
            jwks: values.optional("auth.jwks")?,
            discovery: values.optional("auth.discovery")?,
            refresh: values.seconds("auth.refresh_seconds", REFRESH_SECONDS)?,
            refetch: values.millis("auth.refetch_ms", REFETCH_MS)?,
            fetch: values.millis("auth.fetch_ms", FETCH_MS)?,
            fetch_bytes: values.number("auth.fetch_bytes", FETCH_BYTES)?,
            algorithms: Self::read_algorithms(values)?,
            issuer: values.optional("auth.issuer")?,
            audience: values.optional("auth.audience")?,
            types: values.list("auth.types")?,
            require: values.required_claims(),
            max_lifetime: Some(values.seconds("auth.max_lifetime_seconds", LIFETIME_SECONDS)?)
                .filter(|most| !most.is_zero()),
            token_bytes: values.number("auth.token_bytes", TOKEN_BYTES)?,
            user_claim: values.text("auth.user_claim")?,
            email_claim: values.text("auth.email_claim")?,
            secret_is_own: false,
        })
    }

    pub(super) fn check(&self) -> Result<(), ConfigError> {
        self.keys()?;
        for (key, claim) in [("auth.user_claim", &self.user_claim), ("auth.email_claim", &self.email_claim)] {
            if claim.is_empty() {
                return Err(ConfigError::new(key, "must name a claim"));
            }
            if TAKEN_CLAIMS.contains(&claim.as_str()) {
                return Err(ConfigError::new(key, format!("{claim} means something else in every token")));
            }
        }
        if self.user_claim == self.email_claim {
            return Err(ConfigError::new("auth.email_claim", "is auth.user_claim too"));
        }
        Ok(())
    }
}
