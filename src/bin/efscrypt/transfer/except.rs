//! Except: what of the machine does not come into a store.

use super::meta::Meta;

/// What is left out of an import.
#[derive(Clone, Copy)]
pub struct Except {
    /// Device and inode of the store's own file.
    pub store: (u64, u64),
    /// Those of the file in which the import remembers what is the same, where there is one.
    pub cache: Option<(u64, u64)>,
    /// The only device whose files are copied, where there is one.
    pub device: Option<u64>,
}

impl Except {
    /// Why something that is no directory is left out.
    pub fn why(&self, meta: &Meta) -> Option<&'static str> {
        if meta.id == self.store {
            return Some("it is the store itself");
        }
        if self.cache == Some(meta.id) {
            return Some("it is the files cache of this import");
        }
        self.is_elsewhere(meta).then_some("it is on another file system")
    }

    /// Whether it is on another file system: of a directory all that is in it is left out.
    pub fn is_elsewhere(&self, meta: &Meta) -> bool {
        self.device.is_some_and(|device| device != meta.id.0)
    }
}
