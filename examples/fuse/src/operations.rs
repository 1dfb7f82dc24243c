//! Each request of the kernel, as a call of the engine.
//!
//! The kernel decides who may do what, by permissions and access control lists
//! (`default_permissions`, `FUSE_POSIX_ACL`), keeps locks between programs, and
//! splits what programs write. Opening a file costs no request: what the kernel refers to by name
//! or by an open file stays in the engine until it is forgotten.

use std::cell::RefCell;
use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::time::SystemTime;

use efscrypt::fs::{
    AclKind, CreateMode, FileType, NewAttr, RenameMode, SetAttr, SetTime, Standing,
};
use efscrypt::{Error, Result};
use fuser::{
    BsdFileFlags, Errno, FileHandle, Filesystem, FopenFlags, Generation, INodeNo, InitFlags,
    IoctlFlags, KernelConfig, LockOwner, OpenFlags, RenameFlags, ReplyAttr, ReplyCreate, ReplyData,
    ReplyDirectory, ReplyDirectoryPlus, ReplyEmpty, ReplyEntry, ReplyIoctl, ReplyLseek, ReplyOpen,
    ReplyStatfs, ReplyWrite, ReplyXattr, Request, TimeOrNow, WriteFlags,
};
use rustix::fs::FallocateFlags;

use crate::acl;
use crate::attr::{KEPT, Seen, file_type, no_attr, set_time};
use crate::caller::Caller;
use crate::contents::{Writer, allocate, write};
use crate::entries::{Listed, partly};
use crate::server::{Server, Service, enter, entered};
use crate::xattr;

/// Bytes of the largest request: the kernel takes no more without being told.
const REQUEST: u32 = 1 << 20;
/// Requests that the kernel sends ahead.
const BACKGROUND: u16 = 64;
/// What `lseek` is asked to find.
const SEEK_DATA: i32 = 3;
const SEEK_HOLE: i32 = 4;
/// Permissions of a symbolic link: nobody asks them.
const LINK_MODE: u32 = 0o777;

/// What the server asks of the kernel, as far as it offers it.
///
/// Not `FUSE_ASYNC_DIO`: the kernel drops what it has cached of a file before a direct write, and
/// after one that it waits for. After one that it does not wait for it drops nothing, so what
/// readers cached meanwhile is shown for good.
const WANTED: InitFlags = InitFlags::FUSE_PARALLEL_DIROPS
    .union(InitFlags::FUSE_DO_READDIRPLUS)
    .union(InitFlags::FUSE_READDIRPLUS_AUTO)
    .union(InitFlags::FUSE_HANDLE_KILLPRIV_V2)
    .union(InitFlags::FUSE_CACHE_SYMLINKS)
    .union(InitFlags::FUSE_EXPORT_SUPPORT);

/// What the server cannot do without: without lists the kernel would take a list's mask for the
/// right of the owning group, and a umask that it applied itself would count where it must not.
const NEEDED: InitFlags = InitFlags::FUSE_POSIX_ACL.union(InitFlags::FUSE_DONT_MASK);

