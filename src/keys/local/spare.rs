//! The spare file beside a key service file: room for one change on a full disk, so that a key can
//! always be disabled. It holds zeros, has the key service file's name and `.reserve` at its end,
//! and is written only by who holds the lock on the key service file.
//!
//! On a full disk the new contents are written over the spare's, the two files exchange their
//! names, and what was the key service file is wiped and becomes the spare: so there is room for
//! the next change, too. All of it is best effort; without a spare a change on a full disk fails.

use std::fs::{self, File, Metadata, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;

use crate::keys::disk;

/// Bytes that a spare has beyond the contents of the file: what some changes add to it.
const SLACK: u64 = 16 << 10;
const ZEROS: [u8; 4096] = [0; 4096];

/// Where the spare of a key service file is.
pub(super) fn path(of: &Path) -> PathBuf {
    let mut name = of.as_os_str().to_owned();
    name.push(".reserve");
    name.into()
}

/// Sees to it that there is a spare for a file of `len` bytes, and that it holds nothing: a crash
/// may have left contents of before in it. `like` is about the key service file.
pub(super) fn keep(of: &Path, len: u64, like: &Metadata) {
    let _best_effort = open_or_create(&path(of), like).and_then(|mut file| {
        let mut head = [0; 1];
        if file.read(&mut head)? == 1 && head != [0] {
            wipe(&mut file)?;
        }
        grow(&mut file, (len + SLACK).next_multiple_of(ZEROS.len() as u64))
    });
}

/// Takes the spare: gives it the name `temporary` and the contents `bytes`, flushed.
pub(super) fn take(of: &Path, temporary: &Path, bytes: &[u8]) -> io::Result<File> {
    let spare = path(of);
    let mut file = options().open(&spare)?;
    check(&file)?;
    fs::rename(&spare, temporary)?;
    let mut write = || {
        file.write_all(bytes)?;
        file.set_len(bytes.len() as u64)?;
        file.sync_all()
    };
    write().inspect_err(|_| {
        let _ = fs::remove_file(temporary);
    })?;
    Ok(file)
}

/// Makes the file at `old`, which was the key service file, the spare.
pub(super) fn give_back(of: &Path, old: &Path, len: u64, like: &Metadata) {
    let spare = path(of);
    let given = options().open(old).and_then(|mut file| {
        check(&file)?;
        wipe(&mut file)?;
        fs::rename(old, &spare)
    });
    match given {
        Ok(()) => keep(of, len, like),
        // It may hold a key that was destroyed since.
        Err(_) => drop(fs::remove_file(old)),
    }
}

/// Moves the spare of a file that gets another name.
pub(crate) fn rename(from: &Path, to: &Path) {
    if path(to).symlink_metadata().is_ok() || fs::rename(path(from), path(to)).is_err() {
        let _ = fs::remove_file(path(from));
    }
}

/// No link is followed, and nobody waits for a pipe.
fn options() -> OpenOptions {
    let mut options = OpenOptions::new();
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK;
    options.read(true).write(true).custom_flags(flags.bits().cast_signed());
    options
}

fn open_or_create(path: &Path, like: &Metadata) -> io::Result<File> {
    match options().open(path) {
        Ok(file) => check(&file).map(|()| file),
        Err(e) if e.kind() == io::ErrorKind::NotFound => {
            let file = options().create_new(true).mode(0o600).open(path)?;
            disk::keep_owner(&file, like)?;
            Ok(file)
        }
        Err(e) => Err(e),
    }
}

/// Refuses what is not a file of its own: it is written over.
fn check(file: &File) -> io::Result<()> {
    disk::check_regular(file)?;
    match file.metadata()?.nlink() {
        0 | 1 => Ok(()),
        _ => Err(io::Error::new(io::ErrorKind::InvalidInput, "it has another name")),
    }
}

/// Writes zeros over all of it, the first bytes last: until then it shows that it is not wiped.
fn wipe(file: &mut File) -> io::Result<()> {
    let first = ZEROS.len() as u64;
    let len = file.metadata()?.len();
    file.seek(SeekFrom::Start(first))?;
    for at in (first..len).step_by(ZEROS.len()) {
        file.write_all(&ZEROS[..(len - at).min(first) as usize])?;
    }
    file.sync_all()?;
    file.seek(SeekFrom::Start(0))?;
    file.write_all(&ZEROS[..len.min(first) as usize])?;
    file.sync_all()
}

fn grow(file: &mut File, wanted: u64) -> io::Result<()> {
    let len = file.seek(SeekFrom::End(0))?;
    if len >= wanted {
        return Ok(());
    }
    for at in (len..wanted).step_by(ZEROS.len()) {
        file.write_all(&ZEROS[..(wanted - at).min(ZEROS.len() as u64) as usize])?;
    }
    file.sync_all()
}
