//! Rules for the source files: the layers of their imports, and the names of tests. Each test file must be compiled.

mod built;
mod declared;
mod layers;
mod test_names;
