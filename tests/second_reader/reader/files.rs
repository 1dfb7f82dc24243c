//! Sections 9 and 10: the file system's rows.

use std::collections::BTreeMap;

use super::crypto::{Seal, UnitKeys, subkey};
use super::fields::{bytes_at, key_u64, u16_at, u32_at, u64_at, unit_at};
use super::{Reader, Result, Rows};

/// The type of an inode, as in the upper bits of `st_mode`.
pub type Kind = u8;

const DIRECTORY: Kind = 4;

/// What a path leads to. Times are seconds and nanoseconds, in the order of the row.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Node {
    pub ino: u64,
    /// Where the entry stands in its directory; 0 for the root.
    pub cookie: u64,
    pub kind: Kind,
    pub mode: u32,
    pub nlink: u32,
    pub uid: u32,
    pub gid: u32,
    pub size: u64,
    pub generation: u64,
    pub change: u64,
    pub times: [(i64, u32); 4],
    pub rdev: u64,
    pub entries: u64,
    pub units: u64,
    /// Contents or link target.
    pub contents: Vec<u8>,
    pub xattrs: BTreeMap<Vec<u8>, Vec<u8>>,
}

/// Name, inode, cookie and type.
type Entry = (Vec<u8>, u64, u64, Kind);

pub struct Files<'a> {
    pub reader: &'a Reader<'a>,
    pub rows: &'a Rows,
}

