//! Links: which inode of the destination stands for an inode of the source that has several names.
//!
//! The first name that is seen is copied, and those seen meanwhile wait; the others become links
//! to what it became. An inode is forgotten when all its names were seen, so memory is taken by
//! those that have names elsewhere, or still to come: some hundred bytes each.

use std::collections::{HashMap, HashSet};
use std::mem;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::meta::Meta;
use super::trouble::Result;
use super::walk::{Job, Tree};

/// A [`Tree`] that is copied, and its links with it.
pub trait Copier: Tree {
    /// Where a copy is, for links to it.
    type Place: Clone + Send;

    fn links(&self) -> &Links<Self::Place, Job<Self>>;

    /// Attributes of what is to be copied; `None` leaves it out.
    fn look(&self, job: &Job<Self>) -> Result<Option<Meta>>;

    /// Copies it.
    fn copy(&self, job: &Job<Self>, meta: &Meta, buffer: &mut [u8]) -> Result<Self::Place>;

    /// Makes it one more name of a copy.
    fn link(&self, job: &Job<Self>, place: &Self::Place) -> Result<()>;
}

/// Copies or links what a job names, and those that waited for it.
pub fn work<T: Copier>(tree: &T, job: Job<T>, buffer: &mut [u8]) {
    let mut jobs = vec![job];
    while let Some(job) = jobs.pop() {
        jobs.extend(copy_or_link(tree, job, buffer));
    }
}

/// Returns the jobs that waited for one that failed.
fn copy_or_link<T: Copier>(tree: &T, job: Job<T>, buffer: &mut [u8]) -> Vec<Job<T>> {
    let link = |job: Job<T>, place: &T::Place| {
        tree.link(&job, place).unwrap_or_else(|trouble| job.failed(trouble));
    };
    let meta = match tree.look(&job) {
        Ok(Some(meta)) => meta,
        Ok(None) => return Vec::new(),
        Err(trouble) => {
            job.failed(trouble);
            return Vec::new();
        }
    };
    let links = tree.links();
    if meta.links < 2 {
        let copied = tree.copy(&job, &meta, buffer);
        copied.map(|_| ()).unwrap_or_else(|trouble| job.failed(trouble));
        return Vec::new();
    }
    let job = match links.claim(meta.id, meta.links, job) {
        Claim::First(job) => job,
        Claim::Link(job, place) => {
            link(job, &place);
            return Vec::new();
        }
        Claim::Waits => return Vec::new(),
    };
    match tree.copy(&job, &meta, buffer) {
        Ok(place) => {
            let waited = links.made(meta.id, meta.links, place.clone());
            waited.into_iter().for_each(|job| link(job, &place));
            Vec::new()
        }
        Err(trouble) => {
            job.failed(trouble);
            links.failed(meta.id)
        }
    }
}

/// Device and inode in the source.
type Key = (u64, u64);

/// The inodes with several names. `V` is where one is in the destination, `J` a job that waits.
pub struct Links<V, J> {
    state: Mutex<State<V, J>>,
}

struct State<V, J> {
    known: HashMap<Key, Known<V, J>>,
    /// Inodes that were in the destination and have a source now.
    taken: HashSet<u64>,
}

struct Known<V, J> {
    seen: u64,
    progress: Progress<V, J>,
}

enum Progress<V, J> {
    Making(Vec<J>),
    Made(V),
}

/// What to do with a name.
enum Claim<V, J> {
    /// Copy it, then call [`Links::made`] or [`Links::failed`].
    First(J),
    /// Link it.
    Link(J, V),
    /// Nothing: it waits for the first name.
    Waits,
}

impl<V: Clone, J> Links<V, J> {
    pub fn new() -> Self {
        Links { state: Mutex::new(State { known: HashMap::new(), taken: HashSet::new() }) }
    }

    /// Says what to do with a name of an inode that has `names` of them.
    fn claim(&self, key: Key, names: u64, job: J) -> Claim<V, J> {
        let mut state = self.lock();
        let Some(known) = state.known.get_mut(&key) else {
            let progress = Progress::Making(Vec::new());
            state.known.insert(key, Known { seen: 1, progress });
            return Claim::First(job);
        };
        known.seen += 1;
        match &mut known.progress {
            Progress::Making(waiting) => {
                waiting.push(job);
                Claim::Waits
            }
            Progress::Made(value) => {
                let value = value.clone();
                if known.seen >= names {
                    state.known.remove(&key);
                }
                Claim::Link(job, value)
            }
        }
    }

    /// The first name was copied. Returns the jobs that waited.
    fn made(&self, key: Key, names: u64, value: V) -> Vec<J> {
        let mut state = self.lock();
        let Some(known) = state.known.get_mut(&key) else { return Vec::new() };
        let before = mem::replace(&mut known.progress, Progress::Made(value));
        if known.seen >= names {
            state.known.remove(&key);
        }
        match before {
            Progress::Making(waiting) => waiting,
            Progress::Made(_) => Vec::new(),
        }
    }

    /// The first name could not be copied. Returns the jobs that waited, for one to be the first.
    fn failed(&self, key: Key) -> Vec<J> {
        match self.lock().known.remove(&key) {
            Some(Known { progress: Progress::Making(waiting), .. }) => waiting,
            _ => Vec::new(),
        }
    }

    /// Takes an inode that the destination has for one of the source. `false`: another has it.
    pub fn take(&self, inode: u64) -> bool {
        self.lock().taken.insert(inode)
    }

    fn lock(&self) -> MutexGuard<'_, State<V, J>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const INODE: Key = (1, 7);

    #[test]
    fn later_names_wait_for_the_first() {
        let links = Links::new();
        assert!(matches!(links.claim(INODE, 4, "a"), Claim::First("a")));
        assert!(matches!(links.claim(INODE, 4, "b"), Claim::Waits));
        assert!(matches!(links.claim(INODE, 4, "c"), Claim::Waits));
        assert_eq!(links.made(INODE, 4, "inode"), ["b", "c"]);
        assert!(matches!(links.claim(INODE, 4, "d"), Claim::Link("d", "inode")));
        assert!(links.lock().known.is_empty(), "all names were seen");
    }

    #[test]
    fn all_names_may_be_seen_before_the_first_is_made() {
        let links = Links::new();
        assert!(matches!(links.claim(INODE, 2, 'a'), Claim::First('a')));
        assert!(matches!(links.claim(INODE, 2, 'b'), Claim::Waits));
        assert_eq!(links.made(INODE, 2, ()), ['b']);
        assert!(links.lock().known.is_empty());
    }

    #[test]
    fn a_failure_makes_another_the_first() {
        let links = Links::<(), _>::new();
        assert!(matches!(links.claim(INODE, 2, 'a'), Claim::First('a')));
        assert!(matches!(links.claim(INODE, 2, 'b'), Claim::Waits));
        assert_eq!(links.failed(INODE), ['b']);
        assert!(matches!(links.claim(INODE, 2, 'b'), Claim::First('b')));
    }

    #[test]
    fn an_inode_is_taken_once() {
        let links = Links::<u64, ()>::new();
        assert!(links.take(3));
        assert!(!links.take(3));
    }
}
