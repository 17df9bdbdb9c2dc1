//! Rules for the source files: the layers of their imports, the names of tests, and that each test file is
//! compiled.

mod declared;
mod layers;
mod test_names;
