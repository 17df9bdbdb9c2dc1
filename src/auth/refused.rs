//! The reasons why a token is refused.

use std::fmt;

use handlers::UserId;

/// The reason why a token is refused: a fixed text that contains nothing of the token, and is short enough for a close
/// reason.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    reason: &'static str,
    class: Class,
}

/// What else is known about a refusal.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Class {
    /// Anyone may have made the token.
    Bad,
    /// The token may be valid with another key.
    OfTheKey,
    /// The issuer of the key can't be reached. The same token may be accepted later.
    NoKeys,
    /// The token is longer than `auth.token_bytes`.
    TooLong,
    /// A known key signed the token for this user, but the token has expired or is not in force yet.
    Untimely(Option<UserId>),
}

impl Refused {
    pub(super) const fn new(reason: &'static str) -> Self {
        Self { reason, class: Class::Bad }
    }

    pub(super) const fn of_the_key(reason: &'static str) -> Self {
        Self { reason, class: Class::OfTheKey }
    }

    pub(super) const fn no_keys(reason: &'static str) -> Self {
        Self { reason, class: Class::NoKeys }
    }

    pub(super) const fn too_long(reason: &'static str) -> Self {
        Self { reason, class: Class::TooLong }
    }

    pub(super) const fn untimely(reason: &'static str) -> Self {
        Self { reason, class: Class::Untimely(None) }
    }

    /// Adds the token's user, if the token is refused only because of its time.
    pub(super) fn of_user(self, user: Option<&UserId>) -> Self {
        match self.class {
            Class::Untimely(_) => Self { class: Class::Untimely(user.cloned()), ..self },
            _ => self,
        }
    }

    /// Returns the text, 1 to 123 bytes.
    pub const fn as_str(&self) -> &'static str {
        self.reason
    }

    /// Returns whether the same token may be accepted later.
    pub(crate) fn is_for_now(&self) -> bool {
        self.class == Class::NoKeys
    }

    /// Returns whether the token was longer than `auth.token_bytes`.
    pub(crate) fn is_too_long(&self) -> bool {
        self.class == Class::TooLong
    }

    /// Returns the user of a token that is outside its time, or none if anyone may have made the token.
    pub(crate) fn untimely_user(&self) -> Option<&UserId> {
        match &self.class {
            Class::Untimely(user) => user.as_ref(),
            _ => None,
        }
    }

    /// Returns whether the token may be valid with another key.
    pub(super) fn is_of_the_key(&self) -> bool {
        matches!(self.class, Class::OfTheKey | Class::NoKeys)
    }
}

impl fmt::Display for Refused {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        to.write_str(self.reason)
    }
}

impl std::error::Error for Refused {}
