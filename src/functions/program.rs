//! A loaded function file, as the rest of the server calls it.

use super::call::{CallResult, Export, ProgramCall, ProgramError};
#[cfg(feature = "functions")]
use super::script::Script;

/// A loaded file.
#[derive(Debug)]
pub(crate) enum Program {
    #[cfg(feature = "functions")]
    Script(Script),
}

impl Program {
    /// Returns which functions the file exports.
    pub(crate) fn exports(&self) -> &[Export] {
        match self {
            #[cfg(feature = "functions")]
            Self::Script(script) => script.exports(),
            #[cfg(not(feature = "functions"))]
            _ => &[],
        }
    }

    /// Calls an export.
    ///
    /// # Errors
    /// The function failed or reached a limit. [`ProgramError`] says why.
    pub(crate) async fn call(&self, call: ProgramCall<'_>) -> Result<CallResult, ProgramError> {
        match self {
            #[cfg(feature = "functions")]
            Self::Script(script) => script.call(call).await,
            #[cfg(not(feature = "functions"))]
            _ => Err(ProgramError::Host(format!("{} can't be called", call.export.name()))),
        }
    }

    /// Drops the instances that were not used for a while. Returns the number of those that remain.
    pub(crate) fn drop_idle(&self) -> usize {
        match self {
            #[cfg(feature = "functions")]
            Self::Script(script) => script.drop_idle(),
            #[cfg(not(feature = "functions"))]
            _ => 0,
        }
    }
}
