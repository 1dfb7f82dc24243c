//! Graft: a tree that can be used, made of what can still be read of a damaged one.
//!
//! ```text
//! a node with one copy left      is taken as it is, and written anew
//! a node above the leaves, lost  is made anew over the children that are found by their headers
//! a leaf, lost                   is left out: its neighbour stands for its keys, without rows
//! ```
//!
//! All that changes is in memory, as dirty nodes without places: who grafts reserves places before
//! a checkpoint. Nodes that verify and stand below sound ones stay as they are.

use std::collections::HashSet;
use std::sync::Arc;

use zerocopy::IntoBytes;

use super::Forest;
use super::node::{Edge, LOWEST, Node, VOID};
use crate::error::{Error, Object, Result};
use crate::format::{NodePointer, Page, PutOutcome, TreeId};

/// Keys of a tree: from the first on, and below the second.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyRange {
    /// Lowest key.
    pub low: Vec<u8>,
    /// First key behind; `None` where all follow.
    pub high: Option<Vec<u8>>,
}

/// A node that was found by its header and verified.
#[derive(Clone)]
pub struct Stray {
    /// What a parent would say of it, all copies that were found.
    pub pointer: NodePointer,
    /// Its first key, or that of the first leaf below it that can be read.
    pub first: Vec<u8>,
    /// Its last key, or that of the last leaf below it; where that cannot be read, its last fence.
    pub last: Vec<u8>,
}

/// Finds nodes whose parent is lost.
pub trait Finder {
    /// Nodes of a tree and level whose keys lie in a range, ascending, apart from each other: those
    /// that are in use, or with `newer` those that are newer than the state being grafted.
    fn find(&mut self, tree: TreeId, level: u8, range: &KeyRange, newer: bool) -> Vec<Stray>;

    /// Whether a node may stand at a unit.
    fn holds(&self, unit: u64) -> bool;
}

/// What a graft did without.
#[derive(Debug, Default)]
pub struct Losses {
    /// Copies of nodes that do not verify, the first [`MAX_LISTED`].
    pub damaged: Vec<Error>,
    /// How many more there are.
    pub unlisted: u64,
    /// Keys whose rows are gone, if there were any, ascending.
    pub ranges: Vec<(TreeId, KeyRange)>,
    /// Keys of leaves that their parents name and that do not verify: there were rows.
    pub leaves: Vec<(TreeId, KeyRange)>,
    /// Keys between leaves whose parent is lost: there may have been another leaf.
    pub gaps: Vec<(TreeId, KeyRange)>,
    /// First units of the nodes that do not verify.
    pub failed: Vec<u64>,
    /// First units of the nodes that were read.
    pub nodes: Vec<u64>,
    /// How many nodes were found by their headers: each is of this store and tree, but nothing
    /// proves that it is the newest of its keys.
    pub found: u64,
}

/// Most errors of nodes that are remembered.
pub const MAX_LISTED: usize = 1000;

impl Losses {
    fn damage(&mut self, error: Error) {
        match self.damaged.len() < MAX_LISTED {
            true => self.damaged.push(error),
            false => self.unlisted += 1,
        }
    }

    /// Puts ranges in the order of their keys.
    pub fn sort(&mut self) {
        for ranges in [&mut self.ranges, &mut self.leaves, &mut self.gaps] {
            ranges.sort_by(|(a, one), (b, two)| (a, &one.low).cmp(&(b, &two.low)));
        }
    }
}

/// A child on its way into a node.
struct Kid {
    /// All keys below are at or above this.
    fence: Vec<u8>,
    edge: Edge,
}

