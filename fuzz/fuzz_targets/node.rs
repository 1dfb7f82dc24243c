//! The plaintext of nodes of either tree.
#![no_main]

#[path = "../../tests/hostile/change.rs"]
mod change;
#[path = "../../tests/hostile/exercise.rs"]
mod exercise;
#[path = "../../tests/hostile/store.rs"]
mod store;

use std::sync::LazyLock;

use efscrypt::txn::{FIRST_FS_TREE, Forge, STORE_TREE};
use libfuzzer_sys::fuzz_target;

static BASE: LazyLock<store::Base> = LazyLock::new(store::Base::new);

/// Bytes that replace those from an offset on, in the node that a path leads to.
#[derive(arbitrary::Arbitrary, Debug)]
struct Input<'a> {
    store_tree: bool,
    path: [u8; 2],
    at: u16,
    bytes: &'a [u8],
}

fuzz_target!(|input: Input<'_>| {
    let image = BASE.image();
    let tree = if input.store_tree { STORE_TREE } else { FIRST_FS_TREE };
    let change = change::Change::new(input.at.into(), input.bytes);
    let mut forge = Forge::open(image.clone()).expect("the base is sound");
    forge.node(tree, &input.path, |page| change.apply(page)).expect("the base is sound");
    exercise::open_and_use(image);
});
