//! Access control lists that are lost or make no sense: nobody gets a right that he had not.

use std::collections::BTreeMap;
use std::sync::Arc;

use efscrypt::device::{Device, MemoryDevice};
use efscrypt::fs::data::{FsKey, InodeRow};
use efscrypt::fs::{
    Acl, AclEntry, AclKind, AclTag, CreateMode, Credentials, FileSystem, ROOT_INO, XattrMode,
};
use efscrypt::txn::{Class, Edits, FIRST_FS_TREE};

use crate::bed::{DIR, UNIT, assert_sound, create, open, repair};
use crate::wrecks::blocks_of_level;

/// Some who ask: the owner, named users, members of groups, others.
const WHO: [(u32, u32); 6] =
    [(7, 8), (60_001, 1), (60_002, 8), (60_003, 9), (60_004, 4), (5, 60_005)];

fn list(n: u64) -> Acl {
    let entry = |tag, perm| AclEntry { tag, perm };
    let mut entries = vec![
        entry(AclTag::UserObj, 6),
        entry(AclTag::User(60_001), 6),
        entry(AclTag::User(60_003), 0),
        entry(AclTag::GroupObj, if n.is_multiple_of(3) { 4 } else { 0 }),
        entry(AclTag::Group(60_005), 0),
        entry(AclTag::Mask, 6),
        entry(AclTag::Other, 5),
    ];
    // Long ones stand in several rows.
    if n.is_multiple_of(2) {
        let more = (0..480).map(|n| entry(AclTag::User(70_000 + n), 6));
        entries.splice(3..3, more);
    }
    Acl::new(entries).unwrap()
}

/// What each who asks gets, of each inode.
fn rights(fs: &FileSystem, numbers: &[u64]) -> BTreeMap<u64, Vec<bool>> {
    let of = |ino: u64| {
        let asked = WHO.iter().flat_map(|who| [1, 2, 4].map(|want| (*who, want)));
        let groups = &[][..];
        let granted = asked.map(|((uid, gid), want)| {
            fs.access(ino, &Credentials { uid, gid, groups }, want).unwrap()
        });
        granted.collect()
    };
    let there = numbers.iter().filter(|ino| fs.getattr(**ino).is_ok());
    there.map(|ino| (*ino, of(*ino))).collect()
}

fn listed() -> (MemoryDevice, Vec<u64>) {
    let device = Arc::new(MemoryDevice::limited(32 << 20));
    let fs = create(Arc::clone(&device));
    let dir = fs.mkdir(ROOT_INO, b"dir", &DIR).unwrap().attr.ino;
    let made = (0..120u64).map(|n| {
        let name = format!("a file with a name {n}");
        let ino = fs.create(dir, name.as_bytes(), &DIR, CreateMode::Guarded).unwrap().attr.ino;
        match n % 4 {
            3 => drop(fs.set_xattr(ino, b"user.a", b"1", XattrMode::Either).unwrap()),
            _ => drop(fs.set_acl(ino, AclKind::Access, Some(&list(n))).unwrap()),
        }
        ino
    });
    let mut numbers: Vec<u64> = made.collect();
    fs.set_acl(dir, AclKind::Default, Some(&list(1))).unwrap();
    numbers.push(dir);
    fs.engine().finish().unwrap();
    drop(fs);
    (device.snapshot(), numbers)
}

#[test]
fn a_list_that_is_gone_leaves_the_owner_alone() {
    let (base, numbers) = listed();
    let before = rights(&open(base.snapshot(), true).unwrap(), &numbers);
    let leaves = blocks_of_level(&base.to_vec(), 0);
    let (mut less, mut same) = (0, 0);
    for at in leaves.iter().step_by(leaves.len().div_ceil(24)) {
        let what = format!("without the leaf at {at}");
        let device = Arc::new(base.snapshot());
        device.write_at(*at as u64, &[0; UNIT]).unwrap();
        repair(Arc::clone(&device)).unwrap();
        assert_sound(&device, &what);
        let fs = open(Arc::clone(&device), true).unwrap();
        for (ino, now) in rights(&fs, &numbers) {
            let more = now.iter().zip(&before[&ino]).any(|(now, before)| *now && !before);
            assert!(!more, "{what}: inode {ino}: {now:?} and {:?} before", before[&ino]);
            less += usize::from(now != before[&ino] && fs.getattr(ino).unwrap().uid == 7);
            same += usize::from(now == before[&ino]);
        }
    }
    assert!(less > 10 && same > 1_000, "{less} {same}");
}

#[test]
fn a_list_that_makes_no_sense_goes_and_the_owner_stays() {
    let (base, numbers) = listed();
    let device = Arc::new(base);
    let fs = open(Arc::clone(&device), false).unwrap();
    let mut edits = Edits::new();
    let (from, to) = (FsKey::Xattr(numbers[1], 0, 0), FsKey::Xattr(numbers[1], u64::MAX, 0));
    fs.engine()
        .scan(FIRST_FS_TREE, &from.encode(), &to.encode(), |key, value| {
            let mut value = value.to_vec();
            let end = value.len();
            value[end - 16] = 32;
            edits.put(FIRST_FS_TREE, key, &value);
            true
        })
        .unwrap();
    // And one whose inode does not say that it has one, one that says it and has none.
    for (ino, flags) in [(numbers[2], 0), (numbers[3], InodeRow::ACL)] {
        let key = FsKey::Inode(ino).encode();
        let mut value = fs.engine().get(FIRST_FS_TREE, &key, <[u8]>::to_vec).unwrap().unwrap();
        value[148] = flags as u8;
        edits.put(FIRST_FS_TREE, &key, &value);
    }
    fs.engine().commit(&mut edits, Class::Normal).unwrap();
    fs.drop_caches();
    let findings = efscrypt::check::check(&fs).unwrap().findings;
    assert_eq!(findings.len(), 4, "{findings:?}");
    fs.engine().finish().unwrap();
    drop(fs);
    let report = repair(Arc::clone(&device)).unwrap();
    let lost = report.notes.iter().filter(|note| note.what.is_loss()).count();
    assert!(lost >= 2, "{:?}", report.notes);
    assert_sound(&device, "mended");
    let fs = open(Arc::clone(&device), true).unwrap();
    for (n, mode, listed) in [(1, 0o600, false), (2, 0o665, true), (3, 0o700, false)] {
        assert_eq!(fs.getattr(numbers[n]).unwrap().mode, mode, "{n}");
        assert_eq!(fs.get_acl(numbers[n], AclKind::Access).unwrap().is_some(), listed, "{n}");
    }
}
