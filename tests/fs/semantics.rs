//! What each operation promises, one by one.

use std::sync::Arc;

use efscrypt::ErrorKind as Kind;
use efscrypt::device::MemoryDevice;
use efscrypt::fs::data::{FsKey, InodeRow};
use efscrypt::fs::{
    CreateMode, FileSystem, FileType, NewAttr, ROOT_INO, RenameMode, SetAttr, Time, XattrMode,
};
use efscrypt::txn::{Class, Edits, FIRST_FS_TREE};
use zerocopy::IntoBytes;

use crate::bed::{
    DIR, FILE, assert_clean, create, create_with_keys, kind, make, mkdir, names, open,
    open_read_only, pattern,
};

#[test]
fn creation_sets_everything_at_once() {
    let fs = create(MemoryDevice::new(), 1);
    let root = fs.getattr(ROOT_INO).unwrap();
    assert_eq!((root.kind, root.mode, root.nlink), (FileType::Directory, 0o755, 2));
    let at = Time { seconds: -5, nanoseconds: 999_999_999 };
    let new = NewAttr { mode: 0o4711, umask: 0, uid: 1, gid: 2, atime: Some(at), mtime: None };
    let made = fs.create(ROOT_INO, b"a", &new, CreateMode::Guarded).unwrap();
    let attr = made.attr;
    assert!(made.created && attr.atime == at && attr.btime == attr.ctime);
    assert_eq!((attr.mode, attr.uid, attr.gid, attr.nlink), (0o4711, 1, 2, 1));
    assert_eq!((made.dir.before.change, made.dir.before.size), (root.change, 0));
    assert!(made.dir.after.change > root.change && made.dir.after.mtime > root.mtime);
    assert_eq!((made.dir.after.entries, made.dir.after.size), (1, 1));
    assert_eq!(fs.getattr(attr.ino).unwrap(), attr);
    assert_eq!(fs.lookup(ROOT_INO, b"a").unwrap(), attr);
    assert_eq!(fs.getattr(ROOT_INO).unwrap(), made.dir.after);
    assert_clean(&fs, "created");
}

#[test]
fn every_type_comes_back_after_reopening() {
    let device = Arc::new(MemoryDevice::new());
    let fs = create(device.clone(), 1);
    let types = [FileType::Fifo, FileType::Socket, FileType::CharDevice, FileType::BlockDevice];
    for kind in types {
        let made = fs.mknod(ROOT_INO, &[kind as u8], kind, 0x1234_5678_9abc, &FILE).unwrap();
        let device = matches!(kind, FileType::CharDevice | FileType::BlockDevice);
        assert_eq!(made.attr.rdev, if device { 0x1234_5678_9abc } else { 0 });
    }
    let target = pattern(3, 4095).into_iter().map(|b| b | 1).collect::<Vec<_>>();
    for len in [1, 100, 2048, 2049, 4095] {
        let name = format!("link{len}");
        fs.symlink(ROOT_INO, name.as_bytes(), &target[..len], &FILE).unwrap();
    }
    assert_eq!(
        kind(fs.mknod(ROOT_INO, b"x", FileType::Regular, 0, &FILE)),
        Some(Kind::InvalidArgument)
    );
    assert_eq!(kind(fs.symlink(ROOT_INO, b"x", &[7; 4096], &FILE)), Some(Kind::NameTooLong));
    fs.sync().unwrap();
    drop(fs);
    let fs = open(device, 2);
    for kind in types {
        assert_eq!(fs.lookup(ROOT_INO, &[kind as u8]).unwrap().kind, kind);
    }
    for len in [1, 100, 2048, 2049, 4095] {
        let attr = fs.lookup(ROOT_INO, format!("link{len}").as_bytes()).unwrap();
        assert_eq!((attr.kind, attr.size), (FileType::Symlink, len as u64));
        assert!(fs.readlink(attr.ino).unwrap() == target[..len]);
        assert_eq!(kind(fs.read(attr.ino, 0, &mut [0; 4])), Some(Kind::InvalidArgument));
    }
    assert_eq!(kind(fs.readlink(ROOT_INO)), Some(Kind::InvalidArgument));
    assert_clean(&fs, "types");
}

