//! `efscrypt defrag`: contents that stand in pieces are put together.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::Args;
use efscrypt::Error;
use efscrypt::fs::{FileSystem, FileType};
use serde::Serialize;

use crate::exit::Failure;
use crate::output;
use crate::store::{Access, StoreArgs};
use crate::transfer::{Monitor, Trail, list};

#[derive(Args)]
pub struct DefragArgs {
    #[command(flatten)]
    store: StoreArgs,

    /// Files, and directories with all below them, by their paths in the store
    #[arg(default_value = "/", value_name = "PATH")]
    paths: Vec<PathBuf>,

    /// Show no progress
    #[arg(long, short)]
    quiet: bool,

    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// What was done, in JSON.
#[derive(Default, Serialize)]
struct DefragView {
    /// Files that were looked at.
    files: u64,
    /// Those of them of which something was moved.
    improved: u64,
    /// Requests of the device that read all of them in order, before.
    before: u64,
    /// The same now.
    after: u64,
    /// Bytes that were moved.
    moved: u64,
    /// Files and directories that could not be read.
    failed: u64,
}

/// Runs `efscrypt defrag`.
pub fn run(args: DefragArgs) -> Result<(), Failure> {
    let store = args.store.open(Access::Write)?;
    let fs = store.file_system();
    // A wrong path before anything is moved.
    let found: Result<Vec<_>, _> =
        args.paths.iter().map(|path| Ok((path, args.store.find(fs, path)?))).collect();
    let found = found?;
    let monitor = Monitor::new("defragmenting", args.quiet);
    let mut run = Run { fs, args: &args, monitor: &monitor, done: DefragView::default(), code: 0 };
    for (path, attr) in found {
        match attr.kind {
            FileType::Directory => run.tree(path, attr.ino),
            FileType::Regular => run.file(path, attr.ino),
            _ => {}
        }
    }
    let Run { done, code, .. } = run;
    args.store.close(store)?;
    match args.json {
        true => output::json(&done)?,
        false => output::lines(&block(&done))?,
    }
    if done.failed == 0 {
        return Ok(());
    }
    let why = output::count(done.failed, "failure");
    Err(Failure::of_code("cannot defragment all", &why, code)
        .with_hint("`efscrypt check` shows all damage"))
}

struct Run<'a> {
    fs: &'a FileSystem,
    args: &'a DefragArgs,
    monitor: &'a Monitor,
    done: DefragView,
    /// Exit code of the first failure.
    code: u8,
}

impl Run<'_> {
    /// All files below a directory.
    fn tree(&mut self, path: &Path, ino: u64) {
        let mut open = vec![(Trail::new(path), ino)];
        while let Some((trail, ino)) = open.pop() {
            let (mut resume, mut more) = (0, true);
            while more {
                let (mut batch, before) = (Vec::new(), resume);
                more = list(self.fs, ino, &mut resume, &mut batch).unwrap_or_else(|error| {
                    self.failed(&trail.path(), error);
                    resume != before
                });
                for entry in batch {
                    let below = Trail::below(&trail, &entry.name);
                    match entry.is_dir {
                        true => open.push((below, entry.ino)),
                        false => self.entry(&below, entry.ino),
                    }
                }
            }
        }
    }

    fn entry(&mut self, trail: &Arc<Trail>, ino: u64) {
        match self.fs.getattr(ino) {
            Ok(attr) if attr.kind == FileType::Regular => self.file(&trail.path(), ino),
            Ok(_) => {}
            Err(error) => self.failed(&trail.path(), error),
        }
    }

    fn file(&mut self, path: &Path, ino: u64) {
        let (mut next, before) = (Some(0), self.done.moved);
        self.done.files += 1;
        while let Some(from) = next {
            match self.fs.defragment(ino, from) {
                Ok(done) => {
                    next = done.next;
                    self.done.before += done.before;
                    self.done.after += done.after;
                    self.done.moved += done.moved;
                    self.monitor.show(&format!(
                        "{}, {} moved",
                        output::count(self.done.files, "file"),
                        output::bytes(self.done.moved)
                    ));
                }
                Err(error) => {
                    self.failed(path, error);
                    break;
                }
            }
        }
        self.done.improved += u64::from(self.done.moved > before);
    }

    fn failed(&mut self, path: &Path, error: Error) {
        let failure = self.args.store.entry_failure("defragment", path, error);
        self.done.failed += 1;
        if self.code == 0 {
            self.code = failure.code();
        }
        self.monitor.failed(failure);
    }
}

/// What was done, a line for each number.
fn block(done: &DefragView) -> Vec<String> {
    vec![
        format!("files     {}, {} improved", done.files, done.improved),
        format!("requests  {}, {} before", done.after, done.before),
        format!("moved     {}", output::bytes(done.moved)),
    ]
}
