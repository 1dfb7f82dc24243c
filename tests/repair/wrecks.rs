//! Stores that do not open.
