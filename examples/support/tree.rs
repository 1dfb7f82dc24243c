//! A directory tree on its way into a store, and the look whether it is there. Both hold one piece
//! of one file in memory, however large files and trees are.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{BufRead, BufReader, BufWriter, Read, Write};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use efscrypt::fs::{CreateMode, FileSystem, FileType, NewAttr, ROOT_INO};
use sha2::{Digest, Sha256};

use super::Result;
use super::progress::{Progress, grouped};
use super::sample::Sample;

const PIECE: usize = 1 << 20;
const FILE: NewAttr = NewAttr { mode: 0o644, umask: 0, uid: 0, gid: 0, atime: None, mtime: None };
const DIRECTORY: NewAttr = NewAttr { mode: 0o755, ..FILE };

/// What was stored.
#[derive(Default)]
pub struct Stored {
    pub files: u64,
    pub links: u64,
    pub directories: u64,
    pub bytes: u64,
    /// What was left out: how many by reason, and the first of each.
    pub left_out: BTreeMap<&'static str, (u64, PathBuf)>,
    /// Some of the names and contents.
    pub secrets: Sample,
}

/// A tree, what is not to be stored of it, and where to note what was: each path and the hash of
/// what it led to.
pub struct Import<'a> {
    pub root: &'a Path,
    pub except: &'a Path,
    pub list: &'a Path,
}

impl Import<'_> {
    /// Stores the directories, files and symbolic links of the tree.
    pub fn run(&self, store: &FileSystem) -> Result<Stored> {
        let (mut stored, mut progress) = (Stored::default(), Progress::new());
        let mut list = BufWriter::new(File::create(self.list)?);
        let mut left = vec![(PathBuf::new(), ROOT_INO)];
        while let Some((directory, ino)) = left.pop() {
            let entries = match fs::read_dir(self.root.join(&directory)) {
                Ok(entries) => entries,
                Err(error) if ino == ROOT_INO => return Err(error.into()),
                Err(_) => {
                    stored.leave_out("unreadable", directory);
                    continue;
                }
            };
            for entry in entries {
                let Ok(entry) = entry else {
                    stored.leave_out("unreadable", directory.clone());
                    break;
                };
                let path = directory.join(entry.file_name());
                if self.root.join(&path) == self.except {
                    stored.leave_out("this program's own", path);
                    continue;
                }
                stored.secrets.offer("name", &path, entry.file_name().as_bytes());
                match entry.file_type()? {
                    kind if kind.is_dir() => {
                        let made = store.mkdir(ino, entry.file_name().as_bytes(), &DIRECTORY)?;
                        stored.directories += 1;
                        left.push((path, made.attr.ino));
                    }
                    kind if kind.is_file() => {
                        if let Some(hash) = self.file(store, ino, &path, &mut stored)? {
                            note(&mut list, &path, &hash)?;
                        }
                    }
                    kind if kind.is_symlink() => {
                        let target = fs::read_link(entry.path())?.into_os_string();
                        let name = entry.file_name();
                        store.symlink(ino, name.as_bytes(), target.as_bytes(), &FILE)?;
                        stored.links += 1;
                        stored.secrets.offer("target", &path, target.as_bytes());
                        note(&mut list, &path, &Sha256::digest(target.as_bytes()).into())?;
                    }
                    _ => stored.leave_out("pipes, sockets and devices", path),
                }
                let Stored { files, bytes, .. } = stored;
                progress.show(|| {
                    format!("storing ... {} files, {} bytes", grouped(files), grouped(bytes))
                });
            }
        }
        list.flush()?;
        Ok(stored)
    }

    /// Stores a file as long as it is now, and returns the hash of what was stored.
    fn file(
        &self,
        store: &FileSystem,
        directory: u64,
        path: &Path,
        stored: &mut Stored,
    ) -> Result<Option<[u8; 32]>> {
        let opened =
            File::open(self.root.join(path)).and_then(|file| Ok((file.metadata()?.len(), file)));
        let Ok((len, file)) = opened else {
            stored.leave_out("unreadable", path.to_owned());
            return Ok(None);
        };
        let name = path.file_name().unwrap_or_default().as_bytes();
        let ino = store.create(directory, name, &FILE, CreateMode::Guarded)?.attr.ino;
        let (mut file, mut hash, mut at) = (file.take(len), Sha256::new(), 0);
        let mut piece = Vec::with_capacity(PIECE.min(len as usize));
        loop {
            piece.clear();
            if (&mut file).take(PIECE as u64).read_to_end(&mut piece).is_err() {
                store.unlink(directory, name)?;
                stored.leave_out("unreadable", path.to_owned());
                return Ok(None);
            }
            if piece.is_empty() {
                break;
            }
            write(store, ino, at, &piece)?;
            hash.update(&piece);
            at += piece.len() as u64;
            stored.secrets.offer("contents", path, &piece);
        }
        stored.files += 1;
        stored.bytes += at;
        Ok(Some(hash.finalize().into()))
    }
}

impl Stored {
    fn leave_out(&mut self, why: &'static str, path: PathBuf) {
        self.left_out.entry(why).or_insert((0, path)).0 += 1;
    }
}

fn write(store: &FileSystem, ino: u64, offset: u64, bytes: &[u8]) -> Result {
    let mut done = 0;
    while done < bytes.len() {
        done += store.write(ino, offset + done as u64, &bytes[done..])?.len;
    }
    Ok(())
}

fn note(list: &mut impl Write, path: &Path, hash: &[u8; 32]) -> Result {
    let path = path.as_os_str().as_bytes();
    list.write_all(&(path.len() as u32).to_le_bytes())?;
    list.write_all(path)?;
    Ok(list.write_all(hash)?)
}

/// What is not in a store as it was noted in a list.
pub fn differences(store: &FileSystem, list: &Path) -> Result<Vec<PathBuf>> {
    let (mut list, mut progress) = (BufReader::new(File::open(list)?), Progress::new());
    let (mut differ, mut piece, mut len, mut done) = (Vec::new(), vec![0; PIECE], [0; 4], 0);
    while !list.fill_buf()?.is_empty() {
        list.read_exact(&mut len)?;
        let (mut path, mut noted) = (vec![0; u32::from_le_bytes(len) as usize], [0; 32]);
        list.read_exact(&mut path)?;
        list.read_exact(&mut noted)?;
        if hash_of(store, &path, &mut piece).ok() != Some(noted) {
            differ.push(OsString::from_vec(path).into());
        }
        done += 1;
        progress.show(|| format!("comparing ... {} files and links", grouped(done)));
    }
    Ok(differ)
}

/// The hash of what a path leads to in a store.
fn hash_of(store: &FileSystem, path: &[u8], piece: &mut [u8]) -> Result<[u8; 32]> {
    let attr = store.at(path)?;
    if attr.kind == FileType::Symlink {
        return Ok(Sha256::digest(store.readlink(attr.ino)?).into());
    }
    let (mut hash, mut at) = (Sha256::new(), 0);
    loop {
        let read = store.read(attr.ino, at, piece)?;
        hash.update(&piece[..read.len]);
        at += read.len as u64;
        if read.eof {
            return Ok(hash.finalize().into());
        }
    }
}
