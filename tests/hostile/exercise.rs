//! Everything that is done with a store that may be hostile. All answers are welcome.

use std::hint::black_box;
use std::sync::Arc;

use efscrypt::Result;
use efscrypt::check::check;
use efscrypt::crypto::{KeyArena, WrapKey};
use efscrypt::device::Device;
use efscrypt::fs::data::{Contents, DataKeys};
use efscrypt::fs::{
    Acl, AclKind, CreateMode, Credentials, FileSystem, MountOptions, NewAttr, ROOT_INO, RenameMode,
    SetAttr, XattrMode,
};
use efscrypt::secret::Secret;
use efscrypt::txn::{Engine, EngineOptions, FIRST_FS_TREE, fixed_unlock};

/// Directories and files that one exercise looks at.
const MOST: usize = 40;

pub fn options() -> EngineOptions {
    EngineOptions { log_bytes: 512 << 10, cache_bytes: 4 << 20, read_only: false }
}

pub fn mount(engine: Engine) -> Result<FileSystem> {
    let (engine, arena) = (Arc::new(engine), KeyArena::new()?);
    let id = *engine.store_id();
    let keys = DataKeys::new(Arc::clone(&arena), id, Arc::clone(engine.rng()));
    let kek = Secret::take(&mut [0x24; 32]);
    keys.unlock(1, WrapKey::derive(&arena, &kek, &id, 1)?);
    let contents = Contents::new(Arc::clone(&engine), FIRST_FS_TREE, Arc::new(keys));
    FileSystem::mount(engine, &arena, contents, MountOptions::default())
}

/// Opens a store, first to read and then to write, and does everything with it. Returns whether
/// all of it went well.
pub fn open_and_use(device: Arc<impl Device + 'static>) -> bool {
    let open = |read_only| {
        let options = EngineOptions { read_only, ..options() };
        mount(Engine::open(Arc::clone(&device) as _, |_| fixed_unlock(1), &options)?)
    };
    let reading = open(true).and_then(|fs| {
        check(&fs)?;
        look(&fs)
    });
    let writing = open(false).and_then(|fs| {
        let looked = look(&fs);
        let worked = work(&fs);
        let tended = fs.maintain();
        let checked = check(&fs);
        looked.and(worked).and(tended.map(drop)).and(checked.map(drop))
    });
    reading.and(writing).is_ok()
}

/// Reads what can be reached. Goes on after errors; returns the first.
fn look(fs: &FileSystem) -> Result<()> {
    let (mut left, mut seen, mut result) = (vec![ROOT_INO], 0, Ok(()));
    while let Some(ino) = left.pop().filter(|_| seen < MOST) {
        seen += 1;
        let mut names = Vec::new();
        let listed = fs.read_dir(ino, 0, |entry| {
            names.push((entry.name.to_vec(), entry.ino));
            names.len() < 1000
        });
        if listed.is_ok() {
            for (name, child) in names.iter().filter(|(_, child)| *child != ino) {
                result = result.and(fs.lookup(ino, name).map(drop));
                left.push(*child);
            }
        }
        result = result.and(one(fs, ino));
    }
    result
}

/// Reads everything of one inode.
fn one(fs: &FileSystem, ino: u64) -> Result<()> {
    let attr = fs.getattr(ino)?;
    black_box(fs.handle_of(ino)?);
    let mut bytes = vec![0; 70_000];
    for offset in [0, attr.size / 2, attr.size.saturating_sub(5000), attr.size] {
        // Not all inodes have contents.
        let _ = black_box(fs.read(ino, offset, &mut bytes));
        let _ = black_box((fs.seek_data(ino, offset), fs.seek_hole(ino, offset)));
    }
    let _ = black_box(fs.readlink(ino));
    for name in fs.list_xattrs(ino)? {
        fs.get_xattr(ino, &name)?;
    }
    black_box(fs.access(ino, &Credentials { uid: 7, gid: 1, groups: &[] }, 6)?);
    fs.get_acl(ino, AclKind::Default)?;
    fs.read_dir_plus(ino, 0, |entry, attr| {
        black_box((entry.ino, attr.is_some()));
        true
    })
    .or_else(|error| match error {
        efscrypt::Error::NotDirectory => Ok(true),
        other => Err(other),
    })?;
    Ok(())
}

/// Changes a bit of everything. Goes on after errors; returns the first.
fn work(fs: &FileSystem) -> Result<()> {
    let new = NewAttr::default();
    let at = |path: &[u8]| fs.at(path).map(|attr| attr.ino);
    let size = |size| SetAttr { size: Some(size), ..SetAttr::default() };
    type Step<'a> = &'a dyn Fn() -> Result<()>;
    let steps: [Step<'_>; 18] = [
        &|| fs.write(at(b"/dir/file")?, 5000, &[9; 9000]).map(drop),
        &|| fs.append(at(b"/dir/inline")?, &[9; 5000]).map(drop),
        &|| fs.punch_hole(at(b"/dir/file")?, 20_000, 30_000).map(drop),
        &|| fs.setattr(at(b"/linked")?, &size(60_001)).map(drop),
        &|| fs.setattr(at(b"/linked")?, &size(1 << 40)).map(drop),
        &|| fs.setattr(at(b"/linked")?, &size(7)).map(drop),
        &|| fs.set_xattr(at(b"/linked")?, b"user.long", &[1; 20], XattrMode::Replace).map(drop),
        &|| fs.remove_xattr(at(b"/linked")?, b"user.short").map(drop),
        &|| fs.set_acl(at(b"/linked")?, AclKind::Access, None).map(drop),
        &|| fs.set_acl(at(b"/dir")?, AclKind::Access, Some(&Acl::from_mode(0o750))).map(drop),
        &|| fs.link(at(b"/dir/inline")?, ROOT_INO, b"another").map(drop),
        &|| fs.mkdir(at(b"/dir")?, b"new", &new).map(drop),
        &|| fs.create(at(b"/dir/new")?, b"file", &new, CreateMode::Guarded).map(drop),
        &|| fs.rename(at(b"/dir")?, b"new", ROOT_INO, b"moved", RenameMode::Replace).map(drop),
        &|| fs.unlink(ROOT_INO, b"linked").map(drop),
        &|| fs.unlink(at(b"/dir")?, b"file").map(drop),
        &|| fs.unlink(ROOT_INO, b"symlink").map(drop),
        &|| fs.sync(),
    ];
    let mut result = Ok(());
    for step in steps {
        let done = step();
        result = result.and(done);
    }
    result
}
