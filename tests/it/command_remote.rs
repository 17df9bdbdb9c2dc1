//! The commands that ask a server that runs.
