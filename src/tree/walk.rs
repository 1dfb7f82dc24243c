//! Walking whole trees: every node of the durable picture, for checks.

use super::Forest;
use super::node::Edge;
use crate::error::{Error, Object, Result};
use crate::format::{NodePointer, Page, TreeId};

/// What a walk meets.
pub enum Visit<'a> {
    /// A node with its pointer. All its copies were read and verified.
    Node(&'a NodePointer, &'a Page),
    /// A copy of a node that does not verify, while another may.
    Damaged(Error),
}

impl Forest {
    /// Visits every node of a tree that has no changes since the last checkpoint, parents first,
    /// reading each copy from the device. Damaged copies are reported and the walk goes on.
    pub fn walk_nodes(&self, tree: TreeId, visit: &mut dyn FnMut(Visit<'_>)) -> Result<()> {
        let _pin = self.pins.pin(0);
        let root = match &self.state.read().tree(tree)?.root {
            Some(Edge::Clean(pointer)) => *pointer,
            Some(Edge::Dirty(_)) => {
                return Err(Error::Internal("a walk needs a checkpoint first"));
            }
            None => return Ok(()),
        };
        self.walk_node(&root, (&[], None), visit)
    }

    /// Visits a subtree whose keys must lie from `range.0` on and below `range.1`.
    fn walk_node(
        &self,
        pointer: &NodePointer,
        range: (&[u8], Option<&[u8]>),
        visit: &mut dyn FnMut(Visit<'_>),
    ) -> Result<()> {
        let mut sound = None;
        for unit in pointer.copies() {
            match self.read_node(pointer, unit) {
                Ok(page) => sound = Some(page),
                Err(error) => visit(Visit::Damaged(error)),
            }
        }
        let Some(page) = sound else { return Ok(()) };
        // The first key of an interior page is the lowest of all by convention.
        let first = usize::from(pointer.level > 0);
        let outside = |slot| {
            let key = page.key(slot);
            key < range.0 || range.1.is_some_and(|high| key >= high)
        };
        if (first..page.len()).any(outside) {
            let object = Object::Node { unit: pointer.unit() };
            visit(Visit::Damaged(Error::corrupt(object, "a key outside of the node's range")));
        }
        visit(Visit::Node(pointer, &page));
        if pointer.level > 0 {
            for slot in 0..page.len() {
                let child = NodePointer::parse(page.value(slot), pointer.level - 1)?;
                let low = if slot == 0 { range.0 } else { page.key(slot) };
                let high = if slot + 1 < page.len() { Some(page.key(slot + 1)) } else { range.1 };
                self.walk_node(&child, (low, high), visit)?;
            }
        }
        Ok(())
    }
}
