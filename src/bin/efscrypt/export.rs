//! `efscrypt export`: a tree of a store onto the machine.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::Args;
use efscrypt::fs::{FileSystem, FileType};

use crate::copy::{CopyArgs, Outcome};
use crate::exit::{Failure, IN_USE, NOT_EMPTY};
use crate::store::{Access, StoreArgs};
use crate::transfer::{
    Destination, Exporter, HostDir, How, Monitor, Rights, Source, Trouble, Verifier, walk,
};

#[derive(Args)]
pub struct ExportArgs {
    #[command(flatten)]
    store: StoreArgs,

    /// The directory that the contents come into: empty, or not there
    destination: PathBuf,

    /// The directory of the store whose contents are copied
    #[arg(long, value_name = "PATH", default_value = "/")]
    from: PathBuf,

    /// Take a destination that is not empty, and replace what differs from the store there
    #[arg(long)]
    overwrite: bool,

    /// Make no device nodes and no programs that run with the rights of their owners, and set no
    /// attributes of the system
    #[arg(long)]
    no_special: bool,

    /// Copy damaged files too, with zeros for what cannot be read, and tell which bytes those are
    #[arg(long)]
    keep_damaged: bool,

    #[command(flatten)]
    how: CopyArgs,
}

/// Runs `efscrypt export`.
pub fn run(args: ExportArgs) -> Result<(), Failure> {
    let (store, how) = (&args.store, &args.how);
    how.prepare()?;
    // Here it costs nobody a passphrase.
    if args.destination.exists() {
        args.check_empty(&args.open_destination()?)?;
    }
    let open = store.open(Access::Read)?;
    let file_system = open.file_system();
    let from = store.find(file_system, &args.from)?;
    if from.kind != FileType::Directory {
        let doing = format!("cannot export {}", args.from.display());
        let failure = Failure::new(doing, efscrypt::Error::NotDirectory);
        return Err(failure.with_hint("`efscrypt cat` gives out a single file"));
    }
    make_destination(&args.destination)?;
    let root = args.open_destination()?;
    lock(&root, &args.destination)?;
    args.check_empty(&root)?;

    let monitor = how.monitor("exporting");
    let way = How {
        overwrite: args.overwrite,
        keep_damaged: args.keep_damaged,
        ..how.how(args.rights())
    };
    let cache = how.files_cache(file_system)?;
    let (again, place) = (args.open_destination()?, Destination::default());
    let export = Arc::new(Exporter::new(file_system, &monitor, way, &cache, &place, again));
    let at_root =
        |trouble: Trouble| trouble.at(&format!("cannot export to {}", args.destination.display()));
    let root = export.root(root, from.ino).map_err(at_root)?;
    let lasting = args.open_destination()?;
    let walked = monitor.watch(|| {}, || walk(&export, root, how.workers()));
    let durable = lasting.sync().map_err(|error| {
        Failure::file(format!("cannot make {} durable", args.destination.display()), &error)
    });
    if durable.is_ok() {
        cache.save(|| true);
    }
    let copied = monitor.summary();

    let verified = match how.verify && durable.is_ok() && !monitor.has_stopped() {
        true => Some(verify(file_system, &args, lasting, from.ino, &place)?),
        false => None,
    };
    let compared = verified.as_ref().map(Monitor::summary);
    Outcome { durable, walked, copied: &monitor, verified: verified.as_ref() }.verdict(
        || how.show("exported", &copied, compared.as_ref()),
        &format!("cannot export all of {}", args.from.display()),
        "mend this and run the command again with --overwrite: what was copied is not copied again",
    )
}

impl ExportArgs {
    fn rights(&self) -> Rights {
        Rights::of_process(!self.no_special, !self.how.no_xattrs)
    }

    fn open_destination(&self) -> Result<HostDir, Failure> {
        let path = &self.destination;
        HostDir::open(path).map_err(|e| {
            Failure::file(format!("cannot open directory {}", path.display()), &e)
                .with_hint("name a directory, or what is not there")
        })
    }

    /// Refuses to mix what is exported with what somebody else has there.
    fn check_empty(&self, destination: &HostDir) -> Result<(), Failure> {
        let doing = || format!("cannot export to {}", self.destination.display());
        match self.overwrite || destination.is_empty().map_err(|e| Failure::file(doing(), &e))? {
            true => Ok(()),
            false => {
                let failure = Failure::of_code(doing(), "the directory is not empty", NOT_EMPTY);
                Err(failure.with_hint(
                    "name another, or give --overwrite: it goes on with an export that was \
                     interrupted, and replaces what differs from the store",
                ))
            }
        }
    }
}

fn make_destination(path: &Path) -> Result<(), Failure> {
    fs::create_dir_all(path).map_err(|e| {
        Failure::file(format!("cannot make directory {}", path.display()), &e)
            .with_hint("name a directory that can be written, or one that is not there")
    })
}

/// Keeps other exports out of the directory while it is open.
fn lock(destination: &HostDir, path: &Path) -> Result<(), Failure> {
    destination.lock().map_err(|error| {
        let doing = format!("cannot export to {}", path.display());
        match error.kind() {
            io::ErrorKind::WouldBlock => {
                Failure::of_code(doing, "another export to this directory goes on", IN_USE)
                    .with_hint("wait until it is done, or end it")
            }
            _ => Failure::file(doing, &error),
        }
    })
}

fn verify(
    store: &FileSystem,
    args: &ExportArgs,
    destination: HostDir,
    ino: u64,
    place: &Destination,
) -> Result<Monitor, Failure> {
    let monitor = args.how.monitor("verifying");
    let verifier = Verifier::new(store, &monitor, Source::Store, args.rights()).at(place);
    let verifier = Arc::new(verifier);
    let root = verifier.root(destination, ino);
    monitor.watch(|| {}, || walk(&verifier, root, args.how.workers()))?;
    drop(verifier);
    Ok(monitor)
}
