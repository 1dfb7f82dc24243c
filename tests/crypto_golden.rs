//! Frozen answers of the cryptography: what a store of format version 1 holds. A test that fails
//! here means that existing stores would no longer open.

use efscrypt::crypto::{
    DataKey, Domain, HandleMac, KeyArena, Label, NameHasher, Purpose, Rng, UnitTag, WrapContext,
    WrapKey, commitment, derive,
};
use efscrypt::secret::Secret;
use zerocopy::{FromBytes, IntoBytes};

const STORE: [u8; 16] = [9; 16];
const TWEAK: u128 = 0x0123_4567_89ab_cdef_0011_2233 << 32;

fn key(byte: u8) -> Secret<32> {
    Secret::take(&mut [byte; 32])
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Key 01.., store 09.., context 5 as 8 little-endian bytes. Reproduced with an independent
/// HKDF-SHA256.
#[test]
fn subkeys() {
    for (label, expected) in [
        (Label::MetaNode, "927efb8f4789576ef9a345b56938e33c"),
        (Label::MetaSuper, "b57cd7e3c1b16f5c569df7e333d1af58"),
        (Label::MetaLog, "2b086a96d7802fa8f2bddd84e235d81f"),
        (Label::MetaSpace, "aa0cb5a9e9ac8c806fa0809193755420"),
        (Label::MetaCommit, "1abc520a474cf74616b730793832f3ed"),
        (Label::DataWrap, "efe06ffd0641f23cc5dd447aafa169c2"),
        (Label::DataCommit, "7783c955de27e7985feab4d1d4d8e35e"),
        (Label::XtsK1, "9f866a000a5a1f3d0a571295b4a05f13"),
        (Label::XtsK2, "3696d7bd0ae8d514040637a66d23bdcd"),
        (Label::UnitMac, "b007d3829d52f92482dbe6c3966088e0"),
        (Label::UnitHash, "2d7f8f2a4a997fa31d49f66f26bed2ee"),
        (Label::Inline, "be183da46402da6900bfe417d9b91be7"),
        (Label::HandleMac, "9109c36fee39c36e4fba5b57ee564930"),
        (Label::NameHash, "9f74844c23f84700388a7839cd1c34a7"),
    ] {
        let mut out = [0u8; 16];
        derive(&key(1), &STORE, label, &5u64.to_le_bytes(), &mut out);
        assert_eq!(hex(&out), expected, "{label:?}");
    }
}

#[test]
fn units() {
    let slot = DataKey::derive(&KeyArena::new().unwrap(), &key(1), &STORE, 5).unwrap();
    let data_key = slot.get().unwrap();
    let plain: Vec<u8> = (0..8192).map(|i| (i % 251) as u8).collect();
    let mut cipher = vec![0u8; 8192];
    let mut tags = [UnitTag::default(); 2];
    data_key.seal_units(TWEAK, &plain, &mut cipher, &mut tags);
    assert_eq!(hex(&cipher[..16]), "2acf85ea20c0a0098e3ae230e5d301cf");
    assert_eq!(hex(&cipher[8176..]), "dd29b7a57fb40820b559939df2937d88");
    assert_eq!(hex(tags[0].as_bytes()), "13fa8dfd10fa2f0a9f73624aae6779436f0d0b6d");
    assert_eq!(hex(tags[1].as_bytes()), "fb32c91b5f144c6ebd2de86b98c0b73b8202aa7d");
}

#[test]
fn inline_contents() {
    let slot = DataKey::derive(&KeyArena::new().unwrap(), &key(1), &STORE, 5).unwrap();
    let data_key = slot.get().unwrap();
    let mut buf = *b"a small file";
    let tag = data_key.seal_inline(&[1; 12], b"inode 7", &mut buf);
    assert_eq!(hex(&buf), "3fe75c781a569718481f5fd7");
    assert_eq!(hex(&tag), "aa49c76ea13375d513307d33827c6e11");
}

#[test]
fn wrapped_keys() {
    let arena = KeyArena::new().unwrap();
    let slot = WrapKey::derive(&arena, &key(5), &STORE, 7).unwrap();
    let wrap_key = slot.get().unwrap();
    let context = WrapContext {
        store_id: STORE,
        key_id: 42,
        domain: Domain::Data,
        kek_version: 7,
        suite: 1,
        purpose: Purpose::DataKey,
    };
    let wrapped = wrap_key.wrap(&Rng::seeded(&arena, 1).unwrap(), &context, &key(1)).unwrap();
    let expected = concat!(
        "c15c0289ec2d0a9167ec8e65",
        "3384d9e1d9aecdf08ad0f6f75c69c8aae60e83b60b24d603e52297f5bab836fd",
        "14c114679b3285748c036b0b1c0d59b0",
    );
    assert_eq!(hex(wrapped.as_bytes()), expected);
    let read = FromBytes::read_from_bytes(wrapped.as_bytes()).unwrap();
    assert!(wrap_key.unwrap(&context, &read).unwrap().ct_eq(&key(1)));
}

#[test]
fn commitments_handles_and_names() {
    let committed = commitment(&key(5), &STORE, Domain::Data, 7);
    assert_eq!(hex(&committed), "3b27d3c62492621e59130e5ecba8d44a14e2a4780ed2d33d54820770f028037d");
    let arena = KeyArena::new().unwrap();
    let mac = HandleMac::derive(&arena, &key(5), &STORE).unwrap();
    let mac = mac.get().unwrap().mac(b"handle");
    assert_eq!(hex(&mac), "81a44b8d2b755fcf19b011ea210454bf");
    let hasher = NameHasher::derive(&arena, &key(5), &STORE).unwrap();
    assert_eq!(hasher.get().unwrap().hash56(b"name"), 0x0087_44d6_3d80_ed45);
}
