//! Changing rows: what must be in place first, and the change itself.

mod books;
mod shape;

use std::sync::Arc;

use books::Books;
use shape::SPARSE;

use super::bounds::Bounds;
use super::node::{Edge, LOWEST, Node, VOID};
use super::{Forest, State, Tree};
use crate::block::NodeCache;
use crate::error::{Error, Object, Result};
use crate::format::{Edit, Edits, NodePointer, POINTER_LEN, Page, STORE_TREE, StoreKey, TreeId};
use crate::limits::{MAX_KEY_LEN, MAX_LEVEL};

/// Most bytes of a separator row.
const SEPARATOR: usize = MAX_KEY_LEN + POINTER_LEN + 16;

/// Why a step of [`Forest::prepare`] stopped.
enum Need {
    /// A node that must be read first.
    Node(NodePointer),
    /// More spare places than there are.
    Places(usize),
    /// The rows do not make sense.
    Failed(Error),
}

impl From<Error> for Need {
    fn from(error: Error) -> Need {
        Need::Failed(error)
    }
}

impl Forest {
    /// Makes sure that the edits can be applied: their paths are dirty and there are places for
    /// every node they may add, `spare` of them left over. Changes no row.
    ///
    /// `refill` is called with the number of places that are missing, without a lock.
    ///
    /// # Errors
    /// Those of reading nodes, and of `refill`. The trees' contents are as before.
    pub fn prepare(
        &self,
        edits: &Edits,
        spare: usize,
        refill: impl Fn(usize) -> Result<()>,
    ) -> Result<()> {
        let bytes = edits.row_bytes();
        let puts = edits.iter().filter(|edit| matches!(edit, Ok(Edit::Put { .. }))).count();
        let mut slack = spare;
        for edit in edits.iter() {
            let (tree, key, put) = match edit? {
                Edit::Put { tree, key, .. } => (tree, key, true),
                Edit::Del { tree, key } => (tree, key, false),
                Edit::Take { .. } | Edit::Give { .. } => continue,
            };
            if tree != STORE_TREE && !self.state.read().tree(tree)?.changed {
                // The checkpoint will fill in the tree's ROOT row.
                let row = StoreKey::Root(tree).encode();
                self.prepare_path(STORE_TREE, &row, (0, 0), slack, &refill)?;
            }
            let room = if put { (bytes, puts * SEPARATOR) } else { (0, 0) };
            slack += self.prepare_path(tree, key, room, slack, &refill)?;
            if !put {
                self.fetch_neighbour(tree, key)?;
            }
        }
        Ok(())
    }

    /// Prepares one path, reading nodes and refilling places as they are needed.
    fn prepare_path(
        &self,
        tree: TreeId,
        key: &[u8],
        room: (usize, usize),
        slack: usize,
        refill: &impl Fn(usize) -> Result<()>,
    ) -> Result<usize> {
        let mut pin = None;
        loop {
            let step = self.state.write().prepare_path(&self.cache, tree, key, room, slack);
            match step {
                Ok(splits) => return Ok(splits),
                Err(Need::Places(count)) => refill(count)?,
                Err(Need::Failed(error)) => return Err(error),
                Err(Need::Node(pointer)) if pin.is_some() => {
                    self.fetch(&pointer)?;
                }
                // Taken before the pointer is looked up again.
                Err(Need::Node(_)) => pin = Some(self.pins.pin(0)),
            }
        }
    }

    /// Brings a neighbour of a sparse leaf into memory, so that the deletion may merge them. A
    /// neighbour that cannot be read is left alone.
    fn fetch_neighbour(&self, tree: TreeId, key: &[u8]) -> Result<()> {
        let _pin = self.pins.pin(0);
        let pointer = self.state.write().neighbour(&self.cache, tree, key)?;
        if let Some(pointer) = pointer {
            // Damage there is reported by whoever reads those rows.
            let _unread = self.fetch(&pointer);
        }
        Ok(())
    }

    /// Applies the row edits of a prepared transaction, all in one moment for readers. Space
    /// edits are the space map's.
    ///
    /// Nodes shrink only after all rows changed: taking one out sends its keys to a neighbour,
    /// which a later edit of the transaction did not prepare.
    pub fn apply(&self, edits: &Edits) -> Result<()> {
        let mut state = self.state.write();
        let mut deleted = false;
        for edit in edits.iter() {
            match edit? {
                Edit::Put { tree, key, value } => state.put(&self.cache, tree, key, value)?,
                Edit::Del { tree, key } => {
                    deleted = true;
                    state.del(&self.cache, tree, key)?;
                }
                Edit::Take { .. } | Edit::Give { .. } => {}
            }
        }
        if deleted {
            for edit in edits.iter() {
                if let Edit::Del { tree, key } = edit? {
                    state.shrink(&self.cache, tree, key)?;
                }
            }
        }
        Ok(())
    }
}