#[test]
fn creation_modes() {
    let device = Arc::new(MemoryDevice::new());
    let fs = create(device.clone(), 1);
    let ino = make(&fs, ROOT_INO, b"a");
    assert_eq!(kind(fs.create(ROOT_INO, b"a", &FILE, CreateMode::Guarded)), Some(Kind::Exists));
    let again = fs.create(ROOT_INO, b"a", &FILE, CreateMode::Unchecked).unwrap();
    assert!(!again.created && again.attr.ino == ino);
    assert_eq!(again.dir.before.change, again.dir.after.change);
    mkdir(&fs, ROOT_INO, b"d");
    assert_eq!(kind(fs.create(ROOT_INO, b"d", &FILE, CreateMode::Unchecked)), Some(Kind::Exists));
    let (mine, other) = (CreateMode::Exclusive([1; 8]), CreateMode::Exclusive([2; 8]));
    let made = fs.create(ROOT_INO, b"e", &FILE, mine).unwrap();
    fs.sync().unwrap();
    drop(fs);
    let fs = open(device, 2);
    let again = fs.create(ROOT_INO, b"e", &FILE, mine).unwrap();
    assert!(!again.created && again.attr == made.attr);
    assert_eq!(kind(fs.create(ROOT_INO, b"e", &FILE, other)), Some(Kind::Exists));
    fs.setattr(made.attr.ino, &SetAttr { mode: Some(0o600), ..SetAttr::default() }).unwrap();
    assert_eq!(kind(fs.create(ROOT_INO, b"e", &FILE, mine)), Some(Kind::Exists));
    // A verifier of zeros is one like any other.
    let zeros = CreateMode::Exclusive([0; 8]);
    assert_eq!(kind(fs.create(ROOT_INO, b"a", &FILE, zeros)), Some(Kind::Exists));
}

#[test]
fn set_group_id_directories_hand_down_their_group() {
    let fs = create(MemoryDevice::new(), 1);
    let dir = NewAttr { mode: 0o2755, umask: 0, uid: 1, gid: 42, ..NewAttr::default() };
    let dir = fs.mkdir(ROOT_INO, b"d", &dir).unwrap().attr.ino;
    let file = fs.create(dir, b"f", &FILE, CreateMode::Guarded).unwrap().attr;
    let sub = fs.mkdir(dir, b"s", &DIR).unwrap().attr;
    assert_eq!((file.gid, file.mode), (42, 0o644));
    assert_eq!((sub.gid, sub.mode), (42, 0o2755));
}

#[test]
fn contents_in_the_tree_take_space_too() {
    let fs = create(MemoryDevice::new(), 1);
    let made = |name: &[u8], len| {
        let bytes = pattern(1, len);
        fs.create_with(ROOT_INO, name, &FILE, CreateMode::Guarded, &bytes).unwrap().attr
    };
    let spaces = [(b"a", 0, 0), (b"b", 1, 512), (b"c", 513, 1024), (b"d", 2048, 2048)];
    for (name, len, space) in spaces {
        assert_eq!(made(name, len).space, space, "{len} bytes");
    }
    // Who takes a file without blocks for a hole would lose them.
    let ino = made(b"e", 100).ino;
    fs.setattr(ino, &SetAttr { size: Some(1 << 30), ..SetAttr::default() }).unwrap();
    assert!(fs.getattr(ino).unwrap().space > 0);
    let sparse = make(&fs, ROOT_INO, b"f");
    fs.setattr(sparse, &SetAttr { size: Some(1 << 30), ..SetAttr::default() }).unwrap();
    assert_eq!(fs.getattr(sparse).unwrap().space, 0);
    let link = fs.symlink(ROOT_INO, b"l", b"target", &FILE).unwrap().attr;
    assert_eq!((link.size, link.space), (6, 512));
}

