//! Access control lists: each rule, against a reference of its own.

use std::sync::Arc;

use efscrypt::ErrorKind as Kind;
use efscrypt::device::MemoryDevice;
use efscrypt::device::sim::Rng;
use efscrypt::fs::data::{FsKey, InodeRow};
use efscrypt::fs::{
    Acl, AclEntry, AclKind, AclTag, Attr, CreateMode, Credentials, FileSystem, FileType, NewAttr,
    ROOT_INO, RenameMode, SetAttr, XattrMode,
};
use efscrypt::txn::FIRST_FS_TREE;

use crate::acl_reference::{self as reference, Entry};
use crate::bed::{DIR, FILE, assert_clean, create, kind, make, mkdir, open, put, row};

const ACCESS: &[u8] = b"system.posix_acl_access";
const DEFAULT: &[u8] = b"system.posix_acl_default";

fn entry(tag: AclTag, perm: u8) -> AclEntry {
    AclEntry { tag, perm }
}

/// `u::rw-,u:60001:rw-,g::---,m::rw-,o::r--`
fn list() -> Acl {
    let entries = vec![
        entry(AclTag::UserObj, 6),
        entry(AclTag::User(60_001), 6),
        entry(AclTag::GroupObj, 0),
        entry(AclTag::Mask, 6),
        entry(AclTag::Other, 4),
    ];
    Acl::new(entries).unwrap()
}

fn mode(fs: &FileSystem, ino: u64) -> u32 {
    fs.getattr(ino).unwrap().mode
}

fn chmod(fs: &FileSystem, ino: u64, mode: u32) -> Attr {
    fs.setattr(ino, &SetAttr { mode: Some(mode), ..SetAttr::default() }).unwrap().after
}

fn access(fs: &FileSystem, ino: u64, uid: u32, gid: u32, want: u8) -> bool {
    fs.access(ino, &Credentials { uid, gid, groups: &[] }, want).unwrap()
}

#[test]
fn the_owning_group_gets_its_own_right_not_the_mask() {
    let device = Arc::new(MemoryDevice::new());
    let fs = create(device.clone(), 1);
    let ino = make(&fs, ROOT_INO, b"a");
    let wcc = fs.set_acl(ino, AclKind::Access, Some(&list())).unwrap();
    assert_eq!(wcc.after.mode, 0o664, "the mask shows as the bits of the group");
    assert!(wcc.after.change > wcc.before.change && wcc.after.ctime > wcc.before.ctime);
    assert_eq!(wcc.after.mtime, wcc.before.mtime);
    let check = |fs: &FileSystem| {
        for want in [2, 4, 6] {
            assert!(!access(fs, ino, 60_002, 8, want), "the owning group is denied");
            assert!(access(fs, ino, 60_001, 1, want) && access(fs, ino, 7, 1, want));
        }
        assert!(access(fs, ino, 9, 9, 4) && !access(fs, ino, 9, 9, 2));
        assert_eq!(fs.get_acl(ino, AclKind::Access).unwrap(), Some(list()));
        assert_eq!(fs.get_xattr(ino, ACCESS).unwrap(), list().to_xattr());
        assert_eq!(fs.list_xattrs(ino).unwrap(), [ACCESS]);
    };
    check(&fs);
    assert_clean(&fs, "a list");
    fs.sync().unwrap();
    drop(fs);
    check(&open(device, 1));
}

