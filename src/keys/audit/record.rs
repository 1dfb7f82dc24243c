//! One line of the log, and the chain that ties it to the line before.
//!
//! A line is one JSON object and ends in `,"hash":"<64 digits>"}`. The hash is the SHA-256 of
//! the line's bytes before that ending, and these contain the hash of the line before as `prev`
//! (64 zeros in the first line). So the chain can be checked with `sha256sum` alone.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::limits::MAX_KEY_ID_LEN;

use super::{AuditEvent, ContinuedLog};
use crate::keys::{CONTEXT_DOMAIN, hex};

/// Longest line without its newline, bytes. A context doubled by JSON escapes, a key id and the
/// fixed fields take less than half of it.
pub(super) const MAX_LINE: usize = 64 * 1024;

const BEFORE_HASH: &[u8] = b",\"hash\":\"";
const AFTER_HASH: &[u8] = b"\"}";

/// A record of the log of key uses. Dates are seconds since 1970-01-01 00:00:00 UTC.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct AuditRecord {
    /// Number in the log, from 0 without gaps.
    pub seq: u64,
    /// When the call ended.
    pub time: u64,
    /// What was asked, in the words of [`AuditOp`](super::AuditOp).
    pub op: String,
    /// The provider's name.
    pub provider: String,
    /// Id of the provider key where the call made it known, else the name that was asked for.
    pub key: String,
    /// `META` or `DATA`, where the call was for a domain of a store.
    pub domain: Option<String>,
    /// The encryption context.
    pub context: BTreeMap<String, String>,
    /// The alias that the call gave or took; the line has the field only where it did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub alias: Option<String>,
    /// For whom, in the embedder's words.
    pub principal: Option<String>,
    /// Of a `begin-log` record: the log before; the line has the field only there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub continues: Option<ContinuedLog>,
    /// `ok`, or the name of the [`ErrorKind`](crate::ErrorKind).
    pub result: String,
    /// `hash` of the record before, 64 hexadecimal digits; zeros in the first.
    pub prev: String,
    /// SHA-256 of this record's line before `,"hash"`, 64 hexadecimal digits.
    #[serde(skip_serializing)]
    pub hash: String,
}

/// The end of a chain: what the next record continues.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Head {
    /// Number that the next record gets.
    pub next_seq: u64,
    /// Hash of the last record.
    pub hash: [u8; 32],
}

impl Head {
    pub(super) const START: Head = Head { next_seq: 0, hash: [0; 32] };
}

impl AuditRecord {
    /// The record of an event that continues `head`; its `hash` is not yet set.
    pub(super) fn new(event: &AuditEvent<'_>, head: Head, time: u64) -> Self {
        let context = event.context.map(|c| c.iter().map(|(k, v)| (k.into(), v.into())).collect());
        let domain = event.context.and_then(|c| c.get(CONTEXT_DOMAIN));
        AuditRecord {
            seq: head.next_seq,
            time,
            op: event.op.as_str().to_owned(),
            provider: bounded(event.provider),
            key: bounded(event.key),
            domain: domain.map(str::to_owned),
            context: context.unwrap_or_default(),
            alias: event.alias.map(bounded),
            principal: event.principal.map(bounded),
            continues: None,
            result: event.result.map_or_else(|kind| format!("{kind:?}"), |()| "ok".to_owned()),
            prev: hex::encode(&head.hash),
            hash: String::new(),
        }
    }

    /// Sets the hash; returns the line without its newline, and the head after it.
    pub(super) fn seal(&mut self) -> serde_json::Result<(Vec<u8>, Head)> {
        let mut line = serde_json::to_vec(self)?;
        line.pop();
        let hash: [u8; 32] = Sha256::digest(&line).into();
        self.hash = hex::encode(&hash);
        line.extend_from_slice(BEFORE_HASH);
        line.extend_from_slice(self.hash.as_bytes());
        line.extend_from_slice(AFTER_HASH);
        Ok((line, Head { next_seq: self.seq + 1, hash }))
    }

