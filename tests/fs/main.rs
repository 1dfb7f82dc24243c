//! Tests of the file system: semantics one by one, against a model, with many threads.

mod bed;
mod collisions;
mod damage;
mod durable;
mod full;
mod hostile;
mod names;
mod ranges;
mod semantics;
mod slow;
mod threads;
mod trimming;
mod waits;
