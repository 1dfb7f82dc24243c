//! Making: how an export makes one thing of the machine, and what the place does not keep of it.

use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::sync::atomic::Ordering;

use efscrypt::Error;
use efscrypt::fs::AclKind;
use rustix::io::Errno;

use super::contents::{Copy, Losses, is_damage};
use super::exporter::{ExportDir, Exporter};
use super::holds::Holds;
use super::host::{HostDir, private_name, set_mode_of, set_owner_of, set_times_of};
use super::meta::{Kind, Meta};
use super::monitor::Count;
use super::names;
use super::trouble::{Result, Trouble};
use super::xattrs::{self, Place};

/// Permission bits without those of group and others.
const OWNER_ALONE: u32 = 0o7700;

/// Device and inode.
type Id = (u64, u64);

/// What a file system says of a name, of a kind of thing, of links, that it does not have.
const NAMES: [Errno; 3] = [Errno::INVAL, Errno::ILSEQ, Errno::NAMETOOLONG];
const KINDS: [Errno; 5] =
    [Errno::PERM, Errno::OPNOTSUPP, Errno::NOSYS, Errno::INVAL, Errno::NAMETOOLONG];
pub const LINKS: [Errno; 4] = [Errno::PERM, Errno::OPNOTSUPP, Errno::NOSYS, Errno::MLINK];

/// A failure as one of the place, if it is one of these.
fn unheld(what: &'static str, errors: &[Errno], failure: impl Into<Trouble>) -> Trouble {
    match failure.into() {
        Trouble::Host(why) if is_any(&why, errors) => Trouble::Unheld(what, why),
        other => other,
    }
}

pub fn is_any(error: &io::Error, errors: &[Errno]) -> bool {
    error.raw_os_error().is_some_and(|code| errors.contains(&Errno::from_raw_os_error(code)))
}