#[test]
fn only_regular_files_have_bytes() {
    let fs = create(MemoryDevice::new(), 1);
    let fifo = fs.mknod(ROOT_INO, b"fifo", FileType::Fifo, 0, &FILE).unwrap().attr.ino;
    let link = fs.symlink(ROOT_INO, b"link", b"target", &FILE).unwrap().attr.ino;
    let size = SetAttr { size: Some(0), ..SetAttr::default() };
    for ino in [fifo, link] {
        assert_eq!(kind(fs.read(ino, 0, &mut [0; 9])), Some(Kind::InvalidArgument));
        assert_eq!(kind(fs.write(ino, 0, b"x")), Some(Kind::InvalidArgument));
        assert_eq!(kind(fs.setattr(ino, &size)), Some(Kind::InvalidArgument));
    }
    assert_eq!(kind(fs.read(ROOT_INO, 0, &mut [0; 9])), Some(Kind::IsDirectory));
}

#[test]
fn an_answer_to_a_read_says_what_the_file_was() {
    let fs = create(MemoryDevice::new(), 1);
    let ino = make(&fs, ROOT_INO, b"a");
    fs.write(ino, 0, &pattern(1, 5_000)).unwrap();
    let read = fs.read(ino, 4_999, &mut [0; 10]).unwrap();
    assert_eq!((read.len, read.eof, read.attr), (1, true, fs.getattr(ino).unwrap()));
}

#[test]
fn no_two_openings_have_one_write_verifier() {
    let device = Arc::new(MemoryDevice::new());
    let fs = create(device.clone(), 1);
    let mut seen = std::collections::BTreeSet::from([fs.write_verifier()]);
    assert_eq!(fs.write_verifier(), fs.write_verifier());
    drop(fs);
    for seed in 2..20 {
        assert!(seen.insert(open(device.clone(), seed).write_verifier()));
    }
}

#[test]
fn keys_of_files_that_are_gone_are_forgotten() {
    let (fs, keys) = create_with_keys(MemoryDevice::new(), 1);
    let before = keys.expanded();
    for n in 0..100u8 {
        let bytes = pattern(1, if n % 2 == 0 { 1_000 } else { 3 << 20 });
        let name = [b'a', n | 128];
        let made = fs.create_with(ROOT_INO, &name, &FILE, CreateMode::Guarded, &bytes).unwrap();
        assert_eq!(keys.expanded(), before + 1);
        fs.open(made.attr.ino).unwrap();
        fs.unlink(ROOT_INO, &name).unwrap();
        fs.close(made.attr.ino).unwrap();
        assert_eq!(keys.expanded(), before);
    }
    make(&fs, ROOT_INO, b"kept");
    let other = fs.create_with(ROOT_INO, b"o", &FILE, CreateMode::Guarded, b"bytes").unwrap();
    fs.rename(ROOT_INO, b"kept", ROOT_INO, b"o", RenameMode::Replace).unwrap();
    assert_eq!(kind(fs.getattr(other.attr.ino)), Some(Kind::Stale));
    assert_eq!(keys.expanded(), before);
}

#[test]
fn links_count_and_the_last_one_frees() {
    let fs = create(MemoryDevice::new(), 1);
    let (a, b) = (mkdir(&fs, ROOT_INO, b"a"), mkdir(&fs, ROOT_INO, b"b"));
    let used = fs.engine().usage().used;
    let ino = make(&fs, a, b"f");
    fs.write(ino, 0, &pattern(1, 3 << 20)).unwrap();
    let linked = fs.link(ino, b, b"g").unwrap();
    assert_eq!((linked.inode.after.nlink, linked.dir.after.entries), (2, 1));
    assert!(linked.inode.after.change > linked.inode.before.change);
    assert_eq!(kind(fs.link(ino, b, b"g")), Some(Kind::Exists));
    assert_eq!(kind(fs.link(a, b, b"h")), Some(Kind::IsDirectory));
    fs.unlink(a, b"f").unwrap();
    assert_eq!(fs.getattr(ino).unwrap().nlink, 1);
    fs.unlink(b, b"g").unwrap();
    assert_eq!(kind(fs.getattr(ino)), Some(Kind::Stale));
    assert_clean(&fs, "freed");
    assert!(fs.engine().usage().used < used + 64, "the contents were given back");
}

