//! What the x86-64 kernels share: AES-256 round keys, and loads, stores and rounds of 128 and of
//! 512 bits.

mod schedule;
mod xmm;
mod zmm;

pub(super) use schedule::{DecryptKeys, EncryptKeys, ROUND_KEYS};
pub(super) use xmm::{encrypt_block, encrypt_blocks, from_u128, load_block, store_block, to_u128};
pub(super) use zmm::{
    Scratch, Zmm8, broadcast, encrypt_lanes, encrypt_stride, load, load_partial, load_stride,
    store, store_stride, xor_stride,
};
