//! Tests of the file system: semantics one by one, against a model, with many threads.

mod bed;
mod bitmaps;
mod collisions;
mod crashes;
mod damage;
#[path = "../kit/flawed.rs"]
mod flawed;
mod full;
mod hostile;
mod model;
mod names;
mod sectors;
mod semantics;
mod threads;
mod trimming;
mod waits;
mod workload;
