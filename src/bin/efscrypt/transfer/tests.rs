//! Copies between a store in memory and a directory of the machine, with what no command line can
//! bring about: differences behind the copy's back, a full device, a device that fails.

use std::fs::{self, File};
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use efscrypt::check::check;
use efscrypt::device::sim::{Failure, FaultPlan, Op, Repeat, SimDevice};
use efscrypt::device::{Device, MemoryDevice};
use efscrypt::fs::{NewAttr, ROOT_INO, SetAttr, SetTime, XattrMode};
use efscrypt::keys::{LocalKms, Unlock};
use efscrypt::{Providers, Store, StoreOptions};

use super::meta::Time;
use super::*;

const RIGHTS: fn() -> Rights = || Rights::of_process(true, true);

/// A store, and a directory with one tree in it that is copied.
struct Bench {
    dir: tempfile::TempDir,
    store: Store,
}

impl Bench {
    fn new() -> Bench {
        Bench::on(MemoryDevice::new())
    }

    fn on(device: impl Device + 'static) -> Bench {
        let dir = tempfile::tempdir().unwrap();
        let (kms, key) = (dir.path().join("kms"), dir.path().join("key"));
        Unlock::create_key_file(&key).unwrap();
        let kms = LocalKms::init(&kms, &Unlock::KeyFile(key)).unwrap();
        kms.create_key(Some("alias/key")).unwrap();
        let mut options = StoreOptions::default();
        options.engine.log_bytes = 512 << 10;
        let providers = Providers::same(Arc::new(kms));
        let key = "alias/key";
        let store = Store::create(Arc::new(device), providers, key, key, options).unwrap();
        fs::create_dir(dir.path().join("in")).unwrap();
        Bench { dir, store }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join("in").join(name)
    }

    fn root(&self) -> HostDir {
        HostDir::open(&self.path("")).unwrap()
    }

    /// Copies the tree into the root of the store.
    fn import(&self) -> Summary {
        self.import_without(Except { store: (0, 0), cache: None, device: None })
    }

    fn import_without(&self, except: Except) -> Summary {
        let monitor = Monitor::new("importing", true);
        let how = How { rights: RIGHTS(), checksum: false, overwrite: false, keep_damaged: false };
        let fs = self.store.file_system();
        let cache = FilesCache::none();
        let import = Importer::new(fs, &monitor, how, except, &cache).unwrap();
        let import = Arc::new(import);
        let root = import.root(self.root(), ROOT_INO).unwrap_or_else(|_| panic!("no root"));
        assert!(walk(&import, root, 2).is_ok());
        Arc::into_inner(import).unwrap().close().unwrap();
        monitor.summary()
    }

    /// What a comparison of the tree with the store finds.
    fn verify(&self, source: Source) -> Summary {
        let monitor = Monitor::new("verifying", true);
        let verifier =
            Arc::new(Verifier::new(self.store.file_system(), &monitor, source, RIGHTS()));
        let root = verifier.root(self.root(), ROOT_INO);
        assert!(walk(&verifier, root, 2).is_ok());
        monitor.summary()
    }

    fn ino(&self, path: &str) -> u64 {
        self.store.file_system().at(path.as_bytes()).unwrap().ino
    }
}

fn machine() -> Source {
    Source::Machine(Except { store: (0, 0), cache: None, device: None })
}

fn fill(path: &Path, seed: u64, len: usize) {
    let mut bytes = vec![0; len];
    efscrypt::device::sim::Rng::new(seed).fill(&mut bytes);
    fs::write(path, bytes).unwrap();
}

