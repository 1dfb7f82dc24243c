//! Section 11: the intent log.

use std::collections::BTreeMap;

use super::crypto::{Identity, Place, Seal};
use super::fields::{bytes_at, u32_at, u64_at, unit_at};
use super::superblock::Superblock;
use super::{Result, Rows};

const START: u64 = 524_288;
const LONGEST: u64 = 1 << 20;

pub struct Log<'a> {
    pub image: &'a [u8],
    pub seal: Seal,
    pub identity: Identity,
    pub superblock: &'a Superblock,
}

/// What the log did.
#[derive(Default)]
pub struct Replayed {
    pub records: u64,
    pub taken: Vec<(u64, u32)>,
    pub given: Vec<(u64, u32)>,
}

struct Record {
    seq: u64,
    durable: u64,
    payload: Vec<u8>,
    /// Behind the record: offset and tag.
    offset: u64,
    tag: [u8; 16],
}

enum Edit<'a> {
    Put(u32, &'a [u8], &'a [u8]),
    Del(u32, &'a [u8]),
    Take(u64, u32, u32),
    Give(u64, u32),
}

impl Log<'_> {
    /// Applies the log to the rows of the trees.
    pub fn replay(&self, trees: &mut BTreeMap<u32, Rows>) -> Result<Replayed> {
        let records = self.records()?;
        let known = records.iter().map(|record| record.durable);
        let durable = known.fold(self.superblock.log_seq().saturating_sub(1), u64::max);
        let (mut done, mut skip) = (Replayed::default(), self.superblock.log_applied());
        for record in &records {
            done.records += 1;
            let mut rest = record.payload.as_slice();
            while !rest.is_empty() {
                let edits = transaction(&mut rest)?;
                if skip > 0 {
                    skip -= 1;
                    continue;
                }
                if record.seq > durable && !self.has_contents(&edits)? {
                    return Ok(done);
                }
                for edit in edits {
                    done.apply(edit, trees)?;
                }
            }
        }
        let (offset, seq) = records
            .last()
            .map_or((self.superblock.log_head(), self.superblock.log_seq()), |last| {
                (last.offset, last.seq + 1)
            });
        match self.is_cut(offset, seq)? {
            true => Err("an acknowledged record is gone".into()),
            false => Ok(done),
        }
    }

    fn records(&self) -> Result<Vec<Record>> {
        let mut records: Vec<Record> = Vec::new();
        let mut offset = self.superblock.log_head();
        let mut seq = self.superblock.log_seq();
        let mut tag = self.superblock.log_tag();
        loop {
            let mut found = self.record(offset, seq, tag)?;
            if found.is_none() && offset != 0 && offset + LONGEST > self.superblock.log_len() {
                found = self.record(0, seq, tag)?;
            }
            let Some(record) = found else { return Ok(records) };
            (offset, seq, tag) = (record.offset, seq + 1, record.tag);
            records.push(record);
        }
    }

    fn record(&self, offset: u64, seq: u64, previous: [u8; 16]) -> Result<Option<Record>> {
        let header = bytes_at(self.image, START + offset, 80)?;
        let len = u32_at(header, 4) as usize;
        let whole = (80 + len as u64).next_multiple_of(4096);
        if !is_header(header) || u64_at(header, 8) != seq {
            return Ok(None);
        }
        if offset + whole > self.superblock.log_len() {
            return Ok(None);
        }
        let mut payload = bytes_at(self.image, START + offset + 80, len)?.to_vec();
        let durable = u64_at(header, 16);
        let place = Place { number: seq, previous, durable, ..Place::default() };
        let aad = self.identity.aad(b"elog", &place);
        if self.seal.open(&header[24..36], &aad, &mut payload, &header[36..52]).is_err() {
            return Ok(None);
        }
        let tag = header[36..52].try_into().expect("16 bytes");
        let offset = (offset + whole) % self.superblock.log_len();
        Ok(Some(Record { seq, durable, payload, offset, tag }))
    }

    /// Whether what a transaction took holds what it says.
    fn has_contents(&self, edits: &[Edit<'_>]) -> Result<bool> {
        for edit in edits {
            let Edit::Take(unit, units, check) = *edit else { continue };
            let Ok(bytes) = bytes_at(self.image, unit_at(unit)?, units as usize * 4096) else {
                return Ok(false);
            };
            let crcs = bytes.chunks(4096).flat_map(|unit| crc32fast::hash(unit).to_le_bytes());
            if crc32fast::hash(&crcs.collect::<Vec<u8>>()) != check {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn is_cut(&self, offset: u64, seq: u64) -> Result<bool> {
        let len = (256 << 10).min(self.superblock.log_len() - offset) as usize;
        let window = bytes_at(self.image, START + offset, len)?;
        Ok(window.chunks(4096).any(|header| {
            let (later, durable) = (u64_at(header, 8), u64_at(header, 16));
            is_header(header)
                && later > seq
                && later >> 40 == seq >> 40
                && (seq..later).contains(&durable)
        }))
    }
}

fn is_header(header: &[u8]) -> bool {
    header[..4] == *b"EFSL"
        && header[68..80] == [0; 12]
        && (1..=LONGEST - 80).contains(&u64::from(u32_at(header, 4)))
}

impl Replayed {
    fn apply(&mut self, edit: Edit<'_>, trees: &mut BTreeMap<u32, Rows>) -> Result<()> {
        let tree = match edit {
            Edit::Put(tree, ..) | Edit::Del(tree, _) => tree,
            Edit::Take(unit, units, _) => {
                self.taken.push((unit, units));
                return Ok(());
            }
            Edit::Give(unit, units) => {
                self.given.push((unit, units));
                return Ok(());
            }
        };
        let rows = trees.get_mut(&tree).ok_or("an edit of no tree")?;
        match edit {
            Edit::Put(_, key, value) => rows.insert(key.to_vec(), value.to_vec()),
            Edit::Del(_, key) => rows.remove(key),
            Edit::Take(..) | Edit::Give(..) => None,
        };
        Ok(())
    }
}

/// Splits off a transaction and reads its edits.
fn transaction<'a>(bytes: &mut &'a [u8]) -> Result<Vec<Edit<'a>>> {
    let header = take(bytes, 6)?;
    let (len, count) =
        (u32_at(header, 0) as usize, usize::from(header[4]) | usize::from(header[5]) << 8);
    if len + 6 > 81_920 || count > 64 {
        return Err("size of a transaction".into());
    }
    let mut rest = take(bytes, len)?;
    let mut edits = Vec::new();
    while !rest.is_empty() {
        edits.push(edit(&mut rest)?);
    }
    match edits.len() == count {
        true => Ok(edits),
        false => Err("number of edits".into()),
    }
}

fn edit<'a>(bytes: &mut &'a [u8]) -> Result<Edit<'a>> {
    let op = take(bytes, 1)?[0];
    Ok(match op {
        1 => {
            let head = take(bytes, 7)?;
            let value_len = usize::from(head[5]) | usize::from(head[6]) << 8;
            let key = take(bytes, head[4].into())?;
            let value = take(bytes, value_len)?;
            if !(1..=64).contains(&key.len()) || value.len() > 3968 {
                return Err("length of a row".into());
            }
            Edit::Put(u32_at(head, 0), key, value)
        }
        2 => {
            let head = take(bytes, 5)?;
            Edit::Del(u32_at(head, 0), take(bytes, head[4].into())?)
        }
        3 => {
            let body = take(bytes, 16)?;
            let units = u32_at(body, 8);
            if !(1..=64).contains(&units) {
                return Err("units of a take".into());
            }
            Edit::Take(u64_at(body, 0), units, u32_at(body, 12))
        }
        4 => {
            let body = take(bytes, 12)?;
            Edit::Give(u64_at(body, 0), u32_at(body, 8))
        }
        _ => return Err("code of an edit".into()),
    })
}

fn take<'a>(bytes: &mut &'a [u8], len: usize) -> Result<&'a [u8]> {
    let (head, rest) = bytes.split_at_checked(len).ok_or("an edit is cut short")?;
    *bytes = rest;
    Ok(head)
}
