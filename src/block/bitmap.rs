//! Bitmap of one region: one bit for each unit, set where the unit is in use.

use std::ops::Range;

use crate::limits::{NODE_UNITS, REGION_UNITS};

const WORDS: usize = REGION_UNITS as usize / 64;
const NODES_PER_WORD: u64 = 64 / NODE_UNITS;
/// The lowest bit of every aligned group of four.
const GROUPS: u64 = 0x1111_1111_1111_1111;

const _: () = assert!(NODE_UNITS == 4);

/// 16,384 bits.
#[derive(Clone, PartialEq, Eq)]
pub struct Bitmap(Box<[u64; WORDS]>);

impl Bitmap {
    /// All clear.
    pub fn new() -> Bitmap {
        Bitmap(Box::new([0; WORDS]))
    }

    /// From the bytes of a bitmap page, little-endian; bytes behind the bits are ignored.
    pub fn from_bytes(bytes: &[u8]) -> Bitmap {
        let mut map = Bitmap::new();
        for (word, bytes) in map.0.iter_mut().zip(bytes.as_chunks::<8>().0) {
            *word = u64::from_le_bytes(*bytes);
        }
        map
    }

    /// The bytes of a bitmap page.
    pub fn to_bytes(&self) -> Vec<u8> {
        self.0.iter().flat_map(|word| word.to_le_bytes()).collect()
    }

    /// Number of set bits.
    pub fn count(&self) -> u64 {
        self.0.iter().map(|word| u64::from(word.count_ones())).sum()
    }

    /// Number of bits that are set here and not in `other`.
    pub fn count_without(&self, other: &Bitmap) -> u64 {
        let words = self.0.iter().zip(other.0.iter());
        words.map(|(word, other)| u64::from((word & !other).count_ones())).sum()
    }

    /// Visits the words that `range` touches with the mask of its bits in each.
    fn words(range: Range<u64>) -> impl Iterator<Item = (usize, u64)> {
        debug_assert!(range.end <= REGION_UNITS);
        let last = range.end.div_ceil(64);
        (range.start / 64..last).map(move |word| {
            let low = range.start.saturating_sub(word * 64).min(63);
            let high = (range.end - word * 64).min(64);
            let mask = (u64::MAX >> (64 - (high - low))) << low;
            (word as usize, mask)
        })
    }

    /// Sets the bits and returns how many were clear.
    pub fn set(&mut self, range: Range<u64>) -> u64 {
        let mut changed = 0;
        for (word, mask) in Self::words(range) {
            changed += u64::from((mask & !self.0[word]).count_ones());
            self.0[word] |= mask;
        }
        changed
    }

    /// Clears the bits and returns how many were set.
    pub fn clear(&mut self, range: Range<u64>) -> u64 {
        let mut changed = 0;
        for (word, mask) in Self::words(range) {
            changed += u64::from((mask & self.0[word]).count_ones());
            self.0[word] &= !mask;
        }
        changed
    }

    /// Sets the bits that are set in `other`, and returns how many were clear.
    pub fn set_all(&mut self, other: &Bitmap) -> u64 {
        let changed = other.count_without(self);
        self.0.iter_mut().zip(other.0.iter()).for_each(|(word, other)| *word |= other);
        changed
    }

    /// Sets the bits of a range that are set in `other`, and returns how many were clear.
    pub fn set_all_in(&mut self, other: &Bitmap, range: Range<u64>) -> u64 {
        let mut changed = 0;
        for (word, mask) in Self::words(range) {
            let bits = other.0[word] & mask;
            changed += u64::from((bits & !self.0[word]).count_ones());
            self.0[word] |= bits;
        }
        changed
    }

    /// Sets the bits of a range that are clear in `other`, and returns how many were clear.
    pub fn set_clear_in(&mut self, other: &Bitmap, range: Range<u64>) -> u64 {
        let mut changed = 0;
        for (word, mask) in Self::words(range) {
            let bits = !other.0[word] & mask;
            changed += u64::from((bits & !self.0[word]).count_ones());
            self.0[word] |= bits;
        }
        changed
    }

    /// How many bits from `start` on are clear, up to `most`.
    pub fn clear_len(&self, start: u64, most: u64) -> u64 {
        let end = (start + most).min(REGION_UNITS);
        if start < end { self.next_set(start, end) - start } else { 0 }
    }

    /// The clear bits around one, which is clear too.
    pub fn clear_around(&self, at: u64) -> Range<u64> {
        let start = self.last_set(at).map_or(0, |set| set + 1);
        start..self.next_set(at, REGION_UNITS)
    }