#[test]
fn open_files_outlive_their_names() {
    let device = Arc::new(MemoryDevice::new());
    let fs = create(device.clone(), 1);
    let bytes = pattern(1, 100_000);
    let (kept, left) = (make(&fs, ROOT_INO, b"kept"), make(&fs, ROOT_INO, b"left"));
    for ino in [kept, left] {
        fs.write(ino, 0, &bytes).unwrap();
        fs.set_xattr(ino, b"user.x", &pattern(2, 60_000), XattrMode::Either).unwrap();
        fs.open(ino).unwrap();
        fs.open(ino).unwrap();
    }
    fs.unlink(ROOT_INO, b"kept").unwrap();
    fs.unlink(ROOT_INO, b"left").unwrap();
    assert_eq!(fs.getattr(kept).unwrap().nlink, 0);
    let handle = fs.handle_of(kept).unwrap();
    assert_eq!(fs.by_handle(&handle).unwrap(), kept);
    assert_eq!(kind(fs.link(kept, ROOT_INO, b"again")), Some(Kind::NotFound));
    fs.close(kept).unwrap();
    assert!(fs.maintain().unwrap());
    let mut back = vec![0; bytes.len()];
    assert_eq!(fs.read(kept, 0, &mut back).unwrap().len, bytes.len());
    assert!(back == bytes);
    fs.close(kept).unwrap();
    assert_eq!(kind(fs.close(kept)), Some(Kind::InvalidArgument));
    assert_eq!(kind(fs.by_handle(&handle)), Some(Kind::Stale));
    // The other one is open when the store is left; the next mount frees it.
    assert_eq!(efscrypt::check::check(&fs).unwrap().orphans, 1);
    fs.sync().unwrap();
    drop(fs);
    let fs = open(device, 2);
    assert_eq!(kind(fs.getattr(left)), Some(Kind::Stale));
    assert!(fs.maintain().unwrap());
    assert_clean(&fs, "reaped");
}

#[test]
fn open_directories_outlive_their_names() {
    let fs = create(MemoryDevice::new(), 1);
    let dir = mkdir(&fs, ROOT_INO, b"d");
    fs.open(dir).unwrap();
    fs.rmdir(ROOT_INO, b"d").unwrap();
    assert_eq!(kind(fs.create(dir, b"f", &FILE, CreateMode::Guarded)), Some(Kind::NotFound));
    assert!(names(&fs, dir).is_empty());
    fs.close(dir).unwrap();
    assert_eq!(kind(fs.getattr(dir)), Some(Kind::Stale));
    assert_clean(&fs, "closed");
}

#[test]
fn removing_is_strict_about_types() {
    let fs = create(MemoryDevice::new(), 1);
    let dir = mkdir(&fs, ROOT_INO, b"d");
    make(&fs, dir, b"f");
    assert_eq!(kind(fs.unlink(ROOT_INO, b"d")), Some(Kind::IsDirectory));
    assert_eq!(kind(fs.rmdir(dir, b"f")), Some(Kind::NotDirectory));
    assert_eq!(kind(fs.rmdir(ROOT_INO, b"d")), Some(Kind::NotEmpty));
    assert_eq!(kind(fs.rmdir(dir, b".")), Some(Kind::InvalidArgument));
    assert_eq!(kind(fs.rmdir(dir, b"..")), Some(Kind::NotEmpty));
    assert_eq!(kind(fs.unlink(dir, b"..")), Some(Kind::IsDirectory));
    assert_eq!(kind(fs.unlink(dir, b"none")), Some(Kind::NotFound));
    assert_eq!(fs.getattr(ROOT_INO).unwrap().nlink, 3);
    fs.unlink(dir, b"f").unwrap();
    fs.rmdir(ROOT_INO, b"d").unwrap();
    assert_eq!(fs.getattr(ROOT_INO).unwrap().nlink, 2);
    assert_eq!(kind(fs.lookup(dir, b"..")), Some(Kind::Stale));
    assert_clean(&fs, "removed");
}

