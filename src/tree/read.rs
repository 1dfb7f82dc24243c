//! Reading rows: point lookups, the row at or before a key, ranges.
//!
//! A reader walks under the shared lock. Where a node is not in memory it lets the lock go, reads
//! the node under a pin, and starts again from the root: by then the tree may have changed.

use std::ops::Deref;
use std::sync::Arc;

use super::node::{Edge, Node};
use super::{Forest, State};
use crate::error::Result;
use crate::format::{NodePointer, Page, TreeId};

/// A node that a walk stands on.
enum Hold<'a> {
    Tree(&'a Node),
    Cache(Arc<Node>),
}

impl Deref for Hold<'_> {
    type Target = Node;

    fn deref(&self) -> &Node {
        match self {
            Hold::Tree(node) => node,
            Hold::Cache(node) => node,
        }
    }
}

/// Which leaf a walk looks for.
#[derive(Clone, Copy)]
enum Target<'a> {
    /// The leaf that holds the key.
    At(&'a [u8]),
    /// The leaf that holds the greatest key below this one.
    Before(&'a [u8]),
}

/// Separators beside the path of a walk.
#[derive(Default)]
struct Fences {
    /// All keys of the leaf are at or above this; `None` in the first leaf.
    low: Option<Vec<u8>>,
    /// All keys of the leaf are below this; `None` in the last leaf.
    high: Option<Vec<u8>>,
}

/// Where a walk ended.
enum Walk<'a> {
    Leaf(Hold<'a>, Fences),
    Missing(NodePointer, Fences),
    Empty,
}

impl Forest {
    /// Calls `read` with the row's value, while the tree is locked for reading: `read` must be
    /// short and must not call the forest.
    pub fn get<R>(
        &self,
        tree: TreeId,
        key: &[u8],
        read: impl FnOnce(&[u8]) -> R,
    ) -> Result<Option<R>> {
        let mut pin = None;
        loop {
            let state = self.state.read();
            match self.find(&state, tree, key)? {
                Ok(Some(leaf)) => {
                    let slot = leaf.page.search(key);
                    return Ok(slot.ok().map(|slot| read(leaf.page.value(slot))));
                }
                Ok(None) => return Ok(None),
                Err(pointer) => {
                    drop(state);
                    self.fetch_pinned(&mut pin, &pointer)?;
                }
            }
        }
    }

    /// Calls `read` with the last row at or before `key`, as [`Forest::get`] does.
    pub fn floor<R>(
        &self,
        tree: TreeId,
        key: &[u8],
        read: impl FnOnce(&[u8], &[u8]) -> R,
    ) -> Result<Option<R>> {
        let mut pin = None;
        let mut before: Option<Vec<u8>> = None;
        loop {
            let state = self.state.read();
            if before.is_none()
                && let Ok(Some(leaf)) = self.find(&state, tree, key)?
                && let Some(slot) = after(&leaf.page, key).checked_sub(1)
            {
                // Nearly always; what follows remembers its path for the other case.
                return Ok(Some(read(leaf.page.key(slot), leaf.page.value(slot))));
            }
            let target = before.as_deref().map_or(Target::At(key), Target::Before);
            match self.walk(&state, tree, target)? {
                Walk::Leaf(leaf, fences) => {
                    let slot = match target {
                        Target::At(key) => after(&leaf.page, key),
                        Target::Before(key) => leaf.page.search(key).unwrap_or_else(|slot| slot),
                    };
                    if let Some(slot) = slot.checked_sub(1) {
                        return Ok(Some(read(leaf.page.key(slot), leaf.page.value(slot))));
                    }
                    // The leaf has lost its low rows: the answer is in a leaf before it.
                    match fences.low {
                        Some(low) => before = Some(low),
                        None => return Ok(None),
                    }
                }
                Walk::Missing(pointer, _) => {
                    drop(state);
                    // The tree may have changed: start anew.
                    before = None;
                    self.fetch_pinned(&mut pin, &pointer)?;
                }
                Walk::Empty => return Ok(None),
            }
        }
    }

    /// Calls `visit` with the rows from `from` on and below `to`, in order, until it returns
    /// `false`. Rows of one leaf are seen in one moment, leaves one after another; `visit` must be
    /// short and must not call the forest.
    pub fn scan(
        &self,
        tree: TreeId,
        from: &[u8],
        to: &[u8],
        mut visit: impl FnMut(&[u8], &[u8]) -> bool,
    ) -> Result<()> {
        let mut pin = None;
        let mut next = from.to_vec();
        while next.as_slice() < to {
            let state = self.state.read();
            match self.walk(&state, tree, Target::At(&next))? {
                Walk::Leaf(leaf, fences) => {
                    let page = &leaf.page;
                    let first = page.search(&next).unwrap_or_else(|slot| slot);
                    for slot in first..page.len() {
                        if page.key(slot) >= to || !visit(page.key(slot), page.value(slot)) {
                            return Ok(());
                        }
                    }
                    match fences.high {
                        Some(high) => next = high,
                        None => return Ok(()),
                    }
                }
                Walk::Missing(pointer, _) => {
                    drop(state);
                    self.fetch_pinned(&mut pin, &pointer)?;
                }
                Walk::Empty => return Ok(()),
            }
        }
        Ok(())
    }

    /// The first key behind the leaf of `key`, or behind the node on the way there that cannot be
    /// read: where a scan that failed may go on. `None` where nothing follows.
    pub fn behind(&self, tree: TreeId, key: &[u8]) -> Result<Option<Vec<u8>>> {
        let mut pin = None;
        loop {
            let state = self.state.read();
            match self.walk(&state, tree, Target::At(key))? {
                Walk::Leaf(_, fences) => return Ok(fences.high),
                Walk::Missing(pointer, fences) => {
                    drop(state);
                    if self.fetch_pinned(&mut pin, &pointer).is_err() {
                        return Ok(fences.high);
                    }
                }
                Walk::Empty => return Ok(None),
            }
        }
    }

    /// Fetches a node under a pin. The first miss only takes the pin: the pointer was seen before
    /// it, so it is looked up once more.
    fn fetch_pinned<'a>(
        &'a self,
        pin: &mut Option<crate::block::Pin<'a>>,
        pointer: &NodePointer,
    ) -> Result<()> {
        if pin.is_none() {
            *pin = Some(self.pins.pin(0));
            return Ok(());
        }
        self.fetch(pointer).map(drop)
    }

    /// The leaf that may hold a key: a walk without fences, for point lookups.
    #[inline]
    fn find<'a>(
        &self,
        state: &'a State,
        tree: TreeId,
        key: &[u8],
    ) -> Result<Result<Option<Hold<'a>>, NodePointer>> {
        let mut hold = match self.root(state, tree)? {
            None => return Ok(Ok(None)),
            Some(Ok(hold)) => hold,
            Some(Err(pointer)) => return Ok(Err(pointer)),
        };
        while hold.page.level() > 0 {
            let slot = hold.page.child_of(key);
            hold = match self.child(&hold, slot)? {
                Ok(child) => child,
                Err(pointer) => return Ok(Err(pointer)),
            };
        }
        Ok(Ok(Some(hold)))
    }

    fn walk<'a>(&self, state: &'a State, tree: TreeId, target: Target<'_>) -> Result<Walk<'a>> {
        let mut hold = match self.root(state, tree)? {
            None => return Ok(Walk::Empty),
            Some(Ok(hold)) => hold,
            Some(Err(pointer)) => return Ok(Walk::Missing(pointer, Fences::default())),
        };
        let mut fences = Fences::default();
        while hold.page.level() > 0 {
            let page = &hold.page;
            let slot = match target {
                Target::At(key) => page.child_of(key),
                Target::Before(key) => {
                    page.search(key).unwrap_or_else(|slot| slot).saturating_sub(1)
                }
            };
            if slot > 0 {
                fences.low = Some(page.key(slot).to_vec());
            }
            if slot + 1 < page.len() {
                fences.high = Some(page.key(slot + 1).to_vec());
            }
            hold = match self.child(&hold, slot)? {
                Ok(child) => child,
                Err(pointer) => return Ok(Walk::Missing(pointer, fences)),
            };
        }
        Ok(Walk::Leaf(hold, fences))
    }

    #[inline]
    fn root<'a>(
        &self,
        state: &'a State,
        tree: TreeId,
    ) -> Result<Option<Result<Hold<'a>, NodePointer>>> {
        Ok(state.tree(tree)?.root.as_ref().map(|root| match root {
            Edge::Dirty(node) => Ok(Hold::Tree(node)),
            Edge::Clean(pointer) => self.cached(pointer),
        }))
    }

    /// The child in a slot, or its pointer where it is not in memory.
    #[inline]
    fn child<'a>(&self, hold: &Hold<'a>, slot: usize) -> Result<Result<Hold<'a>, NodePointer>> {
        if let Hold::Tree(node) = hold
            && let Some(kid) = node.kid(slot)
        {
            return Ok(Ok(Hold::Tree(kid)));
        }
        let level = hold.page.level().saturating_sub(1);
        if slot >= hold.page.len() {
            return Err(crate::error::Error::corrupt(
                crate::error::Object::Store,
                "interior node without children",
            ));
        }
        Ok(self.cached(&NodePointer::parse(hold.page.value(slot), level)?))
    }

    fn cached<'a>(&self, pointer: &NodePointer) -> Result<Hold<'a>, NodePointer> {
        match self.cache.get(pointer.unit(), pointer.stamp()) {
            Some(node) => Ok(Hold::Cache(node)),
            None => Err(*pointer),
        }
    }
}

/// The slot behind the last key at or before `key`.
fn after(page: &Page, key: &[u8]) -> usize {
    match page.search(key) {
        Ok(slot) => slot + 1,
        Err(slot) => slot,
    }
}
