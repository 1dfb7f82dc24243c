//! Leaves that are lost of a store in which files were moved, removed and grown: what an older leaf
//! says of them is not true any more.

use std::sync::Arc;

use efscrypt::check::Mending;
use efscrypt::device::{Device, MemoryDevice};
use efscrypt::fs::{CreateMode, FileSystem, FileType, ROOT_INO, RenameMode, SetAttr};

use crate::bed::{DIR, UNIT, assert_sound, create, open, pattern, repair};
use crate::overlaps::file;
use crate::wrecks::blocks_of_level;

/// Calls `visit` with what a repair makes of a store without one of its leaves, for each.
fn without_each_leaf(base: &MemoryDevice, mut visit: impl FnMut(&FileSystem, &[Mending], &str)) {
    for at in blocks_of_level(&base.to_vec(), 0) {
        let what = format!("without the leaf at {at}");
        let device = Arc::new(base.snapshot());
        device.write_at(at as u64, &[0; UNIT]).unwrap();
        let report = repair(Arc::clone(&device)).unwrap_or_else(|error| panic!("{what}: {error}"));
        assert_sound(&device, &what);
        let fs = open(Arc::clone(&device), false).unwrap();
        let said: Vec<Mending> = report.notes.into_iter().map(|note| note.what).collect();
        visit(&fs, &said, &what);
    }
}

fn finished(device: &Arc<MemoryDevice>, fs: FileSystem) -> MemoryDevice {
    fs.engine().finish().unwrap();
    drop(fs);
    device.snapshot()
}

#[test]
fn who_was_moved_does_not_come_back() {
    let device = Arc::new(MemoryDevice::limited(32 << 20));
    let fs = create(Arc::clone(&device));
    let (public, secret) = (fs.mkdir(ROOT_INO, b"public", &DIR).unwrap().attr.ino, {
        fs.mkdir(ROOT_INO, b"secret", &DIR).unwrap().attr.ino
    });
    let name = |n: u64| format!("a file with number {n}").into_bytes();
    for n in 0..150 {
        match n % 5 {
            0 => fs.mkdir(public, &name(n), &DIR).unwrap(),
            _ => fs.create(public, &name(n), &DIR, CreateMode::Guarded).unwrap(),
        };
    }
    fs.engine().checkpoint().unwrap();
    for n in 0..150 {
        fs.rename(public, &name(n), secret, &name(n), RenameMode::Replace).unwrap();
    }
    let base = finished(&device, fs);
    let mut lost = 0;
    without_each_leaf(&base, |fs, said, what| {
        lost += said.iter().filter(|what| matches!(what, Mending::NameLost { .. })).count();
        for n in 0..150 {
            assert!(fs.lookup(public, &name(n)).is_err(), "{what}: file {n} is back");
        }
    });
    assert!(lost > 0, "no name was lost");
}

#[test]
fn names_that_are_taken_keep_nothing_from_being_found() {
    let device = Arc::new(MemoryDevice::limited(32 << 20));
    let fs = create(Arc::clone(&device));
    let dir = fs.mkdir(ROOT_INO, b"dir", &DIR).unwrap().attr.ino;
    for n in 1..=100 {
        let name = if n == 1 { "lost+found".into() } else { format!("lost+found-{n}") };
        fs.mkdir(ROOT_INO, name.as_bytes(), &DIR).unwrap();
    }
    for n in 0..300 {
        let name = format!("a file with number {n}");
        fs.create(dir, name.as_bytes(), &DIR, CreateMode::Guarded).unwrap();
    }
    let base = finished(&device, fs);
    let mut lost = 0;
    without_each_leaf(&base, |_, said, _| {
        lost += said.iter().filter(|what| matches!(what, Mending::NameLost { .. })).count();
    });
    assert!(lost > 0, "no name was lost");
}

#[test]
fn what_was_removed_is_freed_and_no_file_again() {
    let device = Arc::new(MemoryDevice::limited(64 << 20));
    let fs = create(Arc::clone(&device));
    let mut inos = Vec::new();
    for n in 0..200 {
        let ino = file(&fs, &format!("a file with number {n}"));
        if n % 20 == 0 {
            for part in 0..100 {
                fs.write(ino, part * 8 * UNIT as u64, &pattern(part, UNIT)).unwrap();
            }
            inos.push((ino, format!("a file with number {n}")));
        }
    }
    fs.engine().checkpoint().unwrap();
    // Something old of each is left, and they wait: somebody has them open.
    for (ino, name) in &inos {
        fs.open(*ino).unwrap();
        fs.unlink(ROOT_INO, name.as_bytes()).unwrap();
    }
    assert_eq!(efscrypt::check::check(&fs).unwrap().orphans, inos.len() as u64);
    let base = finished(&device, fs);
    let mut freed = 0;
    without_each_leaf(&base, |fs, said, what| {
        freed += said.iter().filter(|what| matches!(what, Mending::Freed)).count();
        let names_lost = said.iter().any(|what| matches!(what, Mending::NamesLost { .. }));
        for (ino, name) in &inos {
            assert!(fs.lookup(ROOT_INO, name.as_bytes()).is_err(), "{what}: {name} is back");
            // Where names are lost too, nobody knows whether it had one.
            let is_file = fs.getattr(*ino).is_ok_and(|attr| attr.nlink > 0);
            assert!(names_lost || !is_file, "{what}: {name} is a file again: {said:?}");
        }
    });
    assert!(freed > 0, "none of them lost its inode");
}

#[test]
fn no_size_cuts_contents_off() {
    let device = Arc::new(MemoryDevice::limited(32 << 20));
    let fs = create(Arc::clone(&device));
    let inos: Vec<u64> = (0..120).map(|n| file(&fs, &format!("a file with number {n}"))).collect();
    for &ino in &inos {
        fs.write(ino, 0, &pattern(ino, 4_100)).unwrap();
    }
    // The last byte that a file may have.
    let far = file(&fs, "far");
    fs.write(far, (1 << 60) - 2, b"x").unwrap();
    fs.engine().checkpoint().unwrap();
    for &ino in &inos {
        fs.write(ino, 4_100, &pattern(ino, 3_900)).unwrap();
    }
    fs.setattr(far, &SetAttr { mode: Some(0o600), ..SetAttr::default() }).unwrap();
    let base = finished(&device, fs);
    let mut older = 0;
    without_each_leaf(&base, |fs, said, what| {
        older += said.iter().filter(|what| matches!(what, Mending::AttributesOlder { .. })).count();
        for &ino in &inos {
            let Ok(attr) = fs.getattr(ino) else { continue };
            assert!(attr.kind != FileType::Regular || attr.size >= 8_000, "{what}: {attr:?}");
        }
    });
    assert!(older > 0, "no inode was lost");
    // Nothing older is left of it.
    let device = Arc::new(base);
    for at in blocks_of_level(&device.to_vec(), 0) {
        let mut block = vec![0; 4 * UNIT];
        device.read_at(at as u64, &mut block).unwrap();
        let one = Arc::new(device.snapshot());
        let used = {
            one.write_at(at as u64, &[0; UNIT]).unwrap();
            open(Arc::clone(&one), true)
                .and_then(|fs| efscrypt::check::check(&fs))
                .is_ok_and(|report| report.is_clean())
        };
        if used {
            // Nobody needs it: an old one.
            device.write_at(at as u64, &[0; UNIT]).unwrap();
        }
    }
    let mut lost = 0;
    without_each_leaf(&device, |_, said, _| {
        lost += said.iter().filter(|what| matches!(what, Mending::AttributesLost { .. })).count();
    });
    assert!(lost > 0, "no inode was lost for good");
}
