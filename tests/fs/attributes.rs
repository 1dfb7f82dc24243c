//! Attributes: what sets them, and what changes of contents do to times and set-ID bits.

use efscrypt::ErrorKind as Kind;
use efscrypt::Result;
use efscrypt::device::MemoryDevice;
use efscrypt::fs::{Beyond, CreateMode, ROOT_INO, SetAttr, SetTime, Standing, Time};

use crate::bed::{FILE, assert_clean, create, kind, make, mkdir, pattern};

#[test]
fn setattr_is_all_or_nothing() {
    let fs = create(MemoryDevice::new(), 1);
    let ino = make(&fs, ROOT_INO, b"a");
    fs.write(ino, 0, &pattern(1, 10_000)).unwrap();
    let before = fs.getattr(ino).unwrap();
    let none = fs.setattr(ino, &SetAttr::default()).unwrap();
    assert_eq!(none.after, before);
    let at = Time { seconds: 1, nanoseconds: 2 };
    let bad = SetAttr {
        mode: Some(0o777),
        mtime: Some(SetTime::At(Time { nanoseconds: 1_000_000_000, ..at })),
        ..SetAttr::default()
    };
    assert_eq!(kind(fs.setattr(ino, &bad)), Some(Kind::InvalidArgument));
    let guard = SetAttr { mode: Some(0o777), guard: Some(at), ..SetAttr::default() };
    assert_eq!(kind(fs.setattr(ino, &guard)), Some(Kind::NotSync));
    let huge = SetAttr { mode: Some(0o777), size: Some(u64::MAX), ..SetAttr::default() };
    assert_eq!(kind(fs.setattr(ino, &huge)), Some(Kind::FileTooLarge));
    assert_eq!(fs.getattr(ino).unwrap(), before);
    let set = SetAttr {
        mode: Some(0o6755),
        uid: Some(5),
        gid: Some(6),
        size: Some(5_000),
        atime: Some(SetTime::Now),
        mtime: Some(SetTime::At(at)),
        guard: Some(before.ctime),
    };
    let wcc = fs.setattr(ino, &set).unwrap();
    let after = fs.getattr(ino).unwrap();
    assert_eq!((wcc.before.change, wcc.after), (before.change, after));
    assert_eq!((after.mode, after.uid, after.gid, after.size), (0o6755, 5, 6, 5_000));
    assert!(after.mtime == at && after.atime == after.ctime && after.change > before.change);
    // A new owner takes the set-ID bits away.
    fs.setattr(ino, &SetAttr { uid: Some(9), ..SetAttr::default() }).unwrap();
    assert_eq!(fs.getattr(ino).unwrap().mode, 0o755);
    let size = SetAttr { size: Some(0), ..SetAttr::default() };
    assert_eq!(kind(fs.setattr(ROOT_INO, &size)), Some(Kind::IsDirectory));
    assert_clean(&fs, "setattr");
}

#[test]
fn a_size_that_stays_moves_no_time_unless_told() {
    let fs = create(MemoryDevice::new(), 1);
    let ino = make(&fs, ROOT_INO, b"a");
    let mut before = fs.getattr(ino).unwrap();
    let size = |size| SetAttr { size: Some(size), ..SetAttr::default() };
    for len in [0, 100, 9_000] {
        if len > 0 {
            before = fs.write(ino, 0, &pattern(1, len as usize)).unwrap().file.after;
        }
        let same = fs.setattr(ino, &size(len)).unwrap();
        assert_eq!((same.after, same.before.change), (before, before.change), "{len}");
        let told = SetAttr { mtime: Some(SetTime::Now), ..size(len) };
        let told = fs.setattr(ino, &told).unwrap().after;
        assert!(told.mtime > before.mtime && told.ctime == told.mtime, "{len}");
        assert!(told.change > before.change && told.size == len, "{len}");
        let wrong = SetAttr { guard: Some(before.ctime), ..size(len) };
        assert_eq!(kind(fs.setattr(ino, &wrong)), Some(Kind::NotSync));
        before = told;
    }
    // What else it changes, it changes.
    fs.setattr(ino, &SetAttr { mode: Some(0o4755), ..SetAttr::default() }).unwrap();
    let lost = fs.setattr(ino, &size(9_000)).unwrap();
    assert!(lost.after.mode == 0o755 && lost.after.change > lost.before.change);
    let once = CreateMode::Exclusive([7; 8]);
    let made = fs.create(ROOT_INO, b"once", &FILE, once).unwrap().attr.ino;
    fs.setattr(made, &size(0)).unwrap();
    assert_eq!(kind(fs.create(ROOT_INO, b"once", &FILE, once)), Some(Kind::Exists));
    for other in [9_001, 0] {
        let wcc = fs.setattr(ino, &size(other)).unwrap();
        assert!(wcc.after.mtime > wcc.before.mtime, "{other}");
    }
}

