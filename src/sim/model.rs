//! The model: a file tree in memory that says what each operation must answer and leave behind.
//!
//! It learns nothing from the file system but the numbers of new inodes. Operations that the file
//! system may do in several transactions go through the same states here, one after another.

use std::collections::{BTreeMap, BTreeSet};

use super::caller::{COMMON, Done, OWNER, PADDING, Place, UMASK};
use super::digest::{self, Fold, Seen};
use super::lists::{self, List};
use super::operation::{On, Operation, SLOTS};
use super::plan::{Edit, Plan};
use super::survey::Survey;
use crate::error::{ErrorKind, Result};
use crate::fs::{AclKind, Attr, FileSystem, FileType, RenameMode, SetAttr, SetTime, Time};
use crate::limits::UNIT;

/// What the model knows of an inode.
#[derive(Debug, Clone)]
pub(super) struct Node {
    pub seen: Seen,
    pub parent: u64,
    /// Contents or link target.
    pub bytes: Vec<u8>,
    pub entries: BTreeMap<String, u64>,
    /// Digests of the values of extended attributes.
    pub xattrs: BTreeMap<String, u64>,
    /// Access list and default list; their values are among the attributes.
    lists: [Option<List>; 2],
    pub opens: u32,
    /// The verifier of an exclusive creation, until an attribute is set.
    pub verifier: Option<[u8; 8]>,
    /// The last change number that was seen.
    pub change: u64,
}

/// A file tree in memory, which operations change as they must change a file system.
#[derive(Debug, Clone)]
pub struct Model {
    pub(super) nodes: BTreeMap<u64, Node>,
    pub(super) place: Place,
    pub(super) slots: [Option<u64>; SLOTS],
    /// All numbers that were ever given out.
    pub(super) used: BTreeSet<u64>,
    digest: u64,
    now: Time,
}

impl Node {
    pub fn new(attr: &Attr, parent: u64) -> Node {
        let mut seen = Seen::of(attr);
        if seen.kind == FileType::Directory {
            seen.entries = digest::named(b"..", parent);
        }
        Node {
            seen,
            parent,
            bytes: Vec::new(),
            entries: BTreeMap::new(),
            xattrs: BTreeMap::new(),
            lists: [None; 2],
            opens: 0,
            verifier: None,
            change: attr.change,
        }
    }

    pub fn is_dir(&self) -> bool {
        self.seen.kind == FileType::Directory
    }

    pub fn list(&self, kind: AclKind) -> Option<List> {
        self.lists[kind as usize]
    }

    /// Keeps a list, and the mode that goes with it.
    fn set_list(&mut self, kind: AclKind, list: Option<List>) {
        let mut kept = list;
        if let (AclKind::Access, Some(list)) = (kind, list) {
            self.seen.mode = self.seen.mode & !0o777 | list.mode();
            kept = kept.filter(|list| list.named.is_some());
        }
        self.lists[kind as usize] = kept;
        let value = kept.map(|list| Fold::new(0).bytes(&list.value()).end());
        self.set_value(&lists::name(kind), value);
    }

    /// Sets the mode, and the list that goes with it.
    fn set_mode(&mut self, mode: u32) {
        self.seen.mode = mode & 0o7777;
        if let Some(list) = self.list(AclKind::Access) {
            self.set_list(AclKind::Access, Some(list.with_mode(mode)));
        }
    }

    /// Keeps the digest of an attribute's value.
    fn set_value(&mut self, name: &str, value: Option<u64>) {
        let old = match value {
            Some(value) => self.xattrs.insert(name.to_owned(), value),
            None => self.xattrs.remove(name),
        };
        let sum = self.seen.xattrs.wrapping_sub(old.map_or(0, |old| named(name, old)));
        self.seen.xattrs = sum.wrapping_add(value.map_or(0, |value| named(name, value)));
    }
}

impl Model {
    /// The model of a file system in which there is nothing but the root directory.
    ///
    /// # Errors
    /// Those of looking at the root directory.
    pub fn new(fs: &FileSystem) -> Result<Model> {
        Model::at(fs, Place::WHOLE)
    }