#[test]
fn renames() {
    let fs = create(MemoryDevice::new(), 1);
    let rename = |from, a: &[u8], to, b: &[u8], mode| fs.rename(from, a, to, b, mode).map(|_| ());
    let replace = RenameMode::Replace;
    let (a, b) = (mkdir(&fs, ROOT_INO, b"a"), mkdir(&fs, ROOT_INO, b"b"));
    let sub = mkdir(&fs, a, b"sub");
    let (f, g) = (make(&fs, a, b"f"), make(&fs, b, b"g"));
    fs.write(g, 0, &pattern(1, 50_000)).unwrap();
    // Below itself, onto another type, onto what is not empty, what must not or does not exist.
    assert_eq!(kind(rename(ROOT_INO, b"a", sub, b"x", replace)), Some(Kind::Loop));
    assert_eq!(kind(rename(ROOT_INO, b"a", a, b"x", replace)), Some(Kind::Loop));
    assert_eq!(kind(rename(ROOT_INO, b"b", sub, b"x", RenameMode::Exchange)), Some(Kind::NotFound));
    assert_eq!(kind(rename(a, b"sub", ROOT_INO, b"a", RenameMode::Exchange)), Some(Kind::Loop));
    assert_eq!(kind(rename(a, b"sub", b, b"g", replace)), Some(Kind::NotDirectory));
    assert_eq!(kind(rename(a, b"f", ROOT_INO, b"b", replace)), Some(Kind::IsDirectory));
    assert_eq!(kind(rename(a, b"sub", ROOT_INO, b"b", replace)), Some(Kind::NotEmpty));
    assert_eq!(kind(rename(a, b"sub", ROOT_INO, b"a", replace)), Some(Kind::NotEmpty));
    assert_eq!(kind(rename(a, b"f", b, b"g", RenameMode::NoReplace)), Some(Kind::Exists));
    assert_eq!(kind(rename(a, b"none", b, b"g", replace)), Some(Kind::NotFound));
    assert_eq!(kind(rename(a, b".", b, b"g", replace)), Some(Kind::InvalidArgument));
    // A file over a file: the old one is gone.
    let done = fs.rename(a, b"f", b, b"g", replace).unwrap();
    assert_eq!((done.from.after.entries, done.to.after.entries), (1, 1));
    assert_eq!(fs.lookup(b, b"g").unwrap().ino, f);
    assert_eq!(kind(fs.getattr(g)), Some(Kind::Stale));
    // A directory to another place, and over an empty one.
    rename(a, b"sub", b, b"moved", replace).unwrap();
    assert_eq!(fs.lookup(sub, b"..").unwrap().ino, b);
    assert_eq!([a, b].map(|dir| fs.getattr(dir).unwrap().nlink), [2, 3]);
    let empty = mkdir(&fs, ROOT_INO, b"empty");
    rename(b, b"moved", ROOT_INO, b"empty", replace).unwrap();
    assert_eq!(kind(fs.getattr(empty)), Some(Kind::Stale));
    assert_eq!(fs.lookup(ROOT_INO, b"empty").unwrap().ino, sub);
    // An exchange of a directory and a file.
    rename(b, b"g", ROOT_INO, b"empty", RenameMode::Exchange).unwrap();
    assert_eq!(fs.lookup(b, b"g").unwrap().ino, sub);
    assert_eq!(fs.lookup(ROOT_INO, b"empty").unwrap().ino, f);
    assert_eq!(fs.lookup(sub, b"..").unwrap().ino, b);
    // Two names of one inode: nothing happens.
    fs.link(f, b, b"twin").unwrap();
    let before = fs.getattr(f).unwrap();
    rename(b, b"twin", ROOT_INO, b"empty", replace).unwrap();
    assert_eq!(fs.getattr(f).unwrap(), before);
    assert_eq!(before.nlink, 2);
    assert_eq!(kind(rename(b, b"twin", b, b"twin", RenameMode::NoReplace)), Some(Kind::Exists));
    assert_clean(&fs, "renamed");
}

