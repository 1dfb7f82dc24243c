//! Stores in files and on block devices: made and opened by a path.

use std::path::Path;
use std::sync::Arc;

use super::{Providers, Store, StoreOptions};
use crate::device::FileDevice;
use crate::error::{Error, Result};

impl Store {
    /// Makes a store in a new or empty file, or on a blank block device, and opens it, as
    /// [`Store::create`] does. A new file has mode 0600.
    ///
    /// The store is there whole or not at all. A new file gets its name when the store in it is
    /// whole and durable; a kill or a power cut before leaves nothing (on hosts without files that
    /// have no name, a hidden file beside it, `.NAME.efscrypt-new`, which the next creation there
    /// removes). An empty file or a block device begins with a mark until then: it does not open,
    /// and the next creation takes it for empty.
    ///
    /// A failure, or a panic of a provider, leaves what was there before: no file, an empty file, a
    /// device whose first MiB is zero. That is done while the device is still locked, so nobody
    /// else can have begun to use it; a file of somebody else that got the name meanwhile stays,
    /// and ends this in [`Error::Exists`](crate::Error::Exists).
    ///
    /// # Errors
    /// Those of [`FileDevice::create`] and [`Store::create`].
    pub fn create_file(
        path: impl AsRef<Path>,
        providers: Providers,
        metadata_key: &str,
        data_key: &str,
        options: StoreOptions,
    ) -> Result<Store> {
        options.check()?;
        let path = path.as_ref();
        let device = FileDevice::begin(path).map_err(|error| named(error, path))?;
        let mut undo = Undo { device: Arc::new(device), path, made: false };
        let device = Arc::clone(&undo.device);
        let store = Store::create(device, providers, metadata_key, data_key, options)?;
        undo.device.publish(path).map_err(|error| named(error, path))?;
        undo.made = true;
        Ok(store)
    }

    /// Opens the store in a file or on a block device, as [`Store::open`] does. Where another
    /// handle has it open, waits as [`StoreOptions::lock_wait`] says.
    ///
    /// # Errors
    /// Those of [`FileDevice::open`] and [`Store::open`].
    pub fn open_file(
        path: impl AsRef<Path>,
        providers: Providers,
        options: StoreOptions,
    ) -> Result<Store> {
        let (read_only, patience) = (options.engine.read_only, options.lock_wait);
        let path = path.as_ref();
        let device = FileDevice::open_patiently(path, read_only, patience, || {});
        let device = device.map_err(|error| named(error, path))?;
        Store::open(Arc::new(device), providers, options)
    }
}

fn named(error: Error, path: &Path) -> Error {
    error.named(format_args!("store {}", path.display()))
}

/// A creation under way; dropped before the store is made, it is undone.
struct Undo<'p> {
    device: Arc<FileDevice>,
    path: &'p Path,
    made: bool,
}

impl Drop for Undo<'_> {
    fn drop(&mut self) {
        if !self.made {
            self.device.undo_create(self.path);
        }
    }
}
