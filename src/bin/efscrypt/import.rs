//! `efscrypt import`: a tree of the machine into a store.

use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::sync::Arc;

use clap::Args;
use efscrypt::fs::{Attr, FileSystem, FileType, NewAttr};
use efscrypt::{Error, ErrorKind};

use crate::exit::Failure;
use crate::output;
use crate::store::{Access, StoreArgs};
use crate::transfer::{
    HostDir, Importer, Monitor, Source, Summary, Trouble, Verifier, default_workers,
    raise_open_files, walk,
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

    #[command(flatten)]
    how: CopyArgs,
}

/// What import and export have in common.
#[derive(Args)]
pub struct CopyArgs {
    /// Read everything back and compare
    #[arg(long)]
    pub verify: bool,

    /// Threads that copy (default: one for each core, 2 to 8)
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=64))]
    jobs: Option<u16>,

    /// Show no progress and no summary
    #[arg(long, short)]
    quiet: bool,

    /// Print the summary as JSON
    #[arg(long)]
    json: bool,
}

/// Runs `efscrypt import`.
pub fn run(args: ImportArgs) -> Result<(), Failure> {
    let (store, how) = (&args.store, &args.how);
    let source = HostDir::open(&args.source).map_err(|e| {
        let doing = format!("cannot read directory {}", args.source.display());
        Failure::file(doing, &e).with_hint("name the directory whose contents are to be imported")
    })?;
    raise_open_files();
    let open = store.open(Access::Write)?;
    let fs = open.file_system();
    let destination = make_destination(fs, &args)?;
    let itself = store.path().metadata().map_or((0, 0), |about| (about.dev(), about.ino()));

    let monitor = how.monitor("importing");
    let import = Arc::new(Importer::new(fs, &monitor, itself));
    let at_root =
        |trouble: Trouble| trouble.at(&format!("cannot import {}", args.source.display()));
    let root = import.root(source, destination.ino).map_err(at_root)?;
    // So that an import which is interrupted has not been for nothing. A failure poisons the
    // store, and the next change meets it.
    let tend = || drop(fs.sync());
    let walked = monitor.watch(tend, || walk(&import, root, how.workers()));
    let durable = fs.sync();
    drop(import);
    let copied = monitor.summary();

    let verified = match how.verify && !monitor.has_stopped() {
        true => Some(verify(fs, &args, destination.ino, itself)?),
        false => None,
    };
    let compared = verified.as_ref().map(Monitor::summary);
    how.show("imported", &copied, compared.as_ref())?;
    walked?;
    let hint = "everything else is in the store: mend this and run the command again, \
                which copies only what is missing";
    monitor.verdict(&format!("cannot import all of {}", args.source.display()), hint)?;
    durable.map_err(|error| store.failure("write", error))?;
    open.close().map_err(|error| store.failure("close", error))?;
    verified.map_or(Ok(()), |verified| verdict(&verified))
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

fn verify(
    fs: &FileSystem,
    args: &ImportArgs,
    ino: u64,
    itself: (u64, u64),
) -> Result<Monitor, Failure> {
    let monitor = args.how.monitor("verifying");
    let source = HostDir::open(&args.source).map_err(|e| {
        Failure::file(format!("cannot read directory {}", args.source.display()), &e)
    })?;
    let verifier = Arc::new(Verifier::new(fs, &monitor, Source::Machine, Some(itself)));
    let root = verifier.root(source, ino);
    monitor.watch(|| {}, || walk(&verifier, root, args.how.workers()))?;
    drop(verifier);
    Ok(monitor)
}

/// Fails where a comparison found something.
pub fn verdict(verified: &Monitor) -> Result<(), Failure> {
    verified.verdict("cannot confirm the copy", "run the command again, which copies what differs")
}

impl CopyArgs {
    /// Shows progress as the arguments say.
    pub fn monitor(&self, doing: &str) -> Monitor {
        Monitor::new(doing, self.quiet)
    }

    pub fn workers(&self) -> usize {
        self.jobs.map_or_else(default_workers, usize::from)
    }

    /// Prints what was done.
    pub fn show(
        &self,
        done: &str,
        copied: &Summary,
        verified: Option<&Summary>,
    ) -> Result<(), Failure> {
        #[derive(serde::Serialize)]
        struct View<'a> {
            #[serde(flatten)]
            copied: &'a Summary,
            #[serde(skip_serializing_if = "Option::is_none")]
            verified: Option<&'a Summary>,
        }
        match (self.json, self.quiet) {
            (true, _) => output::json(&View { copied, verified }),
            (false, true) => Ok(()),
            (false, false) => {
                output::text(&copied.line(done))?;
                verified.map_or(Ok(()), |verified| output::text(&verified.line("verified")))
            }
        }
    }
}
