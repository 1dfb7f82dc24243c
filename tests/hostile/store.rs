//! The sound store that the others are made of.

use std::sync::Arc;

use efscrypt::device::MemoryDevice;
use efscrypt::fs::{Acl, AclEntry, AclKind, AclTag, CreateMode, NewAttr, ROOT_INO, XattrMode};
use efscrypt::txn::{Engine, fixed_keys};

use crate::exercise::{mount, options};

const FILE: NewAttr = NewAttr { mode: 0o644, umask: 0, uid: 1, gid: 1, atime: None, mtime: None };

/// A store with one of everything, and enough names for a tree of two levels.
pub struct Base(MemoryDevice);

impl Base {
    pub fn new() -> Base {
        let device = Arc::new(MemoryDevice::limited(16 << 20));
        let engine = Engine::create(device.clone(), fixed_keys(1).unwrap(), &options()).unwrap();
        let fs = mount(engine).unwrap();
        let dir = fs.mkdir(ROOT_INO, b"dir", &FILE).unwrap().attr.ino;
        let below = fs.mkdir(dir, b"below", &FILE).unwrap().attr.ino;
        for n in 0..400 {
            let name = format!("a name of some length, so that there are several nodes {n}");
            fs.create(below, name.as_bytes(), &FILE, CreateMode::Guarded).unwrap();
        }
        fs.write_file(b"/dir/inline", &FILE, &[3; 700]).unwrap();
        let file = fs.write_file(b"/dir/file", &FILE, &[4; 100_000]).unwrap().ino;
        fs.set_xattr(file, b"user.short", b"value", XattrMode::Create).unwrap();
        fs.set_xattr(file, b"user.long", &[5; 9000], XattrMode::Create).unwrap();
        let mode = Acl::from_mode(0o640).entries().to_vec();
        let named = [(AclTag::User(7), 6), (AclTag::Mask, 6)];
        let [user, mask] = named.map(|(tag, perm)| AclEntry { tag, perm });
        let list = Acl::new(vec![mode[0], user, mode[1], mask, mode[2]]).unwrap();
        fs.set_acl(file, AclKind::Access, Some(&list)).unwrap();
        fs.set_acl(dir, AclKind::Default, Some(&list)).unwrap();
        fs.link(file, ROOT_INO, b"linked").unwrap();
        fs.symlink(ROOT_INO, b"symlink", b"dir/file", &FILE).unwrap();
        fs.engine().checkpoint().unwrap();
        drop(fs);
        Base(device.snapshot())
    }

    /// Another copy of the store.
    pub fn image(&self) -> Arc<MemoryDevice> {
        Arc::new(self.0.snapshot())
    }
}
