//! What scripts and components have in common as WebAssembly: CPU time in ticks, bounded memory, and the names of
//! traps.

pub(crate) mod memory;
pub(crate) mod ticker;
pub(crate) mod trap;
