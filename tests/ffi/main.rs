//! The C ABI, called as C calls it: what it promises beyond the Rust interface below it.
#![allow(unsafe_code, reason = "the functions take raw pointers, and a test forks")]

mod bed;
mod creation;
mod files;
mod fork;
mod keys;
mod numbers;
mod panics;
mod reports;
mod space;
mod structs;
