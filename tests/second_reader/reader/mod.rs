//! A second reader of the format, written from `src/format/FORMAT.md` and from nothing else. It
//! shares no code with the crate: other parsers, and cryptography from the reference crates. It
//! reads an image in memory, trusts nothing of it, and writes nothing.

mod crypto;
mod fields;
mod files;
mod log;
mod space;
mod superblock;
mod tree;

use std::collections::BTreeMap;

pub use crypto::Seal;
pub use files::Node;

use crypto::subkey;
use fields::{u32_at, u64_at};
use superblock::{Domain, Superblock};

/// Why something was refused.
pub type Result<T> = std::result::Result<T, String>;

/// What unwraps a KEK: it gets the provider's name, the id of the provider key, the blob, and the
/// encryption context in canonical form.
pub type Unwrap<'a> = dyn Fn(&str, &str, &[u8], &[u8]) -> Result<[u8; 32]> + 'a;

/// Rows of one tree.
pub type Rows = BTreeMap<Vec<u8>, Vec<u8>>;

const STORE_TREE: u32 = 0;
const FS_TREE: u32 = 1;

/// A store, read.
pub struct Reader<'a> {
    image: &'a [u8],
    superblock: Superblock,
    /// Rows of both trees, with what the log says.
    trees: BTreeMap<u32, Rows>,
    /// Units in use by the checkpoint's map, pool-relative, and what is wrong with the map.
    space: space::Map,
    /// Records of the log that count.
    pub records: u64,
    /// Units that transactions of the log took and gave.
    taken: Vec<(u64, u32)>,
    given: Vec<(u64, u32)>,
    data_kek: [u8; 32],
}

/// A superblock that opened, and the KEKs.
struct Opened {
    superblock: Superblock,
    meta: [u8; 32],
    data: [u8; 32],
}

/// Section 5.4: the slot that counts.
fn newest(image: &[u8], unwrap: &Unwrap<'_>) -> Result<Opened> {
    let (mut doubtful, mut failure) = (Vec::new(), None);
    for generation in superblock::find(image)? {
        let alone = generation.len() == 1;
        for slot in generation {
            let keys = kek(&slot, Domain::Meta, unwrap)
                .and_then(|meta| Ok((meta, kek(&slot, Domain::Data, unwrap)?)));
            let (meta, data) = match keys {
                Ok(keys) => keys,
                Err(why) => {
                    doubtful.push((why, slot));
                    continue;
                }
            };
            let version = slot.key(Domain::Meta)?.version();
            match slot.open(&meta, version) {
                Ok(superblock) => {
                    for (why, slot) in doubtful {
                        if slot.key_epoch != version || slot.open(&meta, version).is_ok() {
                            return Err(why);
                        }
                    }
                    return Ok(Opened { superblock, meta, data });
                }
                Err(why) => failure = failure.or(Some(why)),
            }
        }
        if !alone {
            break;
        }
    }
    let refusal = doubtful.into_iter().next().map(|(why, _)| why);
    Err(refusal.or(failure).unwrap_or("no superblock".into()))
}

/// The KEK of a domain, as the provider unwraps it.
fn kek(superblock: &Superblock, domain: Domain, unwrap: &Unwrap<'_>) -> Result<[u8; 32]> {
    let (store, slot) = (superblock.store_id(), superblock.key(domain)?);
    let wrapped = slot.wrapped()?;
    let context = superblock::context(&store, domain);
    let kek = unwrap(wrapped.provider, wrapped.key_id, wrapped.blob, &context)?;
    let label = match domain {
        Domain::Meta => "meta-commit",
        Domain::Data => "data-commit",
    };
    let commitment: [u8; 32] = subkey(&kek, &store, label, &slot.version().to_le_bytes());
    match commitment == slot.commitment() {
        true => Ok(kek),
        false => Err("the provider answers with another key".into()),
    }
}

impl<'a> Reader<'a> {
    /// Reads the store in an image, up to its rows.
    pub fn open(image: &'a [u8], unwrap: &Unwrap<'_>) -> Result<Reader<'a>> {
        let Opened { superblock, meta, data: data_kek } = newest(image, unwrap)?;
        let store = superblock.store_id();
        superblock.check(image)?;
        let seal = |label: &str| {
            let version = superblock.key_epoch.to_le_bytes();
            Seal::new(&subkey(&meta, &store, label, &version))
        };
        let identity = crypto::Identity { store, key_epoch: superblock.key_epoch };
        let (node, space) = (seal("meta-node"), seal("meta-space"));

