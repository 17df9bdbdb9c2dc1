//! The options that a client sends in the URL to get more than the features of Level 1 (the basic connection mode).

/// The options of one connection (docs/protocol.md, "Connecting"). By default, the connection has only the features of
/// Level 1.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct SessionOptions {
    /// The cursor from which the client resumes. If the text is empty or not a valid cursor, the connection starts on
    /// Level 2 with the current state.
    pub(crate) since: Option<String>,
    /// Whether the client sends read receipts itself (`receipts=manual`).
    pub(crate) manual_receipts: bool,
}

impl SessionOptions {
    /// Returns whether the client resumes: it was connected before and sends a cursor.
    pub(crate) fn resumes(&self) -> bool {
        self.since.as_ref().is_some_and(|since| !since.is_empty())
    }
}