/// A file in so many pieces that freeing it takes more steps than an unlink spends.
fn fill_scattered(path: &Path, pieces: u64) {
    let file = File::create(path).unwrap();
    for piece in 0..pieces {
        file.write_all_at(&[piece as u8 | 1; 4096], piece * 8192).unwrap();
    }
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

fn set_time(path: &Path, from: &Path) {
    let time = fs::metadata(from).unwrap().modified().unwrap();
    File::open(path).unwrap().set_modified(time).unwrap();
}

/// Plants one of everything that is compared.
fn planted() -> Bench {
    let bench = Bench::new();
    fs::create_dir(bench.path("d")).unwrap();
    fill(&bench.path("d/f"), 1, 10_000);
    fill(&bench.path("one"), 2, 5000);
    fill(&bench.path("two"), 2, 5000);
    set_time(&bench.path("two"), &bench.path("one"));
    fs::hard_link(bench.path("one"), bench.path("d/linked")).unwrap();
    symlink("nowhere", bench.path("link")).unwrap();
    assert_eq!(bench.import().failed, 0);
    for source in [machine(), Source::Store] {
        let verified = bench.verify(source);
        assert_eq!((verified.failed, verified.only_in_copy), (0, 0));
    }
    bench
}

/// Makes owners and times of change in the store those of the machine once more, so that nothing
/// but what was changed on purpose differs.
fn align(bench: &Bench) {
    for name in ["", "d", "d/f", "d/linked", "one", "two", "link"] {
        let there = fs::symlink_metadata(bench.path(name)).unwrap();
        let time = Time { seconds: there.mtime(), nanoseconds: there.mtime_nsec() as u32 };
        let mtime = Some(SetTime::At(time));
        let (uid, gid) = (Some(there.uid()), Some(there.gid()));
        let set = SetAttr { mtime, uid, gid, ..SetAttr::default() };
        bench.store.file_system().setattr(bench.ino(name), &set).unwrap();
    }
}

#[test]
fn a_comparison_finds_every_difference() {
    type Difference = (&'static str, fn(&Bench));
    let differences: [Difference; 8] = [
        ("contents", |bench| {
            bench.store.file_system().write(bench.ino("d/f"), 9000, b"x").unwrap();
        }),
        ("time of change", |bench| set_time(&bench.path("d/f"), Path::new("/"))),
        ("permissions", |bench| set_mode(&bench.path("d/f"), 0o601)),
        ("permissions of a directory", |bench| set_mode(&bench.path("d"), 0o711)),
        ("attributes of the root", |bench| set_mode(&bench.path(""), 0o711)),
        ("a link's target", |bench| {
            let store = bench.store.file_system();
            store.unlink(ROOT_INO, b"link").unwrap();
            store.symlink(ROOT_INO, b"link", b"nowhera", &NewAttr::default()).unwrap();
        }),
        ("names that are apart and were together", |bench| {
            let (store, two) = (bench.store.file_system(), bench.ino("two"));
            store.unlink(bench.ino("d"), b"linked").unwrap();
            store.link(two, bench.ino("d"), b"linked").unwrap();
        }),
        ("names that are together and were apart", |bench| {
            let store = bench.store.file_system();
            store.unlink(ROOT_INO, b"two").unwrap();
            store.link(bench.ino("one"), ROOT_INO, b"two").unwrap();
        }),
    ];
    for (what, make) in differences {
        let bench = planted();
        make(&bench);
        if what != "time of change" {
            align(&bench);
        }
        for source in [machine(), Source::Store] {
            assert!(bench.verify(source).failed > 0, "{what} was not found");
        }
    }
}

#[test]
fn names_that_only_the_copy_has_are_counted() {
    let bench = planted();
    let store = bench.store.file_system();
    store.write_file(b"d/more", &NewAttr::default(), b"x").unwrap();
    store.write_file(b"more", &NewAttr::default(), b"x").unwrap();
    assert_eq!(bench.verify(machine()).only_in_copy, 2);
    fs::create_dir(bench.path("d/mine")).unwrap();
    assert_eq!(bench.verify(Source::Store).only_in_copy, 1);
}

#[test]
fn a_full_store_takes_what_deleted_files_leave() {
    const PIECES: u64 = 2400;
    let bench = Bench::on(MemoryDevice::limited(20 << 20));
    let store = bench.store.file_system();
    fill_scattered(&bench.path("old"), PIECES);
    assert_eq!(bench.import().failed, 0);
    // What takes its place is small, and what comes new does not fit beside what was there.
    fill(&bench.path("old"), 1, 100);
    assert_eq!(bench.import().replaced, 1);
    assert!(check(store).unwrap().orphans > 0, "nothing waits to be freed");
    fill_scattered(&bench.path("new"), PIECES);
    let imported = bench.import();
    assert_eq!((imported.failed, imported.files), (0, 1));
    while !store.maintain().unwrap() {}
    let report = check(store).unwrap();
    assert!(report.is_clean() && report.orphans == 0, "{report:?}");
    assert_eq!(bench.verify(machine()).failed, 0);
}

#[test]
fn a_store_that_is_really_full_keeps_what_it_has() {
    let bench = Bench::on(MemoryDevice::limited(16 << 20));
    let store = bench.store.file_system();
    fill(&bench.path("f"), 1, 4 << 20);
    assert_eq!(bench.import().failed, 0);
    let before = store.read_file(b"f").unwrap();
    fill(&bench.path("f"), 2, 12 << 20);
    assert_eq!(bench.import().failed, 1);
    assert!(store.read_file(b"f").unwrap() == before, "the old contents are gone");
    assert!(store.at(STAGING.as_bytes()).is_err(), "something is left behind");
    while !store.maintain().unwrap() {}
    assert!(check(store).unwrap().is_clean());
}

#[test]
fn what_an_import_left_is_removed_by_the_next() {
    let bench = planted();
    let store = bench.store.file_system();
    let left = store.mkdir(ROOT_INO, STAGING.as_bytes(), &NewAttr::default()).unwrap().attr;
    store.write_file(b".efscrypt-import/17", &NewAttr::default(), &[1; 9000]).unwrap();
    store.mkdir(left.ino, b"18", &NewAttr::default()).unwrap();
    store.set_xattr(left.ino, staging::MARK, b"", XattrMode::Create).unwrap();
    assert_eq!(bench.import().failed, 0);
    assert!(store.getattr(left.ino).is_err());
    assert_eq!(bench.verify(machine()).failed, 0, "the root's time of change was moved");

    // What is not an import's is nobody's to remove.
    store.mkdir(ROOT_INO, STAGING.as_bytes(), &NewAttr::default()).unwrap();
    store.write_file(b".efscrypt-import/a name", &NewAttr::default(), b"x").unwrap();
    assert!(staging::Staging::open(store).is_err());
    assert_eq!(store.read_file(b".efscrypt-import/a name").unwrap(), b"x");
}

#[test]
fn what_is_on_other_file_systems_is_left_out() {
    let bench = Bench::new();
    fill(&bench.path("f"), 1, 10);
    fs::create_dir(bench.path("d")).unwrap();
    fill(&bench.path("d/f"), 1, 10);
    let own = fs::metadata(bench.path("")).unwrap().dev();
    let only = |device| Except { store: (0, 0), cache: None, device: Some(device) };
    // Everything is on another one than this.
    let imported = bench.import_without(only(own + 1));
    assert_eq!((imported.files, imported.directories), (0, 0));
    assert_eq!(bench.import_without(only(own)).files, 2);
    let meta = bench.root().stat(b"f").unwrap();
    assert!(only(own).why(&meta).is_none());
    assert_eq!(only(own + 1).why(&meta), Some("it is on another file system"));
    assert!(only(own + 1).is_elsewhere(&bench.root().stat(b"d").unwrap()));
    assert_eq!(bench.verify(Source::Machine(only(own))).failed, 0);
}

/// What reading all contents finds.
fn read(store: &Store) -> reader::Losses {
    let monitor = Monitor::new("reading", true);
    let reader = Arc::new(Reader::new(store.file_system(), &monitor));
    assert!(walk(&reader, reader.root(), 2).is_ok());
    reader.losses()
}

#[test]
fn what_cannot_be_read_is_not_called_damaged() {
    let device = Arc::new(SimDevice::new(MemoryDevice::new(), FaultPlan::new(1)));
    let bench = Bench::on(Arc::clone(&device));
    for file in 0..5 {
        fill(&bench.path(&format!("f{file}")), file, 100_000);
    }
    assert_eq!(bench.import().failed, 0);
    bench.store.checkpoint().unwrap();
    let losses = read(&bench.store);
    assert_eq!((losses.damaged, losses.unread, losses.failed), (0, 0, 0));
    device.set_plan(FaultPlan::new(1).fail(Op::Read, 0, Failure::Io, Repeat::Sticky));
    let losses = read(&bench.store);
    assert_eq!((losses.damaged, losses.unread, losses.failed), (0, 5, 0));
}
