//! XTS-AES-256 in safe Rust over the `aes` crate, many blocks in one call.
//!
//! The crate runs the blocks of one call in parallel on whatever the processor has, so the tweaks
//! of a stride are computed first and the stride is encrypted at once. For every processor; the
//! only backend outside x86-64, and what Miri runs.

use aes::{Aes256, Aes256Enc, Block};
use cipher::inout::InOutBuf;
use cipher::{BlockCipherDecrypt, BlockCipherEncrypt, KeyInit};
use zerocopy::IntoBytes;

use super::TWEAK_BATCH;
use super::field::double;

/// Blocks of one stride: two of the widest parallel call of the `aes` crate.
const STRIDE_BLOCKS: usize = 64;

/// The expanded keys of this backend; the crate zeroizes them on drop.
pub(super) struct Key {
    data: Aes256,
    tweak: Aes256Enc,
}

impl Key {
    pub(super) fn new(k1: &[u8; 32], k2: &[u8; 32]) -> Self {
        Key { data: Aes256::new(k1.into()), tweak: Aes256Enc::new(k2.into()) }
    }

    pub(super) fn encrypt_tweaks(&self, first: u128, out: &mut [u128; TWEAK_BATCH], count: usize) {
        let mut blocks = [Block::default(); TWEAK_BATCH];
        for (index, block) in blocks[..count].iter_mut().enumerate() {
            block.0 = first.wrapping_add(index as u128).to_le_bytes();
        }
        self.tweak.encrypt_blocks(&mut blocks[..count]);
        for (tweak, block) in out.iter_mut().zip(&blocks[..count]) {
            *tweak = u128::from_le_bytes(block.0);
        }
    }

    pub(super) fn encrypt(&self, data: InOutBuf<'_, '_, u8>, unit_len: usize, tweaks: &[u128]) {
        crypt_units(data, unit_len, tweaks, |blocks| self.data.encrypt_blocks(blocks));
    }

    pub(super) fn decrypt(&self, data: InOutBuf<'_, '_, u8>, unit_len: usize, tweaks: &[u128]) {
        crypt_units(data, unit_len, tweaks, |blocks| self.data.decrypt_blocks(blocks));
    }
}

fn crypt_units(
    mut data: InOutBuf<'_, '_, u8>,
    unit_len: usize,
    tweaks: &[u128],
    crypt: impl Fn(&mut [Block]),
) {
    let mut masks = [0u128; STRIDE_BLOCKS];
    for &tweak in tweaks {
        let len = unit_len.min(data.len());
        let (mut unit, rest) = data.split_at(len);
        data = rest;
        let mut running = tweak;
        while !unit.is_empty() {
            let len = unit.len().min(16 * STRIDE_BLOCKS);
            let (mut stride, rest) = unit.split_at(len);
            unit = rest;
            for mask in &mut masks[..len / 16] {
                *mask = running.to_le();
                running = double(running);
            }
            let masks = masks[..len / 16].as_bytes();
            stride.xor_in2out(masks);
            let (blocks, _) = Block::slice_as_chunks_mut(stride.get_out());
            crypt(blocks);
            stride.get_out().iter_mut().zip(masks).for_each(|(byte, mask)| *byte ^= mask);
        }
    }
}
