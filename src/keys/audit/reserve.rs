//! Space that a log keeps for its next records: on a full disk keys can still be used, to delete
//! something, and disabled.
//!
//! It is allocated beyond the end of the file (`fallocate` that keeps the size), so the log's bytes
//! are records and nothing else. Where the file system cannot do that, a file beside the log, named
//! like it with `.reserve` at its end, holds the space in zeros, and is emptied when a record finds
//! none. All of this is best effort: a log without its reserve works as long as the disk has space.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{FallocateFlags, OFlags, fallocate};
use rustix::io::Errno;

/// Bytes that are kept: some hundred records of usual length, or a dozen of the longest.
pub(super) const RESERVE: u64 = 256 << 10;

/// Sees to it that at least half of the reserve is there. Needs the lock on the log.
pub(super) fn keep(log: &File, path: &Path) {
    let Ok(about) = log.metadata() else { return };
    let spare = (about.blocks() * 512).saturating_sub(about.len());
    if spare >= RESERVE / 2 {
        return;
    }
    match fallocate(log, FallocateFlags::KEEP_SIZE, about.len(), RESERVE) {
        Ok(()) | Err(Errno::NOSPC | Errno::DQUOT) => {}
        Err(_) => keep_beside(path),
    }
}

/// Gives the space of the file beside the log back to the disk; whether there was one.
pub(super) fn release(path: &Path) -> bool {
    let Ok(file) = options().open(beside(path)) else { return false };
    let has = file.metadata().is_ok_and(|about| about.is_file() && about.len() > 0);
    has && file.set_len(0).and_then(|()| file.sync_all()).is_ok()
}

fn keep_beside(log: &Path) {
    let path = beside(log);
    let _best_effort = fill(&path).inspect_err(|_| {
        let _ = File::options().write(true).open(&path).map(|file| file.set_len(0));
    });
}

fn fill(path: &Path) -> io::Result<()> {
    let mut file = options().create(true).mode(0o600).open(path)?;
    let about = file.metadata()?;
    if !about.is_file() || about.len() >= RESERVE {
        return Ok(());
    }
    for _ in (about.len()..RESERVE).step_by(ZEROS.len()) {
        file.write_all(&ZEROS)?;
    }
    file.sync_all()
}

const ZEROS: [u8; 4096] = [0; 4096];

/// No link is followed, and nobody waits for a pipe.
fn options() -> OpenOptions {
    let mut options = OpenOptions::new();
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK;
    options.append(true).read(true).custom_flags(flags.bits().cast_signed());
    options
}

fn beside(log: &Path) -> PathBuf {
    let mut name = log.as_os_str().to_owned();
    name.push(".reserve");
    name.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn space_is_kept_beyond_the_records_or_beside_them() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        let log = File::create_new(&path).unwrap();
        keep(&log, &path);
        let about = log.metadata().unwrap();
        assert_eq!(about.len(), 0);
        let kept = about.blocks() * 512 >= RESERVE || beside(&path).metadata().is_ok();
        assert!(kept, "{about:?}");

        keep_beside(&path);
        assert_eq!(beside(&path).metadata().unwrap().len(), RESERVE);
        assert!(release(&path) && !release(&path));
        assert_eq!(beside(&path).metadata().unwrap().len(), 0);
        keep_beside(&path);
        assert_eq!(beside(&path).metadata().unwrap().len(), RESERVE, "it grows again");
    }
}
