//! Walk: through a tree of any size with several threads and a bounded amount of memory.
//!
//! One thread reads directories, depth first; the others work on everything else. Invariants:
//!
//! 1. A directory is entered before anything in it is worked on, and left once, when nothing in
//!    or below it is left to do: whoever has work to do there holds a [`Job`], which holds its
//!    [`Node`].
//! 2. Entries in memory: those of one read of each directory on the way down that are directories
//!    themselves, and at most [`JOBS`] others. Open directories: those on the way down, and as
//!    many others as the limit of open files has room for. The [`Gate`] counts both.
//! 3. A worker that panics stops all others, and the walk panics when they are done.

use std::path::PathBuf;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use super::gate::{Bounds, Gate};
use super::host::max_open_files;
use super::monitor::Monitor;
use super::trouble::{Result, Trouble};
use crate::exit::Failure;

/// Jobs that wait for a worker or for another job.
const JOBS: usize = 1024;
/// Most directories that jobs hold open.
const NODES: usize = 1024;
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
    /// what the last call left there. Returns whether there are more; where a part of the
    /// directory is damaged, `found` has what was read all the same, and there is more if `resume`
    /// moved.
    fn list(&self, dir: &Self::Dir, resume: &mut u64, found: &mut Vec<Entry>) -> Result<bool>;

    /// Opens a directory in another one.
    fn enter(&self, dir: &Self::Dir, entry: &Entry) -> Result<Self::Dir>;

    /// Works on something that is no directory. A job that has to wait for another is kept.
    fn work(&self, job: Job<Self>, buffer: &mut [u8]);

    /// Closes a directory.
    fn leave(&self, dir: &Self::Dir) -> Result<()>;

    /// Something in a directory failed.
    fn failed(&self, dir: &Self::Dir, name: &[u8], trouble: Trouble) {
        self.say(dir, name, trouble);
    }

    /// Says that something in a directory failed.
    fn say(&self, dir: &Self::Dir, name: &[u8], trouble: Trouble) {
        let path = self.path(dir, name);
        self.monitor().failed(trouble.at(&format!("cannot {} {}", Self::VERB, path.display())));
    }
}

/// A directory on the way; dropping the last hold on it leaves it.
pub struct Node<T: Tree> {
    tree: Arc<T>,
    gate: Arc<Gate>,
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
    let nodes = NODES.min(max_open_files() / 2);
    walk_within(tree, root, workers, Bounds { nodes, jobs: JOBS })
}

fn walk_within<T: Tree>(
    tree: &Arc<T>,
    root: T::Dir,
    workers: usize,
    bounds: Bounds,
) -> std::result::Result<(), Failure> {
    let (send, receive) = channel();
    let receive = Arc::new(Mutex::new(receive));
    thread::scope(|scope| {
        for _ in 0..workers {
            let (tree, receive) = (&**tree, Arc::clone(&receive));
            let spawned = thread::Builder::new().spawn_scoped(scope, move || work(tree, &receive));
            spawned.map_err(|e| Failure::file("cannot start a thread", &e))?;
        }
        // The workers alone hold it: without them nothing can be sent any more.
        drop(receive);
        descend(tree, root, &Arc::new(Gate::new(bounds)), send);
        Ok(())
    })
}

/// How many workers a machine has use for: reading, sealing and writing take turns in each.
pub fn default_workers() -> usize {
    thread::available_parallelism().map_or(2, |n| n.get().clamp(2, 8))
}

fn work<T: Tree>(tree: &T, receive: &Mutex<Receiver<Job<T>>>) {
    let _last = LastWords(tree.monitor());
    let mut buffer = vec![0; BUFFER];
    loop {
        let next = receive.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok(job) = next else { return };
        if !tree.monitor().has_stopped() {
            tree.work(job, &mut buffer);
        }
    }
}

/// Stops all others when a worker panics.
struct LastWords<'a>(&'a Monitor);

