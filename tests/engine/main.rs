//! Tests of the engine on rows: against a map, through restarts, crashes, threads and failing
//! devices.

mod contents;
mod crash;
#[path = "../kit/flawed.rs"]
mod flawed;
mod forged;
mod forged_log;
mod full;
mod hook;
mod model;
mod owner;
mod races;
mod reopened;
mod replay;
mod rewrap;
mod rows;
mod shapes;
mod threads;
