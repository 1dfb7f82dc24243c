//! Wrong contexts, changed bytes, older copies.

use std::fs;

use efscrypt::ErrorKind;
use efscrypt::keys::{Domain, EncryptionContext, KeyProvider, WrappedKey};
use efscrypt::secret::Secret;

use crate::{Bench, context, kind};

#[test]
fn a_key_comes_back_under_its_context_alone() {
    let bench = Bench::new();
    let kms = bench.init();
    kms.create_key(Some("alias/one")).unwrap();
    let (secret, wrapped) = kms.generate("alias/one", &context()).unwrap();
    let (other, _) = kms.generate("alias/one", &context()).unwrap();
    assert!(!secret.ct_eq(&other) && !secret.is_zero());
    let reopened = bench.open().unwrap();
    assert!(reopened.unwrap(&wrapped, &context()).unwrap().ct_eq(&secret));

    let given = Secret::from_slice(&[9; 32]).unwrap();
    let wrapped_given = kms.wrap("alias/one", &context(), &given).unwrap();
    assert!(kms.unwrap(&wrapped_given, &context()).unwrap().ct_eq(&given));

    let caller = EncryptionContext::new();
    let tenant = caller.clone().with("tenant", "acme").unwrap();
    for wrong in [
        caller.clone(),
        tenant.clone(),
        caller.for_store(&[7; 16], Domain::Data),
        tenant.for_store(&[7; 16], Domain::Meta),
        tenant.for_store(&[8; 16], Domain::Data),
        tenant.clone().with("more", "").unwrap().for_store(&[7; 16], Domain::Data),
        caller.with("tenant", "acm").unwrap().for_store(&[7; 16], Domain::Data),
    ] {
        assert_eq!(kind(kms.unwrap(&wrapped, &wrong)), ErrorKind::WrongContext, "{wrong:?}");
        assert_eq!(kind(kms.rewrap(&wrapped, &wrong, "alias/one")), ErrorKind::WrongContext);
    }
}

#[test]
fn a_damaged_wrapped_key_never_opens() {
    let bench = Bench::new();
    let kms = bench.init();
    let id = kms.create_key(None).unwrap().id;
    let other_id = kms.create_key(None).unwrap().id;
    kms.rotate(&id).unwrap();
    let (_, wrapped) = kms.generate(&id, &context()).unwrap();
    let with_blob = |blob: &[u8]| WrappedKey::new("local", &id, blob).unwrap();

    for at in 0..wrapped.blob().len() {
        for mask in [1, 0x80, 0xff] {
            let mut blob = wrapped.blob().to_vec();
            blob[at] ^= mask;
            assert!(kms.unwrap(&with_blob(&blob), &context()).is_err(), "byte {at}");
        }
    }
    for len in 1..wrapped.blob().len() {
        let cut = with_blob(&wrapped.blob()[..len]);
        assert_eq!(kind(kms.unwrap(&cut, &context())), ErrorKind::Corrupt, "{len} bytes");
    }
    let longer = with_blob(&[wrapped.blob(), &[0]].concat());
    assert_eq!(kind(kms.unwrap(&longer, &context())), ErrorKind::Corrupt);

    let foreign = WrappedKey::new("aws-kms", &id, wrapped.blob()).unwrap();
    assert_eq!(kind(kms.unwrap(&foreign, &context())), ErrorKind::WrongKey);
    let elsewhere = Bench::new();
    assert_eq!(kind(elsewhere.init().unwrap(&wrapped, &context())), ErrorKind::KeyNotFound);
    let renamed = WrappedKey::new("local", &other_id, wrapped.blob()).unwrap();
    assert_eq!(kind(kms.unwrap(&renamed, &context())), ErrorKind::Corrupt);
}

#[test]
fn a_damaged_file_never_gives_another_key_or_state() {
    let bench = Bench::new();
    let kms = bench.init();
    let id = kms.create_key(Some("alias/one")).unwrap().id;
    let two = kms.create_key(Some("alias/two")).unwrap().id;
    let (secret, wrapped) = kms.generate(&id, &context()).unwrap();
    kms.disable(&two).unwrap();
    let truth = kms.list().unwrap();
    let whole = fs::read(bench.path()).unwrap();

    let opens_truly = |bytes: &[u8], what: &str| {
        fs::write(bench.path(), bytes).unwrap();
        match bench.open() {
            Ok(kms) => {
                assert_eq!(kms.list().unwrap(), truth, "{what}");
                assert!(kms.unwrap(&wrapped, &context()).unwrap().ct_eq(&secret), "{what}");
                true
            }
            Err(error) => {
                let expected = [ErrorKind::Corrupt, ErrorKind::Unsupported];
                assert!(expected.contains(&error.kind()), "{what}: {error}");
                false
            }
        }
    };
    let mut opened = 0;
    for at in 0..whole.len() {
        for mask in [0x01, 0x20, 0x80] {
            let mut bytes = whole.clone();
            bytes[at] ^= mask;
            opened += usize::from(opens_truly(&bytes, &format!("byte {at} ^ {mask}")));
        }
    }
    // White space is all that may differ.
    let spaces = whole.iter().filter(|b| b.is_ascii_whitespace()).count();
    assert!(opened <= 3 * spaces, "{opened} opened");
    for len in 0..whole.len() - 1 {
        assert!(!opens_truly(&whole[..len], &format!("{len} bytes")));
    }
    assert!(opens_truly(&whole, "whole"));
}

#[test]
fn an_older_copy_or_another_service_put_in_place_is_refused() {
    let bench = Bench::new();
    let kms = bench.init();
    kms.create_key(Some("alias/one")).unwrap();
    let older = fs::read(bench.path()).unwrap();
    kms.disable("alias/one").unwrap();
    let newer = fs::read(bench.path()).unwrap();

    fs::write(bench.path(), &older).unwrap();
    assert_eq!(kind(kms.generate("alias/one", &context())), ErrorKind::Corrupt);
    assert_eq!(kind(kms.enable("alias/one")), ErrorKind::Corrupt);
    let other = Bench::new();
    other.init();
    fs::copy(other.path(), bench.path()).unwrap();
    assert_eq!(kind(kms.list()), ErrorKind::Corrupt);
    fs::write(bench.path(), &newer).unwrap();
    assert_eq!(kind(kms.generate("alias/one", &context())), ErrorKind::KeyDisabled);
}
