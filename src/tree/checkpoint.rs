//! Checkpoint of the trees: freeze a picture, seal it bottom-up, publish the new pointers.
//!
//! ```text
//! freeze   (writer)  ends the generation; dirty nodes become frozen, their places are taken
//! seal     (no lock) writes every frozen node once, leaves before their parents
//! publish  (writer)  frozen nodes become clean: pointers replace them where they still stand
//! ```

use std::collections::BTreeMap;
use std::sync::Arc;

use super::node::{Edge, Node, Retired};
use super::{Forest, State};
use crate::device::Device;
use crate::error::{Error, Object, Result};
use crate::format::{NodePointer, Page, RootRow, STORE_TREE, StoreKey, TreeId};
use crate::limits::{NODE_SIZE, NODE_UNITS, UNIT};
use zerocopy::IntoBytes;

/// Bytes that are gathered before they are written.
const BATCH: usize = 1 << 20;

/// A picture of all trees, with a place for each node that is not on the device yet.
pub struct Frozen {
    generation: u64,
    roots: BTreeMap<TreeId, Option<Arc<Node>>>,
    /// Pointers of the trees whose root is clean or missing.
    clean: BTreeMap<TreeId, Option<NodePointer>>,
    /// Ascending, so that nodes next to each other in the tree come to stand so on the device.
    places: Vec<u64>,
    retired: Vec<NodePointer>,
    /// Nodes that are clean from now on, for the cache.
    sealed: Vec<(NodePointer, Arc<Node>)>,
}

impl Frozen {
    /// The generation that the picture ends.
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// First units of the places that the picture's nodes take.
    pub fn places(&self) -> &[u64] {
        &self.places
    }

    /// First units of the node copies that the picture does without.
    pub fn retired(&self) -> impl Iterator<Item = u64> {
        self.retired.iter().flat_map(NodePointer::copies)
    }
}

impl Forest {
    /// Ends the generation. The caller is the one writer.
    pub fn freeze(&self) -> Result<Frozen> {
        let mut state = self.state.write();
        let state = &mut *state;
        let (mut roots, mut clean) = (BTreeMap::new(), BTreeMap::new());
        for (&id, tree) in &mut state.trees {
            tree.changed = false;
            match &tree.root {
                Some(Edge::Dirty(root)) => {
                    roots.insert(id, Some(Arc::clone(root)));
                }
                Some(Edge::Clean(pointer)) => {
                    clean.insert(id, Some(*pointer));
                }
                None => {
                    clean.insert(id, None);
                }
            }
        }
        state.places.sort_unstable();
        let rest = state.places.split_off(state.owed);
        let places = std::mem::replace(&mut state.places, rest);
        let mut retired = Vec::new();
        state.announced.clear();
        for old in state.retired.drain(..) {
            let pointer = match old {
                Retired::Clean(pointer) => pointer,
                Retired::Frozen(node) => {
                    *node.sealed.get().ok_or(Error::Internal("a retired node was never sealed"))?
                }
            };
            self.cache.remove(pointer.unit());
            retired.push(pointer);
        }
        let generation = state.generation;
        (state.owed, state.dirty, state.generation) = (0, 0, generation + 1);
        Ok(Frozen { generation, roots, clean, places, retired, sealed: Vec::new() })
    }

    /// Seals and writes the nodes of a picture, and returns the root of the STORE tree. Durable
    /// only after the caller's flush.
    pub fn seal(&self, frozen: &mut Frozen) -> Result<NodePointer> {
        let nodes = frozen.roots.values().flatten().map(|root| count(root)).sum();
        let (first, second) = frozen.places.split_at_checked(nodes).ok_or(SHORT)?;
        let mut sealing = Sealing {
            forest: self,
            generation: frozen.generation,
            first: Writer::new(first),
            second: Writer::new(second),
            roots: frozen.clean.clone(),
            sealed: Vec::with_capacity(nodes),
        };
        // The STORE tree comes last: its ROOT rows hold the pointers of the others.
        for (&tree, root) in frozen.roots.iter().rev() {
            if let Some(root) = root {
                let pointer = sealing.seal(tree, root)?;
                sealing.roots.insert(tree, Some(pointer));
            }
        }
        sealing.first.finish(self)?;
        sealing.second.finish(self)?;
        frozen.sealed = sealing.sealed;
        let root = sealing.roots.get(&STORE_TREE).copied().flatten();
        Ok(root.unwrap_or(NodePointer::EMPTY))
    }

    /// Makes the nodes of a durable picture clean. The caller is the one writer.
    pub fn publish(&self, frozen: Frozen) -> Result<()> {
        let mut state = self.state.write();
        for (pointer, node) in &frozen.sealed {
            self.cache.insert(pointer.unit(), pointer.stamp(), Arc::clone(node));
        }
        let State { trees, .. } = &mut *state;
        for tree in trees.values_mut() {
            if let Some(Edge::Dirty(root)) = &mut tree.root {
                if root.birth <= frozen.generation {
                    tree.root = Some(Edge::Clean(*root.sealed.get().ok_or(UNSEALED)?));
                } else {
                    settle(root, frozen.generation)?;
                }
            }
        }
        Ok(())
    }
}

