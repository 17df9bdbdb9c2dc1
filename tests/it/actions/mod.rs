//! Actions: their effects on a room, their answers, and their limits.

mod action_limits;
mod answers;
mod contract;
mod functions;
mod isolation;
mod message_status;
mod message_text;
mod permission_rechecks;
mod send_edit_delete;
mod waiting_messages;
mod without_socket;
