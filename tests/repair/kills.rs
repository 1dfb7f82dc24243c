//! Repairs that are interrupted: at every write and flush of one.
