//! What a power cut leaves of unsynced steps: drawn first, then applied or described.

use std::fmt::Write as _;

use super::journal::{Change, Entry};
use super::rng::Rng;
use crate::device::image::Image;

/// Bytes that a drive writes whole or not at all.
const SECTOR: u64 = 512;

/// The fate of unsynced steps in one crash.
pub(super) struct Crash<'a> {
    style: Style,
    /// In the order in which they reach the medium; the number is the step's, from the first
    /// unsynced one.
    fates: Vec<(usize, &'a Entry, Fate)>,
}

/// What the fates of one crash have in common. Independent fates alone would almost never keep
/// or drop everything but one write, which is where many mistakes show.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Style {
    NoneKept,
    AllKept,
    Prefix,
    AllButOne,
    OneOnly,
    Mixed,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Fate {
    Kept,
    Dropped,
    /// One for each sector that the step touches.
    Torn(Vec<Sector>),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sector {
    Old,
    New,
    /// Random bytes, by this seed.
    Garbage(u64),
}

impl<'a> Crash<'a> {
    /// Decides the fate of every pending step.
    pub(super) fn draw(pending: &'a [Entry], rng: &mut Rng) -> Crash<'a> {
        let style = match rng.below(16) {
            0 => Style::NoneKept,
            1 => Style::AllKept,
            2..5 => Style::Prefix,
            5..8 => Style::AllButOne,
            8..10 => Style::OneOnly,
            _ => Style::Mixed,
        };
        let chosen = rng.below(pending.len() as u64) as usize;
        let fate = |(index, entry): (usize, &'a Entry)| {
            let fate = match style {
                Style::NoneKept => Fate::Dropped,
                Style::AllKept => Fate::Kept,
                Style::Prefix if index < chosen => Fate::Kept,
                Style::Prefix if index > chosen => Fate::Dropped,
                Style::AllButOne if index != chosen => Fate::Kept,
                Style::OneOnly if index != chosen => Fate::Dropped,
                Style::Prefix | Style::AllButOne => damage(entry, rng),
                Style::OneOnly | Style::Mixed if rng.one_in(2) => Fate::Kept,
                Style::OneOnly | Style::Mixed => damage(entry, rng),
            };
            (index, entry, fate)
        };
        let mut fates: Vec<_> = pending.iter().enumerate().map(fate).collect();
        if style == Style::Mixed {
            rng.shuffle(&mut fates);
        }
        Crash { style, fates }
    }

    pub(super) fn apply(&self, image: &mut Image) {
        for (_, entry, fate) in &self.fates {
            match fate {
                Fate::Kept => entry.apply(image),
                Fate::Dropped => {}
                Fate::Torn(sectors) => tear(entry, sectors, image),
            }
        }
    }

    /// One line for each step that changes something.
    pub(super) fn describe(&self, first_step: u64) -> String {
        let mut text = format!("{:?}", self.style);
        for (index, entry, fate) in &self.fates {
            if matches!(entry.change, Change::None) {
                continue;
            }
            let step = first_step + *index as u64;
            let _ = write!(text, "\n  step {step} {:?} {}+{}: ", entry.op, entry.offset, entry.len);
            let _ = match fate {
                Fate::Kept => write!(text, "kept"),
                Fate::Dropped => write!(text, "dropped"),
                Fate::Torn(sectors) => write!(text, "sectors {}", letters(sectors)),
            };
        }
        text
    }
}

/// Sectors as letters: `.` old, `n` new, `x` garbage.
fn letters(sectors: &[Sector]) -> String {
    let letter = |sector: &Sector| match sector {
        Sector::Old => '.',
        Sector::New => 'n',
        Sector::Garbage(_) => 'x',
    };
    sectors.iter().map(letter).collect()
}

/// A fate other than kept: dropped, torn or garbled.
fn damage(entry: &Entry, rng: &mut Rng) -> Fate {
    let count = sectors_of(entry.offset, entry.len);
    match &entry.change {
        Change::Bytes(_) if !rng.one_in(2) => {
            let mut sectors = torn(count as usize, rng);
            if rng.one_in(4) {
                garble(&mut sectors, rng);
            }
            Fate::Torn(sectors)
        }
        Change::Zero if rng.one_in(2) => {
            let done = rng.below(count);
            Fate::Torn(
                (0..count).map(|n| if n < done { Sector::New } else { Sector::Old }).collect(),
            )
        }
        _ => Fate::Dropped,
    }
}

/// Which sectors of a torn write are new: the first ones, the last ones, or any.
fn torn(count: usize, rng: &mut Rng) -> Vec<Sector> {
    let cut = rng.below(count as u64 + 1) as usize;
    let style = rng.below(3);
    let new = |index: usize, rng: &mut Rng| match style {
        0 => index < cut,
        1 => index >= cut,
        _ => rng.one_in(2),
    };
    (0..count).map(|n| if new(n, rng) { Sector::New } else { Sector::Old }).collect()
}

/// Turns one sector, and one in eight of the others, into random bytes.
fn garble(sectors: &mut [Sector], rng: &mut Rng) {
    let certain = rng.below(sectors.len() as u64) as usize;
    for (index, sector) in sectors.iter_mut().enumerate() {
        if index == certain || rng.one_in(8) {
            *sector = Sector::Garbage(rng.next_u64());
        }
    }
}

fn tear(entry: &Entry, sectors: &[Sector], image: &mut Image) {
    let end = entry.offset + entry.len;
    let mut at = entry.offset;
    for sector in sectors {
        let next = ((at / SECTOR + 1) * SECTOR).min(end);
        match (sector, &entry.change) {
            (Sector::Old, _) => {}
            (Sector::New, Change::Bytes(bytes)) => {
                let part = (at - entry.offset) as usize..(next - entry.offset) as usize;
                image.write(at, &bytes[part]);
            }
            (Sector::New, _) => image.zero(at, next - at),
            (Sector::Garbage(seed), _) => {
                let mut noise = [0; SECTOR as usize];
                let noise = &mut noise[..(next - at) as usize];
                Rng::new(*seed).fill(noise);
                image.write(at, noise);
            }
        }
        at = next;
    }
}

/// How many sectors of the medium the range touches.
fn sectors_of(offset: u64, len: u64) -> u64 {
    match len {
        0 => 0,
        _ => (offset + len - 1) / SECTOR - offset / SECTOR + 1,
    }
}