const SHORT: Error = Error::Internal("fewer places than dirty nodes");
const UNSEALED: Error = Error::Internal("a frozen node was not sealed");

/// Dirty nodes of a subtree.
fn count(node: &Node) -> usize {
    1 + node.kids.iter().flatten().map(|kid| count(kid)).sum::<usize>()
}

/// Replaces frozen children below a dirty node by their pointers.
fn settle(node: &mut Arc<Node>, generation: u64) -> Result<()> {
    let node = Arc::make_mut(node);
    for slot in 0..node.kids.len() {
        let Some(kid) = &mut node.kids[slot] else { continue };
        if kid.birth > generation {
            settle(kid, generation)?;
            continue;
        }
        let pointer = *kid.sealed.get().ok_or(UNSEALED)?;
        node.page.value_mut(slot).copy_from_slice(pointer.as_bytes());
        node.kids[slot] = None;
    }
    Ok(())
}

/// One run of [`Forest::seal`].
struct Sealing<'a> {
    forest: &'a Forest,
    generation: u64,
    first: Writer<'a>,
    second: Writer<'a>,
    roots: BTreeMap<TreeId, Option<NodePointer>>,
    sealed: Vec<(NodePointer, Arc<Node>)>,
}

impl Sealing<'_> {
    fn seal(&mut self, tree: TreeId, node: &Arc<Node>) -> Result<NodePointer> {
        let clean = self.finished(tree, node)?;
        let page = clean.as_ref().map_or(&node.page, |clean| &clean.page);
        let mut block = [0u8; NODE_SIZE];
        let unit = self.first.place()?;
        let mirror = if page.level() > 0 { self.second.place()? } else { 0 };
        let sealer = &self.forest.sealer;
        let pointer = sealer.seal_node(page, tree, self.generation, [unit, mirror], &mut block)?;
        self.first.push(self.forest, unit, &block)?;
        if mirror != 0 {
            self.second.push(self.forest, mirror, &block)?;
        }
        node.sealed.set(pointer).map_err(|_| Error::Internal("a node was sealed twice"))?;
        self.sealed.push((pointer, clean.unwrap_or_else(|| Arc::clone(node))));
        Ok(pointer)
    }

    /// The node with the pointers of its children and, in the STORE tree, of the other trees
    /// filled in; `None` where it is final already.
    fn finished(&mut self, tree: TreeId, node: &Node) -> Result<Option<Arc<Node>>> {
        let mut page: Option<Page> = None;
        for (slot, kid) in node.kids.iter().enumerate() {
            let Some(kid) = kid else { continue };
            let pointer = self.seal(tree, kid)?;
            let page = page.get_or_insert_with(|| node.page.clone());
            page.value_mut(slot).copy_from_slice(pointer.as_bytes());
        }
        if tree == STORE_TREE && node.page.level() == 0 {
            for (&id, root) in self.roots.iter().filter(|(id, _)| **id != STORE_TREE) {
                let Ok(slot) = node.page.search(&StoreKey::Root(id).encode()) else { continue };
                let page = page.get_or_insert_with(|| node.page.clone());
                let mut row = RootRow::parse(page.value(slot))?;
                row.pointer = root.unwrap_or(NodePointer::EMPTY);
                page.value_mut(slot).copy_from_slice(row.as_bytes());
            }
        }
        Ok(page.map(|page| Arc::new(Node::clean(page))))
    }
}

/// Gathers blocks that stand next to each other on the device.
struct Writer<'a> {
    places: std::slice::Iter<'a, u64>,
    start: u64,
    bytes: Vec<u8>,
}

impl<'a> Writer<'a> {
    fn new(places: &'a [u64]) -> Writer<'a> {
        Writer { places: places.iter(), start: 0, bytes: Vec::new() }
    }

    fn place(&mut self) -> Result<u64> {
        self.places.next().copied().ok_or(SHORT)
    }

    fn push(&mut self, forest: &Forest, unit: u64, block: &[u8]) -> Result<()> {
        let next = self.start + (self.bytes.len() / NODE_SIZE) as u64 * NODE_UNITS;
        if unit != next || self.bytes.len() >= BATCH {
            self.finish(forest)?;
            self.start = unit;
        }
        self.bytes.extend_from_slice(block);
        Ok(())
    }

    fn finish(&mut self, forest: &Forest) -> Result<()> {
        if !self.bytes.is_empty() {
            let object = Object::Node { unit: self.start };
            forest
                .device
                .write_at(self.start * UNIT as u64, &self.bytes)
                .map_err(|error| Error::io("write", object, error))?;
            self.bytes.clear();
        }
        Ok(())
    }
}
