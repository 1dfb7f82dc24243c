//! Stores that lost their end: what is left is read, each lost thing is an error, and a repair
//! makes a store of it, if it may give up what is gone.

use std::collections::BTreeMap;
use std::sync::Arc;

use efscrypt::check::{Damage, Mending, check};
use efscrypt::device::sim::Rng;
use efscrypt::device::{Device, MemoryDevice};
use efscrypt::fs::{FileSystem, ROOT_INO};
use efscrypt::{Error, ErrorKind};

use crate::bed::{LOG, POOL, UNIT, assert_sound, open, pattern, plan, plan_as, populated};
use crate::cut_device::Cut;
use crate::picture::{Picture, picture};

fn cut(base: &MemoryDevice, fixed: bool, len: u64) -> Arc<Cut> {
    let device = Cut::new(base.snapshot(), fixed);
    device.cut(len);
    device
}

/// Contents of each file by inode, unit by unit; what cannot be read is an error that says why.
fn look(fs: &FileSystem, before: &Picture, what: &str) -> usize {
    let mut lost = 0;
    for ino in before.keys() {
        for unit in 0..before[ino].units_len() {
            let mut bytes = vec![0; UNIT];
            match fs.read(*ino, (unit * UNIT) as u64, &mut bytes) {
                Ok(_) => assert!(before[ino].has(unit, &bytes), "{what}: inode {ino} is a lie"),
                Err(error) => {
                    let kinds = [ErrorKind::Io, ErrorKind::Corrupt, ErrorKind::Stale];
                    assert!(kinds.contains(&error.kind()), "{what}: {error}");
                    lost += 1;
                }
            }
        }
    }
    lost
}

fn one_length(base: &MemoryDevice, before: &Picture, len: u64, fixed: bool) -> bool {
    let what = format!("{len} bytes{}", if fixed { ", fixed" } else { "" });
    let mute = [ErrorKind::NotAStore, ErrorKind::Corrupt, ErrorKind::Truncated];
    let device = cut(base, fixed, len);
    let read = match open(Arc::clone(&device), true) {
        Ok(fs) => {
            look(&fs, before, &what);
            let report = check(&fs).unwrap_or_else(|error| panic!("{what}: {error}"));
            assert!(!report.is_clean(), "{what}");
            true
        }
        Err(error) => {
            assert!(mute.contains(&error.kind()), "{what}: {error}");
            false
        }
    };
    let error = open(Arc::clone(&device), false).err().unwrap_or_else(|| panic!("{what}: opens"));
    assert!(mute.contains(&error.kind()), "{what}: {error}");
    let careful = plan(Arc::clone(&device));
    let kinds = [ErrorKind::NotAStore, ErrorKind::Corrupt, ErrorKind::Truncated, ErrorKind::Io];
    match plan_as(Arc::clone(&device), true) {
        Err(error) => assert!((fixed || !read) && kinds.contains(&error.kind()), "{what}: {error}"),
        Ok(repair) => {
            let damage = &repair.report().damage;
            let is_cut =
                |damage: &Damage| matches!(damage, Damage::Cut { have, .. } if *have == len);
            assert!(damage.iter().any(is_cut), "{what}: {damage:?}");
            let gives_up = damage.iter().any(|damage| matches!(damage, Damage::Unread { .. }));
            match careful {
                Ok(_) => assert!(!gives_up, "{what}"),
                Err(error) => assert_eq!((error.kind(), gives_up), (ErrorKind::Io, true), "{what}"),
            }
            repair.commit().unwrap_or_else(|error| panic!("{what}: {error}"));
            let again = plan(Arc::clone(&device)).unwrap_or_else(|e| panic!("{what}: {e}"));
            assert!(!again.report().needed, "{what}: {:?}", again.report());
            drop(again);
            let fs = open(Arc::clone(&device), false);
            let fs = fs.unwrap_or_else(|error| panic!("{what}, repaired: {error}"));
            look(&fs, before, &what);
            let report = check(&fs).unwrap();
            assert!(report.is_clean(), "{what}, repaired: {report:?}");
            work(&fs, &what);
            look(&fs, before, &what);
        }
    }
    read
}

/// A store that was repaired takes changes.
fn work(fs: &FileSystem, what: &str) {
    let new = efscrypt::fs::NewAttr::default();
    let how = efscrypt::fs::CreateMode::Guarded;
    let ino = fs.create(ROOT_INO, b"afterwards", &new, how).unwrap().attr.ino;
    let bytes = pattern(77, 100_000);
    match fs.write(ino, 0, &bytes) {
        Err(Error::NoSpace) => return,
        written => assert!(written.is_ok(), "{what}"),
    }
    fs.sync().unwrap();
    let mut found = vec![0; bytes.len()];
    fs.read(ino, 0, &mut found).unwrap();
    assert!(found[..4096] == bytes[..4096], "{what}");
    fs.health().unwrap_or_else(|error| panic!("{what}: {error}"));
}