#[test]
fn chmod_moves_the_mask_and_names_keep_the_list() {
    let fs = create(MemoryDevice::new(), 1);
    let (dir, ino) = (mkdir(&fs, ROOT_INO, b"d"), make(&fs, ROOT_INO, b"a"));
    fs.set_acl(ino, AclKind::Access, Some(&list())).unwrap();
    chmod(&fs, ino, 0o4640);
    assert!(access(&fs, ino, 60_001, 1, 4) && !access(&fs, ino, 60_001, 1, 2), "masked");
    assert!(!access(&fs, ino, 9, 9, 4));
    assert_eq!(fs.get_acl(ino, AclKind::Access).unwrap(), Some(list().with_mode(0o640)));
    // A mode that is set together with a size, and one that a change of contents changes.
    let both = SetAttr { mode: Some(0o6670), size: Some(70_000), ..SetAttr::default() };
    fs.setattr(ino, &both).unwrap();
    fs.write(ino, 0, &[1; 9_000]).unwrap();
    assert_eq!(mode(&fs, ino), 0o670);
    assert_eq!(fs.get_acl(ino, AclKind::Access).unwrap(), Some(list().with_mode(0o670)));
    fs.setattr(ino, &SetAttr { uid: Some(1), gid: Some(2), ..SetAttr::default() }).unwrap();
    fs.rename(ROOT_INO, b"a", dir, b"b", RenameMode::Replace).unwrap();
    fs.link(ino, ROOT_INO, b"c").unwrap();
    assert_eq!(fs.get_acl(ino, AclKind::Access).unwrap(), Some(list().with_mode(0o670)));
    assert!(!access(&fs, ino, 9, 2, 4), "the new group has what the old one had");
    // Another list in its place, one that is a mode, and none.
    let mode_alone = Acl::from_mode(0o751);
    let wcc = fs.set_acl(ino, AclKind::Access, Some(&mode_alone)).unwrap();
    assert_eq!((wcc.after.mode, fs.get_acl(ino, AclKind::Access).unwrap()), (0o751, None));
    assert!(fs.list_xattrs(ino).unwrap().is_empty());
    fs.set_acl(ino, AclKind::Access, Some(&list())).unwrap();
    let wcc = fs.set_acl(ino, AclKind::Access, None).unwrap();
    assert_eq!((wcc.after.mode, wcc.before.change < wcc.after.change), (0o664, true));
    let again = fs.set_acl(ino, AclKind::Access, None).unwrap();
    assert_eq!(again.after, wcc.after, "there was none");
    assert_clean(&fs, "changes");
}

#[test]
fn a_list_takes_set_group_id_away_from_who_is_not_in_the_group() {
    let fs = create(MemoryDevice::new(), 1);
    let (dir, ino) = (mkdir(&fs, ROOT_INO, b"d"), make(&fs, ROOT_INO, b"a"));
    for ino in [dir, ino] {
        for list in [list(), Acl::from_mode(0o664)] {
            chmod(&fs, ino, 0o7000);
            fs.privileged().set_acl(ino, AclKind::Access, Some(&list)).unwrap();
            assert_eq!(mode(&fs, ino), 0o7664);
            fs.set_acl(ino, AclKind::Access, Some(&list)).unwrap();
            assert_eq!(mode(&fs, ino), 0o5664);
        }
    }
    chmod(&fs, dir, 0o2755);
    fs.set_acl(dir, AclKind::Default, Some(&list())).unwrap();
    assert_eq!(mode(&fs, dir), 0o2755, "a default list changes no mode");
}

#[test]
fn the_names_of_lists_are_the_lists() {
    let fs = create(MemoryDevice::new(), 1);
    let (dir, ino) = (mkdir(&fs, ROOT_INO, b"d"), make(&fs, ROOT_INO, b"a"));
    let value = list().to_xattr();
    let set = |ino, name: &[u8], value: &[u8], mode| fs.set_xattr(ino, name, value, mode);
    let any = XattrMode::Either;
    assert_eq!(kind(fs.get_xattr(ino, ACCESS)), Some(Kind::NoAttribute));
    assert_eq!(kind(fs.remove_xattr(ino, ACCESS)), Some(Kind::NoAttribute));
    assert_eq!(kind(set(ino, ACCESS, &value, XattrMode::Replace)), Some(Kind::NoAttribute));
    assert_eq!(set(ino, ACCESS, &value, XattrMode::Create).unwrap().after.mode, 0o664);
    assert_eq!(kind(set(ino, ACCESS, &value, XattrMode::Create)), Some(Kind::Exists));
    assert_eq!(fs.remove_xattr(ino, ACCESS).unwrap().after.mode, 0o664);
    assert_eq!(row(&fs, ino).flags.get() & InodeRow::ACL, 0);
    set(ino, ACCESS, &value, any).unwrap();
    // Without entries it is none.
    set(ino, ACCESS, &[2, 0, 0, 0], any).unwrap();
    assert_eq!(fs.get_acl(ino, AclKind::Access).unwrap(), None);
    assert_eq!(kind(set(ino, DEFAULT, &value, any)), Some(Kind::NotDirectory));
    set(dir, DEFAULT, &value, any).unwrap();
    assert_eq!(fs.get_acl(dir, AclKind::Default).unwrap(), Some(list()));
    let link = fs.symlink(ROOT_INO, b"l", b"a", &FILE).unwrap().attr.ino;
    assert_eq!(kind(set(link, ACCESS, &value, any)), Some(Kind::NotSupported));
    assert_eq!(kind(set(ino, ACCESS, &value[..9], any)), Some(Kind::InvalidArgument));
    assert_eq!(kind(set(ino, ACCESS, &[1, 0, 0, 0], any)), Some(Kind::NotSupported));
    assert_clean(&fs, "names");
}