#[test]
fn handles_live_as_long_as_their_inode() {
    let device = Arc::new(MemoryDevice::new());
    let fs = create(device.clone(), 1);
    let dir = mkdir(&fs, ROOT_INO, b"d");
    let ino = make(&fs, ROOT_INO, b"f");
    let handle = fs.handle_of(ino).unwrap();
    fs.rename(ROOT_INO, b"f", dir, b"g", RenameMode::Replace).unwrap();
    fs.sync().unwrap();
    drop(fs);
    let fs = open(device.clone(), 2);
    assert_eq!(fs.by_handle(&handle).unwrap(), ino);
    assert_eq!(fs.handle_of(ino).unwrap(), handle);
    for bit in 0..handle.len() * 8 {
        let mut forged = handle;
        forged[bit / 8] ^= 1 << (bit % 8);
        assert_eq!(kind(fs.by_handle(&forged)), Some(Kind::BadHandle), "bit {bit}");
    }
    assert_eq!(kind(fs.by_handle(&handle[1..])), Some(Kind::BadHandle));
    fs.unlink(dir, b"g").unwrap();
    assert_eq!(kind(fs.by_handle(&handle)), Some(Kind::Stale));
    fs.sync().unwrap();
    drop(fs);
    // Neither the handle nor the number comes again.
    let fs = open(device, 3);
    let next = make(&fs, ROOT_INO, b"new");
    assert!(next > ino, "{next}");
    assert_eq!(kind(fs.getattr(ino)), Some(Kind::Stale));
    assert_eq!(kind(fs.by_handle(&handle)), Some(Kind::Stale));
}

/// The number alone is no name: where an inode of another generation has it, a handle is stale.
#[test]
fn a_handle_of_another_generation_is_stale() {
    let device = Arc::new(MemoryDevice::new());
    let fs = create(device.clone(), 1);
    let ino = make(&fs, ROOT_INO, b"f");
    let (handle, generation) = (fs.handle_of(ino).unwrap(), fs.getattr(ino).unwrap().generation);
    let key = FsKey::Inode(ino).encode();
    let set = |fs: &FileSystem, generation: u64| {
        let row = fs.engine().get(FIRST_FS_TREE, &key, |row| InodeRow::parse(row, ino));
        let mut row = row.unwrap().unwrap().unwrap();
        row.generation = generation.into();
        let mut edits = Edits::new();
        edits.put(FIRST_FS_TREE, &key, row.as_bytes());
        fs.engine().commit(&mut edits, Class::Normal).unwrap();
        fs.drop_caches();
        assert_eq!(fs.getattr(ino).unwrap().generation, generation);
    };
    for other in [generation + 1, generation - 1, 0, u64::MAX, generation ^ 1 << 40] {
        set(&fs, other);
        assert_eq!(kind(fs.by_handle(&handle)), Some(Kind::Stale));
        let new = fs.handle_of(ino).unwrap();
        assert_ne!(new, handle);
        assert_eq!(fs.by_handle(&new).unwrap(), ino);
    }
    set(&fs, generation);
    assert_eq!(fs.by_handle(&handle).unwrap(), ino);
}

