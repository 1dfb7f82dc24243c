//! Trail: where something is, kept as names that share what is above them.
//!
//! A deep tree would otherwise take memory that grows with the square of its depth, and a path
//! longer than the system takes could not be followed.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A name, and the way to it.
pub struct Trail {
    above: Option<Arc<Trail>>,
    name: Box<[u8]>,
}

impl Trail {
    /// The beginning, which may be a path of several names.
    pub fn new(start: &Path) -> Arc<Trail> {
        Arc::new(Trail { above: None, name: start.as_os_str().as_bytes().into() })
    }

    /// The way to something in it.
    pub fn below(self: &Arc<Self>, name: &[u8]) -> Arc<Trail> {
        Arc::new(Trail { above: Some(Arc::clone(self)), name: name.into() })
    }

    /// The names after the beginning.
    pub fn names(&self) -> Vec<&[u8]> {
        let (mut names, mut at) = (Vec::new(), self);
        while let Some(above) = &at.above {
            names.push(&*at.name);
            at = above;
        }
        names.reverse();
        names
    }

    /// All of it, for messages.
    pub fn path(&self) -> PathBuf {
        let mut start = self;
        while let Some(above) = &start.above {
            start = above;
        }
        let mut path = PathBuf::from(OsStr::from_bytes(&start.name));
        path.extend(self.names().into_iter().map(OsStr::from_bytes));
        path
    }
}

impl Drop for Trail {
    fn drop(&mut self) {
        // By a loop: the depth of a tree must not be that of the stack.
        let mut next = self.above.take();
        while let Some(mut above) = next.and_then(Arc::into_inner) {
            next = above.above.take();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_comes_back() {
        let start = Trail::new(Path::new("/some/place"));
        let end = start.below(b"a").below(b"\xff");
        assert_eq!(end.names(), [&b"a"[..], b"\xff"]);
        assert_eq!(end.path().as_os_str().as_bytes(), b"/some/place/a/\xff");
        assert_eq!(start.path(), Path::new("/some/place"));
        assert!(start.names().is_empty());
    }

    #[test]
    fn the_deepest_way_takes_no_stack() {
        let mut trail = Trail::new(Path::new("x"));
        for _ in 0..1_000_000 {
            trail = trail.below(b"y");
        }
        assert_eq!(trail.names().len(), 1_000_000);
        drop(trail);
    }
}
