//! Names whose hashes are equal: forced by a hash of few bits.

use std::collections::BTreeMap;
use std::sync::Arc;

use efscrypt::ErrorKind as Kind;
use efscrypt::device::MemoryDevice;
use efscrypt::device::sim::Rng;
use efscrypt::fs::{CreateMode, FileSystem, MountOptions, ROOT_INO, RenameMode, XattrMode};

use crate::bed::{FILE, assert_clean, create, mount_options, names, open_with};

fn short_hash(bits: u32) -> MountOptions {
    MountOptions { hash_bits: bits, ..mount_options() }
}

fn mounted(device: &Arc<MemoryDevice>, bits: u32) -> FileSystem {
    open_with(device.clone(), 2, short_hash(bits)).unwrap()
}

#[test]
fn one_bucket_takes_256_names_and_refuses_the_next() {
    let device = Arc::new(MemoryDevice::new());
    drop(create(device.clone(), 1));
    let fs = mounted(&device, 0);
    let name = |n: u64| format!("n{n}").into_bytes();
    // The bucket of hash 0 lacks the three lowest cookies, which are not entries'.
    for n in 0..253 {
        fs.create(ROOT_INO, &name(n), &FILE, CreateMode::Guarded).unwrap();
    }
    let full = fs.create(ROOT_INO, &name(253), &FILE, CreateMode::Guarded);
    assert_eq!(full.unwrap_err().kind(), Kind::NoSpace);
    let cookies = |fs: &FileSystem| {
        let mut cookies = BTreeMap::new();
        let end = fs.read_dir(ROOT_INO, 2, |entry| {
            cookies.insert(entry.name.to_vec(), entry.cookie);
            true
        });
        assert!(end.unwrap());
        cookies
    };
    let before = cookies(&fs);
    fs.unlink(ROOT_INO, &name(100)).unwrap();
    fs.create(ROOT_INO, &name(253), &FILE, CreateMode::Guarded).unwrap();
    let after = cookies(&fs);
    assert_eq!(after[&name(253)], before[&name(100)], "a free place is used again");
    assert!(before.iter().all(|(name, cookie)| after.get(name).is_none_or(|now| now == cookie)));
    for n in (0..253).filter(|n| *n != 100) {
        fs.lookup(ROOT_INO, &name(n)).unwrap();
    }
    assert_clean(&fs, "full");
}

#[test]
fn colliding_names_behave_as_others_do() {
    for bits in [0, 1, 3] {
        let device = Arc::new(MemoryDevice::new());
        drop(create(device.clone(), 1));
        let mut fs = mounted(&device, bits);
        let mut rng = Rng::new(u64::from(bits));
        let mut model: BTreeMap<Vec<u8>, u64> = BTreeMap::new();
        for round in 0..2_000 {
            let name = format!("n{}", rng.below(150)).into_bytes();
            let other = format!("n{}", rng.below(150)).into_bytes();
            match rng.below(4) {
                0 | 1 => match fs.create(ROOT_INO, &name, &FILE, CreateMode::Guarded) {
                    Ok(made) => assert!(model.insert(name, made.attr.ino).is_none()),
                    Err(error) => {
                        assert_eq!(error.kind(), Kind::Exists);
                        assert!(model.contains_key(&name));
                    }
                },
                2 => {
                    let removed = fs.unlink(ROOT_INO, &name).is_ok();
                    assert_eq!(removed, model.remove(&name).is_some());
                }
                _ => {
                    let done = fs.rename(ROOT_INO, &name, ROOT_INO, &other, RenameMode::Replace);
                    assert_eq!(done.is_ok(), model.contains_key(&name));
                    if let Some(ino) = model.remove(&name) {
                        model.insert(other, ino);
                    }
                }
            }
            if round % 500 == 499 {
                assert_eq!(names(&fs, ROOT_INO), model);
                assert_clean(&fs, "colliding");
                drop(fs);
                fs = mounted(&device, bits);
            }
        }
        for (name, ino) in &model {
            assert_eq!(fs.lookup(ROOT_INO, name).unwrap().ino, *ino);
        }
    }
}

#[test]
fn colliding_attributes_behave_as_others_do() {
    let device = Arc::new(MemoryDevice::new());
    drop(create(device.clone(), 1));
    let fs = mounted(&device, 0);
    let ino = fs.create(ROOT_INO, b"f", &FILE, CreateMode::Guarded).unwrap().attr.ino;
    let value = |n: usize| vec![n as u8; n * 1_000];
    for n in 0..40usize {
        fs.set_xattr(ino, &[n as u8 + 1], &value(n), XattrMode::Create).unwrap();
    }
    for n in (0..40usize).step_by(2) {
        fs.remove_xattr(ino, &[n as u8 + 1]).unwrap();
    }
    for n in 0..40usize {
        let got = fs.get_xattr(ino, &[n as u8 + 1]);
        match n % 2 {
            0 => assert_eq!(got.unwrap_err().kind(), Kind::NoAttribute),
            _ => assert!(got.unwrap() == value(n)),
        }
    }
    assert_eq!(fs.list_xattrs(ino).unwrap().len(), 20);
    assert_clean(&fs, "attributes");
}
