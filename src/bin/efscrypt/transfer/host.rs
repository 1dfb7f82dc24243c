//! Host: the file system of the machine, by open directories.
//!
//! Everything is reached by one name from an open directory and no symbolic link is followed, so
//! nobody can lead a copy astray by exchanging a directory for a link, and no path is too long.

use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::mem::MaybeUninit;
use std::ops::Range;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{
    AtFlags, CWD, Dev, FileType as HostType, FlockOperation, Gid, Mode, OFlags, RawDir,
    RenameFlags, SeekFrom, Stat, Timespec, Timestamps, Uid,
};
use rustix::io::Errno;
use rustix::process::Resource;

use super::meta::{Kind, Meta, Time};
use super::trail::Trail;
use super::walk::Entry;

type Result<T> = io::Result<T>;

/// Bytes of one read of a directory.
const LIST: usize = 32 << 10;
/// What the owner of a directory needs to change what is in it.
const OWNER: u32 = 0o700;

/// Names under which an export makes what is not whole yet: these around 16 digits.
const PRIVATE: (&[u8], &[u8]) = (b".efscrypt-", b".part");

/// An open directory of the machine.
pub struct HostDir {
    fd: OwnedFd,
    trail: Arc<Trail>,
}

impl HostDir {
    /// Opens the directory that a user named; links on the way are followed.
    pub fn open(path: &Path) -> Result<HostDir> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let fd = rustix::fs::openat(CWD, path, flags, Mode::empty())?;
        Ok(HostDir { fd, trail: Trail::new(path) })
    }

    /// Opens a directory in this one.
    pub fn enter(&self, name: &[u8]) -> Result<HostDir> {
        let fd = self.open_at(name, OFlags::RDONLY | OFlags::DIRECTORY, Mode::empty())?;
        Ok(HostDir { fd, trail: self.trail.below(name) })
    }

    /// Opens the directory at the end of a way that begins here, to reach what is in it. Each step
    /// goes by one name, so the way may be longer than any path, and no link leads it astray.
    pub fn follow(&self, trail: &Arc<Trail>) -> Result<HostDir> {
        let flags = OFlags::PATH | OFlags::DIRECTORY;
        let mut fd = self.open_at(b".", flags, Mode::empty())?;
        for name in trail.names() {
            fd = open_in(&fd, name, flags, Mode::empty())?;
        }
        Ok(HostDir { fd, trail: Arc::clone(trail) })
    }

    /// Where it is.
    pub fn trail(&self) -> &Arc<Trail> {
        &self.trail
    }

    /// The path of something in it, for messages.
    pub fn path_of(&self, name: &[u8]) -> PathBuf {
        self.trail.path().join(OsStr::from_bytes(name))
    }

    /// Reads some entries; returns whether there are more. Directories in it are found again
    /// where the last call ended.
    pub fn list(&self, found: &mut Vec<Entry>) -> Result<bool> {
        let mut buffer = [MaybeUninit::uninit(); LIST];
        let mut reader = RawDir::new(&self.fd, &mut buffer);
        while let Some(entry) = reader.next() {
            let entry = entry?;
            let name = entry.file_name().to_bytes();
            if !matches!(name, b"." | b"..") {
                let is_dir = match entry.file_type() {
                    HostType::Directory => true,
                    // Not every file system says what its entries are.
                    HostType::Unknown => self.stat(name)?.kind == Kind::Directory,
                    _ => false,
                };
                found.push(Entry { name: name.into(), is_dir, ino: 0 });
            }
            if reader.is_buffer_empty() {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Attributes of the directory itself.
    pub fn stat_self(&self) -> Result<Meta> {
        Ok(Meta::of_stat(&rustix::fs::fstat(&self.fd)?))
    }

    /// Attributes of something in it.
    pub fn stat(&self, name: &[u8]) -> Result<Meta> {
        let stat: Stat = rustix::fs::statat(&self.fd, name, AtFlags::SYMLINK_NOFOLLOW)?;
        Ok(Meta::of_stat(&stat))
    }

    /// As [`HostDir::stat`], `None` for what is not there.
    pub fn find(&self, name: &[u8]) -> Result<Option<Meta>> {
        match self.stat(name) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            other => other.map(Some),
        }
    }

    /// Opens a regular file to be read. Its access time stays where that is allowed.
    pub fn open_file(&self, name: &[u8]) -> Result<File> {
        // A pipe that took the file's place must not hold up the copy.
        let flags = OFlags::RDONLY | OFlags::NONBLOCK;
        let opened = match self.open_at(name, flags | OFlags::NOATIME, Mode::empty()) {
            Err(Errno::PERM) => self.open_at(name, flags, Mode::empty()),
            other => other,
        };
        Ok(File::from(opened?))
    }

    /// Makes a regular file that only its owner can use so far.
    pub fn create_file(&self, name: &[u8]) -> Result<File> {
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL;
        Ok(File::from(self.open_at(name, flags, Mode::RUSR | Mode::WUSR)?))
    }

    /// Makes a file to try something on, under a private name where `named` or where the file
    /// system has none without; returns whether it has the name, for the caller to remove.
    pub fn scratch(&self, private: &[u8], named: bool) -> Result<(File, bool)> {
        let flags = OFlags::RDWR | OFlags::TMPFILE;
        match self.open_at(b".", flags, Mode::RUSR | Mode::WUSR) {
            Ok(file) if !named => Ok((File::from(file), false)),
            _ => Ok((self.create_file(private)?, true)),
        }
    }

    /// Makes a directory that only its owner can use so far.
    pub fn make_dir(&self, name: &[u8]) -> Result<()> {
        Ok(rustix::fs::mkdirat(&self.fd, name, Mode::RWXU)?)
    }

    /// Makes a symbolic link.
    pub fn make_symlink(&self, name: &[u8], target: &[u8]) -> Result<()> {
        Ok(rustix::fs::symlinkat(target, &self.fd, name)?)
    }

    /// Makes a pipe, a socket or a device node.
    pub fn make_node(&self, name: &[u8], meta: &Meta) -> Result<()> {
        let kind = match meta.kind {
            Kind::Fifo => HostType::Fifo,
            Kind::Socket => HostType::Socket,
            Kind::CharDevice => HostType::CharacterDevice,
            Kind::BlockDevice => HostType::BlockDevice,
            _ => return Err(Errno::INVAL.into()),
        };
        let (mode, device) = (Mode::RUSR | Mode::WUSR, meta.rdev as Dev);
        Ok(rustix::fs::mknodat(&self.fd, name, kind, mode, device)?)
    }

    /// Makes `name` one more name of something in another directory.
    pub fn link(&self, other: &HostDir, of: &[u8], name: &[u8]) -> Result<()> {
        Ok(rustix::fs::linkat(&other.fd, of, &self.fd, name, AtFlags::empty())?)
    }

    /// Renames something in it, over what has the new name unless that is a directory.
    pub fn rename(&self, name: &[u8], new: &[u8]) -> Result<()> {
        Ok(rustix::fs::renameat(&self.fd, name, &self.fd, new)?)
    }

    /// Renames something in it to a name that nothing has: fails with `EEXIST`.
    pub fn rename_new(&self, name: &[u8], new: &[u8], kind: Kind) -> Result<()> {
        let flags = RenameFlags::NOREPLACE;
        match rustix::fs::renameat_with(&self.fd, name, &self.fd, new, flags) {
            // Not every file system knows how. One that does refused the name, and does again.
            Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => {}
            renamed => return Ok(renamed?),
        }
        // Something empty of our own has the name first.
        match kind {
            Kind::Directory => self.make_dir(new)?,
            _ => drop(self.create_file(new)?),
        }
        self.rename(name, new).inspect_err(|_| drop(self.remove(new, kind)))
    }

    /// The target of a symbolic link.
    pub fn read_link(&self, name: &[u8]) -> Result<Vec<u8>> {
        Ok(rustix::fs::readlinkat(&self.fd, name, Vec::new())?.into_bytes())
    }

    /// Removes a directory if it is empty, or anything else.
    pub fn remove(&self, name: &[u8], kind: Kind) -> Result<()> {
        let flags = match kind {
            Kind::Directory => AtFlags::REMOVEDIR,
            _ => AtFlags::empty(),
        };
        Ok(rustix::fs::unlinkat(&self.fd, name, flags)?)
    }

    /// Sets the owner of something in it.
    pub fn set_owner(&self, name: &[u8], meta: &Meta) -> Result<()> {
        let (uid, gid) = (Uid::from_raw(meta.uid), Gid::from_raw(meta.gid));
        let flags = AtFlags::SYMLINK_NOFOLLOW;
        Ok(rustix::fs::chownat(&self.fd, name, Some(uid), Some(gid), flags)?)
    }

    /// Sets the permissions of something in it that is no symbolic link.
    pub fn set_mode(&self, name: &[u8], mode: u32) -> Result<()> {
        // The call that takes a name follows links; one through a descriptor cannot be led astray.
        let fd = self.open_at(name, OFlags::PATH, Mode::empty())?;
        let path = format!("/proc/self/fd/{}", fd.as_raw_fd());
        Ok(rustix::fs::chmodat(CWD, path, Mode::from_raw_mode(mode), AtFlags::empty())?)
    }

    /// Sets the times of something in it.
    pub fn set_times(&self, name: &[u8], meta: &Meta) -> Result<()> {
        let flags = AtFlags::SYMLINK_NOFOLLOW;
        Ok(rustix::fs::utimensat(&self.fd, name, &timestamps(meta), flags)?)
    }

    /// Lets its owner read it and make and remove names in it.
    pub fn open_to_owner(&self) -> Result<()> {
        let mode = self.stat_self()?.mode;
        if mode & OWNER != OWNER {
            rustix::fs::fchmod(&self.fd, Mode::from_raw_mode(mode | OWNER))?;
        }
        Ok(())
    }

    /// Locks it against others who lock it, until it is dropped; fails with `EWOULDBLOCK`. A file
    /// system that has no such locks has no others to be locked out.
    pub fn lock(&self) -> Result<()> {
        match rustix::fs::flock(&self.fd, FlockOperation::NonBlockingLockExclusive) {
            Err(Errno::WOULDBLOCK) => Err(Errno::WOULDBLOCK.into()),
            _ => Ok(()),
        }
    }

    /// Whether it has no entry but that of a new file system.
    pub fn is_empty(&self) -> Result<bool> {
        let mut found = Vec::new();
        while self.list(&mut found)? && found.len() < 2 {}
        self.rewind()?;
        Ok(found.iter().all(|entry| entry.is_dir && &*entry.name == b"lost+found"))
    }

    /// Removes what an export that was interrupted left in it: files, and directories without
    /// anything in them.
    pub fn clean(&self) -> Result<()> {
        let (mut found, mut more) = (Vec::new(), true);
        while more {
            more = self.list(&mut found)?;
            for entry in found.drain(..).filter(|entry| is_private(&entry.name)) {
                use io::ErrorKind::{DirectoryNotEmpty, NotFound};
                let kind = if entry.is_dir { Kind::Directory } else { Kind::Regular };
                match self.remove(&entry.name, kind) {
                    Err(error) if matches!(error.kind(), DirectoryNotEmpty | NotFound) => {}
                    removed => removed?,
                }
            }
        }
        self.rewind()
    }

    /// Has the next listing begin at the start.
    fn rewind(&self) -> Result<()> {
        rustix::fs::seek(&self.fd, SeekFrom::Start(0))?;
        Ok(())
    }

    /// Makes everything on its file system durable.
    pub fn sync(&self) -> Result<()> {
        Ok(rustix::fs::syncfs(&self.fd)?)
    }

    /// A path to something in it for those calls that know no directories; it does not depend on
    /// where the directory is.
    pub fn proc_path(&self, name: &[u8]) -> Vec<u8> {
        let mut path = format!("/proc/self/fd/{}/", self.fd.as_raw_fd()).into_bytes();
        path.extend_from_slice(name);
        path
    }

    fn open_at(&self, name: &[u8], flags: OFlags, mode: Mode) -> rustix::io::Result<OwnedFd> {
        open_in(&self.fd, name, flags, mode)
    }
}

fn open_in(dir: &OwnedFd, name: &[u8], flags: OFlags, mode: Mode) -> rustix::io::Result<OwnedFd> {
    let flags = flags | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::io::retry_on_intr(|| rustix::fs::openat(dir, name, flags, mode))
}

impl AsFd for HostDir {
    fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// Lets this process open as many files as it may: a walk holds one for each directory on its way.
pub fn raise_open_files() {
    let mut limit = rustix::process::getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    // Without success the limit that is hit later says what to do.
    let _ = rustix::process::setrlimit(Resource::Nofile, limit);
}

/// How many files this process may have open.
pub fn max_open_files() -> usize {
    let limit = rustix::process::getrlimit(Resource::Nofile).current;
    limit.map_or(usize::MAX, |limit| usize::try_from(limit).unwrap_or(usize::MAX))
}

/// Fails where the descriptors of this process have no paths, by which attributes are reached that
/// have no calls of their own.
pub fn check_descriptor_paths() -> Result<()> {
    Path::new("/proc/self/fd").read_dir().map(|_| ())
}

/// The `n`th name under which an export makes what is not whole yet.
pub fn private_name(n: u64) -> Vec<u8> {
    [PRIVATE.0, format!("{n:016x}").as_bytes(), PRIVATE.1].concat()
}

/// Whether an export may have left something of this name.
fn is_private(name: &[u8]) -> bool {
    let digits = name.strip_prefix(PRIVATE.0).and_then(|rest| rest.strip_suffix(PRIVATE.1));
    digits.is_some_and(|digits| digits.len() == 16 && digits.iter().all(u8::is_ascii_hexdigit))
}

/// Sets the owner of an open file or directory, which clears set-user-ID and file capabilities.
pub fn set_owner_of(file: impl AsFd, meta: &Meta) -> Result<()> {
    let (uid, gid) = (Uid::from_raw(meta.uid), Gid::from_raw(meta.gid));
    Ok(rustix::fs::fchown(file, Some(uid), Some(gid))?)
}

/// Sets permissions of an open file or directory.
pub fn set_mode_of(file: impl AsFd, mode: u32) -> Result<()> {
    Ok(rustix::fs::fchmod(&file, Mode::from_raw_mode(mode))?)
}

/// Sets the times of an open file or directory.
pub fn set_times_of(file: impl AsFd, meta: &Meta) -> Result<()> {
    Ok(rustix::fs::futimens(file, &timestamps(meta))?)
}

/// The next range of a file with data in it, from an offset on and below its size. A file system
/// that knows no holes has one range.
pub fn next_data(file: &File, from: u64, size: u64) -> Result<Option<Range<u64>>> {
    if from >= size {
        return Ok(None);
    }
    let start = match rustix::fs::seek(file, SeekFrom::Data(from)) {
        Ok(start) => start,
        // Only a hole is left.
        Err(Errno::NXIO) => return Ok(None),
        Err(Errno::INVAL | Errno::OPNOTSUPP) => return Ok(Some(from..size)),
        Err(error) => return Err(error.into()),
    };
    let hole = rustix::fs::seek(file, SeekFrom::Hole(start))?;
    Ok(data_range(start, hole, size))
}

/// The data from `start` to a hole, below the size. A hole that is said to be at the start itself
/// is none: whoever goes on behind it would come back for ever.
pub fn data_range(start: u64, hole: u64, size: u64) -> Option<Range<u64>> {
    let end = if hole > start { hole.min(size) } else { size };
    (start < end).then_some(start..end)
}

fn timestamps(meta: &Meta) -> Timestamps {
    let spec = |time: Time| Timespec { tv_sec: time.seconds, tv_nsec: time.nanoseconds.into() };
    Timestamps { last_access: spec(meta.atime), last_modification: spec(meta.mtime) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn data_never_ends_where_it_begins() {
        assert_eq!(data_range(0, 5, 10), Some(0..5));
        assert_eq!(data_range(5, 20, 10), Some(5..10));
        for hole in [0, 4, 5] {
            assert_eq!(data_range(5, hole, 10), Some(5..10), "a hole at {hole}");
        }
        assert_eq!(data_range(10, 12, 10), None);
    }

    #[test]
    fn private_names_are_told_from_others() {
        assert!(is_private(&private_name(u64::MAX)) && is_private(&private_name(0)));
        for other in [&b".efscrypt-.part"[..], b".efscrypt-0123456789abcdef", b"x.part"] {
            assert!(!is_private(other));
        }
        assert!(!is_private(b".efscrypt-0123456789abcdeg.part"));
    }
}