        let mut walk = tree::Walk::new(image, &node, store);
        let store_rows = walk.tree(superblock.root())?;
        let root = store_rows.get(&[&[1][..], &FS_TREE.to_be_bytes()].concat()[..]);
        let root = root.filter(|row| row.len() == 128).ok_or("no root row")?;
        let fs_rows = walk.tree(&root[..64])?;
        let mut trees = BTreeMap::from([(STORE_TREE, store_rows), (FS_TREE, fs_rows)]);
        let mut map = space::Map::read(image, &superblock, &space, &identity)?;
        map.compare(&superblock, &walk.nodes, &trees[&FS_TREE])?;

        let log = log::Log { image, seal: seal("meta-log"), identity, superblock: &superblock };
        let replayed = log.replay(&mut trees)?;
        Ok(Reader {
            image,
            trees,
            space: map,
            records: replayed.records,
            taken: replayed.taken,
            given: replayed.given,
            data_kek,
            superblock,
        })
    }

    /// Everything that the META key opens: keys and values of all rows.
    pub fn rows(&self) -> impl Iterator<Item = &[u8]> {
        let rows = self.trees.values().flatten();
        rows.flat_map(|(key, value)| [key.as_slice(), value.as_slice()])
    }

    /// The store's name and tags: the properties, by name.
    pub fn properties(&self) -> BTreeMap<Vec<u8>, Vec<u8>> {
        let rows = self.trees[&STORE_TREE].range(vec![3]..vec![4]);
        rows.map(|(key, value)| (key[1..].to_vec(), value.clone())).collect()
    }

    /// Every path of the file system and what it leads to.
    pub fn files(&self) -> Result<BTreeMap<Vec<u8>, Node>> {
        files::Files { reader: self, rows: &self.trees[&FS_TREE] }.walk()
    }

    /// Fails unless the space map, with the log's edits, says that all contents are in use and
    /// nothing else that was not so before.
    pub fn check_space(&self) -> Result<()> {
        let mut map = self.space.clone();
        map.apply(&self.superblock, &self.taken, &self.given)?;
        map.covers(&self.superblock, &self.trees[&FS_TREE])
    }

    /// The handle of an inode.
    pub fn handle(&self, ino: u64, generation: u64) -> [u8; 48] {
        let mut handle = [0; 48];
        handle[0] = 1;
        handle[4..8].copy_from_slice(&FS_TREE.to_le_bytes());
        handle[8..16].copy_from_slice(&self.superblock.store_id[..8]);
        handle[16..24].copy_from_slice(&ino.to_le_bytes());
        handle[24..32].copy_from_slice(&generation.to_le_bytes());
        let key = self.superblock.handle_key();
        let keys: [u8; 48] = subkey(key, &self.superblock.store_id, "handle-mac", &[]);
        let lengths = (0, 256);
        let mac = crypto::polyval_mac(&keys[..32], &keys[32..], &[&handle[..32]], lengths);
        handle[32..].copy_from_slice(&mac);
        handle
    }

    /// The first cookie of a name's bucket.
    pub fn bucket(&self, name: &[u8]) -> u64 {
        let key: [u8; 16] =
            subkey(self.superblock.name_key(), &self.superblock.store_id, "name-hash", &[]);
        ((crypto::siphash(&key, name) >> 8) % (1 << 55)) << 8
    }

    /// A data key of a file, by its KEY row.
    fn data_key(&self, id: u64, ino: u64) -> Result<[u8; 32]> {
        let key = [&[2][..], &id.to_be_bytes()].concat();
        let row = self.trees[&STORE_TREE].get(&key).ok_or("no such data key")?;
        let sound = row.len() == 88 && row[4..8] == [0; 4] && row[84..] == [0; 4];
        if !sound || u64_at(row, 8) != ino {
            return Err(format!("KEY row {id:#x}"));
        }
        let version = u32_at(row, 0);
        if version != self.superblock.key(Domain::Data)?.version() {
            return Err("a key under an unknown KEK".into());
        }
        let store = &self.superblock.store_id;
        let wrap = Seal::new(&subkey(&self.data_kek, store, "data-wrap", &version.to_le_bytes()));
        let aad = [&[1, 1, 2, 1][..], &version.to_le_bytes(), &id.to_le_bytes(), store].concat();
        let mut key = row[36..68].to_vec();
        wrap.open(&row[24..36], &aad, &mut key, &row[68..84])?;
        key.try_into().map_err(|_| "length of a key".into())
    }
}
