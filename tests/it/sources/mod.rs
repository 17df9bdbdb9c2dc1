//! Rules that the source files keep.

mod layers;