    /// The model of what a caller sees, whose directories are empty.
    pub(super) fn at(fs: &FileSystem, place: Place) -> Result<Model> {
        let mut model = Model {
            nodes: BTreeMap::new(),
            place,
            slots: [None; SLOTS],
            used: BTreeSet::new(),
            digest: 0,
            now: Time::default(),
        };
        for dir in [Some(place.home), place.common.map(|common| common.0)].into_iter().flatten() {
            let parent = fs.lookup(dir, b"..")?.ino;
            model.insert(Node::new(&fs.getattr(dir)?, parent));
        }
        Ok(model)
    }

    /// The digest of everything that has a name.
    pub(super) fn digest(&self) -> u64 {
        self.digest
    }

    /// Takes in an operation at a moment and what the file system answered to it.
    ///
    /// # Errors
    /// In words, where the answer is another than it must be.
    pub fn take(
        &mut self,
        operation: &Operation,
        now: Time,
        answer: &Result<Done>,
    ) -> Result<(), String> {
        let plan = self.expect(operation);
        match (plan, answer) {
            (Ok(plan), Ok(done)) => {
                self.perform(&plan, now, done, |_| true)?;
                self.compare_answer(done)
            }
            (Err(want), Err(error)) if error.kind() == want => Ok(()),
            (Ok(_), Err(error)) => Err(format!("failed, and must not: {error}")),
            (Err(want), Err(error)) => Err(format!("failed with {error}, not {want:?}")),
            (Err(want), Ok(_)) => Err(format!("succeeded, and must fail with {want:?}")),
        }
    }

    /// Fails unless the file system is what the model is.
    ///
    /// # Errors
    /// In words: what differs, or cannot be read.
    pub fn compare(&self, fs: &FileSystem) -> Result<(), String> {
        let survey = Survey::of(fs, self.place);
        let survey = survey.map_err(|(error, path)| format!("{path}: {error}"))?;
        if survey.digest != self.digest {
            return Err(self.differences(&survey).join("\n"));
        }
        let back = survey
            .changes
            .iter()
            .find(|(ino, change)| self.nodes.get(ino).is_some_and(|node| **change < node.change));
        back.map_or(Ok(()), |(ino, _)| Err(format!("inode {ino}: its change attribute went back")))
    }

    /// What differs between the model and what was found: one line for each inode.
    pub(super) fn differences(&self, found: &Survey) -> Vec<String> {
        let mut lines = Vec::new();
        let live = self.nodes.values().filter(|node| self.weight(node) != 0);
        for node in live {
            match found.inodes.get(&node.seen.ino) {
                None => lines.push(format!("missing: {:?}", node.seen)),
                Some((seen, path)) if *seen != node.seen => {
                    lines.push(format!("{path}:\n  is    {seen:?}\n  not   {:?}", node.seen));
                }
                Some(_) => {}
            }
        }
        for (ino, (seen, path)) in &found.inodes {
            if self.nodes.get(ino).is_none_or(|node| self.weight(node) == 0) {
                lines.push(format!("invented: {path}: {seen:?}"));
            }
        }
        lines
    }

    /// Goes through the states of a plan, and calls `state` with each, until it returns `false`.
    pub(super) fn perform(
        &mut self,
        plan: &Plan,
        now: Time,
        done: &Done,
        mut state: impl FnMut(&Model) -> bool,
    ) -> Result<(), String> {
        self.now = now;
        let mut ino = plan.file;
        if let Some(edit) = &plan.edit {
            ino = self.edit(edit, done)?.or(ino);
        }
        let end = done.len.map_or(u64::MAX, |len| plan.start + len as u64);
        if (plan.edit.is_some() || !plan.has_parts()) && !state(self) {
            return Ok(());
        }
        for piece in plan.pieces.iter().filter(|piece| piece.start < end) {
            if piece.end > end {
                return Err(format!("a write that ended inside a unit, at byte {end}"));
            }
            let ino = ino.ok_or("pieces of no file")?;
            self.piece(ino, plan, piece.start as usize..piece.end as usize);
            if !state(self) {
                return Ok(());
            }
        }
        if let (Some(size), Some(ino)) = (plan.size, ino) {
            self.change(ino, |node| {
                node.bytes.resize(size as usize, 0);
                node.seen.size = size;
                node.seen.mode = without_set_ids(node.seen.mode);
                touch_contents(node, now);
            });
            state(self);
        }
        Ok(())
    }

