//! Forge: stores that no engine would write, sealed as if one had.
//!
//! Authentication keeps most damage away from the parsers, and so also from their tests. Here
//! plaintext is changed and sealed anew with the fixed keys, up to the superblock: what a holder
//! of the META key could leave, or a bug. For tests and fuzzing; such a store must end in typed
//! errors.

use zerocopy::{FromBytes, IntoBytes};

use super::fixed_unlock;
use super::newest::newest;
use crate::block::{LogRing, LogTail, Sealer, read_ring, write_superblock};
use crate::device::Device;
use crate::error::{Error, Object, Result};
use crate::format::{
    Edits, LOG_HEADER_LEN, NodePointer, Page, RootRow, STORE_TREE, StoreKey, Superblock,
    SuperblockBody, TreeId,
};
use crate::limits::{NODE_SIZE, UNIT};
use std::sync::Arc;

/// Key and value of a row of a forged node.
pub type ForgedRow = (Vec<u8>, Vec<u8>);

/// A store with fixed keys whose plaintext can be changed. Nothing else has it open.
pub struct Forge {
    device: Arc<dyn Device>,
    sealer: Arc<Sealer>,
    superblock: Superblock,
}

impl Forge {
    /// The newest state of a store that was made with [`super::fixed_keys`].
    ///
    /// # Errors
    /// As opening it.
    pub fn open(device: Arc<dyn Device>) -> Result<Forge> {
        let newest = newest(read_ring(&*device)?, |_| fixed_unlock(1))?;
        Ok(Forge { device, sealer: newest.sealer, superblock: newest.superblock })
    }

    /// Changes the sealed body of the superblock.
    ///
    /// # Errors
    /// Those of the device.
    pub fn superblock(&mut self, change: impl FnOnce(&mut [u8])) -> Result<()> {
        let mut bytes = self.superblock.body.as_bytes().to_vec();
        change(&mut bytes);
        if let Ok(body) = SuperblockBody::read_from_bytes(&bytes) {
            self.superblock.body = body;
        }
        write_superblock(&*self.device, &self.sealer, &self.superblock)
    }

    /// Changes a node of a tree, found by the number of a slot at each level, and seals all nodes
    /// above it. Only `change` is not checked.
    ///
    /// # Errors
    /// As reading the nodes on the way.
    pub fn node(
        &mut self,
        tree: TreeId,
        path: &[u8],
        change: impl FnOnce(&mut [u8; NODE_SIZE]),
    ) -> Result<()> {
        self.page(tree, path, |page| *page = Page::forged(page, change))
    }

    fn page(&mut self, tree: TreeId, path: &[u8], change: impl FnOnce(&mut Page)) -> Result<()> {
        let root = self.superblock.body.root;
        self.superblock.body.root = match tree {
            STORE_TREE => self.forge(&root, path, change)?,
            tree => {
                let key = StoreKey::Root(tree).encode();
                let mut page = self.read(&root)?;
                let slot = page.search(&key).map_err(|_| Error::NotFound)?;
                let mut row = RootRow::parse(page.value(slot))?;
                row.pointer = self.forge(&row.pointer, path, change)?;
                page.value_mut(slot).copy_from_slice(row.as_bytes());
                self.write(&root, &page)?
            }
        };
        self.superblock(|_| ())
    }

    /// As [`Forge::node`], by the keys and values of a node's rows.
    ///
    /// # Errors
    /// As there.
    pub fn rows(
        &mut self,
        tree: TreeId,
        path: &[u8],
        change: impl FnOnce(&mut Vec<ForgedRow>),
    ) -> Result<()> {
        self.page(tree, path, |page| {
            let row = |slot| (page.key(slot).to_vec(), page.value(slot).to_vec());
            let mut rows: Vec<_> = (0..page.len()).map(row).collect();
            change(&mut rows);
            *page = Page::new(page.level());
            for (key, value) in rows {
                page.put(&key, &value);
            }
        })
    }

    fn forge(
        &self,
        pointer: &NodePointer,
        path: &[u8],
        change: impl FnOnce(&mut Page),
    ) -> Result<NodePointer> {
        let mut page = self.read(pointer)?;
        match path {
            [slot, rest @ ..] if pointer.level > 0 && !page.is_empty() => {
                let slot = usize::from(*slot) % page.len();
                let child = NodePointer::parse(page.value(slot), pointer.level - 1)?;
                let child = self.forge(&child, rest, change)?;
                page.value_mut(slot).copy_from_slice(child.as_bytes());
            }
            _ => change(&mut page),
        }
        self.write(pointer, &page)
    }

    fn read(&self, pointer: &NodePointer) -> Result<Page> {
        let (unit, mut block) = (pointer.unit(), Page::zeroed());
        self.device
            .read_at(unit * UNIT as u64, &mut block[..])
            .map_err(|error| Error::io("read", Object::Node { unit }, error))?;
        self.sealer.open_node(pointer, unit, block)
    }

    /// Writes a node where the one of `old` stands.
    fn write(&self, old: &NodePointer, page: &Page) -> Result<NodePointer> {
        let mut block = [0; NODE_SIZE];
        let addr = old.addr.map(|unit| unit.get());
        let (tree, birth) = (old.birth_tree.get(), old.birth_gen.get());
        let mut pointer = self.sealer.seal_node(page, tree, birth, addr, &mut block)?;
        // A forged page may say anything of its level.
        pointer.level = old.level;
        for unit in old.copies() {
            self.device
                .write_at(unit * UNIT as u64, &block)
                .map_err(|error| Error::io("write", Object::Node { unit }, error))?;
        }
        Ok(pointer)
    }

    /// Makes `payload` the only record of the log.
    ///
    /// # Errors
    /// Those of the device; [`Error::InvalidArgument`] where it is too long for the log.
    pub fn log(&self, payload: &[u8]) -> Result<()> {
        let body = &self.superblock.body;
        let layout = crate::block::Layout {
            log_base: body.log_base.get(),
            log_len: body.log_len.get(),
            pool_base: body.pool_base.get(),
            pool_units: body.pool_units.get(),
        };
        let ring = LogRing::new(Arc::clone(&self.device), Arc::clone(&self.sealer), &layout);
        if payload.len() > ring.max_payload() {
            return Err(Error::InvalidArgument("the payload is longer than a record"));
        }
        let tail =
            LogTail { offset: body.log_head.get(), seq: body.log_seq.get(), tag: body.log_tag };
        let mut record = vec![0; LOG_HEADER_LEN];
        record.extend_from_slice(payload);
        ring.append(&tail, 0, &mut record).map(drop)
    }
}

/// One transaction as the log carries it, for [`Forge::log`].
pub fn logged(mut edits: Edits) -> Vec<u8> {
    edits.encode().to_vec()
}
