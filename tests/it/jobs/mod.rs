//! Tests of background jobs: room deletion and user erasure.

mod room_deletion;
mod user_erasure;