    /// Compares what an answer tells of inodes.
    pub(super) fn compare_answer(&mut self, done: &Done) -> Result<(), String> {
        for (at, attr) in done.after.iter().enumerate() {
            let twice = done.after[..at].contains(attr);
            let common = self.place.common.is_some_and(|common| common.0 == attr.ino);
            let now = self.now;
            let Some(node) = self.nodes.get_mut(&attr.ino).filter(|_| !common && !twice) else {
                continue;
            };
            let want = Seen { contents: 0, entries: 0, xattrs: 0, ..node.seen };
            if Seen::of(attr) != want {
                return Err(format!("answered {:?}, not {want:?}", Seen::of(attr)));
            }
            // A new inode has its first number from its creation.
            let changed = node.seen.ctime == now && node.seen.btime != now;
            let old = std::mem::replace(&mut node.change, attr.change);
            if attr.change < old || (changed && attr.change == old) {
                return Err(format!("change attribute {}, and {old} before", attr.change));
            }
        }
        Ok(())
    }

    fn piece(&mut self, ino: u64, plan: &Plan, range: std::ops::Range<usize>) {
        let now = self.now;
        self.change(ino, |node| {
            let (start, end) = (range.start, range.end);
            let first = start / UNIT;
            let units = first * UNIT..end.next_multiple_of(UNIT);
            let digest = |bytes: &[u8]| {
                let end = units.end.min(bytes.len());
                digest::contents(first as u64, bytes.get(units.start..end).unwrap_or_default())
            };
            let old = digest(&node.bytes);
            if node.bytes.len() < end {
                node.bytes.resize(end, 0);
            }
            match &plan.bytes {
                Some(bytes) => {
                    let from = start - plan.start as usize;
                    node.bytes[range].copy_from_slice(&bytes[from..from + end - start]);
                }
                None => node.bytes[range].fill(0),
            }
            let new = digest(&node.bytes);
            node.seen.contents = node.seen.contents.wrapping_sub(old).wrapping_add(new);
            node.seen.size = node.bytes.len() as u64;
            if !plan.privileged {
                node.seen.mode = without_set_ids(node.seen.mode);
            }
            touch_contents(node, now);
        });
    }

