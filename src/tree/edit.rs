//! Changing rows: what must be in place first, and the change itself.

use std::sync::Arc;

use super::bounds::Bounds;
use super::node::{Edge, LOWEST, Node, Retired, VOID};
use super::{Forest, State, Tree};
use crate::block::NodeCache;
use crate::error::{Error, Object, Result};
use crate::format::{
    Edit, Edits, NodePointer, POINTER_LEN, Page, PutOutcome, STORE_TREE, StoreKey, TreeId,
};
use crate::limits::{MAX_KEY_LEN, MAX_LEVEL};

/// A node below this many bytes of rows looks for a neighbour to merge with.
const SPARSE: usize = Page::capacity() / 3;
/// A merged node has at most this many bytes of rows, so that it does not split at once.
const MERGED: usize = Page::capacity() * 3 / 4;
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

/// The parts of the state that change beside the nodes.
struct Books<'a> {
    generation: u64,
    places: usize,
    owed: &'a mut usize,
    dirty: &'a mut usize,
    retired: &'a mut Vec<Retired>,
    announced: &'a mut Vec<u64>,
    cache: &'a NodeCache<Node>,
}

/// A node that was split off, with its separator.
struct Split {
    key: Vec<u8>,
    right: Arc<Node>,
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
                return Err(Error::Internal("tree too high"));
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

impl Books<'_> {
    /// Refuses to go on without `spare` places beyond those owed.
    fn demand(&self, spare: usize) -> Result<(), Need> {
        let have = self.places - *self.owed;
        if have < spare { Err(Need::Places(spare - have)) } else { Ok(()) }
    }

    /// Enters a new dirty node.
    fn adopt(&mut self, page: Page, kids: Vec<Option<Arc<Node>>>) -> Arc<Node> {
        let node = Node::dirty(page, kids, self.generation);
        *self.owed += node.copies();
        *self.dirty += 1;
        Arc::new(node)
    }

    /// Strikes out a dirty node that is no longer part of a tree.
    fn forget(&mut self, node: &Arc<Node>) {
        if node.birth == self.generation {
            *self.owed -= node.copies();
            *self.dirty -= 1;
        } else {
            self.retired.push(Retired::Frozen(Arc::clone(node)));
        }
    }

    /// Retires a node on the device.
    fn retire(&mut self, pointer: NodePointer) {
        self.cache.remove(pointer.unit());
        self.announced.extend(pointer.copies());
        self.retired.push(Retired::Clean(pointer));
    }

    /// Makes the root dirty in this generation.
    fn dirty_root<'n>(&mut self, root: &'n mut Edge, slack: usize) -> Result<&'n mut Node, Need> {
        if let Edge::Clean(pointer) = root {
            *root = Edge::Dirty(self.thaw(*pointer, slack, &Bounds::all())?);
        }
        match root {
            Edge::Dirty(node) => self.current(node, slack),
            Edge::Clean(_) => Err(Need::Failed(Error::Internal("root is dirty by now"))),
        }
    }

    /// Makes the child in a slot dirty in this generation.
    fn dirty_child<'n>(
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
    fn prepared<'n>(&self, node: &'n mut Arc<Node>) -> Result<&'n mut Node> {
        if node.birth != self.generation {
            return Err(Error::Internal("a node on the path was not prepared"));
        }
        // Where a check looks at the node, it keeps it as it was.
        Ok(Arc::make_mut(node))
    }

    fn put(&mut self, node: &mut Arc<Node>, key: &[u8], value: &[u8]) -> Result<Option<Split>> {
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

    fn shrink(&mut self, node: &mut Arc<Node>, key: &[u8], bounds: &Bounds) -> Result<()> {
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
