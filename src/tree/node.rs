//! Node in memory, and the edges between nodes.

use std::sync::{Arc, OnceLock};

use crate::format::{NodePointer, POINTER_LEN, Page};

/// A node in memory: clean in the cache, or dirty in the tree.
#[derive(Clone)]
pub(super) struct Node {
    /// Its rows. In an interior page the value of a slot whose child is dirty is void.
    pub page: Page,
    /// Dirty children by slot; empty in a leaf and in a clean node.
    pub kids: Vec<Option<Arc<Node>>>,
    /// Generation that the node is dirty for; 0 when it came from the device.
    pub birth: u64,
    /// Where the checkpoint put it, once it did.
    pub sealed: OnceLock<NodePointer>,
    /// Slot of the last insertion: tells ascending insertion from random.
    pub hint: u16,
}

/// A reference to the root of a tree.
pub(super) enum Edge {
    Clean(NodePointer),
    Dirty(Arc<Node>),
}

/// Something that the current generation replaced.
pub(super) enum Retired {
    /// A node on the device.
    Clean(NodePointer),
    /// A frozen node, on the device once its checkpoint is done.
    Frozen(Arc<Node>),
}

/// The value of an interior slot whose child is dirty.
pub(super) const VOID: [u8; POINTER_LEN] = [0; POINTER_LEN];

/// Key of the first slot on the leftmost path: below every row key.
pub(super) const LOWEST: [u8; 1] = [0];

impl Node {
    pub fn clean(page: Page) -> Node {
        Node { page, kids: Vec::new(), birth: 0, sealed: OnceLock::new(), hint: 0 }
    }

    pub fn dirty(page: Page, kids: Vec<Option<Arc<Node>>>, birth: u64) -> Node {
        debug_assert!(kids.len() == if page.level() == 0 { 0 } else { page.len() });
        Node { page, kids, birth, sealed: OnceLock::new(), hint: u16::MAX }
    }

    /// A dirty node with the rows of a clean one.
    pub fn thawed(page: Page, birth: u64) -> Node {
        let kids = if page.level() == 0 { 0 } else { page.len() };
        Node::dirty(page, vec![None; kids], birth)
    }

    /// The dirty child in a slot.
    pub fn kid(&self, slot: usize) -> Option<&Arc<Node>> {
        self.kids.get(slot).and_then(Option::as_ref)
    }

    /// Copies on the device: an interior node is written twice.
    pub fn copies(&self) -> usize {
        if self.page.level() == 0 { 1 } else { 2 }
    }
}