    /// Makes the change of a plan; returns the inode that it made.
    fn edit(&mut self, edit: &Edit, done: &Done) -> Result<Option<u64>, String> {
        let now = self.now;
        match edit {
            Edit::Make { dir, name, kind, mode, rdev, verifier, bytes } => {
                let made = done.made.as_ref().ok_or("made nothing")?;
                self.make(*dir, name, *kind, (*mode, *rdev), made)?;
                self.change(made.ino, |node| {
                    node.verifier = *verifier;
                    node.seen.size = bytes.len() as u64;
                    node.seen.contents = digest::contents(0, bytes);
                    node.bytes.clone_from(bytes);
                });
                return Ok(Some(made.ino));
            }
            Edit::Find(ino) => {
                if done.made.as_ref().is_none_or(|made| made.ino != *ino) {
                    return Err(format!("found {:?}, not inode {ino}", done.made));
                }
            }
            Edit::Link { ino, dir, name } => {
                self.enter(*dir, name, *ino);
                self.change(*ino, |node| {
                    node.seen.nlink += 1;
                    node.seen.ctime = now;
                });
            }
            Edit::Remove { dir, name } => self.remove(*dir, name),
            Edit::Rename { from, to, mode, whiteout } => {
                self.rename(from, to, *mode);
                if *whiteout {
                    let made = done.made.as_ref().ok_or("left nothing")?;
                    self.make(from.0, &from.1, FileType::CharDevice, (0, 0), made)?;
                }
            }
            Edit::Touch { ino, privileged } => self.change(*ino, |node| {
                if !*privileged {
                    node.seen.mode = without_set_ids(node.seen.mode);
                }
                touch_contents(node, now);
            }),
            Edit::Set { ino, set } => self.change(*ino, |node| apply(node, set, now)),
            Edit::SetValue { ino, name, value } => self.change(*ino, |node| {
                node.set_value(name, Some(Fold::new(0).bytes(&value.bytes()).end()));
                node.seen.ctime = now;
            }),
            Edit::DropValue { ino, name } => self.change(*ino, |node| {
                node.set_value(name, None);
                node.seen.ctime = now;
            }),
            Edit::SetList { ino, kind, list } => self.change(*ino, |node| {
                if *kind == AclKind::Access && list.is_some() {
                    node.seen.mode &= !0o2000;
                    node.verifier = None;
                }
                node.set_list(*kind, *list);
                node.seen.ctime = now;
            }),
            Edit::Open { ino, slot } => {
                self.change(*ino, |node| node.opens += 1);
                self.close(*slot);
                self.slots[*slot] = Some(*ino);
            }
            Edit::Close(slot) => self.close(*slot),
            Edit::CloseAll => (0..SLOTS).for_each(|slot| self.close(slot)),
        }
        Ok(None)
    }

    fn make(
        &mut self,
        dir: u64,
        name: &str,
        kind: FileType,
        (mode, rdev): (u32, u64),
        made: &Attr,
    ) -> Result<(), String> {
        if !self.used.insert(made.ino) || self.nodes.contains_key(&made.ino) {
            return Err(format!("inode number {} came twice", made.ino));
        }
        let (mut mode, mut gid) = (mode & 0o7777, OWNER.1);
        let default = self.nodes.get(&dir).and_then(|dir| dir.list(AclKind::Default));
        let default = default.filter(|_| kind != FileType::Symlink);
        match default {
            Some(list) => mode &= !0o777 | list.mode(),
            None if kind == FileType::Symlink => {}
            None => mode &= !UMASK,
        }
        if let Some(parent) = self.nodes.get(&dir).filter(|dir| dir.seen.mode & 0o2000 != 0) {
            gid = parent.seen.gid;
            mode |= if kind == FileType::Directory { 0o2000 } else { 0 };
        }
        let directory = kind == FileType::Directory;
        let now = self.now;
        let attr = Attr {
            kind,
            mode,
            nlink: if directory { 2 } else { 1 },
            uid: OWNER.0,
            gid,
            size: 0,
            rdev,
            entries: 0,
            atime: now,
            mtime: now,
            ctime: now,
            btime: now,
            ..*made
        };
        let mut node = Node::new(&attr, dir);
        if let Some(list) = default {
            node.set_list(AclKind::Access, Some(list.with_mode(mode)));
            node.set_list(AclKind::Default, default.filter(|_| directory));
        }
        self.insert(node);
        self.enter(dir, name, made.ino);
        if directory {
            self.change(dir, |node| node.seen.nlink += 1);
        }
        Ok(())
    }

    fn remove(&mut self, dir: u64, name: &str) {
        let now = self.now;
        let Some(ino) = self.leave(dir, name) else { return };
        let directory = self.nodes.get(&ino).is_some_and(Node::is_dir);
        self.change(ino, |node| {
            node.seen.nlink -= if directory { 2 } else { 1 };
            node.seen.ctime = now;
        });
        self.change(dir, |node| node.seen.nlink -= u32::from(directory));
        self.forget(ino);
    }