#[test]
fn an_exclusive_creation_ends_with_the_mode() {
    let fs = create(MemoryDevice::new(), 1);
    let exclusive = CreateMode::Exclusive([3; 8]);
    let ino = fs.create(ROOT_INO, b"a", &FILE, exclusive).unwrap().attr.ino;
    assert!(!fs.create(ROOT_INO, b"a", &FILE, exclusive).unwrap().created);
    fs.set_acl(ino, AclKind::Access, Some(&list())).unwrap();
    assert_eq!(kind(fs.create(ROOT_INO, b"a", &FILE, exclusive)), Some(Kind::Exists));
}

#[test]
fn what_is_made_starts_from_the_default_list() {
    let fs = create(MemoryDevice::new(), 1);
    let dir = mkdir(&fs, ROOT_INO, b"d");
    fs.set_acl(dir, AclKind::Default, Some(&list())).unwrap();
    let new = NewAttr { mode: 0o4777, umask: 0o077, ..FILE };
    let made = fs.create_with(dir, b"f", &new, CreateMode::Guarded, &[7; 2_048]).unwrap().attr;
    assert_eq!(made.mode, 0o4664, "the umask counts nothing");
    assert_eq!(fs.getattr(made.ino).unwrap(), made);
    assert_eq!(fs.get_acl(made.ino, AclKind::Access).unwrap(), Some(list()));
    assert_eq!(fs.get_acl(made.ino, AclKind::Default).unwrap(), None);
    let below = fs.mkdir(dir, b"d", &NewAttr { mode: 0o2755, ..new }).unwrap().attr;
    assert_eq!(below.mode, 0o2644);
    assert_eq!(fs.get_acl(below.ino, AclKind::Default).unwrap(), Some(list()));
    assert_eq!(fs.get_acl(below.ino, AclKind::Access).unwrap(), Some(list().with_mode(0o644)));
    let pipe = fs.mknod(dir, b"p", FileType::Fifo, 0, &new).unwrap().attr;
    assert_eq!((pipe.mode, fs.list_xattrs(pipe.ino).unwrap().len()), (0o4664, 1));
    let link = fs.symlink(dir, b"l", b"f", &new).unwrap().attr;
    assert_eq!((link.mode, fs.list_xattrs(link.ino).unwrap().len()), (0o4777, 0));
    // What a rename leaves is made, too.
    let white = fs.rename_whiteout(dir, b"p", dir, b"q", RenameMode::Replace, &new).unwrap();
    let white = white.whiteout.unwrap();
    assert_eq!((white.mode, fs.list_xattrs(white.ino).unwrap().len()), (0o4664, 1));
    // A default list that is a mode is kept, and gives no list.
    fs.set_acl(dir, AclKind::Default, Some(&Acl::from_mode(0o750))).unwrap();
    let plain = fs.create(dir, b"g", &new, CreateMode::Guarded).unwrap().attr;
    assert_eq!((plain.mode, fs.list_xattrs(plain.ino).unwrap().len()), (0o4750, 0));
    fs.set_acl(dir, AclKind::Default, None).unwrap();
    let plain = fs.create(dir, b"h", &new, CreateMode::Guarded).unwrap().attr;
    assert_eq!(plain.mode, 0o4700, "without one it does");
    fs.unlink(dir, b"f").unwrap();
    while !fs.maintain().unwrap() {}
    assert_clean(&fs, "inheritance");
}

#[test]
fn a_list_that_makes_no_sense_grants_nothing() {
    let fs = create(MemoryDevice::new(), 1);
    let (dir, ino) = (mkdir(&fs, ROOT_INO, b"d"), make(&fs, ROOT_INO, b"a"));
    fs.set_acl(ino, AclKind::Access, Some(&list())).unwrap();
    fs.set_acl(dir, AclKind::Default, Some(&list())).unwrap();
    for ino in [dir, ino] {
        let (from, to) = (FsKey::Xattr(ino, 0, 0), FsKey::Xattr(ino, u64::MAX, 0));
        let mut found = None;
        let scan = fs.engine().scan(FIRST_FS_TREE, &from.encode(), &to.encode(), |key, value| {
            found = Some((FsKey::parse(key).unwrap(), value.to_vec()));
            true
        });
        scan.unwrap();
        let (key, mut value) = found.unwrap();
        *value.last_mut().unwrap() ^= 0x40;
        let tag = value.len() - 8;
        value[tag] = 64;
        put(&fs, key, &value);
    }
    let who = Credentials { uid: 7, gid: 8, groups: &[] };
    assert_eq!(kind(fs.access(ino, &who, 4)), Some(Kind::Corrupt));
    assert_eq!(kind(fs.get_xattr(ino, ACCESS)), Some(Kind::Corrupt));
    assert_eq!(kind(fs.create(dir, b"x", &FILE, CreateMode::Guarded)), Some(Kind::Corrupt));
    assert!(!efscrypt::check::check(&fs).unwrap().is_clean());
    // It can be replaced and removed.
    fs.set_acl(ino, AclKind::Access, Some(&list())).unwrap();
    fs.set_acl(dir, AclKind::Default, None).unwrap();
    fs.create(dir, b"x", &FILE, CreateMode::Guarded).unwrap();
    assert_clean(&fs, "mended");
}

