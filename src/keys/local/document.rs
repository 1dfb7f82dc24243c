//! The contents of a key service file: JSON, authenticated as a whole.
//!
//! ```json
//! { "format": "efscrypt-kms", "version": 1,
//!   "body": { "service": "<id>", "sequence": 7,
//!             "unlock": { "method": {"argon2id": {..}}, "check": "..", "root": {..} },
//!             "keys": [ { "id": "..", "aliases": ["alias/data"], "state": "enabled",
//!                         "versions": [ { "version": 1, "created": 1, "material": {..} } ] } ],
//!             "logs": [ { "log": ".audit", "records": 3, "bytes": 1290, "head": ".." } ] },
//!   "nonce": "..", "tag": "..", "checksum": ".." }
//! ```
//!
//! Nothing in it is readable that must not be: ids, aliases, states and dates stand in the clear
//! for the operator, keys are sealed. `tag` authenticates the body (GCM-SIV over its compact
//! JSON as AAD, under a key from the root key), so no state, alias or date changes unnoticed.
//! `checksum` is SHA-256 over the same bytes, nonce and tag; it has no key and only tells
//! damage from a wrong passphrase before that is tried.
//!
//! Invariant: an [`Unverified`] document lets out what is needed to verify it, and nothing else.

use std::collections::HashSet;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::crypto::{Rng, SealKey};
use crate::error::{Error, Object, Result};
use crate::secret::Secret;

use super::Unlock;
use super::bytes::Hex;
use super::key::KeyRecord;
use super::logs::{LogRecord, logs_are_well_formed};
use super::unlock::UnlockRecord;

const FORMAT: &str = "efscrypt-kms";
const VERSION: u32 = 1;

/// The verified contents.
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Body {
    /// Random id of this key service.
    pub service: Hex<16>,
    /// One more with each change, so that an older copy can be told.
    pub sequence: u64,
    pub unlock: UnlockRecord,
    pub keys: Vec<KeyRecord>,
    /// The logs of the service's use, with the newest place in each that is known.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub logs: Vec<LogRecord>,
}

/// Contents that parse, from whoever wrote the file.
pub(super) struct Unverified {
    document: Document,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    format: String,
    version: u32,
    body: Body,
    nonce: Hex<12>,
    tag: Hex<16>,
    checksum: Hex<32>,
}

/// The part that every version of the format has.
#[derive(Deserialize)]
struct Preamble {
    format: String,
    version: u32,
}

impl Unverified {
    /// # Errors
    /// `Unsupported` for a later format; `Corrupt` for what is no key service file.
    pub(super) fn parse(bytes: &[u8]) -> Result<Self> {
        let preamble: Preamble =
            serde_json::from_slice(bytes).map_err(|_| corrupt("it is not a key service file"))?;
        if preamble.format != FORMAT {
            return Err(corrupt("it is not a key service file"));
        }
        if preamble.version != VERSION {
            return Err(Error::Unsupported("the key service file has a later format"));
        }
        let document: Document =
            serde_json::from_slice(bytes).map_err(|_| corrupt("its JSON does not parse"))?;
        if document.checksum != checksum(&document)? {
            return Err(corrupt("its checksum does not match"));
        }
        Ok(Unverified { document })
    }

    /// Whether the file claims that a key file opens it.
    pub(super) fn needs_key_file(&self) -> bool {
        self.document.body.unlock.needs_key_file()
    }

    /// What the file claims to know of the service's logs.
    pub(super) fn logs(&self) -> &[LogRecord] {
        &self.document.body.logs
    }

    /// Id that the file claims for its service.
    pub(super) fn service(&self) -> [u8; 16] {
        self.document.body.service.0
    }

    /// The root key, which then proves the rest.
    ///
    /// # Errors
    /// As [`UnlockRecord::open`].
    pub(super) fn open_root(&self, unlock: &Unlock) -> Result<Secret<32>> {
        self.document.body.unlock.open(&self.service(), unlock)
    }