impl Files<'_> {
    pub fn walk(&self) -> Result<BTreeMap<Vec<u8>, Node>> {
        for key in self.rows.keys() {
            let len = match key[0] {
                1 | 5 => 9,
                2 | 4 => 17,
                3 => 18,
                _ => return Err("class of a row".into()),
            };
            if key.len() != len {
                return Err("length of a key".into());
            }
        }
        let mut found = BTreeMap::new();
        let mut open = vec![(Vec::new(), 1, 0, DIRECTORY)];
        while let Some((path, ino, cookie, kind)) = open.pop() {
            let node = Node { cookie, ..self.node(ino)? };
            if node.kind != kind {
                return Err("type of an entry".into());
            }
            if kind == DIRECTORY {
                let children = self.entries(ino)?;
                let bytes: usize = children.iter().map(|(name, ..)| name.len()).sum();
                if children.len() as u64 != node.entries || bytes as u64 != node.size {
                    return Err("entries of a directory".into());
                }
                for (name, ino, cookie, kind) in children {
                    open.push(([&path[..], b"/", &name].concat(), ino, cookie, kind));
                }
            }
            found.insert(if path.is_empty() { b"/".to_vec() } else { path }, node);
        }
        Ok(found)
    }

    /// Rows of a class and an inode.
    fn of(&self, class: u8, ino: u64) -> impl Iterator<Item = (&Vec<u8>, &Vec<u8>)> {
        let prefix = [&[class][..], &ino.to_be_bytes()].concat();
        let rows = self.rows.range(prefix.clone()..);
        rows.take_while(move |(key, _)| key.starts_with(&prefix))
    }

    fn entries(&self, dir: u64) -> Result<Vec<Entry>> {
        let mut found = Vec::new();
        for (key, value) in self.of(2, dir) {
            let name = value.get(10..).unwrap_or(&[]);
            let hostile = name.iter().any(|byte| matches!(byte, 0 | b'/'));
            if name.is_empty() || name.len() != usize::from(value[9]) || hostile {
                return Err("name of an entry".into());
            }
            if matches!(name, b"." | b"..") {
                return Err("name of an entry".into());
            }
            let cookie = key_u64(key, 9);
            if cookie >> 8 << 8 != self.reader.bucket(name) || cookie < 3 {
                return Err("an entry in another bucket".into());
            }
            found.push((name.to_vec(), u64_at(value, 0), cookie, value[8]));
        }
        Ok(found)
    }

    fn node(&self, ino: u64) -> Result<Node> {
        let row = self.of(1, ino).next().ok_or("no such inode")?.1;
        if row.len() < 192 || row.len() != 192 + u32_at(row, 152) as usize {
            return Err("length of an inode".into());
        }
        let time = |at| (u64_at(row, at) as i64, u32_at(row, at + 8));
        let times = [time(40), time(52), time(64), time(76)];
        let mode = u32_at(row, 0);
        let mut node = Node {
            ino,
            cookie: 0,
            kind: (mode >> 12) as u8,
            mode: mode & 0o7777,
            nlink: u32_at(row, 4),
            uid: u32_at(row, 8),
            gid: u32_at(row, 12),
            size: u64_at(row, 16),
            generation: u64_at(row, 24),
            change: u64_at(row, 32),
            times,
            rdev: u64_at(row, 88),
            entries: u64_at(row, 104),
            units: u64_at(row, 112),
            contents: Vec::new(),
            xattrs: self.xattrs(ino)?,
        };
        let sound = node.size < 1 << 60
            && node.nlink <= 1 << 30
            && matches!(node.kind, 1 | 2 | 4 | 6 | 8 | 10 | 12)
            && times.iter().all(|(_, nanoseconds)| *nanoseconds < 1_000_000_000)
            && node.xattrs.len() == u32_at(row, 156) as usize;
        if !sound {
            return Err("an inode".into());
        }
        let trimming = u32_at(row, 148) & 1 != 0;
        if matches!(node.kind, 8 | 10) {
            node.contents = self.contents(&node, trimming)?;
        }
        Ok(node)
    }

    fn xattrs(&self, ino: u64) -> Result<BTreeMap<Vec<u8>, Vec<u8>>> {
        let mut found = BTreeMap::new();
        let mut rows = self.of(3, ino).peekable();
        while let Some((key, value)) = rows.next() {
            if key[17] != 0 || value.len() < 8 || value[5..8] != [0; 3] {
                return Err("first piece of an attribute".into());
            }
            let (len, name_len) = (u32_at(value, 0) as usize, usize::from(value[4]));
            let (name, first) = value[8..].split_at_checked(name_len).ok_or("a name")?;
            if name.is_empty() || len > 65_536 || first.len() != len.min(3960 - name_len) {
                return Err("an attribute".into());
            }
            let mut bytes = first.to_vec();
            for chunk in 1..=u8::MAX {
                let same =
                    |next: &(&Vec<u8>, &Vec<u8>)| next.0[..17] == key[..17] && next.0[17] == chunk;
                let Some((_, piece)) = rows.next_if(same) else { break };
                if piece.len() != 3968.min(len - bytes.len()) {
                    return Err("length of a piece".into());
                }
                bytes.extend(piece);
            }
            let bucket = key_u64(key, 9) >> 8 << 8;
            if bytes.len() != len || bucket != self.reader.bucket(name) {
                return Err("pieces of an attribute".into());
            }
            found.insert(name.to_vec(), bytes);
        }
        Ok(found)
    }

    /// The contents of a file, holes filled with zeros.
    fn contents(&self, node: &Node, trimming: bool) -> Result<Vec<u8>> {
        let mut bytes = vec![0; node.size.next_multiple_of(4096) as usize];
        let (mut end, mut units) = (0, 0);
        for (key, row) in self.of(4, node.ino) {
            let first = key_u64(key, 9);
            let (plain, owned) = match row.first() {
                Some(1) => self.extent(node.ino, row)?,
                Some(2) if first == 0 => (self.inline(node.ino, row)?, 0),
                _ => return Err("kind of contents".into()),
            };
            let after = first + (plain.len() as u64).div_ceil(4096);
            if first < end || after > 1 << 48 {
                return Err("contents for one unit twice, or beyond the largest file".into());
            }
            (end, units) = (after, units + owned);
            match bytes.get_mut(first as usize * 4096..).filter(|rest| rest.len() >= plain.len()) {
                Some(place) => place[..plain.len()].copy_from_slice(&plain),
                None if trimming => {}
                None => return Err("contents beyond the end".into()),
            }
        }
        if units != node.units {
            return Err("units of a file".into());
        }
        let padding = bytes.split_off(node.size as usize);
        match trimming || padding.iter().all(|byte| *byte == 0) {
            true => Ok(bytes),
            false => Err("bytes behind the end".into()),
        }
    }

    fn inline(&self, ino: u64, row: &[u8]) -> Result<Vec<u8>> {
        if row.len() < 44 || row[1..4] != [1, 0, 0] || row[6..8] != [0, 0] {
            return Err("head of inline contents".into());
        }
        let (len, key_id) = (u16_at(row, 4), u64_at(row, 8));
        if !(1..=2048).contains(&len) || row.len() != 44 + len {
            return Err("length of inline contents".into());
        }
        let key = self.reader.data_key(key_id, ino)?;
        let store = &self.reader.superblock.store_id;
        let seal = Seal::new(&subkey(&key, store, "inline", &key_id.to_le_bytes()));
        let aad = [&row[..16], &ino.to_le_bytes()].concat();
        let mut text = row[44..].to_vec();
        seal.open(&row[16..28], &aad, &mut text, &row[28..44])?;
        Ok(text)
    }

    /// The plaintext of an extent, and the units that it owns.
    fn extent(&self, ino: u64, row: &[u8]) -> Result<(Vec<u8>, u64)> {
        if row.len() < 48 || row[1..4] != [1, 0, 0] || row[4..6] != row[6..8] {
            return Err("head of an extent".into());
        }
        let (units, key_id, unit) = (u16_at(row, 4), u64_at(row, 8), u64_at(row, 16));
        if !(1..=64).contains(&units) || row.len() != 48 + 20 * units || unit == 0 {
            return Err("units of an extent".into());
        }
        let key = self.reader.data_key(key_id, ino)?;
        let keys = UnitKeys::new(&key, &self.reader.superblock.store_id, key_id);
        let first_tweak = u128::from_le_bytes(row[32..48].try_into().expect("16 bytes"));
        let mut plain = Vec::new();
        for (index, tag) in row[48..].chunks_exact(20).enumerate() {
            let at = unit.checked_add(index as u64).ok_or("address")?;
            let cipher = bytes_at(self.reader.image, unit_at(at)?, 4096)?;
            plain.extend(keys.open(first_tweak.wrapping_add(index as u128), cipher, tag)?);
        }
        Ok((plain, units as u64))
    }
}
