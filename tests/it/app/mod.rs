//! The process: its open files, its reload and its shutdown.

mod drain;
mod open_files;
mod reload;
