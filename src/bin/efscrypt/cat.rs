//! `efscrypt cat`: the contents of a file of a store.

use std::io::{self, ErrorKind, Write};
use std::path::PathBuf;

use clap::Args;
use efscrypt::Error;
use efscrypt::fs::FileType;

use crate::exit::Failure;
use crate::store::{Access, StoreArgs};

/// Bytes of one read.
const BUFFER: usize = 1 << 20;

#[derive(Args)]
pub struct CatArgs {
    #[command(flatten)]
    store: StoreArgs,

    /// The file, by its path in the store
    #[arg(value_name = "PATH")]
    file: PathBuf,
}

/// Runs `efscrypt cat`.
pub fn run(args: CatArgs) -> Result<(), Failure> {
    let store = args.store.open(Access::Read)?;
    let fs = store.file_system();
    let file = args.store.find(fs, &args.file)?;
    if !matches!(file.kind, FileType::Regular | FileType::Directory) {
        return Err(args.store.entry_failure("read", &args.file, Error::NotSupported));
    }
    let mut out = io::stdout().lock();
    let mut buffer = vec![0; BUFFER];
    let mut offset = 0;
    loop {
        let read = fs
            .read(file.ino, offset, &mut buffer)
            .map_err(|error| args.store.entry_failure("read", &args.file, error))?;
        match out.write_all(&buffer[..read.len]) {
            // A reader that went away, as `head` does, is no failure.
            Err(error) if error.kind() == ErrorKind::BrokenPipe => return Ok(()),
            written => written.map_err(|e| Failure::file("cannot write to standard output", &e))?,
        }
        offset += read.len as u64;
        if read.eof || read.len == 0 {
            break;
        }
    }
    out.flush().map_err(|e| Failure::file("cannot write to standard output", &e))
}
