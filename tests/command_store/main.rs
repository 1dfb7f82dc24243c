//! The subcommands of `efscrypt` that work on a store, as an operator and a script see them:
//! output, messages, exit codes, and what is left when they fail.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod attributes;
mod bench;
mod checking;
mod damage;
mod destinations;
mod exporting;
mod heading;
mod importing;
mod keyless;
mod lifecycle;
mod listing;
mod lists;
mod messages;
mod mistakes;
mod repairing;
mod sameness;
mod transfer;
mod tree;
