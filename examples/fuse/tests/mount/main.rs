//! Programs on a mounted store. Where the machine lets nobody mount, the tests say so and end.

#![allow(clippy::unwrap_used, reason = "a panic is how a test says that it could not look")]

mod bed;
mod direct;
mod ending;
mod files;
mod lists;
mod names;
mod overlay;
mod program;
mod rights;
mod times;
