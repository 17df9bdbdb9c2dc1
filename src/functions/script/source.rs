//! A script before and after it is loaded: its source, and its memory.

use std::fmt;

/// A function file in JavaScript, before it is loaded.
pub(crate) struct ScriptSource<'a> {
    /// The name of the file, as stacks show it.
    pub(crate) file: &'a str,
    pub(crate) code: &'a str,
    /// The modules that the file may import: their names, such as `lib/words.js`, and their code.
    pub(crate) modules: &'a [(String, String)],
}

/// The memory of an instance after loading.
pub(super) struct Image {
    /// The content after the stack, up to the last byte that is not zero.
    pub(super) bytes: Box<[u8]>,
    /// The size of the whole memory with its stack, in bytes.
    pub(super) size: usize,
}

impl fmt::Debug for Image {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        to.debug_struct("Image").field("size", &self.size).finish_non_exhaustive()
    }
}
