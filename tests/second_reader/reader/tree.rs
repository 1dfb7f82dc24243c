//! Section 7: pointers, nodes and what stands above the leaves.

use super::crypto::{Identity, Place, Seal};
use super::fields::{bytes_at, u16_at, u32_at, u64_at, unit_at};
use super::{Result, Rows};

const NODE: usize = 16_384;

/// A walk over trees; remembers where all copies of all nodes stand.
pub struct Walk<'a> {
    image: &'a [u8],
    seal: &'a Seal,
    store: [u8; 16],
    /// First units of the copies.
    pub nodes: Vec<u64>,
}

/// The keys that a node may have: from the first on and below the second.
type Range<'a> = (&'a [u8], Option<&'a [u8]>);

impl<'a> Walk<'a> {
    pub fn new(image: &'a [u8], seal: &'a Seal, store: [u8; 16]) -> Walk<'a> {
        Walk { image, seal, store, nodes: Vec::new() }
    }

    /// All rows of the tree that a pointer leads to.
    pub fn tree(&mut self, pointer: &[u8]) -> Result<Rows> {
        let mut rows = Rows::new();
        if u64_at(pointer, 0) != 0 {
            let level = pointer[61];
            if level > 12 {
                return Err("a root above level 12".into());
            }
            self.node(pointer, level, (&[], None), &mut rows)?;
        }
        Ok(rows)
    }

    fn node(&mut self, pointer: &[u8], level: u8, range: Range<'_>, rows: &mut Rows) -> Result<()> {
        let cells = self.read(pointer, level)?;
        // The first key above the leaves is below all others.
        let first = usize::from(level > 0);
        for (key, _) in cells.iter().skip(first) {
            if key.as_slice() < range.0 || range.1.is_some_and(|high| key.as_slice() >= high) {
                return Err("a key outside of its node".into());
            }
        }
        if level == 0 {
            let before = rows.len() + cells.len();
            rows.extend(cells);
            return if rows.len() == before { Ok(()) } else { Err("a row twice".into()) };
        }
        if cells.first().is_none_or(|(key, _)| key != &[0]) {
            return Err("the first key of a node above the leaves".into());
        }
        for (slot, (key, child)) in cells.iter().enumerate() {
            let low = if slot == 0 { range.0 } else { key };
            let high = cells.get(slot + 1).map(|(key, _)| key.as_slice()).or(range.1);
            if u64_at(child, 0) == 0 || child[61] != level - 1 || child[62..] != [0, 0] {
                return Err("a pointer".into());
            }
            self.node(child, level - 1, (low, high), rows)?;
        }
        Ok(())
    }

    /// The rows of a node. Both copies must open, and hold the same.
    fn read(&mut self, pointer: &[u8], level: u8) -> Result<Vec<(Vec<u8>, Vec<u8>)>> {
        if pointer[60] != 1 {
            return Err("suite of a node".into());
        }
        let identity = Identity { store: self.store, key_epoch: u32_at(pointer, 28) };
        let (tree, number) = (u32_at(pointer, 24), u64_at(pointer, 16));
        let aad = identity.aad(b"node", &Place { tree, number, level, ..Place::default() });
        let mut copies = Vec::new();
        for unit in [u64_at(pointer, 0), u64_at(pointer, 8)] {
            if unit == 0 {
                continue;
            }
            if unit >> 56 != 0 {
                return Err("a node on another device".into());
            }
            let mut node = bytes_at(self.image, unit_at(unit)?, NODE)?.to_vec();
            self.check_header(&node, pointer)?;
            self.seal.open(&pointer[32..44], &aad, &mut node[80..], &pointer[44..60])?;
            self.nodes.push(unit);
            copies.push(node);
        }
        let mirrored = copies.len() == 1 + usize::from(level > 0);
        if !mirrored || copies.iter().any(|copy| copy != &copies[0]) {
            return Err("copies of a node".into());
        }
        cells(&copies[0], level)
    }

    /// What a scrub relies on: the header repeats the pointer, and its crc fits.
    fn check_header(&self, node: &[u8], pointer: &[u8]) -> Result<()> {
        let repeated = node[..8] == *b"EFSNODE\x01"
            && node[8..24] == self.store
            && node[24..32] == pointer[16..24]
            && node[32..40] == pointer[24..32]
            && node[40..68] == pointer[32..60]
            && node[68..70] == pointer[60..62]
            && node[70..76] == [0; 6];
        let crc = crc32fast::hash(&[&node[..76], &node[80..]].concat());
        match repeated && crc == u32_at(node, 76) {
            true => Ok(()),
            false => Err("header of a node".into()),
        }
    }
}

/// The cells of an open node, in order.
fn cells(node: &[u8], level: u8) -> Result<Vec<(Vec<u8>, Vec<u8>)>> {
    let (count, heap) = (u16_at(node, 80), u16_at(node, 82));
    if node[87] != level || heap > NODE || 88 + 8 * count > heap {
        return Err("head of a page".into());
    }
    let (mut rows, mut places) = (Vec::<(Vec<u8>, Vec<u8>)>::new(), Vec::new());
    for slot in 0..count {
        let at = 88 + 8 * slot;
        let (cell, len) = (u16_at(node, at + 4), u16_at(node, at + 6));
        if cell < heap || cell >= NODE {
            return Err("offset of a cell".into());
        }
        let key_len = usize::from(node[cell]);
        let end = cell + 1 + key_len + len;
        let fits = if level == 0 { len <= 3968 } else { len == 64 };
        if !(1..=64).contains(&key_len) || !fits || end > NODE {
            return Err("length of a cell".into());
        }
        let (key, value) = node[cell + 1..end].split_at(key_len);
        if rows.last().is_some_and(|(last, _)| last.as_slice() >= key) {
            return Err("order of keys".into());
        }
        places.push(cell..end);
        rows.push((key.to_vec(), value.to_vec()));
    }
    places.sort_by_key(|place| place.start);
    match places.windows(2).any(|pair| pair[0].end > pair[1].start) {
        true => Err("cells overlap".into()),
        false => Ok(rows),
    }
}
