//! Trees of the machine that are copied: made, and looked at.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{Timespec, Timestamps, XattrFlags};

/// What a copy must keep of one name. Names of one inode have the same first name.
#[derive(Debug, PartialEq, Eq)]
pub struct Facts {
    mode: u32,
    owner: (u32, u32),
    mtime: (i64, i64),
    /// Of files and links; that of a directory is its file system's own.
    size: u64,
    contents: Vec<u8>,
    first_name: PathBuf,
    pub xattrs: Vec<(Vec<u8>, Vec<u8>)>,
}

/// Everything below a directory.
pub fn facts(root: &Path) -> BTreeMap<PathBuf, Facts> {
    let (mut found, mut left) = (BTreeMap::new(), vec![PathBuf::new()]);
    let mut names: BTreeMap<u64, PathBuf> = BTreeMap::new();
    while let Some(path) = left.pop() {
        let at = root.join(&path);
        let meta = fs::symlink_metadata(&at).unwrap();
        let kind = meta.file_type();
        let mut contents = Vec::new();
        if kind.is_dir() {
            left.extend(fs::read_dir(&at).unwrap().map(|e| path.join(e.unwrap().file_name())));
            left.sort_by(|a, b| b.cmp(a));
        } else if kind.is_symlink() {
            contents = fs::read_link(&at).unwrap().into_os_string().into_vec();
        } else if kind.is_file() {
            contents = fs::read(&at).unwrap();
        }
        let first_name = names.entry(meta.ino()).or_insert_with(|| path.clone()).clone();
        let facts = Facts {
            mode: meta.mode(),
            owner: (meta.uid(), meta.gid()),
            mtime: (meta.mtime(), meta.mtime_nsec()),
            size: if kind.is_dir() { 0 } else { meta.size() },
            contents,
            first_name,
            xattrs: xattrs(&at),
        };
        found.insert(path, facts);
    }
    found
}

/// Attributes that users set; a file system without any has none.
pub fn xattrs(path: &Path) -> Vec<(Vec<u8>, Vec<u8>)> {
    let mut names = vec![0; 4096];
    let len = rustix::fs::llistxattr(path, &mut names[..]).unwrap_or(0);
    let names = names[..len].split(|byte| *byte == 0).filter(|name| name.starts_with(b"user."));
    let value = |name: &[u8]| {
        let mut value = vec![0; 65_536];
        let len = rustix::fs::lgetxattr(path, name, &mut value[..]).unwrap();
        value[..len].to_vec()
    };
    let mut pairs: Vec<_> = names.map(|name| (name.to_vec(), value(name))).collect();
    pairs.sort();
    pairs
}

/// Sets attributes, and returns whether this file system has any.
pub fn set_xattrs(path: &Path, pairs: &[(&str, &[u8])]) -> bool {
    let set = |(name, value): &(&str, &[u8])| {
        rustix::fs::setxattr(path, *name, value, XattrFlags::empty())
    };
    match pairs.iter().try_for_each(set) {
        Ok(()) => true,
        Err(rustix::io::Errno::OPNOTSUPP) => false,
        Err(error) => panic!("{error}"),
    }
}

pub fn set_mtime(path: &Path, seconds: i64, nanoseconds: i64) {
    let time = Timespec { tv_sec: seconds, tv_nsec: nanoseconds };
    let times = Timestamps { last_access: time, last_modification: time };
    let flags = rustix::fs::AtFlags::SYMLINK_NOFOLLOW;
    rustix::fs::utimensat(rustix::fs::CWD, path, &times, flags).unwrap();
}

/// Bytes that differ by seed and look like nothing.
pub fn pattern(seed: u64, len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    efscrypt::device::sim::Rng::new(seed).fill(&mut bytes);
    bytes
}

pub fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

/// The names in a directory.
pub fn names(path: &Path) -> Vec<String> {
    let name = |entry: std::io::Result<fs::DirEntry>| entry.unwrap().file_name();
    let mut names: Vec<_> =
        fs::read_dir(path).unwrap().map(|e| name(e).into_string().unwrap()).collect();
    names.sort();
    names
}
