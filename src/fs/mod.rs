//! L7: the file system: inodes, names, attributes and contents as rows and units.

pub mod data;
