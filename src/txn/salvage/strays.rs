//! Strays: verified nodes that were found by their headers, for grafts.

use std::collections::BTreeMap;
use std::ops::Bound::{Included, Unbounded};
use std::sync::Arc;

use zerocopy::little_endian::U64;

use crate::block::{Found, Sealer, Space, scan};
use crate::device::Device;
use crate::error::{Error, Object, Result};
use crate::format::{NodePointer, Page, TreeId};
use crate::limits::{NODE_UNITS, UNIT};
use crate::tree::{Finder, KeyRange, Stray};

/// Values of rows, and the generations of the leaves that have them.
pub(super) type Older = BTreeMap<(TreeId, Vec<u8>), (u64, Vec<u8>)>;

/// All nodes of a store that authenticate, wherever they stand.
pub(super) struct Strays {
    device: Arc<dyn Device>,
    sealer: Arc<Sealer>,
    space: Arc<Space>,
    /// Units that the pool may have: first, and behind the last.
    pool: (u64, u64),
    /// Generation of the state that is grafted.
    generation: u64,
    /// Whether there may have been a newer state.
    outdated: bool,
    found: Option<Vec<Known>>,
    /// Whether a node was used although it is not known to be in use.
    pub uncertain: bool,
    /// The highest generation of a node that authenticates.
    newest: u64,
}

struct Known {
    tree: TreeId,
    stray: Stray,
    /// Whether the space map says that it is in use; `None` where that cannot be read.
    live: Option<bool>,
}

impl Known {
    fn is_newer(&self, generation: u64) -> bool {
        self.stray.pointer.birth_gen.get() > generation
    }
}

/// What is remembered of a node.
enum Seen {
    /// First and last key of a leaf.
    Leaf(Vec<u8>, Vec<u8>),
    /// A node above the leaves.
    Above(Page),
}

impl Strays {
    pub fn new(
        device: Arc<dyn Device>,
        sealer: Arc<Sealer>,
        space: Arc<Space>,
        pool: (u64, u64),
        generation: u64,
        outdated: bool,
    ) -> Strays {
        let (newest, found, uncertain) = (generation, None, false);
        Strays { device, sealer, space, pool, generation, outdated, found, uncertain, newest }
    }

    /// The highest generation of a node that authenticates, or that of the state.
    ///
    /// # Errors
    /// Those of reading the device.
    pub fn newest(&mut self) -> Result<u64> {
        self.all()?;
        Ok(self.newest)
    }

    /// The root of the newest state of a tree: the highest node of the highest generation that
    /// has a node of the tree.
    ///
    /// # Errors
    /// Those of reading the device.
    pub fn newest_root(&mut self, tree: TreeId) -> Result<Option<NodePointer>> {
        let nodes = self.all()?.iter().filter(|known| known.tree == tree);
        let pointers = nodes.map(|known| known.stray.pointer);
        Ok(pointers.max_by_key(|pointer| (pointer.birth_gen.get(), pointer.level)))
    }

    /// As [`Strays::newest`], if the device was read.
    pub fn newest_known(&self) -> Option<u64> {
        self.found.as_ref().map(|_| self.newest)
    }

    /// The highest level of a node in use of a tree; `None` where there is no node at all.
    pub fn height(&mut self, tree: TreeId) -> Result<Option<u8>> {
        let (generation, outdated) = (self.generation, self.outdated);
        let nodes = self.all()?.iter().filter(|known| known.tree == tree);
        let used = nodes.filter(|known| match known.is_newer(generation) {
            true => outdated,
            false => known.live != Some(false),
        });
        Ok(used.map(|known| known.stray.pointer.level).max())
    }

    /// Everything that was found; the first call reads the device.
    fn all(&mut self) -> Result<&[Known]> {
        if self.found.is_none() {
            self.found = Some(self.search()?);
        }
        Ok(self.found.as_deref().unwrap_or(&[]))
    }

    /// Rows of keys in some ranges, as the newest leaf says that has them, in use or not; and the
    /// leaves that have such rows.
    pub fn older(&mut self, ranges: &[(TreeId, KeyRange)]) -> Result<(Older, Vec<u64>)> {
        let (mut older, mut leaves) = (Older::new(), Vec::new());
        if ranges.is_empty() {
            return Ok((older, leaves));
        }
        self.all()?;
        for known in self.found.iter().flatten() {
            let Stray { pointer, first, last } = &known.stray;
            let ranges = KeyRange::meeting(ranges, known.tree, first, last);
            // A checkpoint that never became durable is no state.
            let unborn = !self.outdated && known.is_newer(self.generation);
            if pointer.level > 0 || ranges.is_empty() || unborn {
                continue;
            }
            let Ok(page) = self.read(pointer, pointer.unit()) else { continue };
            let birth = pointer.birth_gen.get();
            leaves.push(pointer.unit());
            for slot in 0..page.len() {
                let key = page.key(slot);
                if !ranges.iter().any(|(_, range)| range.contains(key)) {
                    continue;
                }
                let kept = older.entry((known.tree, key.to_vec())).or_default();
                if kept.0 <= birth {
                    *kept = (birth, page.value(slot).to_vec());
                }
            }
        }
        Ok((older, leaves))
    }

