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

    /// Makes it one more name of a copy. Returns whether it was one already.
    fn link(&self, job: &Job<Self>, place: &Self::Place, buffer: &mut [u8]) -> Result<bool>;
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
    let link = |job: Job<T>, place: &T::Place, buffer: &mut [u8]| {
        let was_there = tree.link(&job, place, buffer).unwrap_or_else(|trouble| {
            job.failed(trouble);
            false
        });
        links.linked(meta.id, meta.links, was_there);
    };
    let job = match links.claim(meta.id, job) {
        Claim::First(job) => job,
        Claim::Link(job, place) => {
            link(job, &place, buffer);
            return Vec::new();
        }
        Claim::Waits => return Vec::new(),
    };
    match tree.copy(&job, &meta, buffer) {
        Ok(place) => {
            let waited = links.made(meta.id, place.clone());
            waited.into_iter().for_each(|job| link(job, &place, buffer));
            Vec::new()
        }
        Err(trouble) => {
            job.failed(trouble);
            links.failed(meta.id)
        }
    }
}

/// Device and inode; the device of a store is 0.
type Key = (u64, u64);

/// The inodes with several names. `V` is where one is in the destination, `J` a job that waits.
pub struct Links<V, J> {
    state: Mutex<State<V, J>>,
}

struct State<V, J> {
    /// Inodes of the source.
    known: HashMap<Key, Known<V, J>>,
    /// Inodes that were in the destination and have one of the source now.
    taken: HashSet<Key>,
}

struct Known<V, J> {
    /// Names that are done.
    done: u64,
    progress: Progress<V, J>,
    /// The inode of the destination that it took, and how many of its names are not seen yet.
    took: Option<(Key, u64)>,
}

enum Progress<V, J> {
    Making(Vec<J>),
    Made(V),
}

/// What to do with a name.
enum Claim<V, J> {
    /// Copy it, then call [`Links::made`] or [`Links::failed`].
    First(J),
    /// Link it, then call [`Links::linked`].
    Link(J, V),
    /// Nothing: it waits for the first name.
    Waits,
}

impl<V: Clone, J> Links<V, J> {
    pub fn new() -> Self {
        Links { state: Mutex::new(State { known: HashMap::new(), taken: HashSet::new() }) }
    }

    /// Says what to do with a name of an inode.
    fn claim(&self, key: Key, job: J) -> Claim<V, J> {
        let mut state = self.lock();
        let Some(known) = state.known.get_mut(&key) else {
            let progress = Progress::Making(Vec::new());
            state.known.insert(key, Known { done: 0, progress, took: None });
            return Claim::First(job);
        };
        match &mut known.progress {
            Progress::Making(waiting) => {
                waiting.push(job);
                Claim::Waits
            }
            Progress::Made(value) => Claim::Link(job, value.clone()),
        }
    }

    /// The first name was copied. Returns the jobs that waited.
    fn made(&self, key: Key, value: V) -> Vec<J> {
        let mut state = self.lock();
        let Some(known) = state.known.get_mut(&key) else { return Vec::new() };
        known.done += 1;
        match mem::replace(&mut known.progress, Progress::Made(value)) {
            Progress::Making(waiting) => waiting,
            Progress::Made(_) => Vec::new(),
        }
    }

    /// One more of `names` names is done. `was_there`: it led to the copy before.
    fn linked(&self, key: Key, names: u64, was_there: bool) {
        let mut state = self.lock();
        let Some(known) = state.known.get_mut(&key) else { return };
        known.done += 1;
        if let Some((_, unseen)) = &mut known.took {
            *unseen = unseen.saturating_sub(u64::from(was_there));
        }
        if known.done >= names {
            let took = state.known.remove(&key).and_then(|known| known.took);
            // No name is left that could lead another inode of the source to it.
            if let Some((inode, 0)) = took {
                state.taken.remove(&inode);
            }
        }
    }

    /// The first name could not be copied. Returns the jobs that waited, for one to be the first.
    fn failed(&self, key: Key) -> Vec<J> {
        match self.lock().known.remove(&key) {
            Some(Known { progress: Progress::Making(waiting), .. }) => waiting,
            _ => Vec::new(),
        }
    }

    /// Takes an inode that the destination has, with so many names, for one of the source that is
    /// being copied. `false`: another has it.
    pub fn take(&self, source: Key, inode: Key, names: u64) -> bool {
        let mut state = self.lock();
        if !state.taken.insert(inode) {
            return false;
        }
        if let Some(known) = state.known.get_mut(&source) {
            known.took = Some((inode, names.saturating_sub(1)));
        }
        true
    }

    fn lock(&self) -> MutexGuard<'_, State<V, J>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const INODE: Key = (1, 7);
    const THERE: Key = (0, 3);

    #[test]
    fn later_names_wait_for_the_first() {
        let links = Links::new();
        assert!(matches!(links.claim(INODE, "a"), Claim::First("a")));
        assert!(matches!(links.claim(INODE, "b"), Claim::Waits));
        assert!(matches!(links.claim(INODE, "c"), Claim::Waits));
        assert_eq!(links.made(INODE, "inode"), ["b", "c"]);
        links.linked(INODE, 4, false);
        links.linked(INODE, 4, false);
        assert!(matches!(links.claim(INODE, "d"), Claim::Link("d", "inode")));
        assert_eq!(links.lock().known.len(), 1);
        links.linked(INODE, 4, false);
        assert!(links.lock().known.is_empty(), "all names were seen");
    }

    #[test]
    fn a_failure_makes_another_the_first() {
        let links = Links::<(), _>::new();
        assert!(matches!(links.claim(INODE, 'a'), Claim::First('a')));
        assert!(matches!(links.claim(INODE, 'b'), Claim::Waits));
        assert_eq!(links.failed(INODE), ['b']);
        assert!(matches!(links.claim(INODE, 'b'), Claim::First('b')));
    }

    /// Copies three names to an inode that has `names` names, two of which they are. Returns
    /// whether it is remembered that the inode is taken.
    fn remembers(names: u64) -> bool {
        let links = Links::new();
        assert!(matches!(links.claim(INODE, ()), Claim::First(())));
        assert!(links.take(INODE, THERE, names));
        assert!(!links.take((1, 8), THERE, names), "it was taken twice");
        links.made(INODE, ());
        links.linked(INODE, 3, true);
        links.linked(INODE, 3, false);
        let state = links.lock();
        assert!(state.known.is_empty());
        state.taken.contains(&THERE)
    }

    #[test]
    fn an_inode_stays_taken_while_it_has_other_names() {
        assert!(!remembers(2));
        assert!(remembers(3));
    }
}
