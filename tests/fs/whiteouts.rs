//! Whiteouts: what a rename leaves at the old name for overlays of file systems.

use std::sync::Arc;

use efscrypt::ErrorKind as Kind;
use efscrypt::device::MemoryDevice;
use efscrypt::fs::{FileType, NewAttr, ROOT_INO, RenameMode, SetAttr, Time};

use crate::bed::{assert_clean, create, kind, make, mkdir, names, open};

#[test]
fn a_whiteout_takes_the_place_of_what_is_renamed() {
    let device = Arc::new(MemoryDevice::new());
    let fs = create(device.clone(), 1);
    let (a, b) = (mkdir(&fs, ROOT_INO, b"a"), mkdir(&fs, ROOT_INO, b"b"));
    let new = NewAttr { uid: 7, gid: 8, ..NewAttr::default() };
    let whiteout = |from, old: &[u8], to, name: &[u8], mode| {
        fs.rename_whiteout(from, old, to, name, mode, &new)
    };
    let replace = RenameMode::Replace;
    let file = make(&fs, a, b"f");
    fs.write(file, 0, b"text").unwrap();
    // Nothing happens where it is refused.
    let before = (fs.getattr(a).unwrap(), fs.getattr(b).unwrap(), names(&fs, a));
    make(&fs, b, b"there");
    let late = NewAttr { mtime: Some(Time { seconds: 0, nanoseconds: 1 << 30 }), ..new };
    let refused = [
        (whiteout(a, b"f", b, b"g", RenameMode::Exchange), Kind::InvalidArgument),
        (whiteout(a, b"f", b, b"there", RenameMode::Exchange), Kind::InvalidArgument),
        (whiteout(a, b"f", b, b"there", RenameMode::NoReplace), Kind::Exists),
        (whiteout(a, b"none", b, b"g", replace), Kind::NotFound),
        (whiteout(a, b"f", ROOT_INO, b"b", replace), Kind::IsDirectory),
        (whiteout(ROOT_INO, b"a", a, b"x", replace), Kind::Loop),
        (whiteout(ROOT_INO, b"a", b, b"there", replace), Kind::NotDirectory),
        (fs.rename_whiteout(a, b"f", b, b"g", replace, &late), Kind::InvalidArgument),
    ];
    for (done, want) in refused {
        assert_eq!(kind(done), Some(want));
    }
    assert_eq!((fs.getattr(a).unwrap(), names(&fs, a)), (before.0, before.2));
    // To a new name, over a file, in the same directory, and of a directory.
    let done = whiteout(a, b"f", b, b"g", RenameMode::NoReplace).unwrap();
    let left = done.whiteout.unwrap();
    assert_eq!(left, fs.lookup(a, b"f").unwrap());
    assert_eq!((left.kind, left.rdev, left.mode), (FileType::CharDevice, 0, 0));
    assert_eq!((left.uid, left.gid, left.nlink), (7, 8, 1));
    assert_eq!((fs.lookup(b, b"g").unwrap().ino, done.from.after.entries), (file, 1));
    assert!(done.from.after.mtime == left.ctime);
    assert!(done.from.after.change > done.from.before.change);
    let done = whiteout(b, b"g", b, b"there", replace).unwrap();
    assert_eq!((done.from, done.from.after.entries), (done.to, 2));
    assert_eq!(fs.lookup(b, b"there").unwrap().ino, file);
    let second = fs.lookup(b, b"g").unwrap();
    assert!(second.ino != left.ino && second.kind == FileType::CharDevice);
    let sub = mkdir(&fs, a, b"sub");
    make(&fs, sub, b"inside");
    let done = whiteout(a, b"sub", b, b"moved", replace).unwrap();
    assert_eq!((done.from.after.nlink, done.to.after.nlink), (2, 3));
    assert_eq!(fs.lookup(sub, b"..").unwrap().ino, b);
    let done = whiteout(b, b"moved", b, b"again", replace).unwrap();
    assert_eq!((done.to.after.nlink, fs.lookup(b, b"moved").unwrap().rdev), (3, 0));
    // Over a whiteout, which goes, and of one.
    whiteout(a, b"sub", a, b"f", replace).unwrap();
    assert_eq!(kind(fs.getattr(left.ino)), Some(Kind::Stale));
    // Both names of one inode: nothing happens, and nothing is left.
    fs.link(file, b, b"twin").unwrap();
    let same = whiteout(b, b"twin", b, b"there", replace).unwrap();
    assert_eq!((same.whiteout, same.from.before.change), (None, same.from.after.change));
    // In a directory that gives its group.
    let set = SetAttr { mode: Some(0o2755), gid: Some(50), ..SetAttr::default() };
    fs.setattr(a, &set).unwrap();
    make(&fs, a, b"own");
    assert_eq!(whiteout(a, b"own", b, b"own", replace).unwrap().whiteout.unwrap().gid, 50);
    assert_clean(&fs, "whiteouts");
    fs.sync().unwrap();
    drop(fs);
    let fs = open(device, 2);
    assert_eq!(fs.lookup(b, b"moved").unwrap().kind, FileType::CharDevice);
    assert_eq!(fs.lookup(b, b"again").unwrap().ino, sub);
    assert_clean(&fs, "whiteouts, reopened");
}
