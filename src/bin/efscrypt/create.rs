//! `efscrypt create`: a new store.

use std::fs::{self, File};
use std::io::{Seek, SeekFrom};
use std::os::unix::fs::FileTypeExt;
use std::path::Path;

use clap::Args;
use efscrypt::device::FileDevice;
use efscrypt::{Error, ErrorKind, Providers, Store};
use rustix::process::{getegid, geteuid};

use crate::describe;
use crate::exit::{self, Failure};
use crate::output;
use crate::store::{StoreArgs, key_name, pair};

/// What a store takes at least beside its log, MiB.
const BESIDE_LOG_MIB: u64 = 5;
/// What to do about a device that holds something.
const NOT_BLANK: &str = "the first MiB of a device must be zero: `dd if=/dev/zero of=DEVICE bs=1M \
     count=1` makes it so, and destroys what is on it";

#[derive(Args)]
pub struct CreateArgs {
    #[command(flatten)]
    store: StoreArgs,

    /// Key for contents: id, alias/NAME or NAME
    #[arg(long, value_name = "KEY", value_parser = key_name)]
    data_key: String,

    /// Key for names, directories and attributes (default: the data key)
    #[arg(long, value_name = "KEY", value_parser = key_name)]
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
    let needed = (u64::from(args.log) + BESIDE_LOG_MIB) << 20;
    let device = fs::metadata(store.path()).is_ok_and(|about| about.file_type().is_block_device());
    let failed = |error: Error| {
        let kind = error.kind();
        let failure = store.failure("create", error);
        match kind {
            ErrorKind::NotFound => failure.with_hint("make the directory first"),
            ErrorKind::Exists if device => failure.with_hint(NOT_BLANK),
            _ => failure,
        }
    };
    if device && let Some(has) = device_len(store.path()).filter(|has| *has < needed) {
        let has = output::bytes(has);
        let why = format!(
            "the device is too small: it has {has}, and a store with a log of {} MiB needs {}",
            args.log,
            output::bytes(needed),
        );
        let doing = format!("cannot create store {}", store.path().display());
        return Err(Failure::of_code(doing, &why, exit::NO_SPACE)
            .with_hint("give a larger device, or a smaller log with --log"));
    }
    let mut options = store.options()?;
    options.engine.log_bytes = u64::from(args.log) << 20;
    (options.name, options.tags) = (args.name, args.tags);
    // Else who makes the store could put nothing there once it is mounted.
    let (uid, gid) = (geteuid().as_raw(), getegid().as_raw());
    (options.mount.root_uid, options.mount.root_gid) = (uid, gid);
    // The device refuses it, too; here it costs nobody a passphrase.
    let taken = fs::metadata(store.path()).is_ok_and(|about| about.is_file() && about.len() != 0);
    if taken && !FileDevice::is_unfinished(store.path()) {
        return Err(failed(Error::Exists));
    }
    let provider = store.provider()?;
    let metadata_key = args.metadata_key.as_deref().unwrap_or(&args.data_key);

    let providers = Providers::same(provider);
    let made = Store::create_file(store.path(), providers, metadata_key, &args.data_key, options);
    let made = made.map_err(failed)?;
    let description = made.describe().map_err(failed)?;
    made.close().map_err(failed)?;
    describe::show(&description, args.json)
        .map_err(|failure| failure.after(&format!("store {} was made", store.path().display())))
}

fn device_len(path: &Path) -> Option<u64> {
    File::open(path).and_then(|mut file| file.seek(SeekFrom::End(0))).ok()
}
