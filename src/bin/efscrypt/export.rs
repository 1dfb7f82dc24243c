//! `efscrypt export`: a tree of a store onto the machine.

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;

use clap::Args;
use efscrypt::fs::{FileSystem, FileType};

use crate::exit::Failure;
use crate::import::{CopyArgs, verdict};
use crate::store::{Access, StoreArgs};
use crate::transfer::{
    Exporter, HostDir, Monitor, Source, Trouble, Verifier, raise_open_files, walk,
};

#[derive(Args)]
pub struct ExportArgs {
    #[command(flatten)]
    store: StoreArgs,

    /// The directory that the contents come into; made if it is not there
    destination: PathBuf,

    /// The directory of the store whose contents are copied
    #[arg(long, value_name = "PATH", default_value = "/")]
    from: PathBuf,

    #[command(flatten)]
    how: CopyArgs,
}

/// Runs `efscrypt export`.
pub fn run(args: ExportArgs) -> Result<(), Failure> {
    let (store, how) = (&args.store, &args.how);
    raise_open_files();
    let open = store.open(Access::Read)?;
    let file_system = open.file_system();
    let from = store.find(file_system, &args.from)?;
    if from.kind != FileType::Directory {
        let failure = Failure::new(
            format!("cannot export {}", args.from.display()),
            efscrypt::Error::NotDirectory,
        );
        return Err(failure.with_hint("`efscrypt cat` gives out a single file"));
    }
    let destination = || open_destination(&args.destination);
    make_destination(&args.destination)?;

    let monitor = how.monitor("exporting");
    let export = Arc::new(Exporter::new(file_system, &monitor, destination()?));
    let at_root =
        |trouble: Trouble| trouble.at(&format!("cannot export to {}", args.destination.display()));
    let root = export.root(destination()?, from.ino).map_err(at_root)?;
    let walked = monitor.watch(|| {}, || walk(&export, root, how.workers()));
    let durable = destination()?.sync();
    let copied = monitor.summary();

    let verified = match how.verify && !monitor.has_stopped() {
        true => Some(verify(file_system, &args, from.ino)?),
        false => None,
    };
    let compared = verified.as_ref().map(Monitor::summary);
    how.show("exported", &copied, compared.as_ref())?;
    walked?;
    let doing = format!("cannot export all of {}", args.from.display());
    let hint = "everything else is there: mend this and run the command again, \
                which copies only what is missing";
    monitor.verdict(&doing, hint)?;
    durable.map_err(|error| {
        Failure::file(format!("cannot make {} durable", args.destination.display()), &error)
    })?;
    verified.map_or(Ok(()), |verified| verdict(&verified))
}

fn make_destination(path: &std::path::Path) -> Result<(), Failure> {
    fs::create_dir_all(path).map_err(|e| {
        Failure::file(format!("cannot make directory {}", path.display()), &e)
            .with_hint("name a directory that can be written, or one that is not there")
    })
}

fn open_destination(path: &std::path::Path) -> Result<HostDir, Failure> {
    HostDir::open(path)
        .map_err(|e| Failure::file(format!("cannot open directory {}", path.display()), &e))
}

fn verify(store: &FileSystem, args: &ExportArgs, ino: u64) -> Result<Monitor, Failure> {
    let monitor = args.how.monitor("verifying");
    let verifier = Arc::new(Verifier::new(store, &monitor, Source::Store, None));
    let root = verifier.root(open_destination(&args.destination)?, ino);
    monitor.watch(|| {}, || walk(&verifier, root, args.how.workers()))?;
    drop(verifier);
    Ok(monitor)
}