    fn rename(&mut self, from: &(u64, String), to: &(u64, String), mode: RenameMode) {
        let now = self.now;
        let target = self.nodes.get(&to.0).and_then(|dir| dir.entries.get(&to.1)).copied();
        if mode == RenameMode::Exchange {
            let (Some(source), Some(target)) = (self.leave(from.0, &from.1), target) else {
                return;
            };
            self.leave(to.0, &to.1);
            self.enter(from.0, &from.1, target);
            self.enter(to.0, &to.1, source);
            self.moved(target, to.0, from.0);
            return self.moved(source, from.0, to.0);
        }
        if target.is_some() {
            self.remove(to.0, &to.1);
        }
        let Some(source) = self.leave(from.0, &from.1) else { return };
        self.enter(to.0, &to.1, source);
        self.moved(source, from.0, to.0);
        self.change(from.0, |dir| touch_contents(dir, now));
    }

    fn moved(&mut self, ino: u64, from: u64, to: u64) {
        let now = self.now;
        self.change(ino, |node| {
            node.parent = to;
            node.seen.ctime = now;
            if node.is_dir() {
                let sum = node.seen.entries.wrapping_sub(digest::named(b"..", from));
                node.seen.entries = sum.wrapping_add(digest::named(b"..", to));
            }
        });
        if self.nodes.get(&ino).is_some_and(Node::is_dir) {
            self.change(from, |dir| dir.seen.nlink -= 1);
            self.change(to, |dir| dir.seen.nlink += 1);
        }
    }

    fn enter(&mut self, dir: u64, name: &str, ino: u64) {
        let now = self.now;
        self.change(dir, |node| {
            node.entries.insert(name.to_owned(), ino);
            node.seen.entries = node.seen.entries.wrapping_add(named(name, ino));
            node.seen.count += 1;
            node.seen.size += name.len() as u64;
            touch_contents(node, now);
        });
    }

    fn leave(&mut self, dir: u64, name: &str) -> Option<u64> {
        let now = self.now;
        let ino = self.nodes.get(&dir)?.entries.get(name).copied()?;
        self.change(dir, |node| {
            node.entries.remove(name);
            node.seen.entries = node.seen.entries.wrapping_sub(named(name, ino));
            node.seen.count -= 1;
            node.seen.size -= name.len() as u64;
            touch_contents(node, now);
        });
        Some(ino)
    }

    fn close(&mut self, slot: usize) {
        if let Some(ino) = self.slots[slot].take() {
            self.change(ino, |node| node.opens -= 1);
            self.forget(ino);
        }
    }

    /// Forgets an inode that has no name and is not open.
    fn forget(&mut self, ino: u64) {
        if self.nodes.get(&ino).is_some_and(|node| node.seen.nlink == 0 && node.opens == 0) {
            self.nodes.remove(&ino);
        }
    }

    fn insert(&mut self, node: Node) {
        self.digest = self.digest.wrapping_add(self.weight(&node));
        self.nodes.insert(node.seen.ino, node);
    }

    fn change(&mut self, ino: u64, change: impl FnOnce(&mut Node)) {
        let Some(mut node) = self.nodes.remove(&ino) else { return };
        self.digest = self.digest.wrapping_sub(self.weight(&node));
        change(&mut node);
        self.insert(node);
    }

    /// What an inode counts in the digest.
    fn weight(&self, node: &Node) -> u64 {
        let common = self.place.common.is_some_and(|common| common.0 == node.seen.ino);
        if common || node.seen.nlink == 0 { 0 } else { node.seen.digest() }
    }

    /// What a path leads to.
    pub(super) fn find(&self, path: &str) -> Result<u64, ErrorKind> {
        let (mut dir, names) = self.place.names(path);
        for name in names {
            dir = self.entry(dir, &name)?.ok_or(ErrorKind::NotFound)?;
        }
        Ok(dir)
    }

    /// The directory of a path's last name, and the name.
    pub(super) fn parent(&self, path: &str) -> Result<(u64, String), ErrorKind> {
        let (mut dir, mut names) = self.place.names(path);
        let last = names.pop().ok_or(ErrorKind::InvalidArgument)?;
        for name in names {
            dir = self.entry(dir, &name)?.ok_or(ErrorKind::NotFound)?;
        }
        Ok((dir, last))
    }

