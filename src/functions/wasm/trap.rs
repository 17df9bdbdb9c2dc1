//! Names the reasons for which WebAssembly ends a call.

use std::fmt;
use std::time::Duration;

use wasmtime::Trap;

use crate::functions::call::ProgramError;

/// The error with which a call ends when its CPU time is used up.
#[derive(Clone, Copy, Debug)]
pub(crate) struct CpuUsedUp;

impl fmt::Display for CpuUsedUp {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        to.write_str("the CPU time is used up")
    }
}

impl std::error::Error for CpuUsedUp {}

/// Returns why a call ended. `cpu` is the CPU time that the call had.
pub(crate) fn of_error(error: &wasmtime::Error, cpu: Duration) -> ProgramError {
    if error.downcast_ref::<CpuUsedUp>().is_some() {
        return ProgramError::Cpu(cpu);
    }
    match error.downcast_ref::<Trap>() {
        Some(Trap::StackOverflow) => ProgramError::TooDeep,
        Some(Trap::UnreachableCodeReached) => ProgramError::Trap("unreachable".to_owned()),
        Some(trap) => ProgramError::Trap(trap.to_string()),
        None => ProgramError::Trap(error.root_cause().to_string()),
    }
}
