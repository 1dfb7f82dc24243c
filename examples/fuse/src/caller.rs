//! Who asks: what the kernel tells of the caller of a request, and what it can be asked beside.

use std::fs;

use efscrypt::fs::{Attr, FileSystem, FileType, Standing};
use fuser::Request;

const SET_UID: u32 = 0o4000;
const SET_GID: u32 = 0o2000;
const GROUP_EXECUTES: u32 = 0o010;
/// The capability with which set-ID bits stay.
const CAP_FSETID: u32 = 4;

/// The caller of a request.
#[derive(Clone, Copy)]
pub struct Caller {
    uid: u32,
    gid: u32,
    /// The thread, 0 where this process cannot see it.
    thread: u32,
}

/// What the kernel's record of a thread says.
struct Record {
    groups: Vec<u32>,
    /// Capabilities in effect.
    capabilities: u64,
}

impl Caller {
    /// Who sent a request.
    pub fn of(req: &Request) -> Caller {
        Caller { uid: req.uid(), gid: req.gid(), thread: req.pid() }
    }

    /// What the caller is to a file, for a request that says nothing of `CAP_FSETID`: root is
    /// taken for who has it, unless the kernel's record says otherwise. Asks no more than decides.
    pub fn standing(&self, fs: &FileSystem, ino: u64) -> efscrypt::Result<Standing> {
        let attr = fs.getattr(ino)?;
        let bits = attr.mode & (SET_UID | SET_GID) != 0 && attr.kind != FileType::Directory;
        let record = || if bits { Record::of(self.thread) } else { None };
        if self.uid == 0 && record().is_none_or(|record| record.has(CAP_FSETID)) {
            return Ok(Standing::Privileged);
        }
        Ok(self.to_group(&attr))
    }

    /// As [`Caller::standing`], for one without `CAP_FSETID`, as the kernel says.
    pub fn unprivileged(&self, fs: &FileSystem, ino: u64) -> efscrypt::Result<Standing> {
        Ok(self.to_group(&fs.getattr(ino)?))
    }

    /// What the caller is to an inode whose access list it sets: the kernel says so in a flag that
    /// the crate does not hand on. Set-group-ID goes by it whoever may execute.
    pub fn setting_list(&self, attr: &Attr) -> Standing {
        if attr.mode & SET_GID == 0 || self.gid == attr.gid {
            return Standing::Member;
        }
        let record = Record::of(self.thread);
        let root = self.uid == 0 && record.as_ref().is_none_or(|record| record.has(CAP_FSETID));
        match root || record.is_some_and(|record| record.groups.contains(&attr.gid)) {
            true => Standing::Member,
            false => Standing::Other,
        }
    }

    /// Whether the caller is in a file's group, where that decides anything.
    fn to_group(self, attr: &Attr) -> Standing {
        let open = attr.mode & (SET_GID | GROUP_EXECUTES) != SET_GID;
        let is_in = || Record::of(self.thread).is_some_and(|own| own.groups.contains(&attr.gid));
        match open || self.gid == attr.gid || is_in() {
            true => Standing::Member,
            false => Standing::Other,
        }
    }
}

impl Record {
    /// That of a thread, which waits for an answer; `None` where it cannot be read.
    fn of(thread: u32) -> Option<Record> {
        let text = fs::read_to_string(format!("/proc/{thread}/status")).ok()?;
        Record::parse(&text)
    }

    fn parse(text: &str) -> Option<Record> {
        let field = |name| text.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
        let groups = field("Groups:")?.split_whitespace().map(str::parse).collect::<Result<_, _>>();
        let capabilities = u64::from_str_radix(field("CapEff:")?, 16).ok()?;
        Some(Record { groups: groups.ok()?, capabilities })
    }

    fn has(&self, capability: u32) -> bool {
        self.capabilities >> capability & 1 != 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_of_threads_are_read() {
        let text = "Name:\tx\nGroups:\t4 24 1000 \nCapInh:\t0\nCapEff:\t0000000000000010\n";
        let record = Record::parse(text).unwrap();
        assert_eq!(record.groups, [4, 24, 1000]);
        assert!(record.has(CAP_FSETID) && !record.has(0));
        let none = Record::parse("Groups:\t \nCapEff:\t0\n").unwrap();
        assert!(none.groups.is_empty() && !none.has(CAP_FSETID));
        assert!(Record::parse("Groups:\tx\nCapEff:\t0\n").is_none());
        assert!(Record::of(std::process::id()).is_some());
        assert!(Record::of(0).is_none());
    }
}
