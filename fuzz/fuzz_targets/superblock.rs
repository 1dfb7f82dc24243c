//! The sealed body of the superblock.
#![no_main]

#[path = "../../tests/hostile/change.rs"]
mod change;
#[path = "../../tests/hostile/exercise.rs"]
mod exercise;
#[path = "../../tests/hostile/store.rs"]
mod store;

use std::sync::LazyLock;

use efscrypt::txn::Forge;
use libfuzzer_sys::fuzz_target;

static BASE: LazyLock<store::Base> = LazyLock::new(store::Base::new);

/// Bytes that replace those from an offset on.
#[derive(arbitrary::Arbitrary, Debug)]
struct Input<'a> {
    at: u16,
    bytes: &'a [u8],
}

fuzz_target!(|input: Input<'_>| {
    let image = BASE.image();
    let change = change::Change::new(input.at.into(), input.bytes);
    let mut forge = Forge::open(image.clone()).expect("the base is sound");
    forge.superblock(|body| change.apply(body)).expect("memory does not fail");
    exercise::open_and_use(image);
});
