//! Paths, for programs that have no handles: names joined by `/`, from the root directory.

use super::FileSystem;
use super::attr::{Attr, FileType, SetAttr};
use super::create::{CreateMode, NewAttr};
use super::mount::ROOT_INO;
use crate::error::{Error, Result};

impl FileSystem {
    /// The attributes of what a path leads to. Empty names are skipped, and symbolic links are not
    /// followed: a path through one is [`Error::NotDirectory`].
    ///
    /// # Errors
    /// Those of [`FileSystem::lookup`].
    pub fn at(&self, path: &[u8]) -> Result<Attr> {
        let mut names = names(path).peekable();
        let mut ino = ROOT_INO;
        while let Some(name) = names.next() {
            let attr = self.lookup(ino, name)?;
            if names.peek().is_none() {
                return Ok(attr);
            }
            ino = attr.ino;
        }
        self.getattr(ino)
    }

    /// Makes the directories of a path that do not exist, and returns the last.
    ///
    /// # Errors
    /// Those of [`FileSystem::mkdir`], without [`Error::Exists`]; [`Error::NotDirectory`] where
    /// one of the names leads to something else.
    pub fn mkdir_all(&self, path: &[u8], new: &NewAttr) -> Result<Attr> {
        let mut last = self.getattr(ROOT_INO)?;
        for name in names(path) {
            last = match self.lookup(last.ino, name) {
                Err(Error::NotFound) => match self.mkdir(last.ino, name, new) {
                    // Somebody else was faster.
                    Err(Error::Exists) => self.lookup(last.ino, name)?,
                    made => made?.attr,
                },
                found => found?,
            };
        }
        match last.kind {
            FileType::Directory => Ok(last),
            _ => Err(Error::NotDirectory),
        }
    }

    /// Makes or replaces the contents of the file at a path; its directory must exist. Not one
    /// moment for other callers: the file is empty between.
    ///
    /// # Errors
    /// Those of [`FileSystem::create`], [`FileSystem::setattr`] and [`FileSystem::write`].
    pub fn write_file(&self, path: &[u8], new: &NewAttr, contents: &[u8]) -> Result<Attr> {
        let name = names(path).last().ok_or(Error::IsDirectory)?;
        let end = path.len() - path.iter().rev().take_while(|byte| **byte == b'/').count();
        let dir = self.at(&path[..end - name.len()])?;
        let file = self.create(dir.ino, name, new, CreateMode::Unchecked)?.attr;
        if file.kind != FileType::Regular {
            return Err(Error::InvalidArgument("not a regular file"));
        }
        self.setattr(file.ino, &SetAttr { size: Some(0), ..SetAttr::default() })?;
        let mut at = 0;
        while at < contents.len() {
            at += self.write(file.ino, at as u64, &contents[at..])?.len;
        }
        self.getattr(file.ino)
    }

    /// The contents of the file at a path.
    ///
    /// # Errors
    /// Those of [`FileSystem::at`] and [`FileSystem::read`].
    pub fn read_file(&self, path: &[u8]) -> Result<Vec<u8>> {
        let file = self.at(path)?;
        let mut contents = Vec::new();
        loop {
            let at = contents.len();
            contents.resize(at + (1 << 20), 0);
            let read = self.read(file.ino, at as u64, &mut contents[at..])?;
            contents.truncate(at + read.len);
            if read.eof {
                return Ok(contents);
            }
        }
    }
}

fn names(path: &[u8]) -> impl Iterator<Item = &[u8]> {
    path.split(|byte| *byte == b'/').filter(|name| !name.is_empty())
}
