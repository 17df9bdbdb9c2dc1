//! Tests of the WebSocket: the handshake, frames, limits, and the three connection modes (Levels).

mod arbitrary_input;
mod bulk_reads;
mod close_handshake;
mod connect;
mod consent;
mod first_frame;
mod fragments;
mod frame_errors;
mod handshake;
mod hostile_frames;
mod inbox;
mod last_frames;
mod level2;
mod limits;
mod request_fields;
mod room_on_connect;
mod slow_clients;
mod token_expiry;
