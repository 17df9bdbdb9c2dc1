//! Rules for the source files: the layers of their imports, and the names of tests.

mod layers;
mod test_names;
