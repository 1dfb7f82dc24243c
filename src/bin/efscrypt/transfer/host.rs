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

use rustix::fs::{
    AtFlags, CWD, Dev, FileType as HostType, Gid, Mode, OFlags, RawDir, SeekFrom, Stat, Timespec,
    Timestamps, Uid,
};
use rustix::io::Errno;
use rustix::process::Resource;

use super::meta::{Kind, Meta, Time};
use super::walk::Entry;

type Result<T> = io::Result<T>;

/// Bytes of one read of a directory.
const LIST: usize = 32 << 10;

/// An open directory of the machine.
pub struct HostDir {
    fd: OwnedFd,
    path: PathBuf,
}

impl HostDir {
    /// Opens the directory that a user named; links on the way are followed.
    pub fn open(path: &Path) -> Result<HostDir> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let fd = rustix::fs::openat(CWD, path, flags, Mode::empty())?;
        Ok(HostDir { fd, path: path.to_owned() })
    }

    /// Opens a directory in this one.
    pub fn enter(&self, name: &[u8]) -> Result<HostDir> {
        let fd = self.open_at(name, OFlags::RDONLY | OFlags::DIRECTORY, Mode::empty())?;
        Ok(HostDir { fd, path: self.path_of(name) })
    }

    /// The path of something in it, for messages.
    pub fn path_of(&self, name: &[u8]) -> PathBuf {
        self.path.join(OsStr::from_bytes(name))
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

    /// Makes `name` one more name of what stands at `path` below `root`.
    pub fn link(&self, root: &HostDir, path: &Path, name: &[u8]) -> Result<()> {
        Ok(rustix::fs::linkat(&root.fd, path, &self.fd, name, AtFlags::empty())?)
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
        let flags = flags | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        rustix::io::retry_on_intr(|| rustix::fs::openat(&self.fd, name, flags, mode))
    }
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

/// Sets the owner of an open file or directory, which clears set-user-ID and file capabilities.
pub fn set_owner_of(file: impl AsFd, meta: &Meta) -> Result<()> {
    let (uid, gid) = (Uid::from_raw(meta.uid), Gid::from_raw(meta.gid));
    Ok(rustix::fs::fchown(file, Some(uid), Some(gid))?)
}

/// Sets permissions and times of an open file or directory.
pub fn set_mode_and_times_of(file: impl AsFd, mode: u32, meta: &Meta) -> Result<()> {
    rustix::fs::fchmod(&file, Mode::from_raw_mode(mode))?;
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
    let end = rustix::fs::seek(file, SeekFrom::Hole(start))?;
    Ok((start < size).then(|| start..end.min(size)))
}

fn timestamps(meta: &Meta) -> Timestamps {
    let spec = |time: Time| Timespec { tv_sec: time.seconds, tv_nsec: time.nanoseconds.into() };
    Timestamps { last_access: spec(meta.atime), last_modification: spec(meta.mtime) }
}
