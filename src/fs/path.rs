//! Paths, for programs that have no handles: names joined by `/`, from the root directory.

use super::FileSystem;
use super::attr::Attr;
use super::create::NewAttr;
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
    /// Those of [`FileSystem::mkdir`], without [`Error::Exists`].
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
        Ok(last)
    }
}

fn names(path: &[u8]) -> impl Iterator<Item = &[u8]> {
    path.split(|byte| *byte == b'/').filter(|name| !name.is_empty())
}
