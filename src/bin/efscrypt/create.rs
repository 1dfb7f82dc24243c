//! `efscrypt create`: a new store.

use std::fs::{self, OpenOptions};
use std::path::Path;
use std::sync::Arc;

use clap::Args;
use efscrypt::device::{Device, FileDevice};
use efscrypt::{Error, ErrorKind, Providers, Store};

use crate::describe;
use crate::exit::Failure;
use crate::store::{StoreArgs, pair};

/// Bytes at the start of a block device that a failed creation leaves as zeros, as it found them.
const BLANK: usize = 1 << 20;

#[derive(Args)]
pub struct CreateArgs {
    #[command(flatten)]
    store: StoreArgs,

    /// Key for contents: id or alias/NAME
    #[arg(long, value_name = "KEY")]
    data_key: String,

    /// Key for names, directories and attributes (default: the data key)
    #[arg(long, value_name = "KEY")]
    metadata_key: Option<String>,

    /// A name for the store
    #[arg(long)]
    name: Option<String>,

    /// A tag; repeat for more
    #[arg(long = "tag", value_name = "KEY=VALUE", value_parser = pair)]
    tags: Vec<(String, String)>,

    /// Size of the intent log, MiB: how much can change before a checkpoint has to be written
    #[arg(long, value_name = "MIB", default_value_t = 32,
        value_parser = clap::value_parser!(u32).range(1..=1024))]
    log: u32,

    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Runs `efscrypt create`.
pub fn run(args: CreateArgs) -> Result<(), Failure> {
    let store = &args.store;
    let failed = |error: Error| {
        let directory = error.kind() == ErrorKind::NotFound;
        let failure = store.failure("create", error);
        if directory { failure.with_hint("make the directory first") } else { failure }
    };
    let mut options = store.options()?;
    options.engine.log_bytes = u64::from(args.log) << 20;
    (options.name, options.tags) = (args.name, args.tags);
    // The device refuses it, too; here it costs nobody a passphrase.
    if fs::metadata(store.path()).is_ok_and(|about| about.is_file() && about.len() != 0) {
        return Err(failed(Error::Exists));
    }
    let provider = store.provider()?;
    let metadata_key = args.metadata_key.as_deref().unwrap_or(&args.data_key);

    let was_there = fs::symlink_metadata(store.path()).is_ok();
    let device = Arc::new(FileDevice::create(store.path()).map_err(failed)?);
    let held: Arc<dyn Device> = Arc::clone(&device) as _;
    let providers = Providers::same(provider);
    let made = Store::create(held, providers, metadata_key, &args.data_key, options);
    // Undone while the device is locked: nobody else can have begun to use what is removed.
    let made = made.map_err(|error| {
        undo(store.path(), &*device, was_there);
        failed(error)
    })?;
    describe::show(&made.describe().map_err(failed)?, args.json)?;
    made.close().map_err(failed)
}

/// Leaves what was there before: no file, an empty file, or a blank device. The failure to report
/// is that of the creation.
fn undo(path: &Path, device: &dyn Device, was_there: bool) {
    if !was_there {
        let _ = fs::remove_file(path);
    } else if device.capacity().is_ok_and(|capacity| capacity.is_some()) {
        let _ = device.write_at(0, &vec![0; BLANK]).and_then(|()| device.flush());
    } else {
        let _ = OpenOptions::new().write(true).truncate(true).open(path);
    }
}