impl Forest {
    /// Makes a tree of what can be read below `root`. Where even the root's pointer is lost, `root`
    /// is the level that its node had at least, and the tree is made of what is found.
    ///
    /// # Errors
    /// [`Error::Internal`] for nodes that are too high.
    pub fn graft(
        &self,
        tree: TreeId,
        root: Result<NodePointer, u8>,
        finder: &mut dyn Finder,
        losses: &mut Losses,
    ) -> Result<()> {
        let (seen, found) = (HashSet::new(), HashSet::new());
        let mut graft = Graft { forest: self, tree, finder, losses, seen, found };
        let all = KeyRange { low: Vec::new(), high: None };
        let mut kids = Vec::new();
        let mut level = match &root {
            Ok(pointer) => pointer.level,
            Err(level) => *level,
        };
        match root {
            Ok(pointer) => graft.node(&pointer, &all, &mut kids)?,
            Err(level) => graft.fill(level, &all, &mut kids)?,
        }
        while kids.len() > 1 {
            level += 1;
            kids = self.pack(level, kids);
        }
        let mut root = kids.pop().map(|kid| kid.edge);
        let mut state = self.state.write();
        // A root over a single child is none.
        while let Some(Edge::Dirty(node)) = &root
            && node.page.level() > 0
            && node.page.len() == 1
        {
            let only = match node.kid(0) {
                Some(kid) => Edge::Dirty(Arc::clone(kid)),
                None => Edge::Clean(NodePointer::parse(node.page.value(0), node.page.level() - 1)?),
            };
            state.owed -= node.copies();
            state.dirty -= 1;
            root = Some(only);
        }
        let changed = matches!(root, Some(Edge::Dirty(_)));
        state.trees.insert(tree, super::Tree { root, changed });
        Ok(())
    }

    /// Has changes belong to a generation from now on, before there are any.
    pub fn begin(&self, generation: u64) {
        self.state.write().generation = generation;
    }

    /// Forgets which places its dirty nodes have, and what they replaced, and says how many places
    /// they need. For who knows what is in use without that.
    pub fn clear_places(&self) -> usize {
        let mut state = self.state.write();
        state.places.clear();
        state.retired.clear();
        state.announced.clear();
        state.owed
    }

    /// Makes nodes of a level over children, which ascend.
    fn pack(&self, level: u8, kids: Vec<Kid>) -> Vec<Kid> {
        let mut packed = Vec::new();
        let mut page = Page::new(level);
        let (mut fence, mut edges) = (Vec::new(), Vec::new());
        for kid in kids {
            if !page.is_empty() && page.search(&kid.fence).is_ok() {
                // Two for one place: only where somebody forged nodes.
                continue;
            }
            let (value, edge) = match kid.edge {
                Edge::Clean(pointer) => (pointer.as_bytes().to_vec(), None),
                Edge::Dirty(node) => (VOID.to_vec(), Some(node)),
            };
            if page.is_empty() || page.put(&kid.fence, &value) == PutOutcome::Full {
                if !page.is_empty() {
                    let full = std::mem::replace(&mut page, Page::new(level));
                    let edge = Edge::Dirty(self.adopt(full, std::mem::take(&mut edges)));
                    packed.push(Kid { fence: std::mem::take(&mut fence), edge });
                }
                page.put(&LOWEST, &value);
                fence = kid.fence;
            }
            edges.push(edge);
        }
        if !page.is_empty() {
            packed.push(Kid { fence, edge: Edge::Dirty(self.adopt(page, edges)) });
        }
        packed
    }

    /// Enters a dirty node, whose places do not exist yet.
    fn adopt(&self, page: Page, kids: Vec<Option<Arc<Node>>>) -> Arc<Node> {
        let mut state = self.state.write();
        let node = Node::dirty(page, kids, state.generation);
        let owed = node.copies();
        state.places.extend(vec![u64::MAX; owed]);
        state.owed += owed;
        state.dirty += 1;
        Arc::new(node)
    }
}