    /// The contents, if the holder of the root key wrote them.
    ///
    /// # Errors
    /// `Corrupt`.
    pub(super) fn verify(self, key: &SealKey) -> Result<Body> {
        let Document { body, nonce, tag, .. } = self.document;
        key.open(&nonce.0, &authenticated(&body)?, &mut [], &tag.0)
            .map_err(|_| corrupt("it was changed by something that does not hold its key"))?;
        match body.is_well_formed() {
            true => Ok(body),
            false => Err(corrupt("its keys contradict each other")),
        }
    }
}

impl Body {
    /// The bytes of the file.
    pub(super) fn to_file(&self, key: &SealKey, rng: &Rng) -> Result<Vec<u8>> {
        let nonce = rng.nonce()?;
        let tag = key.seal(&nonce, &authenticated(self)?, &mut []);
        let mut document = Document {
            format: FORMAT.to_owned(),
            version: VERSION,
            body: self.clone(),
            nonce: Hex(nonce),
            tag: Hex(tag),
            checksum: Hex([0; 32]),
        };
        document.checksum = checksum(&document)?;
        let mut bytes = serde_json::to_vec_pretty(&document).map_err(unwritable)?;
        bytes.push(b'\n');
        Ok(bytes)
    }

    fn is_well_formed(&self) -> bool {
        let (mut ids, mut aliases) = (HashSet::new(), HashSet::new());
        self.keys.iter().all(|key| {
            key.is_well_formed()
                && ids.insert(key.id.0)
                && key.aliases.iter().all(|alias| aliases.insert(alias))
        }) && logs_are_well_formed(&self.logs)
    }
}

/// What the tag covers. Parsing refuses unknown and repeated fields, so equal bytes here mean
/// equal contents, and white space is all that may differ in the file.
fn authenticated(body: &Body) -> Result<Vec<u8>> {
    let mut bytes = b"efscrypt-kms/1/file".to_vec();
    serde_json::to_writer(&mut bytes, body).map_err(unwritable)?;
    Ok(bytes)
}

fn checksum(document: &Document) -> Result<Hex<32>> {
    let mut hash = Sha256::new();
    hash.update(authenticated(&document.body)?);
    hash.update(document.nonce.0);
    hash.update(document.tag.0);
    Ok(Hex(hash.finalize().into()))
}

fn unwritable(_: serde_json::Error) -> Error {
    Error::Internal("the key service file has no JSON form")
}