    /// The first run of at least `want` clear bits in a range that has fewer than `most`: the first
    /// `want` of them. A run that reaches out of the range counts as far as it lies in it.
    pub fn find_hole(&self, range: Range<u64>, want: u64, most: u64) -> Option<Range<u64>> {
        let mut at = range.start;
        while let Some(start) = self.next_clear(at).filter(|start| *start < range.end) {
            let run = self.run_at(start, most, range.end);
            let len = run.end - run.start;
            if len >= want && len < most {
                return Some(start..start + want);
            }
            at = match len < most {
                true => run.end,
                false => self.next_set(run.end - 1, range.end),
            };
            if at >= range.end {
                break;
            }
        }
        None
    }

    /// The last set bit below `end`.
    pub fn last_set(&self, end: u64) -> Option<u64> {
        let words = Self::words(0..end).map(|(word, mask)| (word, self.0[word] & mask));
        let (word, bits) = words.filter(|(_, bits)| *bits != 0).last()?;
        Some(word as u64 * 64 + 63 - u64::from(bits.leading_zeros()))
    }

    /// The last run of set bits below `end` that has at least `least` of them.
    pub fn last_run(&self, mut end: u64, least: u64) -> Option<Range<u64>> {
        loop {
            let last = self.last_set(end)?;
            let start = self.last_clear(last).map_or(0, |clear| clear + 1);
            if last + 1 - start >= least {
                return Some(start..last + 1);
            }
            end = start;
        }
    }

    /// The last clear bit below `end`.
    fn last_clear(&self, end: u64) -> Option<u64> {
        let mut word = (end / 64) as usize;
        let mut clear = match word < WORDS {
            true => !self.0[word] & !(u64::MAX << (end % 64)),
            false => 0,
        };
        while clear == 0 {
            word = word.checked_sub(1)?;
            clear = !self.0[word];
        }
        Some(word as u64 * 64 + 63 - u64::from(clear.leading_zeros()))
    }

    /// Clears the bits that are set in `other`, and returns how many were set.
    pub fn clear_all(&mut self, other: &Bitmap) -> u64 {
        let before = self.count();
        self.0.iter_mut().zip(other.0.iter()).for_each(|(word, other)| *word &= !other);
        before - self.count()
    }

    /// Whether any bit of the range is set.
    pub fn any(&self, range: Range<u64>) -> bool {
        Self::words(range).any(|(word, mask)| self.0[word] & mask != 0)
    }

    /// Whether all bits of the range are set.
    pub fn all(&self, range: Range<u64>) -> bool {
        Self::words(range).all(|(word, mask)| self.0[word] & mask == mask)
    }

    /// The first clear bit at or after `from`.
    fn next_clear(&self, from: u64) -> Option<u64> {
        let mut word = (from / 64) as usize;
        let mut free = !self.0.get(word)? & (u64::MAX << (from % 64));
        while free == 0 {
            word += 1;
            free = !*self.0.get(word)?;
        }
        Some(word as u64 * 64 + u64::from(free.trailing_zeros()))
    }

    /// The first set bit at or after `from`, or the end.
    fn next_set(&self, from: u64, end: u64) -> u64 {
        let mut word = (from / 64) as usize;
        let mut set = self.0[word] & (u64::MAX << (from % 64));
        while set == 0 {
            word += 1;
            if word as u64 * 64 >= end {
                return end;
            }
            set = self.0[word];
        }
        (word as u64 * 64 + u64::from(set.trailing_zeros())).min(end)
    }

    /// The run of clear bits that starts at one, of `want` at most and below `end`.
    pub fn run_at(&self, start: u64, want: u64, end: u64) -> Range<u64> {
        start..self.next_set(start, (start + want).min(end))
    }

    /// The first run of `want` clear bits in a range, else the longest shorter one there.
    pub fn find_run(&self, range: Range<u64>, want: u64) -> Option<Range<u64>> {
        let mut best: Option<Range<u64>> = None;
        let mut at = range.start;
        while let Some(start) = self.next_clear(at).filter(|start| *start < range.end) {
            let run = self.run_at(start, want, range.end);
            let end = run.end;
            let longest = best.as_ref().map_or(0, |run| run.end - run.start);
            if end - start > longest {
                best = Some(run);
            }
            if end - start >= want || end >= range.end {
                break;
            }
            at = end;
        }
        best
    }

    /// The first aligned group of units at or after `from` that is clear: room for a node.
    pub fn find_node(&self, from: u64) -> Option<u64> {
        let first = (from / 64) as usize;
        for word in first..WORDS {
            let used = self.0[word];
            let mut free = !(used | used >> 1 | used >> 2 | used >> 3) & GROUPS;
            if word == first {
                let skip = (from % 64).div_ceil(NODE_UNITS);
                free = if skip >= NODES_PER_WORD { 0 } else { free & (u64::MAX << (skip * 4)) };
            }
            if free != 0 {
                return Some(word as u64 * 64 + u64::from(free.trailing_zeros()));
            }
        }
        None
    }