impl Drop for LastWords<'_> {
    fn drop(&mut self) {
        if thread::panicking() {
            self.0.stop();
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
    fn new(node: Node<T>) -> Self {
        Level { node: Arc::new(node), resume: 0, more: true, below: Vec::new() }
    }

    fn list(&mut self, found: &mut Vec<Entry>) -> bool {
        let (tree, dir, before) = (&self.node.tree, &self.node.dir, self.resume);
        tree.list(dir, &mut self.resume, found).unwrap_or_else(|trouble| {
            tree.failed(dir, b"", trouble);
            self.resume != before
        })
    }
}

fn descend<T: Tree>(tree: &Arc<T>, root: T::Dir, gate: &Arc<Gate>, send: Sender<Job<T>>) {
    let monitor = tree.monitor();
    let open = |dir: T::Dir, parent: Option<&Arc<Node<T>>>| {
        let (tree, gate, parent) = (Arc::clone(tree), Arc::clone(gate), parent.cloned());
        Level::new(Node { tree, gate, dir, parent })
    };
    gate.enter(0, monitor);
    let mut stack = vec![open(root, None)];
    let mut found = Vec::new();
    while let Some(level) = stack.last_mut() {
        if monitor.has_stopped() {
            return;
        }
        if let Some(entry) = level.below.pop() {
            let parent = Arc::clone(&level.node);
            gate.enter(stack.len(), monitor);
            match tree.enter(&parent.dir, &entry) {
                Ok(dir) => stack.push(open(dir, Some(&parent))),
                Err(trouble) => {
                    gate.leave();
                    tree.failed(&parent.dir, &entry.name, trouble);
                }
            }
        } else if level.more {
            level.more = level.list(&mut found);
            for entry in found.drain(..) {
                if entry.is_dir {
                    level.below.push(entry);
                    continue;
                }
                gate.begin(monitor);
                let (node, name, ino) = (Arc::clone(&level.node), entry.name, entry.ino);
                // Fails when all workers are gone, after a panic that the scope passes on.
                if send.send(Job { node, name, ino }).is_err() {
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

impl<T: Tree> Drop for Job<T> {
    fn drop(&mut self) {
        self.node.gate.end();
    }
}

impl<T: Tree> Drop for Node<T> {
    fn drop(&mut self) {
        if !self.tree.monitor().has_stopped()
            && let Err(trouble) = self.tree.leave(&self.dir)
        {
            self.tree.failed(&self.dir, b"", trouble);
        }
        self.gate.leave();
        // By a loop: the depth of a tree must not be that of the stack.
        let mut next = self.parent.take();
        while let Some(mut parent) = next.and_then(Arc::into_inner) {
            next = parent.parent.take();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    /// A tree that exists while it is walked: directories of `width` names each, every third a
    /// directory, `depth` deep.
    struct Made {
        monitor: Monitor,
        width: usize,
        depth: usize,
        open: AtomicUsize,
        most_open: AtomicUsize,
        worked: AtomicUsize,
        panics: bool,
    }

    struct MadeDir(usize);

    impl Made {
        fn new(width: usize, depth: usize) -> Arc<Made> {
            let zero = AtomicUsize::default;
            let monitor = Monitor::new("testing", true);
            let (open, most_open, worked) = (zero(), zero(), zero());
            Arc::new(Made { monitor, width, depth, open, most_open, worked, panics: false })
        }
    }

    impl Tree for Made {
        type Dir = MadeDir;

        const VERB: &'static str = "test";

        fn monitor(&self) -> &Monitor {
            &self.monitor
        }

        fn path(&self, _: &MadeDir, _: &[u8]) -> PathBuf {
            PathBuf::new()
        }

        fn list(&self, dir: &MadeDir, _: &mut u64, found: &mut Vec<Entry>) -> Result<bool> {
            found.extend((0..self.width).map(|i| {
                let is_dir = i % 3 == 0 && dir.0 < self.depth;
                Entry { name: Box::from(&b"x"[..]), is_dir, ino: 0 }
            }));
            Ok(false)
        }

        fn enter(&self, dir: &MadeDir, _: &Entry) -> Result<MadeDir> {
            let open = self.open.fetch_add(1, Ordering::SeqCst) + 1;
            self.most_open.fetch_max(open, Ordering::SeqCst);
            Ok(MadeDir(dir.0 + 1))
        }

        fn work(&self, _: Job<Self>, _: &mut [u8]) {
            assert!(!self.panics, "on purpose");
            self.worked.fetch_add(1, Ordering::SeqCst);
            thread::yield_now();
        }

        fn leave(&self, dir: &MadeDir) -> Result<()> {
            self.open.fetch_sub(usize::from(dir.0 > 0), Ordering::SeqCst);
            Ok(())
        }
    }

    #[test]
    fn a_walk_keeps_few_directories_open_and_sees_everything() {
        let tree = Made::new(6, 6);
        let bounds = Bounds { nodes: 10, jobs: 1000 };
        assert!(walk_within(&tree, MadeDir(0), 2, bounds).is_ok());
        // Two of six names of each directory above the last are directories.
        let (inner, last) = ((1 << 6) - 1, 1 << 6);
        assert_eq!(tree.worked.load(Ordering::SeqCst), inner * 4 + last * 6);
        let most = tree.most_open.load(Ordering::SeqCst);
        assert!((6..=10).contains(&most), "{most} directories were open");
        assert_eq!(tree.open.load(Ordering::SeqCst), 0, "a directory was not left");
    }

    #[test]
    fn a_tree_that_is_deeper_than_the_bound_is_walked() {
        let tree = Made::new(1, 100);
        assert!(walk_within(&tree, MadeDir(0), 2, Bounds { nodes: 2, jobs: 1 }).is_ok());
        assert_eq!(tree.worked.load(Ordering::SeqCst), 1);
    }

    #[test]
    fn a_panic_of_all_workers_ends_the_walk() {
        let mut tree = Made::new(5000, 0);
        Arc::get_mut(&mut tree).unwrap().panics = true;
        let bounds = Bounds { nodes: 4, jobs: 8 };
        let walked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            walk_within(&tree, MadeDir(0), 3, bounds).is_ok()
        }));
        assert!(walked.is_err(), "a panic was lost");
        assert_eq!(tree.worked.load(Ordering::SeqCst), 0);
    }
}