/// One run of [`Forest::graft`].
struct Graft<'a> {
    forest: &'a Forest,
    tree: TreeId,
    finder: &'a mut dyn Finder,
    losses: &'a mut Losses,
    /// Nodes that have a parent by now: a second one is a lie.
    seen: HashSet<u64>,
    /// Nodes that were found. One that did not verify is not found again in its own place.
    found: HashSet<u64>,
}

impl Graft<'_> {
    /// Adds what is left of a subtree to `out`, as nodes of its root's level.
    fn node(&mut self, pointer: &NodePointer, range: &KeyRange, out: &mut Vec<Kid>) -> Result<()> {
        let (page, whole) = match self.read(pointer) {
            Some(read) => read,
            None => {
                if pointer.level == 0 {
                    self.losses.leaves.push((self.tree, range.clone()));
                }
                return self.fill(pointer.level, range, out);
            }
        };
        if pointer.level == 0 {
            return self.leaf(pointer, page, range, out);
        }
        let (mut kids, mut same) = (Vec::new(), whole);
        for slot in 0..page.len() {
            let low = if slot == 0 { &range.low[..] } else { page.key(slot) };
            let next = (slot + 1 < page.len()).then(|| page.key(slot + 1));
            // What an authentic node says may still lie behind what its parent stands for.
            let high = match (next, range.high.as_deref()) {
                (Some(next), Some(end)) => Some(next.min(end)),
                (next, end) => next.or(end),
            };
            same &= next.is_none() || high == next;
            if low < &range.low[..] || high.is_some_and(|high| high <= low) {
                same = false;
                continue;
            }
            let below = KeyRange { low: low.to_vec(), high: high.map(<[u8]>::to_vec) };
            let before = kids.len();
            match NodePointer::parse(page.value(slot), pointer.level - 1) {
                Ok(child) => {
                    self.node(&child, &below, &mut kids)?;
                    let kept = kids.len() == before + 1
                        && matches!(&kids[before].edge, Edge::Clean(kid) if *kid == child);
                    same &= kept;
                }
                Err(error) => {
                    self.losses.damage(error);
                    self.fill(pointer.level - 1, &below, &mut kids)?;
                    same = false;
                }
            }
        }
        match same {
            true => out.push(Kid { fence: range.low.clone(), edge: Edge::Clean(*pointer) }),
            false => out.extend(self.forest.pack(pointer.level, kids)),
        }
        Ok(())
    }

    fn leaf(
        &mut self,
        pointer: &NodePointer,
        page: Page,
        range: &KeyRange,
        out: &mut Vec<Kid>,
    ) -> Result<()> {
        let inside = |slot: &usize| range.contains(page.key(*slot));
        let rows: Vec<usize> = (0..page.len()).filter(inside).collect();
        let fence = range.low.clone();
        if rows.len() == page.len() {
            out.push(Kid { fence, edge: Edge::Clean(*pointer) });
            return Ok(());
        }
        let object = Object::Node { unit: pointer.unit() };
        self.losses.damage(Error::corrupt(object, "a key outside of the node's range"));
        let mut kept = Page::new(0);
        for slot in rows {
            if kept.put(page.key(slot), page.value(slot)) == PutOutcome::Full {
                return Err(Error::Internal("rows of a leaf fit in a leaf"));
            }
        }
        out.push(Kid { fence, edge: Edge::Dirty(self.forest.adopt(kept, Vec::new())) });
        Ok(())
    }

    /// Reads a node, from any copy; `true` where all copies are sound.
    fn read(&mut self, pointer: &NodePointer) -> Option<(Page, bool)> {
        let (mut page, mut whole) = (None, true);
        for unit in pointer.copies() {
            let object = Object::Node { unit };
            // What does not verify has no parent: a node that was found may stand there.
            let read = match self.finder.holds(unit) && !self.seen.contains(&unit) {
                true => self.forest.read_node(pointer, unit),
                false => Err(Error::corrupt(object, "no node can stand there")),
            };
            match read {
                Ok(read) => {
                    self.seen.insert(unit);
                    self.losses.nodes.push(unit);
                    page = Some(read);
                }
                Err(error) => {
                    self.losses.damage(error);
                    self.losses.failed.push(unit);
                    whole = false;
                }
            }
        }
        // A node that was found alone may lack its second copy.
        let all = if pointer.level > 0 { 2 } else { 1 };
        page.map(|page| (page, whole && pointer.copies().count() == all))
    }

    /// Stands in for a lost node of a level: with a newer one, or with what stood below it.
    fn fill(&mut self, level: u8, range: &KeyRange, out: &mut Vec<Kid>) -> Result<()> {
        let found = self.find(level, range, true);
        self.place(found, range, out, |graft, gap, out| graft.fill_from_below(level, gap, out))
    }

    fn fill_from_below(&mut self, level: u8, range: &KeyRange, out: &mut Vec<Kid>) -> Result<()> {
        let Some(below) = level.checked_sub(1) else {
            self.losses.ranges.push((self.tree, range.clone()));
            return Ok(());
        };
        let mut kids = Vec::new();
        let found = self.find(below, range, false);
        self.place(found, range, &mut kids, |graft, gap, out| {
            if below == 0 {
                graft.losses.gaps.push((graft.tree, gap.clone()));
            }
            graft.fill_from_below(below, gap, out)
        })?;
        out.extend(self.forest.pack(level, kids));
        Ok(())
    }

    /// Nodes of a level for a range of keys that were not found before.
    fn find(&mut self, level: u8, range: &KeyRange, newer: bool) -> Vec<Stray> {
        let mut found = self.finder.find(self.tree, level, range, newer);
        found.retain(|stray| self.found.insert(stray.pointer.unit()));
        self.losses.found += found.len() as u64;
        found
    }

    /// Places nodes that were found in a range, and has `fill` see to what is between them.
    fn place(
        &mut self,
        found: Vec<Stray>,
        range: &KeyRange,
        out: &mut Vec<Kid>,
        fill: impl Fn(&mut Self, &KeyRange, &mut Vec<Kid>) -> Result<()>,
    ) -> Result<()> {
        let mut low = range.low.clone();
        let mut found = found.into_iter().peekable();
        while let Some(stray) = found.next() {
            if low < stray.first {
                fill(self, &KeyRange { low, high: Some(stray.first.clone()) }, out)?;
            }
            // The least key behind its last.
            let behind = [&stray.last[..], &[0]].concat();
            let next = found.peek().map(|next| next.first.clone());
            let end = next.or_else(|| range.high.clone());
            let high =
                if end.as_ref().is_some_and(|end| *end < behind) { end } else { Some(behind) };
            low = high.clone().unwrap_or_default();
            self.node(&stray.pointer, &KeyRange { low: stray.first, high }, out)?;
        }
        if range.high.as_ref().is_none_or(|high| low < *high) {
            fill(self, &KeyRange { low, high: range.high.clone() }, out)?;
        }
        Ok(())
    }
}

impl KeyRange {
    /// Those of ranges, which ascend, that have keys of a tree from one to another.
    pub fn meeting<'a>(
        ranges: &'a [(TreeId, KeyRange)],
        tree: TreeId,
        first: &[u8],
        last: &[u8],
    ) -> &'a [(TreeId, KeyRange)] {
        let from = ranges.partition_point(|(of, range)| {
            let before = range.high.as_deref().is_some_and(|high| high <= first);
            *of < tree || (*of == tree && before)
        });
        let (_, behind) = ranges.split_at(from);
        let meets = |(of, range): &(TreeId, KeyRange)| *of == tree && range.low[..] <= *last;
        behind.split_at(behind.partition_point(meets)).0
    }

    /// Whether a key lies in it.
    pub fn contains(&self, key: &[u8]) -> bool {
        *key >= self.low[..] && self.high.as_ref().is_none_or(|high| *key < high[..])
    }
}