    /// The record of a line without its newline, and the head after it. Proves that the line is
    /// as it was written, not that it stands where it was written: for that compare its `seq`
    /// and `prev` with the head before it, as [`AuditRecord::follows`] does.
    pub(super) fn parse(line: &[u8]) -> Result<(Self, Head), &'static str> {
        const NOT_A_RECORD: &str = "its line is not a record";
        let body = line.strip_suffix(AFTER_HASH).ok_or(NOT_A_RECORD)?;
        let (body, digits) = body.split_last_chunk::<64>().ok_or(NOT_A_RECORD)?;
        let body = body.strip_suffix(BEFORE_HASH).ok_or(NOT_A_RECORD)?;
        let mut stored = [0; 32];
        if !hex::decode_into(digits, &mut stored) {
            return Err(NOT_A_RECORD);
        }
        let hash: [u8; 32] = Sha256::digest(body).into();
        if hash != stored {
            return Err("its hash does not match its bytes");
        }
        let record: AuditRecord = serde_json::from_slice(line).map_err(|_| NOT_A_RECORD)?;
        let next_seq = record.seq.checked_add(1).ok_or(NOT_A_RECORD)?;
        Ok((record, Head { next_seq, hash }))
    }

    /// Whether the record stands right after `head`.
    pub(super) fn follows(&self, head: Head) -> Result<(), &'static str> {
        if self.seq != head.next_seq {
            return Err("a record with another number stands in its place");
        }
        if self.prev != hex::encode(&head.hash) {
            return Err("it does not continue the record before it");
        }
        Ok(())
    }
}

/// A name that a caller chose, cut to what a key id may have, so that a line is bounded.
fn bounded(name: &str) -> String {
    name[..name.floor_char_boundary(MAX_KEY_ID_LEN)].to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::Domain;
    use crate::error::ErrorKind;
    use crate::keys::{AuditOp, EncryptionContext};

    fn event(context: &EncryptionContext) -> AuditEvent<'_> {
        AuditEvent {
            op: AuditOp::Unwrap,
            provider: "local",
            key: "k1",
            context: Some(context),
            alias: None,
            principal: None,
            result: Err(ErrorKind::KeyDisabled),
        }
    }

    #[test]
    fn the_line_is_frozen() {
        let context = EncryptionContext::new().with("tenant", "\"a\"\\").unwrap();
        let context = context.for_store(&[0xab; 16], Domain::Meta);
        let mut record = AuditRecord::new(&event(&context), Head::START, 1_700_000_000);
        let (line, head) = record.seal().unwrap();
        let body = format!(
            concat!(
                r#"{{"seq":0,"time":1700000000,"op":"unwrap","provider":"local","key":"k1","#,
                r#""domain":"META","context":{{"efscrypt:domain":"META","#,
                r#""efscrypt:filesystem:id":"{}","tenant":"\"a\"\\"}},"#,
                r#""principal":null,"result":"KeyDisabled","prev":"{}""#,
            ),
            "ab".repeat(16),
            "0".repeat(64),
        );
        let hash = hex::encode(&Sha256::digest(body.as_bytes()));
        assert_eq!(
            String::from_utf8(line.clone()).unwrap(),
            format!(r#"{body},"hash":"{hash}"}}"#)
        );

        let (parsed, parsed_head) = AuditRecord::parse(&line).unwrap();
        assert_eq!((parsed.clone(), parsed_head), (record, head));
        assert_eq!(parsed.follows(Head::START), Ok(()));
        assert_eq!(parsed.alias, None);

        let named = AuditEvent { alias: Some("alias/a"), ..event(&context) };
        let (line, _) = AuditRecord::new(&named, Head::START, 5).seal().unwrap();
        let text = std::str::from_utf8(&line).unwrap();
        assert!(text.contains(r#"},"alias":"alias/a","principal":null,"#), "{text}");
        assert_eq!(AuditRecord::parse(&line).unwrap().0.alias.as_deref(), Some("alias/a"));
        assert!(parsed.follows(head).is_err());
        assert!(parsed.follows(Head { next_seq: 0, ..head }).is_err());
    }

    #[test]
    fn every_changed_byte_is_noticed() {
        let context = EncryptionContext::new();
        let (line, _) = AuditRecord::new(&event(&context), Head::START, 5).seal().unwrap();
        for at in 0..line.len() {
            let mut changed = line.clone();
            changed[at] ^= 1;
            assert!(AuditRecord::parse(&changed).is_err(), "byte {at}");
        }
        for len in 0..line.len() {
            assert!(AuditRecord::parse(&line[..len]).is_err(), "{len} bytes");
        }
    }

    #[test]
    fn a_line_is_bounded_whatever_a_caller_says() {
        let mut context = EncryptionContext::new();
        for i in 0..8 {
            context = context.with(&i.to_string(), &"\"".repeat(1000)).unwrap();
        }
        let name = "\u{1f511}".repeat(10_000);
        let worst = AuditEvent {
            key: &name,
            alias: Some(&name),
            principal: Some(&name),
            ..event(&context)
        };
        let (line, _) = AuditRecord::new(&worst, Head::START, u64::MAX).seal().unwrap();
        assert!(line.len() < MAX_LINE / 2, "{} bytes", line.len());
        assert!(AuditRecord::parse(&line).is_ok());
    }
}
