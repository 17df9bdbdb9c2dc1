//! The options of a connection beyond Level 1.

/// The options that a client chose for its connection beyond Level 1 (docs/protocol.md, "Connecting").
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct SessionOptions {
    /// The cursor from which the client resumes. With an empty text, or a text that is no cursor, the client asks for
    /// a fresh start on Level 2.
    pub(crate) since: Option<String>,
    /// The client sends read receipts itself (manual receipts).
    pub(crate) manual_receipts: bool,
}

impl SessionOptions {
    /// Returns whether the client resumes: it was connected before and sends a cursor.
    pub(crate) fn resumes(&self) -> bool {
        self.since.as_ref().is_some_and(|since| !since.is_empty())
    }
}
