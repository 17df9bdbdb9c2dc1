//! Tokens and the keys that check them.

mod issuers;
mod key_sets;
mod token_kinds;
mod tokens;
