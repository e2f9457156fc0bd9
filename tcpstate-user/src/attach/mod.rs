//! x
mod btf;
mod offsets;
