//! A check in parts: inodes by ranges of their numbers, where not all fit into memory at once.

use std::ops::Range;

use super::census::{Census, Parents, Seen};
use super::finding::CheckReport;
use crate::error::Result;
use crate::format::{DataRow, EntryRow, FIRST_FS_TREE, FsKey, InodeRow, TreeId};
use crate::fs::{FileSystem, FileType};

/// Bytes of memory that an inode takes with its data key, and what their tables have free.
const INODE: usize = (size_of::<(u64, Seen)>() + size_of::<(u64, (u64, u64))>()) * 9 / 8;

/// What one pass over all rows learns about how to part them.
struct Plan {
    /// Inodes of one part.
    most: u64,
    inodes: u64,
    /// First numbers of the parts behind the first.
    starts: Vec<u64>,
    /// Numbers of directories, and what they are in.
    dirs: Vec<u64>,
    parents: Vec<(u64, u64)>,
}

impl Plan {
    /// Takes in a row, and says which units it owns. `parted` says whether there will be parts.
    fn row(&mut self, (tree, key, value): Row<'_>, parted: bool, own: &mut dyn FnMut(u64, u32)) {
        if tree != FIRST_FS_TREE {
            return;
        }
        match FsKey::parse(key) {
            Ok(FsKey::Inode(ino)) => {
                if self.inodes > 0 && self.inodes.is_multiple_of(self.most) {
                    self.starts.push(ino);
                }
                self.inodes += 1;
                let kind = InodeRow::parse(value, ino).ok();
                let kind = kind.and_then(|row| FileType::of_mode(row.mode.get()));
                if kind == Some(FileType::Directory) {
                    self.dirs.push(ino);
                }
            }
            Ok(FsKey::Entry(dir, _)) if parted => {
                if let Ok(entry) = EntryRow::parse(value)
                    && self.dirs.binary_search(&entry.ino).is_ok()
                {
                    self.parents.push((entry.ino, dir));
                }
            }
            Ok(FsKey::Data(ino, unit)) if parted => {
                if let Ok(DataRow::Extent(extent, _)) = DataRow::parse(ino, unit, value) {
                    own(extent.unit, extent.units);
                }
            }
            _ => {}
        }
    }

    fn parts(&self) -> Vec<Range<u64>> {
        let ends = self.starts.iter().copied().chain([u64::MAX]);
        [0].iter().chain(&self.starts).copied().zip(ends).map(|(from, to)| from..to).collect()
    }
}

type Row<'a> = (TreeId, &'a [u8], &'a [u8]);

/// Checks a file system in about so many bytes of memory.
pub(super) fn check(fs: &FileSystem, memory: usize) -> Result<CheckReport> {
    let most = (memory / INODE).max(1) as u64;
    let mut plan =
        Plan { most, inodes: 0, starts: Vec::new(), dirs: Vec::new(), parents: Vec::new() };
    // All at once, as long as it fits: inodes come before what belongs to them.
    let mut all = Some(Census::new(fs.buckets()?));
    let structure = fs.engine().check_structure(|tree, key, value, own| {
        plan.row((tree, key, value), all.is_none(), own);
        if let Some(census) = &mut all {
            census.row(tree, key, value, own);
        }
        all.take_if(|census| census.bytes() > memory);
    })?;
    if let Some(census) = all {
        return Ok(census.report(structure));
    }
    plan.dirs = Vec::new();
    let (parts, parents) = (plan.parts(), Parents::new(plan.parents));
    let mut report = CheckReport { structure, ..CheckReport::default() };
    for part in parts {
        let mut census = Census::of_part(fs.buckets()?, part, parents.clone());
        fs.engine().check_structure(|tree, key, value, _| {
            census.row(tree, key, value, &mut |_, _| {});
        })?;
        report.add(census.report(Default::default()));
    }
    Ok(report)
}

#[cfg(test)]
mod tests {
    use zerocopy::{FromZeros, IntoBytes};

    use super::*;
    use crate::format::{STORE_TREE, StoreKey};