    /// The first aligned chunk of `units` (a multiple of 64) at or after `from` that is clear.
    pub fn find_chunk(&self, from: u64, units: u64) -> Option<u64> {
        let words = (units / 64) as usize;
        let first = from.div_ceil(units) as usize;
        let clear = |chunk: &&[u64]| chunk.iter().all(|&word| word == 0);
        let found = self.0.chunks_exact(words).skip(first).position(|chunk| clear(&chunk))?;
        Some((first + found) as u64 * units)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn model(map: &Bitmap) -> Vec<bool> {
        (0..REGION_UNITS).map(|bit| map.any(bit..bit + 1)).collect()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn agrees_with_a_list_of_flags(
            ops in proptest::collection::vec((0..REGION_UNITS, 1u64..300, any::<bool>()), 1..60),
            from in 0..REGION_UNITS, len in 0..=REGION_UNITS, want in 1u64..200
        ) {
            let mut map = Bitmap::new();
            let mut flags = vec![false; REGION_UNITS as usize];
            for (start, len, set) in ops {
                let end = (start + len).min(REGION_UNITS);
                let slice = &mut flags[start as usize..end as usize];
                let changes = slice.iter().filter(|&&flag| flag != set).count() as u64;
                prop_assert_eq!(map.any(start..end), slice.iter().any(|&flag| flag));
                prop_assert_eq!(map.all(start..end), slice.iter().all(|&flag| flag));
                slice.fill(set);
                let changed = if set { map.set(start..end) } else { map.clear(start..end) };
                prop_assert_eq!(changed, changes);
            }
            prop_assert_eq!(&model(&map), &flags);
            prop_assert_eq!(map.count(), flags.iter().filter(|&&flag| flag).count() as u64);
            let bytes = map.to_bytes();
            prop_assert!(Bitmap::from_bytes(&bytes) == map);
            let clear = |range: Range<u64>| range.into_iter().all(|bit| !flags[bit as usize]);
            let end = (from + len).min(REGION_UNITS);
            match map.find_run(from..end, want) {
                Some(run) => {
                    prop_assert!(run.start >= from && run.end <= end);
                    prop_assert!(run.end - run.start <= want && clear(run.clone()));
                    let longer = run.end - run.start + 1;
                    if longer <= want {
                        let mut starts = from..=end.saturating_sub(longer);
                        let more = starts.any(|at| clear(at..at + longer));
                        prop_assert!(!more);
                    }
                }
                None => prop_assert!((from..end).all(|bit| flags[bit as usize])),
            }
            if !map.any(from..from + 1) {
                let around = map.clear_around(from);
                prop_assert!(around.contains(&from) && clear(around.clone()));
                prop_assert!(around.start == 0 || flags[around.start as usize - 1]);
                prop_assert!(around.end == REGION_UNITS || flags[around.end as usize]);
            }
            let small = want.min(16);
            let hole = map.find_hole(from..end, small, 64);
            let mut holes = vec![];
            let mut at = from;
            while at < end {
                let start = at;
                while at < end && !flags[at as usize] {
                    at += 1;
                }
                if (small..64).contains(&(at - start)) {
                    holes.push(start..start + small);
                }
                at = at.max(start + 1);
            }
            prop_assert_eq!(hole, holes.first().cloned());
            let last = (0..end).rev().find(|&bit| flags[bit as usize]);
            prop_assert_eq!(map.last_set(end), last);
            let set = |range: Range<u64>| range.into_iter().all(|bit| flags[bit as usize]);
            match map.last_run(end, want) {
                Some(run) => {
                    prop_assert!(run.end - run.start >= want && run.end <= end);
                    prop_assert!(set(run.clone()));
                    prop_assert!(run.start == 0 || !flags[run.start as usize - 1]);
                    let more = (run.end..end.saturating_sub(want) + 1).any(|at| set(at..at + want));
                    prop_assert!(!more || end < want);
                }
                None => {
                    prop_assert!(!(0..(end + 1).saturating_sub(want)).any(|at| set(at..at + want)));
                }
            }
            let mut places = (from.div_ceil(4)..REGION_UNITS / 4).map(|n| n * 4);
            let node = places.find(|&at| clear(at..at + 4));
            prop_assert_eq!(map.find_node(from), node);
            let mut chunks = (from.div_ceil(256)..REGION_UNITS / 256).map(|n| n * 256);
            let chunk = chunks.find(|&at| clear(at..at + 256));
            prop_assert_eq!(map.find_chunk(from, 256), chunk);
        }
    }
}