impl Exporter<'_> {
    /// A private name that nothing has.
    pub(super) fn private(&self) -> Vec<u8> {
        private_name(self.private.fetch_add(1, Ordering::Relaxed))
    }

    /// What has a name of the store, if the export may touch it: another name of the store may
    /// lead to it, where names are folded.
    pub(super) fn find(&self, dir: &ExportDir, name: &[u8]) -> Result<Option<Meta>> {
        if dir.fresh {
            return Ok(None);
        }
        let found = dir.host.find(name).map_err(|error| unheld("its name", &NAMES, error))?;
        let Some(there) = found else { return Ok(None) };
        if let Some(names) = dir.names.as_ref().filter(|names| !names.has(name)) {
            match names::written(&dir.host, name, &there)? {
                // Another name that this export made is listed as this one.
                Some(written) if written == name => return Err(Trouble::Folded(None)),
                Some(written) if !self.is_in_store(dir, &written)? && names.claim(&written) => {}
                written => return Err(Trouble::Folded(written)),
            }
        }
        let is_given = dir.is_root && name == b"lost+found" && there.kind == Kind::Directory;
        if !self.how.overwrite && !is_given {
            return Err(Trouble::Taken);
        }
        Ok(Some(there))
    }

    /// Why a new name turned out to be there.
    fn clash(&self, dir: &ExportDir, name: &[u8]) -> Trouble {
        let written = match dir.host.find(name) {
            Ok(Some(there)) => names::written(&dir.host, name, &there),
            Ok(None) => Ok(Some(name.to_vec())),
            Err(error) => Err(error),
        };
        match written {
            // Where names are folded they are not always listed as they were made.
            Ok(Some(written)) if written == name => match dir.holds.exact_names {
                true => Trouble::Taken,
                false => Trouble::Folded(None),
            },
            Ok(written) => Trouble::Folded(written),
            Err(error) => error.into(),
        }
    }

    fn is_in_store(&self, dir: &ExportDir, name: &[u8]) -> Result<bool> {
        match self.store.lookup(dir.ino, name) {
            Err(Error::NotFound) => Ok(false),
            found => Ok(found.map(|_| true)?),
        }
    }

    /// Makes a directory that is new.
    pub(super) fn make_dir(&self, dir: &ExportDir, name: &[u8]) -> Result<()> {
        dir.host.make_dir(name).map_err(|error| match error.kind() {
            io::ErrorKind::AlreadyExists => self.clash(dir, name),
            _ => unheld("its name", &NAMES, error),
        })
    }

    /// Sets the extended attributes of something, and tells of those that it does not take. `name`
    /// is the one that it has or is to have. Returns the mode that goes with what it took.
    fn set_xattrs(
        &self,
        dir: &HostDir,
        name: &[u8],
        meta: &Meta,
        place: &Place<'_>,
    ) -> Result<u32> {
        let without_list = || match self.store.get_acl(meta.id.1, AclKind::Access) {
            Ok(list) => list.map_or(meta.mode, |list| list.mode_without(meta.mode)),
            Err(_) => meta.mode & OWNER_ALONE,
        };
        match xattrs::export(self.store, meta.id.1, place, &self.how.rights) {
            Ok(None) => Ok(meta.mode),
            Ok(Some(refused)) => {
                let mode = if refused.list { without_list() } else { meta.mode };
                self.tell_lack(dir, name, Trouble::Refused(refused));
                Ok(mode)
            }
            Err(Trouble::Store(error)) if self.how.keep_damaged && is_damage(&error) => {
                self.tell(dir, name, error.into());
                Ok(without_list())
            }
            Err(trouble) => Err(trouble),
        }
    }

    /// Tells of something that a copy lacks because it is damaged.
    fn tell(&self, dir: &HostDir, name: &[u8], trouble: Trouble) {
        let doing = format!("cannot export all of {}", dir.path_of(name).display());
        self.monitor.failed(trouble.at(&doing));
    }

    /// Tells of something that a copy lacks because the place does not keep it.
    pub(super) fn tell_lack(&self, dir: &HostDir, name: &[u8], trouble: Trouble) {
        let doing = format!("cannot export all of {}", dir.path_of(name).display());
        self.monitor.incomplete(trouble.at(&doing));
    }

    /// Tells what was asked for and what is there do not have in common. Everything was set that
    /// can be.
    pub(super) fn tell_lacks(&self, dir: &ExportDir, name: &[u8], there: &Meta, meta: &Meta) {
        let mut lacks = Vec::new();
        if there.mtime != meta.mtime {
            if !self.place.has_time(&dir.holds, there.mtime, meta.mtime) {
                self.place.note_time(meta.mtime, there.mtime);
            }
            let near = there.mtime.seconds.abs_diff(meta.mtime.seconds) <= 2;
            lacks.push(if near { "exact time of change" } else { "time of change" });
        }
        // What was refused was told.
        if meta.kind != Kind::Symlink && !dir.holds.modes && there.mode != meta.mode {
            lacks.push("permissions");
        }
        if self.how.rights.privileged && (there.uid, there.gid) != (meta.uid, meta.gid) {
            lacks.push("owner");
        }
        if !lacks.is_empty() {
            self.tell_lack(&dir.host, name, Trouble::Lacks(lacks));
        }
    }

    /// Sets the attributes of what is no file and no directory, or of a file that is there, and has
    /// the name `last` at last.
    pub(super) fn set_by_name(
        &self,
        dir: &ExportDir,
        name: &[u8],
        meta: &Meta,
        last: &[u8],
    ) -> Result<()> {
        let (rights, holds) = (&self.how.rights, &dir.holds);
        if rights.privileged {
            as_held(holds.owners, dir.host.set_owner(name, meta))?;
        }
        let (place, mut mode) = (Place::Path(dir.host.proc_path(name)), meta.mode);
        if !xattrs::is_exported(self.store, meta.id.1, &place, rights)? {
            // The owner of a file that he may not write cannot set them either.
            if !rights.privileged && meta.kind == Kind::Regular {
                as_held(holds.modes, dir.host.set_mode(name, meta.mode | 0o600))?;
            }
            mode = self.set_xattrs(&dir.host, last, meta, &place)?;
        }
        if meta.kind != Kind::Symlink {
            as_held(holds.modes, dir.host.set_mode(name, mode))?;
        }
        Ok(dir.host.set_times(name, meta)?)
    }

    /// Sets the attributes of an open file or directory that its owner may write.
    pub(super) fn set_open(
        &self,
        file: impl AsFd,
        meta: &Meta,
        holds: &Holds,
        (dir, name): (&HostDir, &[u8]),
    ) -> Result<()> {
        if self.how.rights.privileged {
            as_held(holds.owners, set_owner_of(&file, meta))?;
        }
        let mode = self.set_xattrs(dir, name, meta, &Place::Open(file.as_fd()))?;
        as_held(holds.modes, set_mode_of(&file, mode))?;
        Ok(set_times_of(&file, meta)?)
    }

    /// Makes something under a private name and gives it its own. Where that fails nothing is left
    /// of it, and what had the name before still has it, unless a directory takes its place or
    /// the other way round: one cannot be renamed over the other. A name that is new never takes
    /// the place of anything.
    pub(super) fn settle(
        &self,
        dir: &ExportDir,
        name: &[u8],
        kind: Kind,
        there: Option<&Meta>,
        make: impl FnOnce(&[u8]) -> Result<()>,
    ) -> Result<()> {
        let is_dir = |kind| kind == Kind::Directory;
        let private = self.private();
        let settled = make(&private).and_then(|()| {
            let new = match there {
                Some(there) if is_dir(there.kind) != is_dir(kind) => {
                    remove(dir, name, there.kind)?;
                    true
                }
                Some(_) => false,
                None => true,
            };
            let renamed = match new {
                true => dir.host.rename_new(&private, name, kind),
                false => dir.host.rename(&private, name),
            };
            renamed.map_err(|error| match error.kind() {
                io::ErrorKind::AlreadyExists if new => self.clash(dir, name),
                _ => unheld("its name", &NAMES, error),
            })
        });
        match (&settled, there) {
            (Ok(()), Some(_)) => self.monitor.add(Count::Replaced, 1),
            (Ok(()), None) => {}
            // It may not even have been made.
            (Err(_), _) => drop(dir.host.remove(&private, kind)),
        }
        settled
    }

    /// A file under a private name, for one of its own. A damaged one never takes the place of
    /// another, which may be whole, and does not get its time: a later export copies it again.
    /// Returns which one it is if it is whole, and how many bytes were copied.
    fn file(
        &self,
        dir: &ExportDir,
        (private, name): (&[u8], &[u8]),
        meta: &Meta,
        replaces: bool,
        buffer: &mut [u8],
    ) -> Result<(Option<Id>, u64)> {
        let file: File = dir.host.create_file(private)?;
        let (ino, size) = (meta.id.1, meta.size);
        let copy = Copy { store: self.store, ino, file: &file, size, monitor: self.monitor };
        let mut losses = Losses::default();
        let copied = copy.export(buffer, self.how.keep_damaged.then_some(&mut losses));
        let copied = copied.map_err(|error| match has_size_limit() {
            true => error,
            false => unheld("a file of its size", &[Errno::FBIG], error),
        })?;
        let mut meta = *meta;
        let whole = losses.why.is_none();
        if let Some(why) = losses.why {
            if replaces || losses.ranges.first() == Some(&(0..size)) {
                return Err(why.into());
            }
            meta.mtime = Meta::now();
            self.monitor.add(Count::Damaged, 1);
            self.tell(&dir.host, name, Trouble::Zeros(why, losses.ranges));
        }
        self.set_open(&file, &meta, &dir.holds, (&dir.host, name))?;
        if replaces {
            // A power cut must not leave the new name with contents that never arrived.
            file.sync_all()?;
        }
        let id = Meta::of_stat(&rustix::fs::fstat(&file)?).id;
        Ok((whole.then_some(id), copied))
    }

    pub(super) fn make(
        &self,
        dir: &ExportDir,
        name: &[u8],
        meta: &Meta,
        there: Option<&Meta>,
        buffer: &mut [u8],
    ) -> Result<Count> {
        if there.is_some_and(|there| there.kind == Kind::Directory)
            && !dir.host.enter(name)?.is_empty()?
        {
            return Err(Trouble::InTheWay);
        }
        let count = match meta.kind {
            Kind::Directory => return Err(Trouble::Changed),
            Kind::Regular => Count::Files,
            Kind::Symlink => Count::Symlinks,
            _ => Count::Special,
        };
        let (mut whole, mut bytes) = (None, 0);
        self.settle(dir, name, meta.kind, there, |private| match meta.kind {
            Kind::Regular => {
                (whole, bytes) = self.file(dir, (private, name), meta, there.is_some(), buffer)?;
                Ok(())
            }
            Kind::Symlink => {
                let made = dir.host.make_symlink(private, &self.store.readlink(meta.id.1)?);
                made.map_err(|error| unheld("symbolic links like it", &KINDS, error))?;
                self.set_by_name(dir, private, meta, name)
            }
            kind => {
                let device = matches!(kind, Kind::CharDevice | Kind::BlockDevice);
                let may = self.how.rights.privileged || !device;
                let made = dir.host.make_node(private, meta);
                made.map_err(|error| match may {
                    true => unheld("special files like it", &KINDS, error),
                    false => error.into(),
                })?;
                self.set_by_name(dir, private, meta, name)
            }
        })?;
        self.monitor.add(Count::Bytes, bytes);
        let made = dir.host.stat(name)?;
        if meta.kind != Kind::Regular || whole == Some(made.id) {
            self.tell_lacks(dir, name, &made, meta);
        }
        if whole == Some(made.id) {
            self.learn(dir, name, &made, meta);
        }
        Ok(count)
    }
}

/// Whether this process may not write files of every size, wherever they are.
fn has_size_limit() -> bool {
    rustix::process::getrlimit(rustix::process::Resource::Fsize).current.is_some()
}

/// What cannot be kept is told later; that it cannot be set either is no failure.
fn as_held(held: bool, set: io::Result<()>) -> io::Result<()> {
    match set {
        Err(error) if !held && is_any(&error, &KINDS) => Ok(()),
        set => set,
    }
}

fn remove(dir: &ExportDir, name: &[u8], kind: Kind) -> Result<()> {
    dir.host.remove(name, kind).map_err(|error| match error.kind() {
        io::ErrorKind::DirectoryNotEmpty => Trouble::InTheWay,
        _ => Trouble::Host(error),
    })
}