impl State {
    /// Splits the state into one tree and the books.
    fn parts<'a>(
        &'a mut self,
        cache: &'a NodeCache<Node>,
        tree: TreeId,
    ) -> Result<(&'a mut Tree, Books<'a>)> {
        let tree =
            self.trees.get_mut(&tree).ok_or(Error::corrupt(Object::Store, "no such tree"))?;
        let books = Books {
            generation: self.generation,
            places: self.places.len(),
            owed: &mut self.owed,
            dirty: &mut self.dirty,
            retired: &mut self.retired,
            announced: &mut self.announced,
            cache,
        };
        Ok((tree, books))
    }

    /// Makes the path to `key` dirty, and returns how many places splits on it may take. `room`
    /// is what the transaction may add to a leaf and to an interior node.
    fn prepare_path(
        &mut self,
        cache: &NodeCache<Node>,
        tree: TreeId,
        key: &[u8],
        room: (usize, usize),
        slack: usize,
    ) -> Result<usize, Need> {
        let (tree, mut books) = self.parts(cache, tree)?;
        books.demand(slack + 2)?;
        let mut splits = 0;
        let Some(root) = &mut tree.root else {
            books.demand(slack + 1)?;
            tree.root = Some(Edge::Dirty(books.adopt(Page::new(0), Vec::new())));
            tree.changed = true;
            return Ok(if room.0 > Page::capacity() { 1 } else { 0 });
        };
        let mut node = books.dirty_root(root, slack)?;
        let mut bounds = Bounds::all();
        tree.changed = true;
        // A split reaches as far up as the nodes below are tight, and beyond a tight root it
        // makes a new one.
        let mut tight_root = true;
        loop {
            let leaf = node.page.level() == 0;
            let needed = if leaf { room.0 } else { room.1 };
            if node.page.free() < needed {
                splits += node.copies();
            } else {
                splits = 0;
                tight_root = false;
            }
            if leaf {
                break;
            }
            let slot = node.page.child_of(key);
            if slot < node.page.len() {
                bounds = bounds.of_child(&node.page, slot);
            }
            node = books.dirty_child(node, slot, slack, &bounds)?;
        }
        let total = splits + if tight_root && splits > 0 { 2 } else { 0 };
        books.demand(slack + total)?;
        Ok(total)
    }

    /// A neighbour of the leaf of `key` that is not in memory, where the leaf is sparse.
    fn neighbour(
        &mut self,
        cache: &NodeCache<Node>,
        tree: TreeId,
        key: &[u8],
    ) -> Result<Option<NodePointer>> {
        let Some(Edge::Dirty(root)) = &self.tree(tree)?.root else { return Ok(None) };
        let mut node = root;
        loop {
            if node.page.level() == 0 {
                return Ok(None);
            }
            let slot = node.page.child_of(key);
            let Some(kid) = node.kid(slot) else { return Ok(None) };
            if kid.page.level() == 0 && kid.page.used() < SPARSE && node.page.len() > 1 {
                let beside = if slot > 0 { slot - 1 } else { slot + 1 };
                if node.kid(beside).is_some() {
                    return Ok(None);
                }
                let pointer = NodePointer::parse(node.page.value(beside), 0)?;
                let cached = cache.get(pointer.unit(), pointer.stamp()).is_some();
                return Ok((!cached).then_some(pointer));
            }
            node = kid;
        }
    }

    fn put(
        &mut self,
        cache: &NodeCache<Node>,
        tree: TreeId,
        key: &[u8],
        value: &[u8],
    ) -> Result<()> {
        let (tree, mut books) = self.parts(cache, tree)?;
        let Some(Edge::Dirty(root)) = &mut tree.root else {
            return Err(Error::Internal("put without a prepared root"));
        };
        if let Some(split) = books.put(root, key, value)? {
            let level = root.page.level() + 1;
            if level > MAX_LEVEL {
                return Err(Error::corrupt(Object::Store, "a tree is as high as it may be"));
            }
            let mut page = Page::new(level);
            page.put(&LOWEST, &VOID);
            page.put(&split.key, &VOID);
            let left = Arc::clone(root);
            *root = books.adopt(page, vec![Some(left), Some(split.right)]);
        }
        Ok(())
    }

    fn del(&mut self, cache: &NodeCache<Node>, tree: TreeId, key: &[u8]) -> Result<()> {
        let (tree, books) = self.parts(cache, tree)?;
        let Some(Edge::Dirty(root)) = &mut tree.root else { return Ok(()) };
        let mut node = books.prepared(root)?;
        while node.page.level() > 0 {
            let slot = node.page.child_of(key);
            let Some(kid) = node.kids.get_mut(slot).and_then(Option::as_mut) else {
                return Err(Error::Internal("a child on the path was not prepared"));
            };
            node = books.prepared(kid)?;
        }
        if let Ok(slot) = node.page.search(key) {
            node.page.remove(slot);
            node.hint = u16::MAX;
        }
        Ok(())
    }

    /// Takes out nodes that deletions on the path to `key` left empty, and merges sparse ones.
    fn shrink(&mut self, cache: &NodeCache<Node>, tree: TreeId, key: &[u8]) -> Result<()> {
        let (tree, mut books) = self.parts(cache, tree)?;
        if let Some(Edge::Dirty(root)) = &mut tree.root {
            books.shrink(root, key, &Bounds::all())?;
        }
        while let Some(Edge::Dirty(root)) = &mut tree.root {
            if root.birth != books.generation {
                break;
            }
            if root.page.is_empty() {
                books.forget(root);
                tree.root = None;
            } else if root.page.level() > 0 && root.page.len() == 1 {
                let only = match root.kid(0) {
                    Some(kid) => Edge::Dirty(Arc::clone(kid)),
                    None => {
                        let level = root.page.level() - 1;
                        Edge::Clean(NodePointer::parse(root.page.value(0), level)?)
                    }
                };
                books.forget(root);
                tree.root = Some(only);
            } else {
                break;
            }
        }
        Ok(())
    }
}
