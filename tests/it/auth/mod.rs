//! Tokens, and the keys that check tokens.

mod issuers;
mod key_sets;
mod token_kinds;
mod tokens;
