//! Files cache: which files of the machine are known to have the contents of which file of a store.
//!
//! What is known is a pair of states: a file of the machine by device, inode, size and the times of
//! its last changes, one of which nobody can set; and one of the store by inode, generation, change
//! attribute and that time. Names play no part, so nothing that is renamed, mounted or exchanged
//! leads astray: a pair is known or its contents are compared.
//!
//! The table holds nothing but a keyed hash of each pair, and only who opens the store has the key.
//! It may lose anything at any time: that costs a comparison. A hash is written only after both
//! files are durable. Invariant: none is in the table whose pair was not seen to be the same.

use std::collections::HashMap;
use std::fs::{DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileExt, MetadataExt, OpenOptionsExt};
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};

use efscrypt::fs::{FileSystem, ROOT_INO};
use rustix::fs::FlockOperation;
use rustix::io::Errno;
use sha2::{Digest, Sha256};

use super::host::HostDir;
use super::host_kind;
use super::meta::Meta;
use super::trouble::Result;

/// Bytes of a hash.
const TAG: usize = 16;
/// Bytes of a page, and hashes in it.
const PAGE: usize = 4096;
const TAGS: usize = PAGE / TAG;
/// Pages of a new table, and of the largest one that is used.
const FEWEST: u64 = 16;
const MOST: u64 = 1 << 24;
/// Pairs in memory before they are written.
const WAITING: usize = 1 << 16;

type Tag = [u8; TAG];
type Key = [u8; 32];

/// The pairs of one store.
pub struct FilesCache {
    key: Key,
    table: Option<Table>,
    learned: Mutex<Learned>,
    /// By device of the machine: whether its file system keeps a time that nobody can set.
    trusted: Mutex<HashMap<u64, bool>>,
}

#[derive(Default)]
struct Learned {
    /// Not written yet.
    tags: Vec<Tag>,
    /// All of this run, which the table has room for.
    total: u64,
}

impl FilesCache {
    /// One that knows nothing and learns nothing.
    pub fn none() -> FilesCache {
        FilesCache::of([0; 32], None)
    }

    /// That of a store, in a directory which is made if it is not there.
    ///
    /// # Errors
    /// Of a directory or file that cannot be used, or that others can write to; `WouldBlock` while
    /// another process uses it.
    pub fn open(store: &FileSystem, dir: &Path) -> Result<FilesCache> {
        let handle = store.handle_of(ROOT_INO)?;
        let hash = |label: &[u8]| -> Key {
            Sha256::new().chain_update(label).chain_update(handle).finalize().into()
        };
        let name = hash(b"efscrypt files cache: name");
        let name: String = name[..TAG].iter().map(|byte| format!("{byte:02x}")).collect();
        let table = Table::open(dir, &name)?;
        Ok(FilesCache::of(hash(b"efscrypt files cache: pairs"), Some(table)))
    }

    fn of(key: Key, table: Option<Table>) -> FilesCache {
        FilesCache { key, table, learned: Mutex::default(), trusted: Mutex::default() }
    }

    /// Device and inode of its file.
    pub fn id(&self) -> Option<(u64, u64)> {
        let about = self.table.as_ref()?.file.metadata().ok()?;
        Some((about.dev(), about.ino()))
    }

    /// Whether a file of the machine, which has a name in a directory, and one of the store have
    /// the same contents. `false`: nobody knows.
    pub fn knows(&self, dir: &HostDir, name: &[u8], host: &Meta, store: &Meta) -> bool {
        let Some(table) = &self.table else { return false };
        self.trusts(dir, name, host) && table.has(&self.tag(host, store)).unwrap_or(false)
    }

    /// They are the same, as far as anybody can know who looked at them in these states: the
    /// caller makes sure that a later change moves one of the times.
    pub fn learn(&self, dir: &HostDir, name: &[u8], host: &Meta, store: &Meta) {
        if self.table.is_none() || !self.trusts(dir, name, host) {
            return;
        }
        let tag = self.tag(host, store);
        let mut learned = self.lock();
        learned.total += 1;
        // Who is to save them may take a while; what is dropped is compared again.
        if learned.tags.len() < 4 * WAITING {
            learned.tags.push(tag);
        }
    }

