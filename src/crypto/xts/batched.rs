//! XTS-AES-256 in safe Rust over the `aes` crate's parallel backend.
//!
//! The whole pass runs inside the crate's closure, so its round keys are prepared once for many
//! units and the masking is compiled for the same instructions as the rounds. Blocks are taken as
//! many at a time as the backend does in parallel, across units; their tweaks are computed first.
//! For every processor; the only backend outside x86-64, and what Miri runs.

use aes::{Aes256, Aes256Enc, Block};
use cipher::array::{Array, ArraySize};
use cipher::common::BlockSizeUser;
use cipher::consts::U16;
use cipher::inout::InOutBuf;
use cipher::{
    BlockCipherDecBackend, BlockCipherDecClosure, BlockCipherDecrypt, BlockCipherEncBackend,
    BlockCipherEncClosure, BlockCipherEncrypt, KeyInit,
};

use super::TWEAK_BATCH;
use super::field::double;
#[cfg(test)]
use crate::crypto::backend::{Backend, probe};

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
        #[cfg(test)]
        probe::hit(probe::Kernel::Xts(Backend::Batched));
        self.data.encrypt_with_backend(Pass::new(data, unit_len, tweaks));
    }

    pub(super) fn decrypt(&self, data: InOutBuf<'_, '_, u8>, unit_len: usize, tweaks: &[u128]) {
        #[cfg(test)]
        probe::hit(probe::Kernel::Xts(Backend::Batched));
        self.data.decrypt_with_backend(Pass::new(data, unit_len, tweaks));
    }
}

/// One pass over whole-block units.
struct Pass<'a> {
    blocks: &'a mut [Block],
    tweaks: Tweaks<'a>,
}

impl<'a> Pass<'a> {
    fn new(data: InOutBuf<'_, 'a, u8>, unit_len: usize, tweaks: &'a [u128]) -> Self {
        let (blocks, _) = Block::slice_as_chunks_mut(data.into_out_with_copied_in());
        let tweaks = Tweaks { units: tweaks.iter(), unit_blocks: unit_len / 16, left: 0, next: 0 };
        Pass { blocks, tweaks }
    }

    /// Masks, encrypts or decrypts, and masks again, `N` blocks at a time, then the rest.
    #[inline(always)]
    fn run<N: ArraySize>(
        mut self,
        parallel: impl Fn(&mut Array<Block, N>),
        rest: impl Fn(&mut [Block]),
    ) {
        let mut masks = Array::<Block, N>::default();
        let (groups, tail) = Array::slice_as_chunks_mut(self.blocks);
        for group in groups {
            self.tweaks.fill(&mut masks);
            xor(group, &masks);
            parallel(group);
            xor(group, &masks);
        }
        let masks = &mut masks[..tail.len()];
        self.tweaks.fill(masks);
        xor(tail, masks);
        rest(tail);
        xor(tail, masks);
    }
}

impl BlockSizeUser for Pass<'_> {
    type BlockSize = U16;
}

impl BlockCipherEncClosure for Pass<'_> {
    #[inline(always)]
    fn call<B: BlockCipherEncBackend<BlockSize = U16>>(self, aes: &B) {
        self.run::<B::ParBlocksSize>(
            |group| aes.encrypt_par_blocks_inplace(group),
            |tail| tail.iter_mut().for_each(|block| aes.encrypt_block_inplace(block)),
        );
    }
}

impl BlockCipherDecClosure for Pass<'_> {
    #[inline(always)]
    fn call<B: BlockCipherDecBackend<BlockSize = U16>>(self, aes: &B) {
        self.run::<B::ParBlocksSize>(
            |group| aes.decrypt_par_blocks_inplace(group),
            |tail| tail.iter_mut().for_each(|block| aes.decrypt_block_inplace(block)),
        );
    }
}

/// The tweaks of all blocks of consecutive units, one after another.
struct Tweaks<'a> {
    /// The encrypted tweaks of the units to come.
    units: std::slice::Iter<'a, u128>,
    unit_blocks: usize,
    /// Blocks left in this unit.
    left: usize,
    /// The tweak of the next block of this unit.
    next: u128,
}

impl Tweaks<'_> {
    /// Writes the tweaks of the next blocks.
    #[inline(always)]
    fn fill(&mut self, mut out: &mut [Block]) {
        while !out.is_empty() {
            if self.left == 0 {
                self.next = self.units.next().copied().unwrap_or_default();
                self.left = self.unit_blocks;
            }
            let (unit, rest) = out.split_at_mut(self.left.min(out.len()));
            self.next = fill_unit(unit, self.next);
            self.left -= unit.len();
            out = rest;
        }
    }
}

/// Writes consecutive tweaks from `first`; returns the one after them.
///
/// Eight chains, each advancing by x^8, as two arrays of halves: the form that the compiler turns
/// into vectors.
#[inline(always)]
fn fill_unit(out: &mut [Block], first: u128) -> u128 {
    let (mut low, mut high) = ([0u64; 8], [0u64; 8]);
    let mut tweak = first;
    for (low, high) in low.iter_mut().zip(&mut high) {
        (*low, *high) = (tweak as u64, (tweak >> 64) as u64);
        tweak = double(tweak);
    }
    let (groups, rest) = out.as_chunks_mut::<8>();
    for group in groups {
        for i in 0..8 {
            group[i].0 = join(low[i], high[i]).to_le_bytes();
        }
        for i in 0..8 {
            let out = high[i] >> 56;
            high[i] = high[i] << 8 | low[i] >> 56;
            low[i] = low[i] << 8 ^ out ^ out << 1 ^ out << 2 ^ out << 7;
        }
    }
    for (i, mask) in rest.iter_mut().enumerate() {
        mask.0 = join(low[i], high[i]).to_le_bytes();
    }
    join(low[rest.len()], high[rest.len()])
}

fn join(low: u64, high: u64) -> u128 {
    u128::from(high) << 64 | u128::from(low)
}

#[inline(always)]
fn xor(blocks: &mut [Block], masks: &[Block]) {
    for (block, mask) in blocks.iter_mut().zip(masks) {
        block.0 = (u128::from_ne_bytes(block.0) ^ u128::from_ne_bytes(mask.0)).to_ne_bytes();
    }
}
