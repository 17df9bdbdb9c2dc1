//! The reasons why a token is refused.

use std::fmt;

use handlers::UserId;

/// The reason why a token is refused. The text is a constant, so it contains no part of the token. It has at most
/// 123 bytes, and so fits into the reason of a WebSocket close frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenError {
    reason: &'static str,
    class: TokenErrorKind,
}

/// The kind of a refusal. The kind decides how the server reacts to the token.
#[derive(Clone, Debug, PartialEq, Eq)]
enum TokenErrorKind {
    /// The token is invalid. It may be an attempt to guess a token.
    Bad,
    /// The token may be valid, but no known key verifies it. The issuer may have a new key.
    AboutKey,
    /// The issuer of the keys can't be reached. The same token may be accepted later.
    NoKeys,
    /// The token is longer than `auth.token_bytes`.
    TooLong,
    /// A known key signed the token for this user, but the token has expired or is not valid yet.
    OutsideItsTime(Option<UserId>),
}

impl TokenError {
    pub(super) const fn new(reason: &'static str) -> Self {
        Self { reason, class: TokenErrorKind::Bad }
    }

    pub(super) const fn about_key(reason: &'static str) -> Self {
        Self { reason, class: TokenErrorKind::AboutKey }
    }

    pub(super) const fn no_keys(reason: &'static str) -> Self {
        Self { reason, class: TokenErrorKind::NoKeys }
    }

    pub(super) const fn too_long(reason: &'static str) -> Self {
        Self { reason, class: TokenErrorKind::TooLong }
    }

    pub(super) const fn outside_its_time(reason: &'static str) -> Self {
        Self { reason, class: TokenErrorKind::OutsideItsTime(None) }
    }

    /// Adds the token's user to the error, if the token has expired or is not valid yet. Leaves errors of all
    /// other kinds unchanged.
    pub(super) fn of_user(self, user: Option<&UserId>) -> Self {
        match self.class {
            TokenErrorKind::OutsideItsTime(_) => {
                Self { class: TokenErrorKind::OutsideItsTime(user.cloned()), ..self }
            }
            _ => self,
        }
    }

    /// Returns the reason as a text of 1 to 123 bytes.
    pub const fn as_str(&self) -> &'static str {
        self.reason
    }

    /// Returns whether the same token may be accepted later.
    pub(crate) fn is_temporary(&self) -> bool {
        self.class == TokenErrorKind::NoKeys
    }

    /// Returns whether the token is longer than `auth.token_bytes`.
    pub(crate) fn is_too_long(&self) -> bool {
        self.class == TokenErrorKind::TooLong
    }

    /// Returns the user of a token that has expired or is not valid yet. Returns none if the token is refused for
    /// another reason.
    pub(crate) fn user_of_old_token(&self) -> Option<&UserId> {
        match &self.class {
            TokenErrorKind::OutsideItsTime(user) => user.as_ref(),
            _ => None,
        }
    }

    /// Returns whether a new key of the issuer may have signed the token.
    pub(super) fn may_be_signed_by_new_key(&self) -> bool {
        matches!(self.class, TokenErrorKind::AboutKey | TokenErrorKind::NoKeys)
    }
}

impl fmt::Display for TokenError {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        to.write_str(self.reason)
    }
}

impl std::error::Error for TokenError {}
