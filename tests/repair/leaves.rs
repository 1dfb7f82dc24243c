//! Leaves that are lost, of files that are easily taken for holes; and where nameless files go.

use std::sync::Arc;

use efscrypt::device::{Device, MemoryDevice};
use efscrypt::fs::{COOKIE_DOT_DOT, CreateMode, ROOT_INO, SetAttr};

use crate::bed::{DIR, UNIT, assert_sound, create, open, pattern, repair};
use crate::picture::{compare, mentioned, picture};
use crate::wrecks::blocks_of_level;

/// Small files that grew: their contents stand in the tree, and no count tells of them. And a
/// directory of somebody's that is named as if it were for lost files.
fn grown() -> (MemoryDevice, u64) {
    let device = Arc::new(MemoryDevice::limited(32 << 20));
    let fs = create(Arc::clone(&device));
    let trap = fs.mkdir(ROOT_INO, b"lost+found", &DIR).unwrap().attr.ino;
    let dir = fs.mkdir(ROOT_INO, b"dir", &DIR).unwrap().attr.ino;
    for n in 0..200u64 {
        let name = format!("a file with a name {n}");
        let made = fs.create(dir, name.as_bytes(), &DIR, CreateMode::Guarded).unwrap();
        fs.write(made.attr.ino, 0, &pattern(n, 300)).unwrap();
        let size = Some(5 * UNIT as u64);
        fs.setattr(made.attr.ino, &SetAttr { size, ..SetAttr::default() }).unwrap();
    }
    fs.engine().finish().unwrap();
    drop(fs);
    (device.snapshot(), trap)
}

#[test]
fn what_is_lost_of_grown_files_is_no_zeros_and_nobody_gets_their_names() {
    let (base, trap) = grown();
    let before = picture(&open(base.snapshot(), true).unwrap());
    let leaves = blocks_of_level(&base.to_vec(), 0);
    let mut moved = 0;
    for at in leaves.iter().step_by(leaves.len().div_ceil(24)) {
        let what = format!("without the leaf at {at}");
        let device = Arc::new(base.snapshot());
        device.write_at(*at as u64, &[0; UNIT]).unwrap();
        let report = repair(Arc::clone(&device)).unwrap();
        assert_sound(&device, &what);
        let fs = open(Arc::clone(&device), true).unwrap();
        compare(&before, &picture(&fs), &mentioned(&report), &what);
        let Ok(entry) = fs.lookup(ROOT_INO, b"lost+found") else { continue };
        // Where its name was lost too, another has it now.
        if entry.ino == trap && fs.getattr(trap).is_ok_and(|attr| attr.uid != 0) {
            let mut names = 0;
            fs.read_dir(trap, COOKIE_DOT_DOT, |_| {
                names += 1;
                true
            })
            .unwrap();
            assert_eq!(names, 0, "{what}");
            moved += usize::from(fs.lookup(ROOT_INO, b"lost+found-2").is_ok());
        }
    }
    assert!(moved > 0, "no leaf held names alone");
}
