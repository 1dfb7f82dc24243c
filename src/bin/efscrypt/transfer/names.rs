//! Names: of a directory of the machine in which different names may lead to one file.
//!
//! File systems fold case, forms of Unicode, dots and spaces at the end, and short names that they
//! make up. Which of that they do is not asked: two names that lead to the same are found by what
//! is there.

use std::collections::HashSet;
use std::io;
use std::sync::{Mutex, PoisonError};

use super::host::HostDir;
use super::meta::Meta;

/// The names that were there before, and which of them stand for others of the store.
pub struct Names {
    listed: HashSet<Box<[u8]>>,
    claimed: Mutex<HashSet<Box<[u8]>>>,
}

impl Names {
    /// Of a directory as it is now.
    pub fn of(dir: &HostDir) -> io::Result<Names> {
        let mut listed = HashSet::new();
        each(dir, |name| {
            listed.insert(name.into());
            false
        })?;
        Ok(Names { listed, claimed: Mutex::default() })
    }

    /// Whether one is there as it is written.
    pub fn has(&self, name: &[u8]) -> bool {
        self.listed.contains(name)
    }

    /// Has one that is there stand for a name of the store. `false`: it stands for another.
    pub fn claim(&self, name: &[u8]) -> bool {
        self.has(name)
            && self.claimed.lock().unwrap_or_else(PoisonError::into_inner).insert(name.into())
    }
}

/// How a name is written that leads to something: the same if it is there so.
pub fn written(dir: &HostDir, name: &[u8], there: &Meta) -> io::Result<Option<Vec<u8>>> {
    let (mut exact, mut like, mut same) = (false, None, None);
    each(dir, |found| {
        exact = found == name;
        if like.is_none() && folded(found) == folded(name) {
            like = Some(found.to_vec());
        }
        exact
    })?;
    if exact {
        return Ok(Some(name.to_vec()));
    }
    if like.is_none() {
        each(dir, |found| {
            let is_same = dir.find(found).is_ok_and(|it| it.is_some_and(|it| it.id == there.id));
            if is_same {
                same = Some(found.to_vec());
            }
            is_same
        })?;
    }
    Ok(like.or(same))
}

fn each(dir: &HostDir, mut see: impl FnMut(&[u8]) -> bool) -> io::Result<()> {
    // Others read the directory where this one is open.
    let again = dir.enter(b".")?;
    let (mut found, mut more) = (Vec::new(), true);
    while more {
        more = again.list(&mut found)?;
        if found.drain(..).any(|entry| see(&entry.name)) {
            break;
        }
    }
    Ok(())
}

/// What most file systems fold.
fn folded(name: &[u8]) -> String {
    String::from_utf8_lossy(name).trim_end_matches(['.', ' ']).to_lowercase()
}