    fn search(&mut self) -> Result<Vec<Known>> {
        let mut found: Vec<(NodePointer, Seen)> = Vec::new();
        let store_id = *self.sealer.store_id();
        let (first, end) = self.pool;
        scan(&*self.device, &store_id, first, end, |_| true, &mut |unit, block| {
            if let Found::Node(header, bytes, _) = block
                && let Ok(bytes) = Box::<[u8; _]>::try_from(bytes.to_vec().into_boxed_slice())
                && let Ok(page) = self.sealer.open_node(&header.pointer(unit), unit, bytes)
                && let Some(last) = page.len().checked_sub(1)
            {
                let seen = match page.level() {
                    0 => Seen::Leaf(page.key(0).to_vec(), page.key(last).to_vec()),
                    _ => Seen::Above(page),
                };
                found.push((header.pointer(unit), seen));
            }
        })?;
        let generations = found.iter().map(|(pointer, _)| pointer.birth_gen.get());
        self.newest = generations.max().unwrap_or(0).max(self.newest);
        join_copies(&mut found);
        let mut known = Vec::new();
        for (pointer, seen) in found {
            let (first, last) = match seen {
                Seen::Leaf(first, last) => (first, last),
                Seen::Above(page) => match (self.end(&page, false), self.end(&page, true)) {
                    (Some(first), Some(last)) => (first, last),
                    _ => continue,
                },
            };
            let live = self.space.is_live(pointer.unit(), NODE_UNITS as u32);
            let tree = pointer.birth_tree.get();
            known.push(Known { tree, stray: Stray { pointer, first, last }, live });
        }
        Ok(known)
    }

    /// The first or the last key below a node, as far as it can be read.
    fn end(&self, page: &Page, last: bool) -> Option<Vec<u8>> {
        let slot = if last { page.len().checked_sub(1)? } else { 0 };
        if page.level() == 0 {
            return (slot < page.len()).then(|| page.key(slot).to_vec());
        }
        let child = NodePointer::parse(page.value(slot), page.level() - 1).ok();
        let below = child.and_then(|child| {
            let read = child.copies().find_map(|unit| self.read(&child, unit).ok())?;
            self.end(&read, last)
        });
        // The fence of the first slot is below all keys and says nothing.
        let fence = if last { slot } else { 1 };
        below.or_else(|| (1..page.len()).contains(&fence).then(|| page.key(fence).to_vec()))
    }

    fn read(&self, pointer: &NodePointer, unit: u64) -> Result<Page> {
        let mut block = Page::zeroed();
        let object = Object::Node { unit };
        let offset = unit.checked_mul(UNIT as u64).ok_or(Error::corrupt(object, "address"))?;
        self.device
            .read_at(offset, &mut block[..])
            .map_err(|error| Error::io("read", object, error))?;
        self.sealer.open_node(pointer, unit, block)
    }
}

/// Makes one of the copies of a node: they have nonce and tag in common.
fn join_copies(found: &mut Vec<(NodePointer, Seen)>) {
    found.sort_by_key(|(pointer, _)| (pointer.tag, pointer.nonce, pointer.unit()));
    found.dedup_by(|(copy, _), (kept, _)| {
        let same = copy.tag == kept.tag && copy.nonce == kept.nonce;
        if same && kept.level > 0 && kept.addr[1] == U64::ZERO {
            kept.addr[1] = copy.addr[0];
        }
        same
    });
}

impl Finder for Strays {
    fn find(&mut self, tree: TreeId, level: u8, range: &KeyRange, newer: bool) -> Vec<Stray> {
        let (generation, outdated) = (self.generation, self.outdated);
        let Ok(all) = self.all() else { return Vec::new() };
        let inside = |known: &&Known| {
            let Stray { pointer, first, last } = &known.stray;
            let used = match (newer, known.is_newer(generation)) {
                (true, is_newer) => outdated && is_newer,
                (false, true) => outdated && known.live != Some(false),
                (false, false) => known.live != Some(false),
            };
            known.tree == tree
                && pointer.level == level
                && used
                && range.contains(first)
                && range.contains(last)
        };
        let mut candidates: Vec<&Known> = all.iter().filter(inside).collect();
        // What is certain comes first, then what is newer.
        candidates.sort_by_key(|known| {
            (known.live != Some(true), std::cmp::Reverse(known.stray.pointer.birth_gen.get()))
        });
        let (mut taken, mut certain) = (BTreeMap::<&[u8], &Stray>::new(), true);
        for known in candidates {
            let Stray { first, last, .. } = &known.stray;
            // They lie apart, so one that meets this one is the last that begins before its end.
            let before = taken.range::<[u8], _>((Unbounded, Included(&last[..]))).next_back();
            if before.is_none_or(|(_, other)| other.last < *first) {
                certain &= known.live == Some(true) && !known.is_newer(generation);
                taken.insert(first, &known.stray);
            }
        }
        let taken = taken.into_values().cloned().collect();
        self.uncertain |= !certain;
        taken
    }

    fn holds(&self, unit: u64) -> bool {
        unit >= self.pool.0 && unit.checked_add(NODE_UNITS).is_some_and(|end| end <= self.pool.1)
    }
}
