//! Walking whole trees: every node, as it stands on the device or is about to, for checks.

use std::sync::Arc;

use super::Forest;
use super::node::{Edge, Node, Retired};
use crate::error::{Error, Object, Result};
use crate::format::{NodePointer, Page, TreeId};

/// What a walk meets.
pub enum Visit<'a> {
    /// A node on the device with its pointer. All its copies were read and verified.
    Node(&'a NodePointer, &'a Page),
    /// A node that only exists in memory.
    Dirty(&'a Page),
    /// A copy of a node that does not verify, while another may.
    Damaged(Error),
}

/// The keys of a subtree: from the first on, and below the second.
type Range<'a> = (&'a [u8], Option<&'a [u8]>);

impl Forest {
    /// Visits every node of a tree as it is now, parents first, reading each copy from the device.
    /// Damaged copies are reported and the walk goes on, but not below a node with keys outside of
    /// its range, nor below one for which `visit` says no: so it ends, also in a tree whose nodes
    /// have many parents.
    pub fn walk_nodes(&self, tree: TreeId, visit: &mut dyn FnMut(Visit<'_>) -> bool) -> Result<()> {
        let _pin = self.pins.pin(0);
        let root = match &self.state.read().tree(tree)?.root {
            Some(Edge::Clean(pointer)) => Edge::Clean(*pointer),
            Some(Edge::Dirty(node)) => Edge::Dirty(Arc::clone(node)),
            None => return Ok(()),
        };
        match root {
            Edge::Clean(pointer) => self.walk_node(&pointer, (&[], None), visit),
            Edge::Dirty(node) => self.walk_dirty(&node, (&[], None), visit),
        }
    }

    /// First units of the node copies that were replaced since the last checkpoint, and are in use
    /// until the next.
    pub fn retired_units(&self) -> Vec<u64> {
        let state = self.state.read();
        let pointers = state.retired.iter().filter_map(|retired| match retired {
            Retired::Clean(pointer) => Some(*pointer),
            Retired::Frozen(node) => node.sealed.get().copied(),
        });
        pointers.flat_map(|pointer| pointer.copies().collect::<Vec<_>>()).collect()
    }

    fn walk_dirty(
        &self,
        node: &Node,
        range: Range<'_>,
        visit: &mut dyn FnMut(Visit<'_>) -> bool,
    ) -> Result<()> {
        match visit(Visit::Dirty(&node.page)) {
            true => self.walk_below(&node.page, range, visit, |slot| node.kid(slot)),
            false => Ok(()),
        }
    }

    /// Visits a subtree whose keys must lie from `range.0` on and below `range.1`.
    fn walk_node(
        &self,
        pointer: &NodePointer,
        range: Range<'_>,
        visit: &mut dyn FnMut(Visit<'_>) -> bool,
    ) -> Result<()> {
        let mut sound = None;
        for unit in pointer.copies() {
            match self.read_node(pointer, unit) {
                Ok(page) => sound = Some(page),
                Err(error) => {
                    visit(Visit::Damaged(error));
                }
            }
        }
        let Some(page) = sound else { return Ok(()) };
        // The first key of an interior page is the lowest of all by convention.
        let first = usize::from(pointer.level > 0);
        let outside = |slot| {
            let key = page.key(slot);
            key < range.0 || range.1.is_some_and(|high| key >= high)
        };
        let strayed = (first..page.len()).any(outside);
        if strayed {
            let object = Object::Node { unit: pointer.unit() };
            visit(Visit::Damaged(Error::corrupt(object, "a key outside of the node's range")));
        }
        match visit(Visit::Node(pointer, &page)) && !strayed {
            true => self.walk_below(&page, range, visit, |_| None),
            false => Ok(()),
        }
    }

    /// Visits the children of a page; `dirty` has those that only exist in memory.
    fn walk_below<'a>(
        &self,
        page: &Page,
        range: Range<'_>,
        visit: &mut dyn FnMut(Visit<'_>) -> bool,
        dirty: impl Fn(usize) -> Option<&'a Arc<Node>>,
    ) -> Result<()> {
        let Some(level) = page.level().checked_sub(1) else { return Ok(()) };
        for slot in 0..page.len() {
            let low = if slot == 0 { range.0 } else { page.key(slot) };
            let high = if slot + 1 < page.len() { Some(page.key(slot + 1)) } else { range.1 };
            match dirty(slot) {
                Some(kid) => self.walk_dirty(kid, (low, high), visit)?,
                None => {
                    let child = NodePointer::parse(page.value(slot), level)?;
                    self.walk_node(&child, (low, high), visit)?;
                }
            }
        }
        Ok(())
    }
}
