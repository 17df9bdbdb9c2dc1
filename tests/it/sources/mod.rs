//! Rules that the source files keep.

mod layers;
mod test_names;
