//! Tests of the engine on rows: against a map, through restarts, crashes and failing devices.

mod crash;
mod model;
mod rows;
