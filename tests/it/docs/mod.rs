//! The documentation: its links, its examples of frames, and its code snippets.

mod book;
mod documents;
mod snippets;
