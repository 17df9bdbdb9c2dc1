//! Tests with faults of processes, disks, clocks and connections.

mod crash;
mod database_outage;
mod soak;
