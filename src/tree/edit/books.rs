//! Books: which nodes are dirty, how many places they need, and what they replace.

use std::sync::Arc;

use super::Need;
use crate::block::NodeCache;
use crate::error::{Error, Object, Result};
use crate::format::{NodePointer, Page};
use crate::tree::bounds::Bounds;
use crate::tree::node::{Edge, Node, Retired};

/// The parts of the state that change beside the nodes.
pub(super) struct Books<'a> {
    pub(super) generation: u64,
    pub(super) places: usize,
    pub(super) owed: &'a mut usize,
    pub(super) dirty: &'a mut usize,
    pub(super) retired: &'a mut Vec<Retired>,
    pub(super) announced: &'a mut Vec<u64>,
    pub(super) cache: &'a NodeCache<Node>,
}

impl Books<'_> {
    /// Refuses to go on without `spare` places beyond those owed.
    pub(super) fn demand(&self, spare: usize) -> Result<(), Need> {
        let have = self.places - *self.owed;
        if have < spare { Err(Need::Places(spare - have)) } else { Ok(()) }
    }

    /// Enters a new dirty node.
    pub(super) fn adopt(&mut self, page: Page, kids: Vec<Option<Arc<Node>>>) -> Arc<Node> {
        let node = Node::dirty(page, kids, self.generation);
        *self.owed += node.copies();
        *self.dirty += 1;
        Arc::new(node)
    }

    /// Strikes out a dirty node that is no longer part of a tree.
    pub(super) fn forget(&mut self, node: &Arc<Node>) {
        if node.birth == self.generation {
            *self.owed -= node.copies();
            *self.dirty -= 1;
        } else {
            self.retired.push(Retired::Frozen(Arc::clone(node)));
        }
    }

    /// Retires a node on the device.
    pub(super) fn retire(&mut self, pointer: NodePointer) {
        self.cache.remove(pointer.unit());
        self.announced.extend(pointer.copies());
        self.retired.push(Retired::Clean(pointer));
    }

    /// Makes the root dirty in this generation.
    pub(super) fn dirty_root<'n>(
        &mut self,
        root: &'n mut Edge,
        slack: usize,
    ) -> Result<&'n mut Node, Need> {
        if let Edge::Clean(pointer) = root {
            *root = Edge::Dirty(self.thaw(*pointer, slack, &Bounds::all())?);
        }
        match root {
            Edge::Dirty(node) => self.current(node, slack),
            Edge::Clean(_) => Err(Need::Failed(Error::Internal("root is dirty by now"))),
        }
    }

    /// Makes the child in a slot dirty in this generation.
    pub(super) fn dirty_child<'n>(
        &mut self,
        node: &'n mut Node,
        slot: usize,
        slack: usize,
        bounds: &Bounds,
    ) -> Result<&'n mut Node, Need> {
        if node.kid(slot).is_none() {
            if slot >= node.page.len() || node.page.level() == 0 {
                return Err(Error::corrupt(Object::Store, "interior node without children").into());
            }
            let pointer = NodePointer::parse(node.page.value(slot), node.page.level() - 1)?;
            node.kids[slot] = Some(self.thaw(pointer, slack, bounds)?);
        }
        match &mut node.kids[slot] {
            Some(kid) => self.current(kid, slack),
            None => Err(Need::Failed(Error::Internal("child is dirty by now"))),
        }
    }

    /// The dirty form of a clean node, whose keys must keep to bounds.
    fn thaw(
        &mut self,
        pointer: NodePointer,
        slack: usize,
        bounds: &Bounds,
    ) -> Result<Arc<Node>, Need> {
        self.demand(slack + 2)?;
        let Some(clean) = self.cache.get(pointer.unit(), pointer.stamp()) else {
            return Err(Need::Node(pointer));
        };
        bounds.check(&clean.page, &pointer)?;
        self.cache.remove(pointer.unit());
        // Without other holders the page itself moves over.
        let page = match Arc::try_unwrap(clean) {
            Ok(node) => node.page,
            Err(shared) => shared.page.clone(),
        };
        self.retire(pointer);
        let node = Node::thawed(page, self.generation);
        *self.owed += node.copies();
        *self.dirty += 1;
        Ok(Arc::new(node))
    }

    /// A dirty node of this generation: a frozen one is cloned first.
    fn current<'n>(&mut self, node: &'n mut Arc<Node>, slack: usize) -> Result<&'n mut Node, Need> {
        if node.birth != self.generation {
            self.demand(slack + 2)?;
            let mut fresh = Node::dirty(node.page.clone(), node.kids.clone(), self.generation);
            fresh.hint = node.hint;
            *self.owed += fresh.copies();
            *self.dirty += 1;
            self.retired.push(Retired::Frozen(std::mem::replace(node, Arc::new(fresh))));
        }
        Ok(Arc::make_mut(node))
    }

    /// A prepared node, to be changed.
    pub(super) fn prepared<'n>(&self, node: &'n mut Arc<Node>) -> Result<&'n mut Node> {
        if node.birth != self.generation {
            return Err(Error::Internal("a node on the path was not prepared"));
        }
        // Where a check looks at the node, it keeps it as it was.
        Ok(Arc::make_mut(node))
    }
}