thread_local! {
    /// What a read is decrypted into, on its way to the kernel.
    static PLAIN: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// Answers a request with what the work came to.
macro_rules! answer {
    ($reply:ident, $done:expr, $ok:expr) => {
        match $done {
            Ok(done) => ($ok)($reply, done),
            Err(errno) => $reply.error(errno),
        }
    };
}

fn read(service: &Service, ino: u64, offset: u64, size: u32, reply: ReplyData) {
    PLAIN.with_borrow_mut(|plain| {
        let size = size.min(REQUEST) as usize;
        if plain.len() < size {
            plain.resize(size, 0);
        }
        let done = service.work(|fs| fs.read(ino, offset, &mut plain[..size]));
        answer!(reply, done, |reply: ReplyData, read: efscrypt::fs::Read| {
            reply.data(&plain[..read.len]);
        });
    });
}

fn set_attr(service: &Service, ino: u64, set: &SetAttr, caller: Caller, reply: ReplyAttr) {
    let done = service.work(|fs| {
        let owner = set.uid.is_some() || set.gid.is_some();
        if !owner && set.size.is_none() {
            return fs.setattr(ino, set);
        }
        let standing = caller.standing(fs, ino)?;
        if owner || standing != Standing::Privileged {
            xattr::drop_capabilities(fs, ino)?;
        }
        fs.acting(standing).setattr(ino, set)
    });
    answer!(reply, done, |reply: ReplyAttr, done: efscrypt::fs::Wcc| {
        let seen = service.seen(&done.after);
        reply.attr(&seen.kept, &seen.file);
    });
}

fn entry(reply: ReplyEntry, seen: Seen) {
    reply.entry_with_ttls(&seen.kept, &KEPT, &seen.file, seen.generation);
}

fn empty<T>(reply: ReplyEmpty, _done: T) {
    reply.ok();
}

fn new_attr(req: &Request, mode: u32, umask: u32) -> NewAttr {
    NewAttr { mode, umask, uid: req.uid(), gid: req.gid(), ..NewAttr::default() }
}

impl Filesystem for Server {
    fn init(&mut self, _req: &Request, config: &mut KernelConfig) -> io::Result<()> {
        let back = InitFlags::FUSE_WRITEBACK_CACHE;
        if self.service().writes_back() && config.add_capabilities(back).is_err() {
            return Err(io::Error::other("this kernel keeps nothing back: leave out --write-back"));
        }
        if config.add_capabilities(NEEDED).is_err() {
            return Err(io::Error::other("this kernel knows no access control lists on FUSE"));
        }
        for flag in WANTED.iter() {
            // What the kernel does not offer is done without.
            let _offered = config.add_capabilities(flag);
        }
        let _was = config.set_max_write(REQUEST);
        let _was = config.set_max_background(BACKGROUND);
        Ok(())
    }

    fn lookup(&self, _req: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        match self.work(|fs| found(enter(fs, parent.0, name.as_bytes()))) {
            Ok(Some(attr)) => entry(reply, self.seen(&attr)),
            // The kernel keeps that there is no such name.
            Ok(None) => reply.entry(&KEPT, &no_attr(), Generation(0)),
            Err(errno) => reply.error(errno),
        }
    }

    fn forget(&self, _req: &Request, ino: INodeNo, times: u64) {
        let _nobody_waits = self.work(|fs| fs.close_times(ino.0, times));
    }

    fn getattr(&self, _req: &Request, ino: INodeNo, _fh: Option<FileHandle>, reply: ReplyAttr) {
        let done = self.work(|fs| fs.getattr(ino.0));
        answer!(reply, done.map(|attr| self.seen(&attr)), |reply: ReplyAttr, seen: Seen| {
            reply.attr(&seen.kept, &seen.file);
        });
    }

    fn setattr(
        &self,
        req: &Request,
        ino: INodeNo,
        mode: Option<u32>,
        uid: Option<u32>,
        gid: Option<u32>,
        size: Option<u64>,
        atime: Option<TimeOrNow>,
        mtime: Option<TimeOrNow>,
        _ctime: Option<SystemTime>,
        _fh: Option<FileHandle>,
        _crtime: Option<SystemTime>,
        _chgtime: Option<SystemTime>,
        _bkuptime: Option<SystemTime>,
        _flags: Option<BsdFileFlags>,
        reply: ReplyAttr,
    ) {
        let (atime, mut mtime) = (atime.map(set_time), mtime.map(set_time));
        // `ftruncate` and `O_TRUNC` move the times also where the size stays, and the kernel leaves
        // that to the server, unless it keeps the times itself. What `truncate` sends looks like
        // the latter, and ext4 has it move them too.
        if size.is_some() && !self.service().writes_back() {
            mtime = mtime.or(Some(SetTime::Now));
        }
        let set = SetAttr { mode, uid, gid, size, atime, mtime, guard: None };
        let caller = Caller::of(req);
        match size {
            // Much may have to be freed.
            Some(_) => self.hand_on(move |service| set_attr(service, ino.0, &set, caller, reply)),
            None => set_attr(self.service(), ino.0, &set, caller, reply),
        }
    }

    fn readlink(&self, _req: &Request, ino: INodeNo, reply: ReplyData) {
        let done = self.work(|fs| fs.readlink(ino.0));
        answer!(reply, done, |reply: ReplyData, target: Vec<u8>| reply.data(&target));
    }

    fn mknod(
        &self,
        req: &Request,
        parent: INodeNo,
        name: &OsStr,
        mode: u32,
        umask: u32,
        rdev: u32,
        reply: ReplyEntry,
    ) {
        let (dir, name, new) = (parent.0, name.as_bytes(), new_attr(req, mode, umask));
        let done = self.work(|fs| {
            let kind = FileType::of_mode(mode).ok_or(Error::InvalidArgument("type of a node"))?;
            let made = match kind {
                FileType::Regular => fs.create(dir, name, &new, CreateMode::Guarded)?,
                kind => fs.mknod(dir, name, kind, rdev.into(), &new)?,
            };
            entered(fs, made.attr)
        });
        answer!(reply, done.map(|attr| self.seen(&attr)), entry);
    }

    fn mkdir(
        &self,
        req: &Request,
        parent: INodeNo,
        name: &OsStr,
        mode: u32,
        umask: u32,
        reply: ReplyEntry,
    ) {
        let new = new_attr(req, mode, umask);
        let done = self.work(|fs| entered(fs, fs.mkdir(parent.0, name.as_bytes(), &new)?.attr));
        answer!(reply, done.map(|attr| self.seen(&attr)), entry);
    }

    fn symlink(
        &self,
        req: &Request,
        parent: INodeNo,
        name: &OsStr,
        target: &Path,
        reply: ReplyEntry,
    ) {
        let (new, target) = (new_attr(req, LINK_MODE, 0), target.as_os_str().as_bytes());
        let done =
            self.work(|fs| entered(fs, fs.symlink(parent.0, name.as_bytes(), target, &new)?.attr));
        answer!(reply, done.map(|attr| self.seen(&attr)), entry);
    }

    fn unlink(&self, _req: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        answer!(reply, self.work(|fs| fs.unlink(parent.0, name.as_bytes())), empty);
    }

    fn rmdir(&self, _req: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        answer!(reply, self.work(|fs| fs.rmdir(parent.0, name.as_bytes())), empty);
    }

    fn rename(
        &self,
        req: &Request,
        parent: INodeNo,
        name: &OsStr,
        new_parent: INodeNo,
        new_name: &OsStr,
        flags: RenameFlags,
        reply: ReplyEmpty,
    ) {
        let whiteout = flags.contains(RenameFlags::RENAME_WHITEOUT).then(|| new_attr(req, 0, 0));
        let mode = match flags.difference(RenameFlags::RENAME_WHITEOUT) {
            RenameFlags::RENAME_NOREPLACE => RenameMode::NoReplace,
            RenameFlags::RENAME_EXCHANGE => RenameMode::Exchange,
            flags if flags.is_empty() => RenameMode::Replace,
            _ => return reply.error(Errno::EINVAL),
        };
        let (from, to) = (name.as_bytes(), new_name.as_bytes());
        let done = self.work(|fs| match &whiteout {
            Some(new) => fs.rename_whiteout(parent.0, from, new_parent.0, to, mode, new),
            None => fs.rename(parent.0, from, new_parent.0, to, mode),
        });
        answer!(reply, done, empty);
    }

    fn link(
        &self,
        _req: &Request,
        ino: INodeNo,
        new_parent: INodeNo,
        new_name: &OsStr,
        reply: ReplyEntry,
    ) {
        let done = self
            .work(|fs| entered(fs, fs.link(ino.0, new_parent.0, new_name.as_bytes())?.inode.after));
        answer!(reply, done.map(|attr| self.seen(&attr)), entry);
    }

    fn open(&self, _req: &Request, _ino: INodeNo, _flags: OpenFlags, reply: ReplyOpen) {
        // The kernel asks once, and opens files by itself from then on.
        reply.error(Errno::ENOSYS);
    }

    fn flush(
        &self,
        _req: &Request,
        _ino: INodeNo,
        _fh: FileHandle,
        _owner: LockOwner,
        reply: ReplyEmpty,
    ) {
        // Nothing waits here, so nothing is to be flushed: the kernel asks once.
        reply.error(Errno::ENOSYS);
    }

    fn create(
        &self,
        req: &Request,
        parent: INodeNo,
        name: &OsStr,
        mode: u32,
        umask: u32,
        flags: i32,
        reply: ReplyCreate,
    ) {
        let (dir, name, new) = (parent.0, name.as_bytes(), new_attr(req, mode, umask));
        let exclusive = flags & rustix::fs::OFlags::EXCL.bits() as i32 != 0;
        let mode = if exclusive { CreateMode::Guarded } else { CreateMode::Unchecked };
        let done = self.work(|fs| entered(fs, fs.create(dir, name, &new, mode)?.attr));
        answer!(reply, done.map(|attr| self.seen(&attr)), |reply: ReplyCreate, seen: Seen| {
            let Seen { file, generation, kept } = seen;
            reply.created(&kept, &file, generation, FileHandle(0), FopenFlags::FOPEN_KEEP_CACHE);
        });
    }

    fn read(
        &self,
        _req: &Request,
        ino: INodeNo,
        _fh: FileHandle,
        offset: u64,
        size: u32,
        _flags: OpenFlags,
        _owner: Option<LockOwner>,
        reply: ReplyData,
    ) {
        self.hand_on(move |service| read(service, ino.0, offset, size, reply));
    }

    fn write(
        &self,
        req: &Request,
        ino: INodeNo,
        _fh: FileHandle,
        offset: u64,
        data: &[u8],
        write_flags: WriteFlags,
        _flags: OpenFlags,
        _owner: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        let clears = write_flags.contains(WriteFlags::FUSE_WRITE_KILL_SUIDGID);
        let caller = Caller::of(req);
        let writer = match write_flags.contains(WriteFlags::FUSE_WRITE_CACHE) {
            _ if clears => Writer::Program(caller),
            true if self.service().writes_back() => Writer::KeptBack,
            true => Writer::Mapped,
            false => Writer::Privileged,
        };
        let done = self.work(|fs| {
            if clears {
                xattr::drop_capabilities(fs, ino.0)?;
            }
            write(fs, ino.0, offset, data, writer)
        });
        answer!(reply, done, |reply: ReplyWrite, len: usize| reply.written(len as u32));
    }

    fn fsync(
        &self,
        _req: &Request,
        ino: INodeNo,
        _fh: FileHandle,
        _datasync: bool,
        reply: ReplyEmpty,
    ) {
        self.hand_on(move |service| {
            answer!(reply, service.work(|fs| fs.fsync(ino.0)), empty);
        });
    }

    fn readdir(
        &self,
        _req: &Request,
        ino: INodeNo,
        _fh: FileHandle,
        offset: u64,
        mut reply: ReplyDirectory,
    ) {
        let done = self.work(|fs| {
            let mut any = false;
            let read = fs.read_dir(ino.0, offset, |entry| {
                let (number, kind) = (INodeNo(entry.ino), file_type(entry.kind));
                let full = reply.add(number, entry.cookie, kind, OsStr::from_bytes(entry.name));
                any |= !full;
                !full
            });
            partly(any, read)
        });
        answer!(reply, done, |reply: ReplyDirectory, ()| reply.ok());
    }

    fn readdirplus(
        &self,
        _req: &Request,
        ino: INodeNo,
        _fh: FileHandle,
        offset: u64,
        mut reply: ReplyDirectoryPlus,
    ) {
        let done = self.work(|fs| {
            let mut any = false;
            let read = fs.read_dir(ino.0, offset, |entry| {
                let listed = Listed::of(self.service(), entry);
                let Some(Listed { seen, referred }) = listed else { return true };
                let (number, name) = (INodeNo(entry.ino), OsStr::from_bytes(entry.name));
                let Seen { file, generation, kept } = seen;
                let full = reply.add(number, entry.cookie, name, &kept, &file, generation);
                if full && referred {
                    // The kernel does not see it.
                    let _open = fs.close(entry.ino);
                }
                any |= !full;
                !full
            });
            partly(any, read)
        });
        answer!(reply, done, |reply: ReplyDirectoryPlus, ()| reply.ok());
    }

    fn fsyncdir(
        &self,
        _req: &Request,
        ino: INodeNo,
        _fh: FileHandle,
        _datasync: bool,
        reply: ReplyEmpty,
    ) {
        self.hand_on(move |service| {
            answer!(reply, service.work(|fs| fs.fsync(ino.0)), empty);
        });
    }

    fn statfs(&self, _req: &Request, _ino: INodeNo, reply: ReplyStatfs) {
        let done = self.work(|fs| Ok(fs.statfs()));
        answer!(reply, done, |reply: ReplyStatfs, stat: efscrypt::fs::StatFs| {
            let size = stat.block_size;
            let blocks = |bytes: u64| bytes / u64::from(size);
            let (total, free) = (blocks(stat.total), blocks(stat.free));
            let available = blocks(stat.available);
            // Inodes are limited by space alone.
            reply.statfs(total, free, available, total, available, size, stat.name_max, size);
        });
    }

    fn setxattr(
        &self,
        req: &Request,
        ino: INodeNo,
        name: &OsStr,
        value: &[u8],
        flags: i32,
        _position: u32,
        reply: ReplyEmpty,
    ) {
        let name = name.as_bytes();
        let done = match AclKind::of_xattr_name(name) {
            Some(kind) => self.work(|fs| acl::set(fs, Caller::of(req), ino.0, kind, value)),
            None => xattr::mode(flags)
                .ok_or(Errno::EINVAL)
                .and_then(|mode| self.work(|fs| xattr::set(fs, ino.0, name, value, mode))),
        };
        answer!(reply, done, empty);
    }

    fn getxattr(&self, _req: &Request, ino: INodeNo, name: &OsStr, size: u32, reply: ReplyXattr) {
        let done = self.work(|fs| xattr::get(fs, ino.0, name.as_bytes()));
        answer!(reply, done, |reply, value: Vec<u8>| xattr::reply(reply, size, &value));
    }

    fn listxattr(&self, req: &Request, ino: INodeNo, size: u32, reply: ReplyXattr) {
        let done = self.work(|fs| xattr::list(fs, ino.0, req.uid()));
        answer!(reply, done, |reply, names: Vec<u8>| xattr::reply(reply, size, &names));
    }

    fn removexattr(&self, _req: &Request, ino: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        let name = name.as_bytes();
        let done = match AclKind::of_xattr_name(name) {
            Some(kind) => self.work(|fs| fs.set_acl(ino.0, kind, None).map(drop)),
            None => self.work(|fs| xattr::remove(fs, ino.0, name)),
        };
        answer!(reply, done, empty);
    }

    fn ioctl(
        &self,
        _req: &Request,
        _ino: INodeNo,
        _fh: FileHandle,
        _flags: IoctlFlags,
        _cmd: u32,
        _in_data: &[u8],
        _out_size: u32,
        reply: ReplyIoctl,
    ) {
        reply.error(Errno::ENOTTY);
    }

    fn fallocate(
        &self,
        req: &Request,
        ino: INodeNo,
        _fh: FileHandle,
        offset: u64,
        length: u64,
        mode: i32,
        reply: ReplyEmpty,
    ) {
        let Some(flags) = FallocateFlags::from_bits(mode as u32) else {
            return reply.error(Errno::EOPNOTSUPP);
        };
        let caller = Caller::of(req);
        self.hand_on(move |service| {
            let done = service.work(|fs| {
                let standing = caller.standing(fs, ino.0)?;
                if standing != Standing::Privileged {
                    xattr::drop_capabilities(fs, ino.0)?;
                }
                allocate(&fs.acting(standing), ino.0, (offset, length), flags)
            });
            answer!(reply, done, empty);
        });
    }

    fn lseek(
        &self,
        _req: &Request,
        ino: INodeNo,
        _fh: FileHandle,
        offset: i64,
        whence: i32,
        reply: ReplyLseek,
    ) {
        let Ok(from) = u64::try_from(offset) else { return reply.error(Errno::ENXIO) };
        let found = match whence {
            // What the kernel holds back would be a hole: from now on it calls everything data.
            _ if self.service().writes_back() => return reply.error(Errno::ENOSYS),
            SEEK_DATA => self.work(|fs| fs.seek_data(ino.0, from)),
            SEEK_HOLE => self.work(|fs| fs.seek_hole(ino.0, from)),
            _ => return reply.error(Errno::EINVAL),
        };
        let found = found.and_then(|found| found.ok_or(Errno::ENXIO));
        answer!(reply, found, |reply: ReplyLseek, at: u64| reply.offset(at as i64));
    }
}

/// A name that is not there is an answer, too.
fn found<T>(answer: Result<T>) -> Result<Option<T>> {
    match answer {
        Err(Error::NotFound) => Ok(None),
        answer => answer.map(Some),
    }
}