#[test]
fn the_longest_list_fits_wherever_one_is_put() {
    let fs = create(MemoryDevice::new(), 1);
    let long = |named: u32| {
        let mut entries = vec![entry(AclTag::UserObj, 7)];
        entries.extend((0..named).map(|uid| entry(AclTag::User(uid), 5)));
        let rest = [(AclTag::GroupObj, 5), (AclTag::Mask, 7), (AclTag::Other, 1)];
        entries.extend(rest.map(|(tag, perm)| entry(tag, perm)));
        Acl::new(entries)
    };
    assert!(long(508).is_err());
    let list = long(507).unwrap();
    assert_eq!(list.to_xattr().len(), 4_092);
    let dir = mkdir(&fs, ROOT_INO, b"d");
    fs.set_acl(dir, AclKind::Access, Some(&list)).unwrap();
    fs.set_acl(dir, AclKind::Default, Some(&list)).unwrap();
    let new = NewAttr { mode: 0o777, ..DIR };
    let below = fs.mkdir(dir, b"d", &new).unwrap().attr.ino;
    let file = fs.create_with(below, b"f", &new, CreateMode::Guarded, &[1; 2_048]).unwrap();
    assert_eq!(fs.get_acl(file.attr.ino, AclKind::Access).unwrap(), Some(list));
    assert_clean(&fs, "long lists");
}

/// A list of either kind, valid or not.
fn random(rng: &mut Rng) -> Vec<Entry> {
    let mut list = vec![(1, rng.below(8) as u16, u32::MAX)];
    let names = [0, 0, 1, 2, 3][rng.below(5) as usize];
    for _ in 0..names {
        list.push((2, rng.below(8) as u16, 1 + rng.below(4) as u32));
    }
    list.push((4, rng.below(8) as u16, u32::MAX));
    let groups = [0, 0, 1, 2, 3][rng.below(5) as usize];
    for _ in 0..groups {
        list.push((8, rng.below(8) as u16, 11 + rng.below(4) as u32));
    }
    if names + groups > 0 || rng.one_in(3) {
        list.push((16, rng.below(8) as u16, u32::MAX));
    }
    list.push((32, rng.below(8) as u16, u32::MAX));
    if rng.one_in(6) {
        let at = rng.below(list.len() as u64) as usize;
        match rng.below(5) {
            0 => drop(list.remove(at)),
            1 => list.insert(at, list[rng.below(list.len() as u64) as usize]),
            2 => list[at].0 = [0, 1, 2, 3, 4, 8, 16, 32, 64, 256][rng.below(10) as usize],
            3 => list[at].1 = [8, 255, 256, 0x107][rng.below(4) as usize],
            _ => list[at].2 = [0, u32::MAX, 77][rng.below(3) as usize],
        }
    }
    list
}

