//! The documentation: its links, its frames and its snippets.

mod book;
mod documents;
mod snippets;