#[test]
fn extended_attributes() {
    let device = Arc::new(MemoryDevice::new());
    let fs = create(device.clone(), 1);
    let ino = make(&fs, ROOT_INO, b"f");
    let long = [b"user.".to_vec(), vec![0xfe; 250]].concat();
    assert_eq!(kind(fs.get_xattr(ino, b"user.a")), Some(Kind::NoAttribute));
    assert_eq!(kind(fs.remove_xattr(ino, b"user.a")), Some(Kind::NoAttribute));
    assert_eq!(
        kind(fs.set_xattr(ino, b"user.a", b"", XattrMode::Replace)),
        Some(Kind::NoAttribute)
    );
    let before = fs.getattr(ino).unwrap();
    for (len, name) in [0, 100, 65_536, 3, 30_000].into_iter().zip([b"a", b"b", b"c", b"d", b"e"]) {
        fs.set_xattr(ino, name, &pattern(len as u64, len), XattrMode::Create).unwrap();
    }
    fs.set_xattr(ino, &long, b"long", XattrMode::Either).unwrap();
    assert!(fs.getattr(ino).unwrap().change > before.change);
    assert_eq!(kind(fs.set_xattr(ino, b"c", b"", XattrMode::Create)), Some(Kind::Exists));
    assert_eq!(
        kind(fs.set_xattr(ino, b"c", &[0; 65_537], XattrMode::Either)),
        Some(Kind::ValueTooLarge)
    );
    fs.set_xattr(ino, b"c", &pattern(9, 5_000), XattrMode::Replace).unwrap();
    fs.set_xattr(ino, b"d", &pattern(8, 65_536), XattrMode::Either).unwrap();
    fs.remove_xattr(ino, b"e").unwrap();
    fs.sync().unwrap();
    drop(fs);
    let fs = open(device, 2);
    assert!(fs.get_xattr(ino, b"c").unwrap() == pattern(9, 5_000));
    assert!(fs.get_xattr(ino, b"d").unwrap() == pattern(8, 65_536));
    assert_eq!(fs.get_xattr(ino, b"a").unwrap(), b"");
    assert_eq!(fs.get_xattr(ino, &long).unwrap(), b"long");
    let mut all = fs.list_xattrs(ino).unwrap();
    all.sort();
    assert_eq!(all, [&b"a"[..], b"b", b"c", b"d", &long].map(<[u8]>::to_vec));
    assert_clean(&fs, "attributes");
    fs.unlink(ROOT_INO, b"f").unwrap();
    assert_clean(&fs, "freed");
}

#[test]
fn attributes_are_no_more_than_a_client_can_list() {
    let fs = create(MemoryDevice::new(), 1);
    let ino = make(&fs, ROOT_INO, b"f");
    let name = |n: u32| format!("user.{n:095}").into_bytes();
    let set = |name: &[u8], mode| kind(fs.set_xattr(ino, name, b"value", mode));
    let most = 65_536 / 101;
    for n in 0..most {
        assert_eq!(set(&name(n), XattrMode::Create), None, "{n}");
    }
    assert_eq!(set(&name(most), XattrMode::Either), Some(Kind::NoSpace));
    assert_eq!(set(&name(0), XattrMode::Either), None, "no other name");
    let short = b"x".repeat(65_536 % 101 - 1);
    assert_eq!(set(&short, XattrMode::Either), None);
    assert_eq!(set(b"y", XattrMode::Either), Some(Kind::NoSpace));
    assert_eq!(fs.list_xattrs(ino).unwrap().len(), most as usize + 1);
    fs.remove_xattr(ino, &name(5)).unwrap();
    assert_eq!(set(b"y", XattrMode::Either), None);
    assert_clean(&fs, "full list");
}

