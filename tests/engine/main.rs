//! Tests of the engine on rows: against a map, through restarts, crashes, threads and failing
//! devices.

mod contents;
mod crash;
mod full;
mod hook;
mod model;
mod races;
mod reopened;
mod rewrap;
mod rows;
mod shapes;
mod threads;
