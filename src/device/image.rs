//! A sparse, growable array of bytes whose copies share what they have in common.
//!
//! Invariants:
//! 1. A chunk that is absent reads as zero.
//! 2. Every byte at or after `len` inside a present chunk is zero, so growing exposes zeros.
//! 3. A chunk with more than one owner is copied before it is changed: a clone never changes
//!    under its holder. Cloning costs one reference per present chunk, no bytes.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

/// Bytes of a chunk: large enough that a store of some MiB has few, small enough that a torn
/// 4 KiB write copies little.
const CHUNK: usize = 16 * 1024;

type Chunk = [u8; CHUNK];

#[derive(Clone, Default)]
pub(super) struct Image {
    chunks: BTreeMap<u64, Arc<Chunk>>,
    len: u64,
}

impl Image {
    /// `len` bytes of zero.
    pub(super) fn zeros(len: u64) -> Image {
        Image { chunks: BTreeMap::new(), len }
    }

    pub(super) fn len(&self) -> u64 {
        self.len
    }

    /// Makes the image at least `len` bytes long.
    pub(super) fn grow(&mut self, len: u64) {
        self.len = self.len.max(len);
    }

    /// Ends the image at `len`, where it is longer.
    pub(super) fn shrink(&mut self, len: u64) {
        if len < self.len {
            self.zero(len, u64::MAX);
            self.len = len;
        }
    }

    /// Fills `buf` from `offset`; `UnexpectedEof` when it reaches beyond the end.
    pub(super) fn read(&self, offset: u64, buf: &mut [u8]) -> io::Result<()> {
        match offset.checked_add(buf.len() as u64) {
            Some(end) if end <= self.len => {}
            _ => {
                let why = format!("the device ends before it, at byte {}", self.len);
                return Err(io::Error::new(io::ErrorKind::UnexpectedEof, why));
            }
        }
        for (index, start, part) in pieces(offset, buf.len()) {
            let into = &mut buf[part];
            match self.chunks.get(&index) {
                Some(chunk) => into.copy_from_slice(&chunk[start..start + into.len()]),
                None => into.fill(0),
            }
        }
        Ok(())
    }

    /// Writes `buf` at `offset`, growing the image to cover it. The caller has checked that the
    /// end does not overflow.
    pub(super) fn write(&mut self, offset: u64, buf: &[u8]) {
        for (index, start, part) in pieces(offset, buf.len()) {
            let from = &buf[part];
            let chunk = self.chunks.entry(index).or_insert_with(|| Arc::new([0; CHUNK]));
            Arc::make_mut(chunk)[start..start + from.len()].copy_from_slice(from);
        }
        if !buf.is_empty() {
            self.grow(offset + buf.len() as u64);
        }
    }

    /// Zeroes the part of the range that lies inside the image, dropping whole chunks.
    pub(super) fn zero(&mut self, offset: u64, len: u64) {
        let end = offset.saturating_add(len).min(self.len);
        if offset >= end {
            return;
        }
        let chunk_bytes = CHUNK as u64;
        let touched: Vec<u64> = self
            .chunks
            .range(offset / chunk_bytes..=(end - 1) / chunk_bytes)
            .map(|e| *e.0)
            .collect();
        for index in touched {
            let base = index * chunk_bytes;
            let start = offset.saturating_sub(base) as usize;
            let stop = (end - base).min(chunk_bytes) as usize;
            // A stop at the end of the image covers the rest of the chunk: invariant 2.
            if start == 0 && (stop == CHUNK || end == self.len) {
                self.chunks.remove(&index);
            } else if let Some(chunk) = self.chunks.get_mut(&index) {
                Arc::make_mut(chunk)[start..stop].fill(0);
            }
        }
    }

    /// Bytes held by present chunks, shared or not.
    pub(super) fn resident(&self) -> u64 {
        (self.chunks.len() * CHUNK) as u64
    }
}

/// Splits a range at chunk boundaries: chunk index, start inside the chunk, and the part of the
/// caller's buffer.
fn pieces(offset: u64, len: usize) -> impl Iterator<Item = (u64, usize, std::ops::Range<usize>)> {
    let mut done = 0;
    std::iter::from_fn(move || {
        if done == len {
            return None;
        }
        let at = offset + done as u64;
        let start = (at % CHUNK as u64) as usize;
        let take = (CHUNK - start).min(len - done);
        let part = done..done + take;
        done += take;
        Some((at / CHUNK as u64, start, part))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(image: &Image) -> Vec<u8> {
        let mut buf = vec![0xee; image.len() as usize];
        image.read(0, &mut buf).unwrap();
        buf
    }

    #[test]
    fn agrees_with_a_vector() {
        let mut image = Image::default();
        let mut model: Vec<u8> = Vec::new();
        let chunk = CHUNK as u64;
        let writes = [(0, 10), (chunk - 3, 7), (2 * chunk + 5, 3 * CHUNK), (1, 1), (6 * chunk, 0)];
        for (n, (offset, len)) in writes.into_iter().enumerate() {
            let data = vec![n as u8 + 1; len];
            image.write(offset, &data);
            let end = offset as usize + len;
            if len > 0 && model.len() < end {
                model.resize(end, 0);
            }
            if len > 0 {
                model[offset as usize..end].copy_from_slice(&data);
            }
            assert_eq!(all(&image), model);
        }
        for (offset, len) in [(3, 4), (chunk - 1, 2 * chunk), (4 * chunk, u64::MAX), (0, 1 << 40)] {
            image.zero(offset, len);
            let end = offset.saturating_add(len).min(model.len() as u64) as usize;
            model[offset as usize..end].fill(0);
            assert_eq!(all(&image), model);
        }
        assert_eq!(image.resident(), 0);
    }

    #[test]
    fn a_clone_does_not_change() {
        let mut image = Image::zeros(3 * CHUNK as u64);
        image.write(100, b"before");
        let copy = image.clone();
        image.write(100, b"after!");
        image.zero(0, 1 << 20);
        let mut buf = [0; 6];
        copy.read(100, &mut buf).unwrap();
        assert_eq!(&buf, b"before");
    }

    #[test]
    fn reads_stop_at_the_end() {
        let image = Image::zeros(100);
        let mut buf = [1; 8];
        image.read(92, &mut buf).unwrap();
        assert_eq!(buf, [0; 8]);
        for offset in [93, 100, u64::MAX, u64::MAX - 7] {
            let error = image.read(offset, &mut buf).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
        }
        image.read(100, &mut []).unwrap();
    }
}
