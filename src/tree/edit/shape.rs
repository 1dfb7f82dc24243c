//! Shape: rows that go into nodes, nodes that split, and sparse ones that merge.

use std::sync::Arc;

use super::books::Books;
use crate::error::{Error, Result};
use crate::format::{NodePointer, POINTER_LEN, Page, PutOutcome};
use crate::tree::bounds::Bounds;
use crate::tree::node::{LOWEST, Node, Retired, VOID};

/// A node below this many bytes of rows looks for a neighbour to merge with.
pub(super) const SPARSE: usize = Page::capacity() / 3;
/// A merged node has at most this many bytes of rows, so that it does not split at once.
const MERGED: usize = Page::capacity() * 3 / 4;
/// A node that was split off, with its separator.
pub(super) struct Split {
    pub(super) key: Vec<u8>,
    pub(super) right: Arc<Node>,
}

impl Books<'_> {
    pub(super) fn put(
        &mut self,
        node: &mut Arc<Node>,
        key: &[u8],
        value: &[u8],
    ) -> Result<Option<Split>> {
        let node = self.prepared(node)?;
        if node.page.level() == 0 {
            return self.insert(node, key, value, None);
        }
        let slot = node.page.child_of(key);
        let Some(kid) = node.kids.get_mut(slot).and_then(Option::as_mut) else {
            return Err(Error::Internal("a child on the path was not prepared"));
        };
        match self.put(kid, key, value)? {
            None => Ok(None),
            Some(split) => self.insert(node, &split.key, &VOID, Some(split.right)),
        }
    }

    /// Puts a row into a node, splitting it where it is full. `kid` is the child of an interior
    /// row.
    fn insert(
        &mut self,
        node: &mut Node,
        key: &[u8],
        value: &[u8],
        kid: Option<Arc<Node>>,
    ) -> Result<Option<Split>> {
        match node.page.put(key, value) {
            PutOutcome::Inserted(slot) => {
                node.hint = slot as u16;
                if node.page.level() > 0 {
                    node.kids.insert(slot, kid);
                }
                Ok(None)
            }
            PutOutcome::Replaced(_) => Ok(None),
            PutOutcome::Full => {
                let at = split_point(node, key);
                let mut right = Node::dirty(Page::new(0), Vec::new(), self.generation);
                right.page = node.page.split_off(at);
                right.kids = node.kids.split_off(at.min(node.kids.len()));
                let goes_left = right.page.is_empty()
                    || (key < right.page.key(0)
                        && node.page.free() >= Page::row_len(key.len(), value.len()));
                let target =
                    if goes_left && !right.page.is_empty() { &mut *node } else { &mut right };
                match target.page.put(key, value) {
                    PutOutcome::Full => return Err(Error::Internal("no room after a split")),
                    PutOutcome::Inserted(slot) => {
                        target.hint = slot as u16;
                        if target.page.level() > 0 {
                            target.kids.insert(slot, kid);
                        }
                    }
                    PutOutcome::Replaced(_) => {}
                }
                *self.owed += right.copies();
                *self.dirty += 1;
                let key = right.page.key(0).to_vec();
                if right.page.level() > 0 {
                    set_fence(&mut right.page, &LOWEST);
                }
                Ok(Some(Split { key, right: Arc::new(right) }))
            }
        }
    }

    pub(super) fn shrink(
        &mut self,
        node: &mut Arc<Node>,
        key: &[u8],
        bounds: &Bounds,
    ) -> Result<()> {
        // A node of an older generation was not touched by this transaction.
        let Ok(node) = self.prepared(node) else { return Ok(()) };
        if node.page.level() == 0 {
            return Ok(());
        }
        let slot = node.page.child_of(key);
        let Some(kid) = node.kids.get_mut(slot).and_then(Option::as_mut) else { return Ok(()) };
        self.shrink(kid, key, &bounds.of_child(&node.page, slot))?;
        if kid.birth != self.generation {
            return Ok(());
        }
        if kid.page.is_empty() {
            self.forget(kid);
            remove_child(node, slot);
        } else if kid.page.used() < SPARSE && node.page.len() > 1 {
            let left = if slot > 0 { slot - 1 } else { slot };
            self.merge(node, left, slot, bounds)?;
        }
        Ok(())
    }

    /// Merges the children in slots `left` and `left + 1` into the dirty one, `kept`, where both
    /// are in memory and fit. `bounds` are those of the node.
    fn merge(&mut self, node: &mut Node, left: usize, kept: usize, bounds: &Bounds) -> Result<()> {
        let other = if kept == left { left + 1 } else { left };
        let Some((mut page, kids, old)) = self.neighbour(node, other)? else { return Ok(()) };
        if !bounds.of_child(&node.page, other).hold(&page) {
            // Whoever changes a row there is told.
            return Ok(());
        }
        let fence = node.page.key(left + 1).to_vec();
        let Some(kid) = node.kids[kept].as_mut() else {
            return Err(Error::Internal("the merging child is dirty"));
        };
        if kid.page.used() + page.used() > MERGED {
            return Ok(());
        }
        let kid = self.prepared(kid)?;
        if kid.page.level() > 0 {
            set_fence(if other < kept { &mut kid.page } else { &mut page }, &fence);
        }
        if other < kept {
            let mut merged = page;
            merged.append(&kid.page);
            kid.page = merged;
            kid.kids.splice(0..0, kids);
        } else {
            kid.page.append(&page);
            kid.kids.extend(kids);
        }
        kid.hint = u16::MAX;
        match old {
            Retired::Frozen(node) => self.forget(&node),
            Retired::Clean(pointer) => self.retire(pointer),
        }
        // The merged node stands under the lower separator.
        let merged = node.kids[kept].take();
        node.kids[left] = merged;
        node.kids.remove(left + 1);
        node.page.remove(left + 1);
        Ok(())
    }

    /// A copy of a neighbour's rows and children, and what is retired with it.
    #[allow(clippy::type_complexity, reason = "used once, right above")]
    fn neighbour(
        &self,
        node: &Node,
        slot: usize,
    ) -> Result<Option<(Page, Vec<Option<Arc<Node>>>, Retired)>> {
        if let Some(kid) = node.kid(slot) {
            let old = Retired::Frozen(Arc::clone(kid));
            return Ok(Some((kid.page.clone(), kid.kids.clone(), old)));
        }
        let pointer = NodePointer::parse(node.page.value(slot), node.page.level() - 1)?;
        let Some(clean) = self.cache.get(pointer.unit(), pointer.stamp()) else { return Ok(None) };
        let page = clean.page.clone();
        let kids = if page.level() == 0 { 0 } else { page.len() };
        Ok(Some((page, vec![None; kids], Retired::Clean(pointer))))
    }
}

