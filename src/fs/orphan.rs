//! Orphans: inodes without a name, and files with contents beyond their size.
//!
//! Freeing is done in transactions of bounded size, each of which leaves a consistent store; the
//! ORPHAN row goes with the last. A crash in between leaves the row, so that what is left is freed
//! after the next mount. Whoever makes an orphan spends a few steps on it; later unlinks, closes
//! and syncs each spend a few more, and so do changes that find no space.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use parking_lot::{Mutex, RecursiveRwLock, RecursiveRwLockReadGuard};

use super::FileSystem;
use super::inode::Inode;
use super::link::FREE_STEPS;
use crate::error::{Error, Result};
use crate::format::{FsKey, InodeRow};
use crate::txn::Class;

/// Orphans that are looked at together.
const BATCH: usize = 64;
/// Rows of extended attributes that one step deletes.
const XATTR_ROWS: usize = 48;
/// Steps that an operation spends on orphans that others left.
const FEW_STEPS: usize = 2;
/// How long a change that finds no space waits at a time for those who free something: there may
/// always be another.
const PATIENCE: Duration = Duration::from_millis(200);

/// What is known of orphans without looking at their rows.
pub(in crate::fs) struct Orphans {
    /// Whether there may be one that can be freed now.
    waiting: AtomicBool,
    /// Where the next look starts; held by the one who looks.
    next: Mutex<u64>,
    /// Held, shared, by those who free something just now.
    freeing: RecursiveRwLock<()>,
}

impl Orphans {
    /// Nothing is known yet.
    pub fn new() -> Orphans {
        let (next, freeing) = (Mutex::new(0), RecursiveRwLock::new(()));
        Orphans { waiting: AtomicBool::new(true), next, freeing }
    }

    /// Whether there may be one that can be freed now.
    pub fn may_wait(&self) -> bool {
        self.waiting.load(Ordering::Relaxed)
    }

    /// Says that there is one.
    pub fn wait(&self) {
        self.waiting.store(true, Ordering::Relaxed);
    }

    /// Says that something is being freed, until the guard is dropped. Waits for nobody who waits:
    /// who holds an inode's lock may call it while others who free something wait for that lock.
    pub fn freeing(&self) -> RecursiveRwLockReadGuard<'_, ()> {
        self.freeing.read()
    }

    /// Waits until those who free something just now have done so, or for [`PATIENCE`]; returns
    /// whether there was somebody. The caller holds no lock of an inode, and frees nothing itself.
    pub fn await_freeing(&self) -> bool {
        let busy = self.freeing.try_write().is_none();
        if busy {
            drop(self.freeing.try_write_for(PATIENCE));
        }
        busy
    }
}

/// An inode that lost its last name: who holds this frees it.
pub(in crate::fs) struct Left<'a> {
    ino: u64,
    _freeing: RecursiveRwLockReadGuard<'a, ()>,
}

/// What a step did.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Step {
    /// Freed something; there is more.
    More,
    /// Freed the last of it.
    Last,
    /// Nothing: there is nothing to free, or the inode is open and is freed when it is closed.
    Idle,
}

/// Freeing orphans, as far as some steps go.
pub(in crate::fs) struct Reaping {
    /// Steps that are left.
    left: usize,
    /// Steps that freed something.
    pub done: usize,
    /// The first that failed.
    failure: Option<Error>,
    /// Whether orphans are left that were not looked at.
    cut: bool,
}

impl Reaping {
    fn new(left: usize) -> Reaping {
        Reaping { left, done: 0, failure: None, cut: false }
    }

    fn fail(&mut self, error: Error) {
        self.failure.get_or_insert(error);
    }

    /// Whether another attempt may free more. What is damaged stays so.
    fn may_go_on(&self) -> bool {
        self.cut || !matches!(self.failure, None | Some(Error::Corrupt { .. }))
    }
}

impl FileSystem {
    /// Opens an inode: it stays readable and writable until it is closed, also without a name.
    /// Opens are counted, are not part of the store, and end with the mount.
    ///
    /// # Errors
    /// [`Error::Stale`] where the inode is gone, [`Error::InvalidArgument`] where it is open more
    /// often than can be counted, and those of reading its row.
    pub fn open(&self, ino: u64) -> Result<()> {
        let inode = self.inodes.get(ino);
        // Shared: whether the inode is freed is decided under the exclusive lock.
        let _held = inode.read(&self.engine, self.tree)?;
        inode.add_open()
    }