    /// What a name leads to in what must be a directory.
    pub(super) fn entry(&self, dir: u64, name: &str) -> Result<Option<u64>, ErrorKind> {
        let node = self.nodes.get(&dir).filter(|node| node.is_dir());
        Ok(node.ok_or(ErrorKind::NotDirectory)?.entries.get(name).copied())
    }

    /// What an operation works on; `None` for an empty slot.
    pub(super) fn on(&self, on: &On) -> Result<Option<u64>, ErrorKind> {
        match on {
            On::Path(path) => self.find(path).map(Some),
            On::Slot(slot) => Ok(self.slots[slot % SLOTS]),
        }
    }

    /// Paths of everything, and what they lead to: for who makes up operations.
    pub(super) fn paths(&self) -> Vec<(String, FileType)> {
        let mut found = Vec::new();
        let mut todo = vec![(self.place.home, String::new())];
        let prefix = self.place.common.map(|common| (common.0, Place::prefix(common.1)));
        todo.extend(prefix.iter().map(|(dir, _)| (*dir, format!("/{COMMON}"))));
        while let Some((dir, path)) = todo.pop() {
            for (name, ino) in self.nodes.get(&dir).into_iter().flat_map(|node| &node.entries) {
                let own = prefix.as_ref().filter(|(common, _)| *common == dir);
                let name = own.map_or(&name[..], |(_, prefix)| &name[prefix.len()..]);
                let padding = if name.ends_with(PADDING) { "~" } else { "" };
                let path = format!("{path}/{}{padding}", name.trim_end_matches(PADDING));
                let Some(node) = self.nodes.get(ino) else { continue };
                if node.is_dir() {
                    todo.push((*ino, path.clone()));
                }
                found.push((path, node.seen.kind));
            }
        }
        found
    }

    /// After a crash nothing is known of change attributes: a part of an operation may be there.
    pub(super) fn forget_changes(&mut self) {
        self.nodes.values_mut().for_each(|node| node.change = 0);
    }

    /// The store was closed and opened: nothing is open any more.
    pub(super) fn restart(&mut self) {
        (0..SLOTS).for_each(|slot| self.close(slot));
    }
}

fn named(name: &str, what: u64) -> u64 {
    digest::named(name.as_bytes(), what)
}

fn touch_contents(node: &mut Node, now: Time) {
    (node.seen.mtime, node.seen.ctime) = (now, now);
}

/// The mode of a file whose contents or owner somebody changed of whom nothing is known.
fn without_set_ids(mode: u32) -> u32 {
    mode & !0o6000
}

fn apply(node: &mut Node, set: &SetAttr, now: Time) {
    if let Some(mode) = set.mode {
        node.set_mode(mode);
    }
    let seen = &mut node.seen;
    let size_alone = SetAttr { size: None, guard: None, ..*set } == SetAttr::default();
    if set.size == Some(seen.size) && size_alone {
        // It is what it was, unless that takes something else away.
        if node.verifier.is_none() && seen.mode == without_set_ids(seen.mode) {
            return;
        }
    }
    let owner = set.uid.is_some() || set.gid.is_some();
    let changed = seen.kind != FileType::Directory && (owner || set.size.is_some());
    if changed && set.mode.is_none() {
        seen.mode = without_set_ids(seen.mode);
    }
    seen.uid = set.uid.unwrap_or(seen.uid);
    seen.gid = set.gid.unwrap_or(seen.gid);
    if let Some(size) = set.size {
        node.bytes.resize(size as usize, 0);
        seen.contents = digest::contents(0, &node.bytes);
        seen.mtime = if size == seen.size { seen.mtime } else { now };
        seen.size = size;
    }
    let time = |set: Option<SetTime>| match set? {
        SetTime::Now => Some(now),
        SetTime::At(time) => Some(time),
    };
    seen.atime = time(set.atime).unwrap_or(seen.atime);
    seen.mtime = time(set.mtime).unwrap_or(seen.mtime);
    seen.ctime = now;
    node.verifier = None;
}
