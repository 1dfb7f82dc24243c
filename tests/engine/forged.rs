//! Trees whose separators contradict what is below them: damage for whoever changes something
//! there, and for nobody else.

use std::sync::Arc;

use efscrypt::ErrorKind;
use efscrypt::device::MemoryDevice;
use efscrypt::txn::{Class, Edits, Engine, FIRST_FS_TREE, Forge, ForgedRow};

use crate::model::{create, open};

const ROWS: u64 = 1500;

/// Long keys, so that a few rows make interior nodes of two levels.
fn key(n: u64) -> Vec<u8> {
    [&[1][..], &n.to_be_bytes(), &[0xaa; 54]].concat()
}

/// A key right behind another.
fn behind(key: &[u8], n: u8) -> Vec<u8> {
    let mut key = key.to_vec();
    let last = key.len() - 1;
    key[last] = 0xab + n;
    key
}

fn put(engine: &Engine, key: &[u8]) -> efscrypt::Result<()> {
    let mut edits = Edits::new();
    edits.put(FIRST_FS_TREE, key, &[7; 3000]);
    engine.commit(&mut edits, Class::Normal).map(drop)
}

fn del(engine: &Engine, key: &[u8]) -> efscrypt::Result<()> {
    let mut edits = Edits::new();
    edits.del(FIRST_FS_TREE, key);
    engine.commit(&mut edits, Class::Freeing).map(drop)
}

/// A store with many rows, on its device alone.
fn store() -> Arc<MemoryDevice> {
    let device = Arc::new(MemoryDevice::new());
    let engine = create(device.clone(), 1).unwrap();
    (0..ROWS).for_each(|n| put(&engine, &key(n)).unwrap());
    engine.finish().unwrap();
    drop(engine);
    device
}

/// The keys of a node of a sound store.
fn keys(device: &MemoryDevice, path: &[u8]) -> Vec<Vec<u8>> {
    let mut keys = Vec::new();
    let mut forge = Forge::open(Arc::new(device.snapshot())).unwrap();
    let look = |rows: &mut Vec<ForgedRow>| {
        keys = rows.iter().map(|(key, _)| key.clone()).collect();
    };
    forge.rows(FIRST_FS_TREE, path, look).unwrap();
    keys
}

/// Changes below damage are refused, the others are not, and the store goes on.
fn refuses(device: Arc<MemoryDevice>, damaged: &[u8], sound: &[u8]) {
    let engine = open(device, 2).unwrap();
    for n in 0..40 {
        let error = put(&engine, &behind(damaged, n)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
        put(&engine, &behind(sound, n)).unwrap();
    }
    assert!(!engine.check_structure(|_, _, _, _| ()).unwrap().is_clean());
    // Neighbours of what is damaged shrink, and are not merged with it.
    for n in 0..ROWS {
        match del(&engine, &key(n)) {
            Err(error) => assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}"),
            Ok(()) => assert!(engine.get(FIRST_FS_TREE, &key(n), |_| ()).unwrap().is_none()),
        }
    }
    engine.checkpoint().unwrap();
    put(&engine, &key(0)).unwrap();
}

#[test]
fn a_separator_below_keys_of_the_leaf_before_it() {
    let device = store();
    let leaf = keys(&device, &[1, 1]);
    let mut forge = Forge::open(device.clone()).unwrap();
    forge.rows(FIRST_FS_TREE, &[1], |rows| rows[2].0 = leaf[2].clone()).unwrap();
    refuses(device, &leaf[0], &keys(&store(), &[0, 1])[1]);
}

#[test]
fn a_node_with_the_separator_of_its_parent() {
    let device = store();
    let fence = keys(&device, &[])[1].clone();
    let mut forge = Forge::open(device.clone()).unwrap();
    forge.rows(FIRST_FS_TREE, &[1], |rows| rows[1].0 = fence.clone()).unwrap();
    refuses(device, &fence, &keys(&store(), &[0, 1])[1]);
}

/// A node with very many parents is looked at once.
#[test]
fn a_check_of_a_tree_that_meets_itself_ends() {
    let device = store();
    let mut forge = Forge::open(device.clone()).unwrap();
    for path in [&[0][..], &[]] {
        let same = |rows: &mut Vec<ForgedRow>| {
            let first = rows[0].1.clone();
            rows.iter_mut().for_each(|row| row.1.clone_from(&first));
        };
        forge.rows(FIRST_FS_TREE, path, same).unwrap();
    }
    let engine = open(device, 2).unwrap();
    let report = engine.check_structure(|_, _, _, _| ()).unwrap();
    assert!(report.shared > 0 && !report.damaged.is_empty(), "{report:?}");
    assert!(report.nodes < 10 && report.rows < 50, "{} nodes", report.nodes);
}
