//! Work that goes on in the background: room deletion and user erasure.

mod room_deletion;
mod user_erasure;