/// Gives the first slot of an interior page another key. The others are above it either way.
fn set_fence(page: &mut Page, fence: &[u8]) {
    let value: [u8; POINTER_LEN] = page.value(0).try_into().unwrap_or(VOID);
    page.remove(0);
    page.put(fence, &value);
}

/// Takes a child out of an interior node. Where the first child goes, the second moves under its
/// key, and so takes over all keys below.
fn remove_child(node: &mut Node, slot: usize) {
    if slot == 0 && node.page.len() > 1 {
        let second: [u8; POINTER_LEN] = node.page.value(1).try_into().unwrap_or(VOID);
        node.page.value_mut(0).copy_from_slice(&second);
        node.page.remove(1);
    } else {
        node.page.remove(slot);
    }
    node.kids.remove(slot);
}

/// Where to split a full node for a new row. Ascending insertion leaves the left node full;
/// otherwise both get about half of the bytes.
fn split_point(node: &Node, key: &[u8]) -> usize {
    let page = &node.page;
    if let Err(slot) = page.search(key)
        && slot > 0
        && (slot == page.len() || slot == usize::from(node.hint) + 1)
    {
        return slot;
    }
    let half = page.used() / 2;
    let mut bytes = 0;
    for slot in 0..page.len() {
        bytes += Page::row_len(page.key(slot).len(), page.value(slot).len());
        if bytes >= half {
            return (slot + 1).min(page.len() - 1).max(1);
        }
    }
    page.len() / 2
}
