//! `efscrypt import`: a tree of the machine into a store.

use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Component, PathBuf};
use std::sync::Arc;

use clap::Args;
use efscrypt::fs::{Attr, FileSystem, FileType, NewAttr};
use efscrypt::{Error, ErrorKind};

use crate::copy::{CopyArgs, Outcome};
use crate::exit::Failure;
use crate::store::{Access, StoreArgs};
use crate::transfer::{
    Except, FilesCache, HostDir, Importer, Monitor, Rights, STAGING, Source, Trouble, Verifier,
    is_in_staging, walk,
};

#[derive(Args)]
pub struct ImportArgs {
    #[command(flatten)]
    store: StoreArgs,

    /// The directory whose contents are copied
    source: PathBuf,

    /// The directory of the store that they come into; made if it is not there
    #[arg(default_value = "/")]
    destination: PathBuf,

    /// Leave out what is on other file systems than the source
    #[arg(long, short = 'x')]
    one_file_system: bool,

    #[command(flatten)]
    how: CopyArgs,
}

/// Runs `efscrypt import`.
pub fn run(args: ImportArgs) -> Result<(), Failure> {
    let (store, how) = (&args.store, &args.how);
    let source = open_source(&args)?;
    check_destination(&args)?;
    how.prepare()?;
    let open = store.open(Access::Write)?;
    let fs = open.file_system();
    let destination = make_destination(fs, &args)?;
    if is_in_staging(fs, destination.ino).map_err(|error| store.failure("read", error))? {
        return Err(reserved(&args));
    }
    let cache = how.files_cache(fs)?;
    let except = except(&args, &source, &cache)?;

    let monitor = how.monitor("importing");
    let import = Importer::new(fs, &monitor, how.how(rights(&args)), except, &cache);
    let import = Arc::new(import.map_err(|error| no_staging(store, error))?);
    let at_root =
        |trouble: Trouble| trouble.at(&format!("cannot import {}", args.source.display()));
    let root = import.root(source, destination.ino).map_err(at_root)?;
    // So that an import which is interrupted has not been for nothing. A failure poisons the
    // store, and the next change meets it.
    let tend = || drop(fs.sync());
    let walked = monitor.watch(tend, || walk(&import, root, how.workers()));
    let closed = Arc::into_inner(import).map_or(Ok(()), Importer::close);
    // What is left of a failure goes with the next import.
    let closed = if monitor.has_stopped() { Ok(()) } else { closed };
    let durable = closed.and_then(|()| fs.sync()).map_err(|error| store.failure("write", error));
    if durable.is_ok() {
        cache.save(|| true);
    }
    let copied = monitor.summary();

    let verified = match how.verify && durable.is_ok() && !monitor.has_stopped() {
        true => Some(verify(fs, &args, destination.ino, except)?),
        false => None,
    };
    let durable = durable.and_then(|()| store.close(open));
    let compared = verified.as_ref().map(Monitor::summary);
    Outcome { durable, walked, copied: &monitor, verified: verified.as_ref() }.verdict(
        || how.show("imported", &copied, compared.as_ref()),
        &format!("cannot import all of {}", args.source.display()),
        "mend this and run the command again: what was copied is not copied again",
    )
}

/// The user who imports keeps all that he may see.
fn rights(args: &ImportArgs) -> Rights {
    Rights::of_process(true, !args.how.no_xattrs)
}

fn open_source(args: &ImportArgs) -> Result<HostDir, Failure> {
    HostDir::open(&args.source).map_err(|e| {
        let doing = format!("cannot read directory {}", args.source.display());
        Failure::file(doing, &e).with_hint("name the directory whose contents are to be imported")
    })
}

fn check_destination(args: &ImportArgs) -> Result<(), Failure> {
    let mut names = Vec::new();
    for part in args.destination.components() {
        match part {
            Component::Normal(name) => names.push(name),
            // No link is followed on the way, so this is where it leads.
            Component::ParentDir => drop(names.pop()),
            _ => {}
        }
    }
    match names.first() {
        Some(first) if *first == STAGING => Err(reserved(args)),
        _ => Ok(()),
    }
}

fn reserved(args: &ImportArgs) -> Failure {
    let doing = format!("cannot import into {}", args.destination.display());
    Failure::usage(doing, "what an import has not finished is kept there")
}

fn except(args: &ImportArgs, source: &HostDir, cache: &FilesCache) -> Result<Except, Failure> {
    let store = args.store.path().metadata().map_or((0, 0), |about| (about.dev(), about.ino()));
    let about = source.stat_self().map_err(|e| {
        Failure::file(format!("cannot read directory {}", args.source.display()), &e)
    })?;
    let device = args.one_file_system.then_some(about.id.0);
    Ok(Except { store, cache: cache.id(), device })
}

fn make_destination(fs: &FileSystem, args: &ImportArgs) -> Result<Attr, Failure> {
    let path = &args.destination;
    let new = NewAttr { mode: 0o755, ..NewAttr::default() };
    let made = fs.mkdir_all(path.as_os_str().as_bytes(), &new).and_then(|attr| match attr.kind {
        FileType::Directory => Ok(attr),
        _ => Err(Error::NotDirectory),
    });
    made.map_err(|error| {
        let not_directory = error.kind() == ErrorKind::NotDirectory;
        let doing = format!("cannot make directory {} in the store", path.display());
        let failure = Failure::new(doing, error);
        match not_directory {
            true => failure.with_hint("a file has this name: choose another"),
            false => failure,
        }
    })
}

fn no_staging(store: &StoreArgs, error: Error) -> Failure {
    if error.kind() != ErrorKind::Exists {
        return store.failure("write", error);
    }
    let doing = format!("cannot import: /{STAGING} in the store is not what an import left");
    Failure::new(doing, error).with_hint("move it away: imports need the name")
}

fn verify(
    fs: &FileSystem,
    args: &ImportArgs,
    ino: u64,
    except: Except,
) -> Result<Monitor, Failure> {
    let monitor = args.how.monitor("verifying");
    let verifier = Arc::new(Verifier::new(fs, &monitor, Source::Machine(except), rights(args)));
    let root = verifier.root(open_source(args)?, ino);
    monitor.watch(|| {}, || walk(&verifier, root, args.how.workers()))?;
    drop(verifier);
    Ok(monitor)
}