#[test]
fn lists_mean_what_they_mean_to_linux() {
    let mut rng = Rng::new(0xac1);
    let (mut taken, mut refused) = (0, 0);
    for _ in 0..20_000 {
        let entries = random(&mut rng);
        let parsed = Acl::from_xattr(&reference::encode(&entries));
        if !reference::valid(&entries) {
            assert!(parsed.is_err(), "{entries:?}");
            refused += 1;
            continue;
        }
        let list = parsed.unwrap().unwrap();
        taken += 1;
        let value = list.to_xattr();
        assert_eq!(reference::canonical(&entries), value, "{entries:?}");
        assert_eq!(Acl::from_xattr(&value).unwrap().unwrap(), list);
        let mode = rng.below(0o10000) as u32;
        let (bits, same) = reference::equiv_mode(&entries, mode);
        assert_eq!((mode & !0o777 | list.equiv_mode().0, list.equiv_mode().1), (bits, same));
        let changed = reference::chmod(&entries, mode);
        assert_eq!(list.with_mode(mode).to_xattr(), reference::canonical(&changed));
        let (bits, access) = reference::create(&entries, mode);
        let (have, inherited) = list.inherit(mode);
        assert_eq!((have, inherited.map(|list| list.to_xattr())), (bits, access), "{entries:?}");
        let without = list.mode_without(mode);
        for _ in 0..20 {
            let owner = (1 + rng.below(5) as u32, 11 + rng.below(5) as u32);
            let groups: Vec<u32> = (11..16).filter(|_| rng.one_in(3)).collect();
            let (uid, gid) = (1 + rng.below(5) as u32, 11 + rng.below(5) as u32);
            let (who, want) = (Credentials { uid, gid, groups: &groups }, rng.below(8) as u8);
            let have = list.permits(owner, &who, want);
            let all: Vec<u32> = groups.iter().copied().chain([gid]).collect();
            let right = reference::permission(&entries, owner, uid, &all, want.into());
            assert_eq!(have, right, "{entries:?} {owner:?} {who:?} {want}");
            // Without the list nobody has more.
            let now = list.with_mode(mode).permits(owner, &who, want);
            assert!(now || !Acl::from_mode(without).permits(owner, &who, want), "{entries:?}");
        }
        assert_eq!(without & !0o077, mode & !0o077);
    }
    assert!(taken > 10_000 && refused > 1_000, "{taken} {refused}");
}

#[test]
fn any_bytes_are_a_list_or_refused() {
    let mut rng = Rng::new(7);
    for _ in 0..20_000 {
        let mut bytes = reference::encode(&random(&mut rng));
        for _ in 0..rng.below(4) {
            let at = rng.below(bytes.len() as u64) as usize;
            bytes[at] ^= 1 << rng.below(8);
        }
        bytes.truncate(rng.below(2 * bytes.len() as u64) as usize);
        if let Ok(Some(list)) = Acl::from_xattr(&bytes) {
            assert_eq!(Acl::from_xattr(&list.to_xattr()).unwrap(), Some(list));
        }
    }
    assert!(Acl::from_xattr(&[2; 65_536]).is_err());
}

#[test]
fn a_file_system_keeps_lists_as_linux_does() {
    let fs = create(MemoryDevice::new(), 1);
    let mut rng = Rng::new(0xf5ac1);
    let dir = mkdir(&fs, ROOT_INO, b"d");
    let mut default: Option<Vec<Entry>> = None;
    for n in 0..600 {
        if rng.one_in(3) {
            default = Some(random(&mut rng)).filter(|list| reference::valid(list));
            let list = default.as_ref().map(|list| reference::encode(list));
            let list = list.and_then(|value| Acl::from_xattr(&value).unwrap());
            fs.set_acl(dir, AclKind::Default, list.as_ref()).unwrap();
        }
        let (asked, umask) = (rng.below(0o10000) as u32, rng.below(0o1000) as u32);
        let new = NewAttr { mode: asked, umask, ..FILE };
        let name = format!("{n}").into_bytes();
        let (made, is_dir) = match rng.one_in(2) {
            true => (fs.mkdir(dir, &name, &new).unwrap().attr, true),
            false => (fs.create(dir, &name, &new, CreateMode::Guarded).unwrap().attr, false),
        };
        let (mut mode, mut access) = match &default {
            Some(list) => reference::create(list, asked),
            None => (asked & !umask, None),
        };
        let ino = made.ino;
        let value = |kind: AclKind| fs.get_acl(ino, kind).unwrap().map(|list| list.to_xattr());
        let inherited = default.as_ref().filter(|_| is_dir);
        assert_eq!(value(AclKind::Default), inherited.map(|list| reference::canonical(list)));
        for _ in 0..3 {
            assert_eq!((fs.getattr(ino).unwrap().mode, value(AclKind::Access)), (mode, access));
            access = value(AclKind::Access);
            if rng.one_in(2) {
                mode = rng.below(0o10000) as u32;
                chmod(&fs, ino, mode);
                let changed =
                    access.map(|value| reference::chmod(&reference::decode(&value), mode));
                access = changed.map(|list| reference::canonical(&list));
                continue;
            }
            let list = random(&mut rng);
            let set = fs.set_xattr(ino, ACCESS, &reference::encode(&list), XattrMode::Either);
            assert_eq!(set.is_ok(), reference::valid(&list));
            if set.is_ok() {
                let same;
                (mode, same) = reference::equiv_mode(&list, mode & !0o2000);
                access = (!same).then(|| reference::canonical(&list));
            }
        }
        fs.drop_caches();
    }
    assert_clean(&fs, "a random history");
}