    /// Rows of `inodes` inodes, of which some are missing, have wrong counts, no name, or another
    /// type, and rows that do not parse.
    fn rows(inodes: u64) -> Vec<(TreeId, Vec<u8>, Vec<u8>)> {
        let mut rows = vec![
            (STORE_TREE, StoreKey::DataKey(3).encode().to_vec(), b"short".to_vec()),
            (STORE_TREE, vec![250, 1], Vec::new()),
        ];
        let is_dir = |ino: u64| ino.is_multiple_of(7) || ino == 1;
        for ino in (1..=inodes).filter(|ino| ino % 31 != 5) {
            let mut row = InodeRow::new_zeroed();
            let kind = if is_dir(ino) { FileType::Directory } else { FileType::Regular };
            row.mode = kind.mode_bits().into();
            row.nlink = if is_dir(ino) { 2 } else { 1 + u32::from(ino % 50 == 0) }.into();
            row.parent = (ino / 2).max(1).into();
            let mut bytes = row.as_bytes().to_vec();
            if ino % 67 == 3 {
                bytes.truncate(9);
            }
            rows.push((FIRST_FS_TREE, FsKey::Inode(ino).encode().to_vec(), bytes));
        }
        for ino in (2..=inodes).filter(|ino| ino % 41 != 1) {
            let dir = if ino % 43 == 2 { ino } else { (ino / 14 * 7).max(1) };
            let name = ino.to_string();
            let dir_kind = ino % 29 == 0 || is_dir(ino);
            let kind = if dir_kind { FileType::Directory } else { FileType::Regular };
            let entry = EntryRow { ino, kind: kind as u8, name: name.as_bytes() };
            let mut bytes = entry.encode().to_vec();
            if ino % 97 == 4 {
                bytes.truncate(3);
            }
            rows.push((FIRST_FS_TREE, FsKey::Entry(dir, ino << 8).encode().to_vec(), bytes));
        }
        for ino in (1..=inodes).filter(|ino| ino % 17 == 3) {
            rows.push((FIRST_FS_TREE, FsKey::Data(ino, 0).encode().to_vec(), vec![1, 2]));
            rows.push((FIRST_FS_TREE, FsKey::Orphan(ino).encode().to_vec(), Vec::new()));
        }
        rows.push((FIRST_FS_TREE, vec![9, 9], Vec::new()));
        rows.sort_by(|a, b| (a.0, &a.1).cmp(&(b.0, &b.1)));
        rows
    }

    fn bucket(name: &[u8]) -> u64 {
        String::from_utf8_lossy(name).parse::<u64>().unwrap_or(0) << 8
    }

    fn told(report: &CheckReport) -> Vec<String> {
        let mut told: Vec<_> = report.findings.iter().map(|found| format!("{found:?}")).collect();
        told.sort();
        told
    }

    #[test]
    fn parts_find_what_a_check_of_all_finds() {
        let rows = rows(3000);
        let mut all = Census::new(bucket);
        rows.iter().for_each(|(tree, key, value)| all.row(*tree, key, value, &mut |_, _| {}));
        let all = all.report(Default::default());
        assert!(all.findings.len() > 500, "{}", all.findings.len());
        for most in [100, 333, 2999, 10_000] {
            let mut plan =
                Plan { most, inodes: 0, starts: Vec::new(), dirs: Vec::new(), parents: Vec::new() };
            for (tree, key, value) in &rows {
                plan.row((*tree, key, value), true, &mut |_, _| {});
            }
            let (parts, parents) = (plan.parts(), Parents::new(plan.parents));
            let mut report = CheckReport::default();
            for part in parts {
                let mut census = Census::of_part(bucket, part, parents.clone());
                for (tree, key, value) in &rows {
                    census.row(*tree, key, value, &mut |_, _| {});
                }
                report.add(census.report(Default::default()));
            }
            let counts = |r: &CheckReport| (r.inodes, r.directories, r.entries, r.orphans);
            assert_eq!(counts(&report), counts(&all), "{most} at once");
            assert_eq!(told(&report), told(&all), "{most} at once");
        }
    }

    #[test]
    fn an_inode_takes_no_more_than_it_should() {
        const { assert!(INODE <= 250) };
        let mut census = Census::new(bucket);
        let row = InodeRow { mode: 0o100_644.into(), nlink: 1.into(), ..InodeRow::new_zeroed() };
        for ino in 1..=100_000 {
            census.row(FIRST_FS_TREE, &FsKey::Inode(ino).encode(), row.as_bytes(), &mut |_, _| {});
        }
        assert!(census.bytes() <= 100_000 * INODE, "{} bytes each", census.bytes() / 100_000);
    }
}