fn corrupt(why: &'static str) -> Error {
    Error::corrupt(Object::KeyService, why)
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use serde_json::Value;

    use super::*;
    use crate::keys::{Argon2Cost, LocalKms, LocalOptions, Passphrase};

    fn unlock() -> Unlock {
        Unlock::Passphrase(Passphrase::new(b"correct horse".to_vec()).unwrap())
    }

    /// A file with three keys, one in each state, and its directory.
    fn sample() -> (tempfile::TempDir, std::path::PathBuf, Value) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("kms");
        let cost = Argon2Cost::new(8, 1, 1).unwrap();
        let options = LocalOptions { cost, ..LocalOptions::default() };
        let kms = LocalKms::init_with(&path, &unlock(), options).unwrap();
        kms.create_key(Some("alias/one")).unwrap();
        kms.create_key(Some("alias/two")).unwrap();
        kms.create_key(None).unwrap();
        kms.rotate("alias/one").unwrap();
        kms.disable("alias/two").unwrap();
        kms.schedule_deletion(&kms.list().unwrap()[2].id, 7).unwrap();
        let json = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
        (dir, path, json)
    }

    /// The file that an editor without the key would write: all but the tag made to fit.
    fn forge(json: &Value) -> Vec<u8> {
        let Ok(mut document) = serde_json::from_value::<Document>(json.clone()) else {
            return serde_json::to_vec(json).unwrap();
        };
        document.checksum = checksum(&document).unwrap();
        serde_json::to_vec(&document).unwrap()
    }

    /// Paths of all strings and numbers in a JSON value.
    fn leaves(value: &Value, at: String, out: &mut Vec<String>) {
        match value {
            Value::Object(map) => {
                map.iter().for_each(|(k, v)| leaves(v, format!("{at}/{k}"), out));
            }
            Value::Array(list) => {
                list.iter().enumerate().for_each(|(i, v)| leaves(v, format!("{at}/{i}"), out));
            }
            _ => out.push(at),
        }
    }

    #[test]
    fn no_edited_value_is_believed_even_with_a_fitting_checksum() {
        let (_dir, path, json) = sample();
        std::fs::write(&path, forge(&json)).unwrap();
        assert!(LocalKms::open(&path, &unlock()).is_ok(), "the unchanged file opens");

        let mut paths = Vec::new();
        leaves(&json["body"], "/body".to_owned(), &mut paths);
        assert!(paths.len() > 30, "{paths:?}");
        for at in paths {
            let mut edited = json.clone();
            let leaf = edited.pointer_mut(&at).unwrap();
            *leaf = match &*leaf {
                Value::Number(n) => (n.as_u64().unwrap() + 1).into(),
                Value::String(s) if s == "enabled" => "disabled".into(),
                Value::String(s) if s == "disabled" => "enabled".into(),
                Value::String(s) => {
                    let (rest, last) = s.split_at(s.len() - 1);
                    format!("{rest}{}", if last == "0" { "1" } else { "0" }).into()
                }
                other => panic!("{other}"),
            };
            std::fs::write(&path, forge(&edited)).unwrap();
            let error = LocalKms::open(&path, &unlock()).err().unwrap_or_else(|| panic!("{at}"));
            let expected = matches!(error, Error::Corrupt { .. } | Error::WrongPassphrase);
            assert!(expected, "{at}: {error}");
        }
    }

    #[test]
    fn keys_cannot_be_removed_added_or_reordered() {
        let (_dir, path, json) = sample();
        let keys = json["body"]["keys"].as_array().unwrap().clone();
        let mut swapped_material = keys.clone();
        swapped_material[0]["versions"][0]["material"] = keys[1]["versions"][0]["material"].clone();
        for forged in [
            keys[1..].to_vec(),
            keys[..2].to_vec(),
            [&keys[..], &keys[..1]].concat(),
            keys.iter().rev().cloned().collect(),
            swapped_material,
        ] {
            let mut edited = json.clone();
            edited["body"]["keys"] = forged.into();
            std::fs::write(&path, forge(&edited)).unwrap();
            let error = LocalKms::open(&path, &unlock()).err().unwrap();
            assert!(matches!(error, Error::Corrupt { .. }), "{error}");
        }
    }

    #[test]
    fn hostile_passphrase_parameters_are_refused_at_once() {
        let (_dir, path, json) = sample();
        let start = Instant::now();
        for (field, value) in [
            ("memory_kib", u32::MAX),
            ("memory_kib", (1 << 20) + 1),
            ("memory_kib", 0),
            ("passes", u32::MAX),
            ("passes", 0),
            ("lanes", u32::MAX),
            ("lanes", 0),
        ] {
            let mut edited = json.clone();
            edited["body"]["unlock"]["method"]["argon2id"][field] = value.into();
            std::fs::write(&path, forge(&edited)).unwrap();
            let error = LocalKms::open(&path, &unlock()).err().unwrap();
            assert!(matches!(error, Error::Corrupt { .. }), "{field} {value}: {error}");
        }
        assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
    }

    #[test]
    fn later_versions_and_unknown_fields_are_refused() {
        let (_dir, path, json) = sample();
        let mut later = json.clone();
        later["version"] = 2.into();
        later["body"]["new in version 2"] = true.into();
        std::fs::write(&path, forge(&later)).unwrap();
        assert!(matches!(LocalKms::open(&path, &unlock()), Err(Error::Unsupported(_))));

        let mut unknown = json;
        unknown["body"]["unknown"] = true.into();
        std::fs::write(&path, forge(&unknown)).unwrap();
        assert!(matches!(LocalKms::open(&path, &unlock()), Err(Error::Corrupt { .. })));
    }
}
