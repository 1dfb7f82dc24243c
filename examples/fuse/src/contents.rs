//! Changes of contents that take more than one call of the engine, or one of several.

use efscrypt::fs::{Acting, Beyond, FileSystem, Standing};
use efscrypt::{Error, Result};
use rustix::fs::FallocateFlags;

use crate::caller::Caller;

/// Who writes.
#[derive(Clone, Copy)]
pub enum Writer {
    /// A program without `CAP_FSETID`, whose write takes set-ID bits away.
    Program(Caller),
    /// One that keeps them.
    Privileged,
    /// The kernel, out of mapped memory: it does not know what was written before a failure.
    Mapped,
    /// The kernel, which kept it back, and keeps the times itself.
    KeptBack,
}

/// Writes all, or says how much was written before something failed.
pub fn write(fs: &FileSystem, ino: u64, offset: u64, data: &[u8], writer: Writer) -> Result<usize> {
    let standing = match writer {
        Writer::Program(caller) => caller.unprivileged(fs, ino)?,
        Writer::Privileged | Writer::Mapped | Writer::KeptBack => Standing::Privileged,
    };
    let fs = fs.acting(standing);
    let whole = matches!(writer, Writer::Mapped | Writer::KeptBack);
    let mut done = 0;
    loop {
        let (at, rest) = (offset + done as u64, &data[done..]);
        let written = match writer {
            Writer::Program(_) | Writer::Privileged | Writer::Mapped => fs.write(ino, at, rest),
            Writer::KeptBack => fs.write_delegated(ino, at, rest),
        };
        match written {
            Ok(written) => done += written.len,
            Err(_) if done > 0 && !whole => return Ok(done),
            Err(error) => return Err(error),
        }
        if done == data.len() {
            return Ok(done);
        }
    }
}

/// Does what `fallocate` asks for, as far as the engine knows it.
pub fn allocate(
    fs: &Acting<'_>,
    ino: u64,
    (offset, len): (u64, u64),
    flags: FallocateFlags,
) -> Result<()> {
    let keep = flags.contains(FallocateFlags::KEEP_SIZE);
    let beyond = if keep { Beyond::Keep } else { Beyond::Grow };
    match flags.difference(FallocateFlags::KEEP_SIZE) {
        FallocateFlags::PUNCH_HOLE if keep => fs.punch_hole(ino, offset, len),
        FallocateFlags::ZERO_RANGE => fs.zero_range(ino, offset, len, beyond),
        flags if flags.is_empty() => fs.allocate(ino, offset, len, beyond),
        _ => Err(Error::NotSupported),
    }
    .map(drop)
}