    /// Closes an inode as often as it was opened. The last close of one without a name frees it,
    /// up to a bound; what is left, and what fails, is done by later operations and by
    /// [`FileSystem::maintain`].
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] for an inode that is not open.
    pub fn close(&self, ino: u64) -> Result<()> {
        self.close_times(ino, 1)
    }

    /// Closes an inode as [`FileSystem::close`] does, `times` times at once: for servers whose
    /// clients give back many references together, such as FUSE.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] for an inode that is not open so many times: it stays as it is.
    pub fn close_times(&self, ino: u64, times: u64) -> Result<()> {
        if times == 0 {
            return Ok(());
        }
        let inode = self.inodes.get(ino);
        let last = {
            let (_order, row) = match inode.write(&self.engine, self.tree) {
                Err(Error::Stale) => return Err(NOT_OPEN),
                held => held?,
            };
            let opens = inode.opens().checked_sub(times).ok_or(NOT_OPEN)?;
            let left = (opens == 0 && row.nlink.get() == 0).then(|| self.left(ino));
            inode.set_opens(opens);
            (opens == 0).then_some(left)
        };
        let Some(left) = last else { return Ok(()) };
        self.inodes.closed(&inode);
        drop(inode);
        if !self.engine.is_read_only() {
            self.data.rest(ino);
            if let Some(left) = left {
                self.free_unused(left);
            }
            self.reap_few();
        }
        Ok(())
    }

    /// Closes everything that is open, while nobody else opens or closes: for a server whose
    /// clients are gone.
    ///
    /// # Errors
    /// Those of reading rows: the first, where some cannot be read. All others are closed.
    pub fn close_all(&self) -> Result<()> {
        let mut closed = Ok(());
        for ino in self.inodes.open_numbers() {
            let opens = self.inodes.get(ino).opens();
            closed = closed.and(self.close_times(ino, opens));
        }
        closed
    }

    /// Says that the caller frees an inode, before others can see that nobody uses it.
    pub(in crate::fs) fn left(&self, ino: u64) -> Left<'_> {
        Left { ino, _freeing: self.orphans.freeing() }
    }

    /// Frees an inode that lost its last name, as far as that takes few steps. A failure is no
    /// failure of the operation that came before: the rest is done later.
    pub(in crate::fs) fn free_unused(&self, left: Left<'_>) {
        let inode = self.inodes.get(left.ino);
        for _ in 0..FREE_STEPS {
            match self.free_step_with_room(&inode) {
                Ok(Step::More) => self.engine.relieve(),
                Ok(Step::Last | Step::Idle) | Err(Error::Corrupt { .. }) => return,
                Err(_) => break,
            }
        }
        self.orphans.wait();
    }

    /// Spends a few steps on orphans that others left, unless somebody does just now.
    pub(in crate::fs) fn reap_few(&self) {
        if self.orphans.may_wait() && !self.engine.is_read_only() {
            self.reap_next();
        }
    }

    #[cold]
    fn reap_next(&self) {
        let Some(mut next) = self.orphans.next.try_lock() else { return };
        let _freeing = self.orphans.freeing();
        if *next == 0 {
            // Before looking: whoever makes an orphan from now on says so again.
            self.orphans.waiting.store(false, Ordering::Relaxed);
        }
        let mut reaping = Reaping::new(FEW_STEPS);
        let end = self.reap_batch(*next, &mut reaping);
        reaping.cut = end.is_some();
        *next = end.unwrap_or(0);
        if reaping.may_go_on() {
            self.orphans.wait();
        }
    }

    /// Frees what orphans hold, in at most `steps` transactions. Returns whether nothing is left
    /// that can be freed now.
    ///
    /// # Errors
    /// Those of reading rows and of the device: the first of them, after all other orphans were
    /// freed.
    pub fn reap(&self, steps: usize) -> Result<bool> {
        let reaping = self.reap_steps(steps);
        reaping.failure.map_or(Ok(!reaping.cut), Err)
    }

    /// As [`FileSystem::reap`], with all that is known of it.
    pub(in crate::fs) fn reap_steps(&self, steps: usize) -> Reaping {
        let _freeing = self.orphans.freeing();
        self.orphans.waiting.store(false, Ordering::Relaxed);
        let (mut reaping, mut next) = (Reaping::new(steps), Some(0));
        while let Some(from) = next {
            if reaping.left == 0 {
                reaping.cut = true;
                break;
            }
            next = self.reap_batch(from, &mut reaping);
        }
        if reaping.may_go_on() {
            self.orphans.wait();
        }
        reaping
    }

    /// Frees what the orphans of one batch hold, whose numbers are `from` or above, as far as the
    /// steps go. One that fails is left. Returns where to go on: `None` after the last orphan.
    fn reap_batch(&self, from: u64, reaping: &mut Reaping) -> Option<u64> {
        let (orphans, next) = self.orphans_from(from, reaping);
        for ino in orphans {
            let inode = self.inodes.get(ino);
            loop {
                if reaping.left == 0 {
                    return Some(ino);
                }
                let step = self.free_step_with_room(&inode);
                if !matches!(step, Ok(Step::Idle)) {
                    reaping.left -= 1;
                    self.engine.relieve();
                }
                reaping.done += usize::from(matches!(step, Ok(Step::More | Step::Last)));
                match step {
                    Ok(Step::More) => {}
                    Ok(Step::Last | Step::Idle) => break,
                    Err(error) => {
                        reaping.fail(error);
                        break;
                    }
                }
            }
        }
        next
    }

    /// The first orphans from a number on, and where the next start.
    fn orphans_from(&self, from: u64, reaping: &mut Reaping) -> (Vec<u64>, Option<u64>) {
        let mut found = Vec::new();
        let start = FsKey::Orphan(from).encode();
        let read = self.engine.scan(self.tree, &start, &[6], |key, _| {
            match FsKey::parse(key) {
                Ok(FsKey::Orphan(ino)) => found.push(ino),
                Ok(_) => {}
                Err(error) => reaping.fail(error),
            }
            found.len() < BATCH
        });
        let last = found.last().copied().filter(|_| found.len() == BATCH);
        if let Err(error) = read {
            reaping.fail(error);
        }
        (found, last.and_then(|last| last.checked_add(1)))
    }

    /// One step, with a checkpoint before it where it finds no space.
    fn free_step_with_room(&self, inode: &Arc<Inode>) -> Result<Step> {
        let since = self.engine.checkpoints();
        match self.free_step(inode) {
            Err(Error::NoSpace) if self.engine.make_room(since)? => self.free_step(inode),
            step => step,
        }
    }

    /// One step of freeing an inode that lost its last name and is not open, or the contents
    /// beyond its size.
    fn free_step(&self, inode: &Arc<Inode>) -> Result<Step> {
        let ino = inode.ino();
        let mut draft = match self.draft_any(inode) {
            Err(Error::Stale) => return Ok(Step::Idle),
            draft => draft?,
        };
        let row = *draft.row(ino)?;
        if row.nlink.get() > 0 {
            if row.flags.get() & InodeRow::TRIMMING == 0 {
                return Ok(Step::Idle);
            }
            let trim = |row: &mut InodeRow, finish: &mut super::data::Finish<'_>| {
                self.data.trim_step(ino, row, finish)
            };
            let (_, row) = draft.contents(ino, trim, |_| ())?;
            let done = row.flags.get() & InodeRow::TRIMMING == 0;
            return Ok(if done { Step::Last } else { Step::More });
        }
        if inode.opens() > 0 {
            return Ok(Step::Idle);
        }
        if row.xattrs.get() == 0 && row.key_id.get() != 0 {
            let done = draft.free_contents(ino)?;
            return Ok(if done { Step::Last } else { Step::More });
        }
        let rows =
            if row.xattrs.get() > 0 { self.xattr_rows(ino, XATTR_ROWS)? } else { Vec::new() };
        for key in &rows {
            draft.edits.del(self.tree, &key.encode());
        }
        let more = rows.len() == XATTR_ROWS;
        let last = !more && row.key_id.get() == 0;
        if last {
            draft.delete(ino)?;
            draft.edits.del(self.tree, &FsKey::Orphan(ino).encode());
        } else if !more {
            draft.change_row(ino)?.xattrs = 0.into();
        }
        draft.commit(Class::Freeing)?;
        Ok(if last { Step::Last } else { Step::More })
    }
}

const NOT_OPEN: Error = Error::InvalidArgument("the inode is not open so many times");