    /// Writes what was learned so far, if that is much.
    pub fn save_much(&self, make_durable: impl FnOnce() -> bool) {
        let learned = self.lock();
        if learned.tags.len() >= WAITING {
            self.write(learned, make_durable);
        }
    }

    /// Writes what was learned, after both sides of it were made durable.
    pub fn save(&self, make_durable: impl FnOnce() -> bool) {
        self.write(self.lock(), make_durable);
    }

    fn write(&self, mut learned: MutexGuard<'_, Learned>, make_durable: impl FnOnce() -> bool) {
        let (tags, total) = (std::mem::take(&mut learned.tags), learned.total);
        drop(learned);
        if let Some(table) = &self.table
            && !tags.is_empty()
            && make_durable()
        {
            // What is not in the table is compared again.
            let _ = table.add(tags, total);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Learned> {
        self.learned.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether a change of the file moves a time that nobody can set.
    fn trusts(&self, dir: &HostDir, name: &[u8], host: &Meta) -> bool {
        // Whole seconds are what images have, and file systems without finer times.
        if host.ctime.nanoseconds == 0 {
            return false;
        }
        let mut trusted = self.trusted.lock().unwrap_or_else(PoisonError::into_inner);
        let device = || host_kind::of(&dir.proc_path(name)).is_ok_and(host_kind::keeps_ctime);
        *trusted.entry(host.id.0).or_insert_with(device)
    }

    fn tag(&self, host: &Meta, store: &Meta) -> Tag {
        let mut hash = Sha256::new().chain_update(self.key);
        for meta in [host, store] {
            for number in [meta.id.0, meta.id.1, meta.version.0, meta.version.1, meta.size] {
                hash.update(number.to_le_bytes());
            }
            for time in [meta.ctime, meta.mtime] {
                hash.update(time.seconds.to_le_bytes());
                hash.update(time.nanoseconds.to_le_bytes());
            }
        }
        let hash: Key = hash.finalize().into();
        let mut tag = [0; TAG];
        tag.copy_from_slice(&hash[..TAG]);
        tag
    }
}

/// Pages of hashes. The first bits of a hash say in which page it is; in a page the newest is the
/// first, and makes room for itself by the oldest.
struct Table {
    file: File,
    /// Number of pages, a power of two.
    pages: Mutex<u64>,
}

impl Table {
    fn open(dir: &Path, name: &str) -> io::Result<Table> {
        DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
        let own = rustix::process::geteuid().as_raw();
        let about = dir.metadata()?;
        // Whoever could write to it could not forge a pair, but might follow what is copied.
        if about.uid() != own || about.mode() & 0o022 != 0 {
            return Err(io::Error::new(
                io::ErrorKind::PermissionDenied,
                "it belongs to somebody else, or others may write to it",
            ));
        }
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false).mode(0o600);
        let file = options.custom_flags(open_flags()).open(dir.join(name))?;
        let about = file.metadata()?;
        if !about.is_file() || about.uid() != own || about.nlink() != 1 {
            return Err(io::Error::new(io::ErrorKind::PermissionDenied, "not a file of its own"));
        }
        // Without locks two processes may lose what they wrote, and no more.
        let locked = rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive);
        if locked == Err(Errno::WOULDBLOCK) {
            return Err(Errno::WOULDBLOCK.into());
        }
        let mut pages = about.len() / PAGE as u64;
        let whole = about.len().is_multiple_of(PAGE as u64);
        if !whole || !pages.is_power_of_two() || !(FEWEST..=MOST).contains(&pages) {
            file.set_len(0)?;
            file.set_len(FEWEST * PAGE as u64)?;
            pages = FEWEST;
        }
        Ok(Table { file, pages: Mutex::new(pages) })
    }

    fn has(&self, tag: &Tag) -> io::Result<bool> {
        let pages = *self.pages.lock().unwrap_or_else(PoisonError::into_inner);
        let page = self.read(page_of(tag, pages))?;
        Ok(page.chunks_exact(TAG).any(|found| found == tag))
    }

    /// Adds some to a table that is to have room for `total`.
    fn add(&self, mut tags: Vec<Tag>, total: u64) -> io::Result<()> {
        let mut pages = self.pages.lock().unwrap_or_else(PoisonError::into_inner);
        while *pages * (TAGS as u64 / 2) < total && *pages < MOST {
            self.double(*pages)?;
            *pages *= 2;
        }
        tags.sort_unstable_by_key(|tag| (page_of(tag, *pages), *tag));
        tags.dedup();
        for new in tags.chunk_by(|a, b| page_of(a, *pages) == page_of(b, *pages)) {
            let at = page_of(&new[0], *pages);
            let old = self.read(at)?;
            let old = old.as_chunks::<TAG>().0.iter();
            let old = old.filter(|tag| **tag != [0; TAG] && new.binary_search(tag).is_err());
            self.write(at, new.iter().chain(old))?;
        }
        Ok(())
    }

    /// Each page becomes two: one more bit of the hash says which.
    fn double(&self, pages: u64) -> io::Result<()> {
        self.file.set_len(2 * pages * PAGE as u64)?;
        for at in 0..pages {
            let page = self.read(at)?;
            for half in [at + pages, at] {
                let tags = page.as_chunks::<TAG>().0.iter();
                self.write(half, tags.filter(|tag| page_of(tag, 2 * pages) == half))?;
            }
        }
        Ok(())
    }

    fn read(&self, at: u64) -> io::Result<[u8; PAGE]> {
        let mut page = [0; PAGE];
        self.file.read_exact_at(&mut page, at * PAGE as u64)?;
        Ok(page)
    }

    fn write<'a>(&self, at: u64, tags: impl Iterator<Item = &'a Tag>) -> io::Result<()> {
        let mut page = [0; PAGE];
        for (place, tag) in page.chunks_exact_mut(TAG).zip(tags) {
            place.copy_from_slice(tag);
        }
        self.file.write_all_at(&page, at * PAGE as u64)
    }
}