#[test]
fn a_client_that_keeps_the_times_hands_over_contents() {
    let fs = create(MemoryDevice::new(), 1);
    let ino = make(&fs, ROOT_INO, b"a");
    let mtime = Time { seconds: -5, nanoseconds: 7 };
    let set = SetAttr { mtime: Some(SetTime::At(mtime)), ..SetAttr::default() };
    let before = fs.setattr(ino, &set).unwrap().after;
    // As inline bytes, as units, and in several transactions.
    for (offset, len) in [(0, 100), (50, 10_000), (4096, 3 << 20)] {
        let bytes = pattern(1, len);
        let written = fs.write_delegated(ino, offset, &bytes).unwrap();
        let after = written.file.after;
        assert_eq!((written.len, after.mtime), (len, mtime));
        assert!(after.ctime > before.ctime && after.change > before.change);
        let mut back = vec![0; len];
        fs.read(ino, offset, &mut back).unwrap();
        assert!(back == bytes);
    }
    assert!(fs.write(ino, 0, b"x").unwrap().file.after.mtime > mtime);
    assert_clean(&fs, "delegated");
}

#[test]
fn set_id_bits_go_with_the_contents_and_the_owner() {
    let fs = create(MemoryDevice::new(), 1);
    let ino = make(&fs, ROOT_INO, b"a");
    fs.write(ino, 0, &pattern(1, 50_000)).unwrap();
    let size = |size| SetAttr { size: Some(size), ..SetAttr::default() };
    let owner = SetAttr { gid: Some(9), ..SetAttr::default() };
    type Change<'a> = &'a dyn Fn() -> Result<()>;
    const NONE: usize = 0;
    const MEMBER: usize = 1;
    const OTHER: usize = 2;
    let (privileged, member) = (fs.privileged(), fs.acting(Standing::Member));
    let other = fs.acting(Standing::Other);
    let changes: [(&str, usize, Change<'_>); 24] = [
        ("write", OTHER, &|| fs.write(ino, 10, b"x").map(drop)),
        ("write nothing", NONE, &|| fs.write(ino, 10, b"").map(drop)),
        ("append", OTHER, &|| fs.append(ino, b"x").map(drop)),
        ("punch", OTHER, &|| fs.punch_hole(ino, 0, 4096).map(drop)),
        ("allocate", OTHER, &|| fs.allocate(ino, 0, 9, Beyond::Keep).map(drop)),
        ("truncate", OTHER, &|| fs.setattr(ino, &size(40_000)).map(drop)),
        ("the same size", OTHER, &|| fs.setattr(ino, &size(40_000)).map(drop)),
        ("grow", OTHER, &|| fs.setattr(ino, &size(60_000)).map(drop)),
        ("chown", OTHER, &|| fs.setattr(ino, &owner).map(drop)),
        ("chown of another", OTHER, &|| other.setattr(ino, &owner).map(drop)),
        ("write of another", OTHER, &|| other.write(ino, 0, b"x").map(drop)),
        ("write, delegated", OTHER, &|| fs.write_delegated(ino, 0, &[1; 9_000]).map(drop)),
        ("chown, member", MEMBER, &|| member.setattr(ino, &owner).map(drop)),
        ("write, member", MEMBER, &|| member.write(ino, 0, &[1; 9_000]).map(drop)),
        ("append, member", MEMBER, &|| member.append(ino, b"x").map(drop)),
        ("truncate, member", MEMBER, &|| member.setattr(ino, &size(9_000)).map(drop)),
        ("zeros, member", MEMBER, &|| member.zero_range(ino, 0, 9, Beyond::Keep).map(drop)),
        ("allocate, member", MEMBER, &|| member.allocate(ino, 0, 9, Beyond::Keep).map(drop)),
        ("punch, member", MEMBER, &|| member.punch_hole(ino, 0, 9).map(drop)),
        ("chown, privileged", MEMBER, &|| privileged.setattr(ino, &owner).map(drop)),
        ("write, privileged", NONE, &|| privileged.write(ino, 0, &[1; 9_000]).map(drop)),
        ("write, delegated and privileged", NONE, &|| {
            privileged.write_delegated(ino, 0, &[1; 9_000]).map(drop)
        }),
        ("append, privileged", NONE, &|| privileged.append(ino, b"x").map(drop)),
        ("truncate, privileged", NONE, &|| {
            privileged.punch_hole(ino, 0, 5_000)?;
            privileged.setattr(ino, &size(10_000)).map(drop)
        }),
    ];
    // What is left: for who keeps all, for who is in the group, for others.
    let modes = [
        [0o6755, 0o755, 0o755],
        [0o2745, 0o2745, 0o745],
        [0o6705, 0o2705, 0o705],
        [0o2664, 0o2664, 0o664],
        [0o2010, 0o010, 0o010],
        [0o1644, 0o1644, 0o1644],
    ];
    for left in modes {
        for (what, who, change) in &changes {
            let old = left[NONE];
            let mode = Some(old);
            fs.setattr(ino, &SetAttr { mode, ..SetAttr::default() }).unwrap();
            change().unwrap();
            assert_eq!(fs.getattr(ino).unwrap().mode, left[*who], "{what} of {old:o}");
        }
    }
    let dir = mkdir(&fs, ROOT_INO, b"d");
    let set = SetAttr { mode: Some(0o6755), uid: Some(3), ..SetAttr::default() };
    fs.setattr(dir, &SetAttr { uid: None, ..set }).unwrap();
    fs.setattr(dir, &owner).unwrap();
    assert_eq!(fs.getattr(dir).unwrap().mode, 0o6755, "a directory keeps them");
    // Who says the mode means it.
    fs.setattr(ino, &SetAttr { size: Some(7), ..set }).unwrap();
    assert_eq!(fs.getattr(ino).unwrap().mode, 0o6755);
}