#[test]
fn every_length_is_read_as_far_as_it_goes_and_repaired() {
    let base = populated(false);
    let before = picture(&open(base.snapshot(), true).unwrap());
    let need = need(&base);
    let mut lengths = vec![0, 1, 4095, 16 << 10, 40 << 10, 256 << 10, 300_000, LOG as u64 - 1];
    lengths.extend([LOG as u64, LOG as u64 + 70_000, POOL as u64, POOL as u64 + 8192]);
    lengths.extend([need - 1, need - 4096, POOL as u64 + (4 << 20) - 1]);
    let mut dice = Rng::new(9);
    lengths.extend((0..24).map(|_| POOL as u64 + dice.below(need - POOL as u64)));
    let mut opened = 0;
    for (n, len) in lengths.into_iter().enumerate() {
        opened += usize::from(one_length(&base, &before, len, n % 3 == 1));
    }
    assert!(opened > 10, "only {opened} could be read");
}

/// Bytes that the newest superblock says the device had: the least length that opens.
fn need(base: &MemoryDevice) -> u64 {
    let device = cut(base, false, POOL as u64);
    match open(device, false).map(drop) {
        Err(Error::Truncated { need, .. }) => need,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_store_that_lost_nothing_but_room_is_repaired_without_giving_up() {
    let base = populated(false);
    let before = picture(&open(base.snapshot(), true).unwrap());
    let device = cut(&base, false, need(&base) - 1);
    let repair = plan(Arc::clone(&device)).unwrap();
    assert!(!repair.report().is_lossy(), "{:?}", repair.report());
    repair.commit().unwrap();
    assert_eq!(picture(&open(device, false).unwrap()), before);
}

/// What is lost is told by file, and is no zeros when the place is written again.
#[test]
fn what_is_cut_off_is_lost_and_said() {
    let base = populated(false);
    let before = picture(&open(base.snapshot(), true).unwrap());
    let device = cut(&base, false, POOL as u64 + (4 << 20) + 100);
    let report = plan_as(Arc::clone(&device), true).unwrap().commit().unwrap();
    let lost = |what: &Mending| matches!(what, Mending::ContentsLost { .. });
    assert!(report.is_lossy() && report.notes.iter().any(|note| lost(&note.what)), "{report:?}");
    let fs = open(Arc::clone(&device), false).unwrap();
    work(&fs, "repaired");
    assert!(look(&fs, &before, "repaired") > 0);
    fs.engine().finish().unwrap();
    drop(fs);
    let image = Arc::new(MemoryDevice::new());
    let mut bytes = vec![0; device.len().unwrap() as usize];
    device.read_at(0, &mut bytes).unwrap();
    image.write_at(0, &bytes).unwrap();
    assert_sound(&image, "written again");
}

/// The log took contents that lie behind the end, and says that they were durable.
#[test]
fn a_store_that_lost_contents_of_its_log_is_not_opened_for_writing() {
    let device = Arc::new(MemoryDevice::new());
    let fs = crate::bed::create(Arc::clone(&device));
    let new = efscrypt::fs::NewAttr::default();
    let how = efscrypt::fs::CreateMode::Guarded;
    let make = |name: &str, seed: u64| {
        let ino = fs.create(ROOT_INO, name.as_bytes(), &new, how).unwrap().attr.ino;
        fs.write(ino, 0, &pattern(seed, 2 << 20)).unwrap();
        ino
    };
    fs.engine().checkpoint().unwrap();
    let least = device.len().unwrap();
    let inos: BTreeMap<u64, u64> = (0..4).map(|n| (make(&format!("f{n}"), n), n)).collect();
    for ino in inos.keys() {
        fs.fsync(*ino).unwrap();
        fs.create(ROOT_INO, format!("after {ino}").as_bytes(), &new, how).unwrap();
        fs.sync().unwrap();
    }
    drop(fs);
    let cut = cut(&device, false, least + (1 << 20));
    let error = open(Arc::clone(&cut), false).err().unwrap();
    assert_eq!(error.kind(), ErrorKind::Truncated, "{error}");
    let fs = open(Arc::clone(&cut), true).unwrap();
    let whole = inos.keys().filter(|ino| fs.getattr(**ino).unwrap().size == 2 << 20);
    assert_eq!(whole.count(), 4, "names and sizes are there");
    drop(fs);
    let repair = plan_as(Arc::clone(&cut), true).unwrap();
    assert!(repair.report().is_lossy());
    repair.commit().unwrap();
    open(cut, false).unwrap();
}