#[test]
fn a_read_only_mount_changes_nothing() {
    let device = Arc::new(MemoryDevice::new());
    let fs = create(device.clone(), 1);
    let ino = make(&fs, ROOT_INO, b"f");
    fs.write(ino, 0, b"contents").unwrap();
    fs.sync().unwrap();
    drop(fs);
    let fs = open_read_only(device, 2);
    let attr = fs.lookup(ROOT_INO, b"f").unwrap();
    fs.open(attr.ino).unwrap();
    let mut buf = [0; 20];
    let read = fs.read(attr.ino, 0, &mut buf).unwrap();
    assert!(read.eof && &buf[..read.len] == b"contents");
    fs.close(attr.ino).unwrap();
    assert_eq!(kind(fs.unlink(ROOT_INO, b"f")), Some(Kind::ReadOnly));
    assert_eq!(kind(fs.write(attr.ino, 0, b"x")), Some(Kind::ReadOnly));
    assert_eq!(kind(fs.mkdir(ROOT_INO, b"d", &DIR)), Some(Kind::ReadOnly));
    assert!(fs.maintain().unwrap());
}

#[test]
fn contents_by_inode() {
    let fs = create(MemoryDevice::new(), 1);
    let bytes = pattern(1, 3_000_000);
    let made = fs.create_with(ROOT_INO, b"f", &FILE, CreateMode::Guarded, &bytes).unwrap();
    let ino = made.attr.ino;
    assert_eq!(made.attr.size, 3_000_000);
    let small = fs.create_with(ROOT_INO, b"s", &FILE, CreateMode::Guarded, b"small").unwrap();
    assert_eq!(fs.getattr(small.attr.ino).unwrap(), small.attr);
    let wrote = fs.write(ino, 4_000_000, b"end").unwrap();
    assert_eq!(
        (wrote.len, wrote.file.before.size, wrote.file.after.size),
        (3, 3_000_000, 4_000_003)
    );
    assert!(wrote.file.after.mtime > made.attr.mtime && wrote.file.after.change > made.attr.change);
    fs.append(ino, b"!").unwrap();
    let mut back = vec![1; 10];
    let read = fs.read(ino, 3_999_998, &mut back).unwrap();
    assert!(read.eof && back[..read.len] == *b"\0\0end!");
    assert_eq!(fs.seek_hole(ino, 0).unwrap(), Some(3_002_368));
    assert_eq!(fs.seek_data(ino, 3_002_368).unwrap(), Some(3_997_696));
    fs.punch_hole(ino, 0, 8192).unwrap();
    assert_eq!(fs.seek_data(ino, 0).unwrap(), Some(8192));
    assert_eq!(kind(fs.write(ROOT_INO, 0, b"x")), Some(Kind::IsDirectory));
    assert_clean(&fs, "contents");
}

#[test]
fn paths() {
    let fs = create(MemoryDevice::new(), 1);
    let made = fs.mkdir_all(b"/a/b//c/", &DIR).unwrap();
    assert_eq!(fs.at(b"a/b/c").unwrap(), made);
    assert_eq!(fs.mkdir_all(b"a/b/c", &DIR).unwrap(), made);
    make(&fs, made.ino, b"file");
    for path in [&b"a/b/c/file"[..], b"a/b/c/file/g"] {
        assert_eq!(kind(fs.mkdir_all(path, &DIR)), Some(Kind::NotDirectory));
    }
    assert_eq!(fs.at(b"/").unwrap().ino, ROOT_INO);
    assert_eq!(fs.at(b"a/../a/./b/c/..").unwrap(), fs.at(b"a/b").unwrap());
    make(&fs, made.ino, b"f");
    assert_eq!(kind(fs.at(b"a/b/c/f/g")), Some(Kind::NotDirectory));
    assert_eq!(kind(fs.at(b"a/x/c")), Some(Kind::NotFound));
}

#[test]
fn the_root_directory_is_durable_once_the_store_is_made() {
    use efscrypt::device::sim::{FaultPlan, SimDevice};
    let base = MemoryDevice::limited(24 << 20);
    let device = std::sync::Arc::new(SimDevice::new(base, FaultPlan::new(1)));
    let handle = create(device.clone(), 1).handle_of(ROOT_INO).unwrap();
    let fs = open(device.durable_image(), 2);
    assert_eq!(fs.by_handle(&handle).unwrap(), ROOT_INO);
}