/// Nothing but the file itself is opened, and no reader of a pipe waited for.
fn open_flags() -> i32 {
    (rustix::fs::OFlags::NOFOLLOW | rustix::fs::OFlags::NONBLOCK).bits() as i32
}

fn page_of(tag: &Tag, pages: u64) -> u64 {
    let (first, _) = tag.split_at(8);
    first.iter().fold(0, |number, byte| number << 8 | u64::from(*byte)) & (pages - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tag(n: u64) -> Tag {
        let hash: Key = Sha256::digest(n.to_le_bytes()).into();
        hash[..TAG].try_into().unwrap()
    }

    #[test]
    fn a_table_grows_and_keeps_what_it_has() {
        let dir = tempfile::tempdir().unwrap();
        let open = || Table::open(&dir.path().join("made"), "table").unwrap();
        let table = open();
        assert!(Table::open(&dir.path().join("made"), "table").is_err(), "used twice");
        table.add((0..1000).map(tag).collect(), 1000).unwrap();
        table.add((1000..50_000).map(tag).collect(), 50_000).unwrap();
        drop(table);
        let table = open();
        assert!((0..50_000).all(|n| table.has(&tag(n)).unwrap()));
        assert!(!(50_000..60_000).any(|n| table.has(&tag(n)).unwrap()));
    }

    #[test]
    fn the_oldest_make_room_and_nothing_grows_for_the_dead() {
        let dir = tempfile::tempdir().unwrap();
        let table = Table::open(dir.path(), "table").unwrap();
        for run in 0..20 {
            table.add((run * 1000..(run + 1) * 1000).map(tag).collect(), 1000).unwrap();
        }
        assert!((19_000..20_000).all(|n| table.has(&tag(n)).unwrap()), "the newest are gone");
        assert_eq!(table.file.metadata().unwrap().len(), FEWEST * PAGE as u64);
    }

    #[test]
    fn what_is_no_table_becomes_an_empty_one() {
        let dir = tempfile::tempdir().unwrap();
        for bytes in [&b"text"[..], &[7; 3 * PAGE]] {
            std::fs::write(dir.path().join("table"), bytes).unwrap();
            let table = Table::open(dir.path(), "table").unwrap();
            assert!(!table.has(&tag(1)).unwrap());
            table.add(vec![tag(1)], 1).unwrap();
            assert!(table.has(&tag(1)).unwrap());
        }
    }
}
