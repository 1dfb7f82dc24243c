//! A survey: what a client sees of a mounted file system, all of it read back.

use std::collections::BTreeMap;

use super::caller::Place;
use super::digest::{self, Fold, Seen};
use crate::error::{Error, Result};
use crate::fs::{COOKIE_DOT_DOT, FileSystem, FileType};

/// The inodes that a caller's paths lead to, each with one of its paths.
#[derive(Default)]
pub(super) struct Survey {
    pub inodes: BTreeMap<u64, (Seen, String)>,
    /// Their change attributes.
    pub changes: BTreeMap<u64, u64>,
    /// The sum of their digests.
    pub digest: u64,
}

impl Survey {
    /// Reads everything of a caller's.
    ///
    /// # Errors
    /// The first of reading, with the path.
    pub fn of(fs: &FileSystem, place: Place) -> Result<Survey, (Error, String)> {
        let mut survey = Survey::default();
        let mut todo = Vec::new();
        survey.add(fs, place.home, String::from("/"), &mut todo)?;
        if let Some((common, number)) = place.common {
            let prefix = Place::prefix(number);
            for (name, ino) in names(fs, common).map_err(|error| (error, "/s".to_owned()))? {
                let name = String::from_utf8_lossy(&name).into_owned();
                if name.starts_with(&prefix) {
                    survey.add(fs, ino, format!("/s/{name}"), &mut todo)?;
                }
            }
        }
        while let Some((ino, path)) = todo.pop() {
            survey.add(fs, ino, path, &mut todo)?;
        }
        Ok(survey)
    }

    fn add(
        &mut self,
        fs: &FileSystem,
        ino: u64,
        path: String,
        todo: &mut Vec<(u64, String)>,
    ) -> Result<(), (Error, String)> {
        if self.inodes.contains_key(&ino) {
            return Ok(());
        }
        match look(fs, ino, &path, todo) {
            Ok((seen, change)) => {
                self.changes.insert(ino, change);
                self.digest = self.digest.wrapping_add(seen.digest());
                self.inodes.insert(ino, (seen, path));
                Ok(())
            }
            Err(error) => Err((error, path)),
        }
    }
}

/// Looks at an inode: what is seen of it, and its change attribute.
fn look(
    fs: &FileSystem,
    ino: u64,
    path: &str,
    todo: &mut Vec<(u64, String)>,
) -> Result<(Seen, u64)> {
    let attr = fs.getattr(ino)?;
    let mut seen = Seen::of(&attr);
    match attr.kind {
        FileType::Regular => {
            // Larger than anything that the kit writes: not to be asked for.
            let size = usize::try_from(attr.size).ok().filter(|size| *size < 1 << 30);
            let mut bytes = vec![0; size.ok_or(Error::FileTooLarge)?];
            let read = fs.read(ino, 0, &mut bytes)?;
            if read.len != bytes.len() || !read.eof {
                return Err(Error::Internal("a read that ended before the end"));
            }
            seen.contents = digest::contents(0, &bytes);
        }
        FileType::Symlink => seen.contents = digest::contents(0, &fs.readlink(ino)?),
        FileType::Directory => {
            let parent = fs.lookup(ino, b"..")?.ino;
            seen.entries = digest::named(b"..", parent);
            for (name, child) in names(fs, ino)? {
                if fs.lookup(ino, &name)?.ino != child {
                    return Err(Error::Internal("a name that leads elsewhere than its entry"));
                }
                seen.entries = seen.entries.wrapping_add(digest::named(&name, child));
                let name = String::from_utf8_lossy(&name);
                todo.push((child, format!("{}/{name}", path.trim_end_matches('/'))));
            }
        }
        _ => {}
    }
    for name in fs.list_xattrs(ino)? {
        let value = Fold::new(0).bytes(&fs.get_xattr(ino, &name)?).end();
        seen.xattrs = seen.xattrs.wrapping_add(digest::named(&name, value));
    }
    Ok((seen, attr.change))
}

/// The entries of a directory.
fn names(fs: &FileSystem, dir: u64) -> Result<Vec<(Vec<u8>, u64)>> {
    let mut names = Vec::new();
    fs.read_dir(dir, COOKIE_DOT_DOT, |entry| {
        names.push((entry.name.to_vec(), entry.ino));
        true
    })?;
    Ok(names)
}
