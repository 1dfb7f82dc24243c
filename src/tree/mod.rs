//! L5: copy-on-write B+trees over sealed nodes.
//!
//! A [`Forest`] holds all trees of a store. Definitions and invariants:
//!
//! 1. A node is *clean* when its sealed form is on the device, *dirty* when it only exists in
//!    memory. A clean node is reached by a pointer and lives in the cache; a dirty node is owned
//!    by the slot of its (dirty) parent, or by the root.
//! 2. A clean node never changes. Changing it makes a dirty node with its rows and *retires* the
//!    pointer: the space is given back by the next checkpoint.
//! 3. A dirty node carries the generation it is dirty for. [`Forest::freeze`] ends a generation:
//!    its dirty nodes are *frozen*, and a later change clones them. So a checkpoint seals a still
//!    picture while readers and writers go on.
//! 4. For each dirty node of the current generation there is a reserved place on the device for
//!    every copy it will have (one for a leaf, two for an interior node): `owed <= places.len()`.
//!    A checkpoint never asks for space.
//! 5. Whatever can fail happens in [`Forest::prepare`]: afterwards every node on the paths of the
//!    edits is dirty and current, and there are places for all splits. [`Forest::apply`] cannot
//!    fail.
//! 6. In an interior page, slot `i` holds keys from its own key up to the next slot's, within what
//!    the parent's slot holds. The key of slot 0 is always `[0]`, below every row key: a class
//!    byte, which row keys start with, is never 0. So the first child takes any low key.
//!
//! Locks: `state` is held for memory work only, never across I/O. One writer at a time prepares
//! and applies; the layer above sees to that.

mod bounds;
mod checkpoint;
mod edit;
mod graft;
mod node;
mod read;
mod walk;

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::RwLock;

pub use checkpoint::Frozen;
pub use graft::{Finder, KeyRange, Losses, Stray};
use node::{Edge, Node, Retired};
pub use walk::Visit;

use crate::block::{NodeCache, Pins, Sealer};
use crate::device::Device;
use crate::error::{Error, Object, Result};
use crate::format::{NodePointer, Page, TreeId};
use crate::limits::{NODE_SIZE, UNIT};

/// All trees of a store. Thread-safe for readers; one writer at a time.
pub struct Forest {
    device: Arc<dyn Device>,
    sealer: Arc<Sealer>,
    pins: Arc<Pins>,
    cache: NodeCache<Node>,
    state: RwLock<State>,
}

struct State {
    trees: BTreeMap<TreeId, Tree>,
    /// The generation that changes belong to: one more than the last frozen.
    generation: u64,
    /// Reserved places for nodes, first units.
    places: Vec<u64>,
    /// How many of them the dirty nodes of this generation will take.
    owed: usize,
    /// Dirty nodes of this generation, for the cap on memory.
    dirty: usize,
    /// What this generation replaced.
    retired: Vec<Retired>,
    /// Units of what was retired since the space map was last asked to expect it.
    announced: Vec<u64>,
}

struct Tree {
    root: Option<Edge>,
    /// Whether the tree changed since the last freeze.
    changed: bool,
}

impl Forest {
    /// An empty forest whose changes belong to `generation`.
    pub fn new(
        device: Arc<dyn Device>,
        sealer: Arc<Sealer>,
        pins: Arc<Pins>,
        cache_bytes: usize,
        generation: u64,
    ) -> Forest {
        let state = State {
            trees: BTreeMap::new(),
            generation,
            places: Vec::new(),
            owed: 0,
            dirty: 0,
            retired: Vec::new(),
            announced: Vec::new(),
        };
        let cache = NodeCache::new(cache_bytes);
        Forest { device, sealer, pins, cache, state: RwLock::new(state) }
    }

    /// Adds a tree with its root node, or an empty one.
    pub fn add(&self, tree: TreeId, root: Option<NodePointer>) {
        let root = root.map(Edge::Clean);
        self.state.write().trees.insert(tree, Tree { root, changed: false });
    }

    /// The generation that changes belong to.
    pub fn generation(&self) -> u64 {
        self.state.read().generation
    }

    /// Places that no dirty node needs, and those of nodes that were replaced since the last
    /// checkpoint.
    pub fn places(&self) -> (u64, u64) {
        let state = self.state.read();
        let spare = state.places.len().saturating_sub(state.owed);
        let retired = state.retired.iter().map(|old| match old {
            Retired::Clean(pointer) => pointer.copies().count(),
            Retired::Frozen(node) => node.copies(),
        });
        (spare as u64, retired.sum::<usize>() as u64)
    }

    /// Bytes of nodes that are dirty in the current generation.
    pub fn dirty_bytes(&self) -> usize {
        self.state.read().dirty * NODE_SIZE
    }

    /// Has `expect` prepare for each node copy that was retired since the last call.
    pub fn announce_retired(&self, expect: impl FnMut(u64)) {
        let units = std::mem::take(&mut self.state.write().announced);
        units.into_iter().for_each(expect);
    }

    /// Adds reserved places.
    pub fn add_places(&self, places: Vec<u64>) {
        self.state.write().places.extend(places);
    }

    /// Reads, verifies and caches the node of a pointer, from the first copy that verifies. The
    /// caller holds a pin that it took before it saw the pointer.
    fn fetch(&self, pointer: &NodePointer) -> Result<Arc<Node>> {
        let mut failure = Error::corrupt(Object::Node { unit: 0 }, "pointer without a copy");
        for unit in pointer.copies() {
            match self.read_node(pointer, unit) {
                Ok(page) => {
                    let node = Arc::new(Node::clean(page));
                    self.cache.insert(pointer.unit(), pointer.stamp(), Arc::clone(&node));
                    return Ok(node);
                }
                Err(error) => failure = error,
            }
        }
        Err(failure)
    }

    fn read_node(&self, pointer: &NodePointer, unit: u64) -> Result<Page> {
        let mut block = Page::zeroed();
        let offset = unit.checked_mul(UNIT as u64);
        let offset = offset.ok_or(Error::corrupt(Object::Node { unit }, "address"))?;
        self.device
            .read_at(offset, &mut block[..])
            .map_err(|error| Error::io("read", Object::Node { unit }, error))?;
        self.sealer.open_node(pointer, unit, block)
    }
}

impl State {
    fn tree(&self, tree: TreeId) -> Result<&Tree> {
        self.trees.get(&tree).ok_or(Error::corrupt(Object::Store, "no such tree"))
    }
}
