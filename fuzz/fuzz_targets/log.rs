//! The payload of a log record.
#![no_main]

#[path = "../../tests/hostile/exercise.rs"]
mod exercise;
#[path = "../../tests/hostile/store.rs"]
mod store;

use std::sync::LazyLock;

use efscrypt::txn::{Edits, Forge, logged};
use libfuzzer_sys::fuzz_target;

static BASE: LazyLock<store::Base> = LazyLock::new(store::Base::new);

/// One edit.
#[derive(arbitrary::Arbitrary, Debug)]
enum Edit<'a> {
    Put { tree: u8, class: u8, key: [u64; 2], value: &'a [u8] },
    Del { tree: u8, class: u8, key: [u64; 2] },
    Take { unit: u64, units: u32 },
    Give { unit: u64, units: u32 },
}

/// Transactions that are well formed, or bytes that need not be.
#[derive(arbitrary::Arbitrary, Debug)]
enum Input<'a> {
    Edits(Vec<Vec<Edit<'a>>>),
    Bytes(&'a [u8]),
}

fn encode(transaction: &[Edit<'_>]) -> Vec<u8> {
    let mut edits = Edits::new();
    let row = |class: u8, key: [u64; 2]| {
        [&[class][..], &key[0].to_be_bytes(), &key[1].to_be_bytes()].concat()
    };
    for edit in transaction {
        match *edit {
            Edit::Put { tree, class, key, value } => {
                edits.put(tree.into(), &row(class, key), &value[..value.len().min(3968)]);
            }
            Edit::Del { tree, class, key } => edits.del(tree.into(), &row(class, key)),
            Edit::Take { unit, units } => edits.take(unit, units, 0),
            Edit::Give { unit, units } => edits.give(unit, units),
        }
    }
    logged(edits)
}

fuzz_target!(|input: Input<'_>| {
    let payload = match input {
        Input::Edits(transactions) => transactions.iter().flat_map(|t| encode(t)).collect(),
        Input::Bytes(bytes) => bytes.to_vec(),
    };
    let image = BASE.image();
    if Forge::open(image.clone()).expect("the base is sound").log(&payload).is_ok() {
        exercise::open_and_use(image);
    }
});
