//! Walk: through a tree of any size with several threads and a bounded amount of memory.
//!
//! One thread reads directories, depth first; the others work on everything else. Invariants:
//!
//! 1. A directory is entered before anything in it is worked on, and left once, when nothing in
//!    or below it is left to do: whoever has work to do there holds a [`Job`], which holds its
//!    [`Node`].
//! 2. Entries in memory: those of one read of each directory on the way down that are directories
//!    themselves, and at most [`QUEUE`] others.

use std::path::PathBuf;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use super::monitor::Monitor;
use super::trouble::{Result, Trouble};
use crate::exit::Failure;

/// Jobs that wait for a worker.
const QUEUE: usize = 1024;
/// Bytes of the buffer of each worker.
const BUFFER: usize = 1 << 20;

/// An entry of a directory.
pub struct Entry {
    pub name: Box<[u8]>,
    pub is_dir: bool,
    /// The inode in the store, where the store is what is walked; else 0.
    pub ino: u64,
}

/// What is walked, and what is done on the way.
pub trait Tree: Send + Sync + Sized {
    /// An open directory.
    type Dir: Send + Sync;

    /// What is done, in the form `import`, for messages.
    const VERB: &'static str;

    fn monitor(&self) -> &Monitor;

    /// The path of something in a directory, for messages.
    fn path(&self, dir: &Self::Dir, name: &[u8]) -> PathBuf;

    /// Reads some entries of a directory, without "." and "..". `resume` is 0 at first and then
    /// what the last call left there. Returns whether there are more.
    fn list(&self, dir: &Self::Dir, resume: &mut u64, found: &mut Vec<Entry>) -> Result<bool>;

    /// Opens a directory in another one.
    fn enter(&self, dir: &Self::Dir, entry: &Entry) -> Result<Self::Dir>;

    /// Works on something that is no directory. A job that has to wait for another is kept.
    fn work(&self, job: Job<Self>, buffer: &mut [u8]);

    /// Closes a directory.
    fn leave(&self, dir: &Self::Dir) -> Result<()>;

    /// Says that something in a directory failed.
    fn failed(&self, dir: &Self::Dir, name: &[u8], trouble: Trouble) {
        let path = self.path(dir, name);
        self.monitor().failed(trouble.at(&format!("cannot {} {}", Self::VERB, path.display())));
    }
}

/// A directory on the way; dropping the last hold on it leaves it.
pub struct Node<T: Tree> {
    tree: Arc<T>,
    pub dir: T::Dir,
    parent: Option<Arc<Node<T>>>,
}

/// Work on an entry.
pub struct Job<T: Tree> {
    pub node: Arc<Node<T>>,
    pub name: Box<[u8]>,
    pub ino: u64,
}

/// Walks everything below `root`, and leaves `root` last.
pub fn walk<T: Tree>(
    tree: &Arc<T>,
    root: T::Dir,
    workers: usize,
) -> std::result::Result<(), Failure> {
    let (send, receive) = sync_channel(QUEUE);
    let receive = Mutex::new(receive);
    thread::scope(|scope| {
        for _ in 0..workers {
            let worker = || work(&**tree, &receive);
            let spawned = thread::Builder::new().spawn_scoped(scope, worker);
            spawned.map_err(|e| Failure::file("cannot start a thread", &e))?;
        }
        descend(tree, root, &send);
        drop(send);
        Ok(())
    })
}

/// How many workers a machine has use for: reading, sealing and writing take turns in each.
pub fn default_workers() -> usize {
    thread::available_parallelism().map_or(2, |n| n.get().clamp(2, 8))
}

fn work<T: Tree>(tree: &T, receive: &Mutex<Receiver<Job<T>>>) {
    let mut buffer = vec![0; BUFFER];
    loop {
        let next = receive.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok(job) = next else { return };
        if !tree.monitor().has_stopped() {
            tree.work(job, &mut buffer);
        }
    }
}

/// A directory that is being read.
struct Level<T: Tree> {
    node: Arc<Node<T>>,
    resume: u64,
    more: bool,
    below: Vec<Entry>,
}

impl<T: Tree> Level<T> {
    fn new(tree: &Arc<T>, dir: T::Dir, parent: Option<&Arc<Node<T>>>) -> Self {
        let node = Arc::new(Node { tree: Arc::clone(tree), dir, parent: parent.cloned() });
        Level { node, resume: 0, more: true, below: Vec::new() }
    }
}

fn descend<T: Tree>(tree: &Arc<T>, root: T::Dir, send: &SyncSender<Job<T>>) {
    let mut stack = vec![Level::new(tree, root, None)];
    let mut found = Vec::new();
    while let Some(level) = stack.last_mut() {
        if tree.monitor().has_stopped() {
            return;
        }
        let dir = &level.node.dir;
        if let Some(entry) = level.below.pop() {
            match tree.enter(dir, &entry) {
                Ok(below) => {
                    let below = Level::new(tree, below, Some(&level.node));
                    stack.push(below);
                }
                Err(trouble) => tree.failed(dir, &entry.name, trouble),
            }
        } else if level.more {
            level.more = tree.list(dir, &mut level.resume, &mut found).unwrap_or_else(|trouble| {
                tree.failed(dir, b"", trouble);
                false
            });
            for entry in found.drain(..) {
                if entry.is_dir {
                    level.below.push(entry);
                    continue;
                }
                let node = Arc::clone(&level.node);
                // Fails when all workers are gone, after a panic that the scope passes on.
                if send.send(Job { node, name: entry.name, ino: entry.ino }).is_err() {
                    return;
                }
            }
        } else {
            stack.pop();
        }
    }
}

impl<T: Tree> Job<T> {
    /// Says that it failed.
    pub fn failed(&self, trouble: Trouble) {
        self.node.tree.failed(&self.node.dir, &self.name, trouble);
    }
}

impl<T: Tree> Drop for Node<T> {
    fn drop(&mut self) {
        if !self.tree.monitor().has_stopped()
            && let Err(trouble) = self.tree.leave(&self.dir)
        {
            self.tree.failed(&self.dir, b"", trouble);
        }
        // By a loop: the depth of a tree must not be that of the stack.
        let mut next = self.parent.take();
        while let Some(mut parent) = next.and_then(Arc::into_inner) {
            next = parent.parent.take();
        }
    }
}
