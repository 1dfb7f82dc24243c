//! Tests of the file system: semantics one by one, against a model, with many threads.

mod acl;
mod acl_reference;
mod attributes;
mod available;
mod bed;
mod bitmaps;
mod collisions;
mod compact;
mod cut;
#[path = "../kit/cut.rs"]
mod cut_device;
mod damage;
mod defrag;
mod durable;
#[path = "../kit/flawed.rs"]
mod flawed;
mod full;
mod hostile;
mod names;
mod ranges;
mod sectors;
mod semantics;
mod threads;
mod trim;
mod trimming;
mod waits;
mod whiteouts;
