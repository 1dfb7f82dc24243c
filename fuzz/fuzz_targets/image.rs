//! Raw bytes of the device.
#![no_main]

#[path = "../../tests/hostile/exercise.rs"]
mod exercise;
#[path = "../../tests/hostile/store.rs"]
mod store;

use std::sync::LazyLock;

use efscrypt::device::Device;
use libfuzzer_sys::fuzz_target;

static BASE: LazyLock<store::Base> = LazyLock::new(store::Base::new);

/// Bytes that replace those from some offsets on.
#[derive(arbitrary::Arbitrary, Debug)]
struct Input<'a> {
    changes: Vec<(u32, &'a [u8])>,
}

fuzz_target!(|input: Input<'_>| {
    let image = BASE.image();
    let len = image.len().expect("memory has a length");
    for (at, bytes) in input.changes {
        let at = u64::from(at) % len;
        let bytes = &bytes[..bytes.len().min((len - at) as usize)];
        image.write_at(at, bytes).expect("memory does not fail");
    }
    exercise::open_and_use(image);
});
