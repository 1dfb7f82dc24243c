//! Ids, names and states: what may be done to which key.

use std::fs;

use efscrypt::ErrorKind;
use efscrypt::keys::{KeyProvider, KeyState};

use crate::{Bench, DAY, START, context, kind};

#[test]
fn keys_are_created_named_and_described() {
    let bench = Bench::new();
    let kms = bench.init();
    assert_eq!(kms.list().unwrap(), []);
    let one = kms.create_key(Some("alias/one")).unwrap();
    let two = kms.create_key(None).unwrap();
    assert_eq!((one.id.len(), one.version, one.created), (32, 1, START));
    assert_ne!(one.id, two.id);
    assert_eq!(kms.describe(&one.id).unwrap(), one);
    assert_eq!(kms.describe("alias/one").unwrap(), one);
    assert_eq!(kms.list().unwrap(), [one.clone(), two.clone()]);

    let moved = kms.set_alias("alias/one", &two.id).unwrap();
    assert_eq!((moved.id, moved.aliases), (two.id.clone(), vec!["alias/one".to_owned()]));
    assert_eq!(kms.describe(&one.id).unwrap().aliases, [""; 0]);
    kms.set_alias("alias/a", "alias/one").unwrap();
    assert_eq!(kms.describe(&two.id).unwrap().aliases, ["alias/a", "alias/one"]);
    assert_eq!(kms.delete_alias("alias/one").unwrap().aliases, ["alias/a"]);

    let reopened = bench.open().unwrap();
    assert_eq!(reopened.list().unwrap(), kms.list().unwrap());
}

#[test]
fn names_that_do_not_exist_or_are_taken_are_refused() {
    let bench = Bench::new();
    let kms = bench.init();
    let id = kms.create_key(Some("alias/one")).unwrap().id;
    let long = "\u{1f511}".repeat(10_000);
    for name in ["", "alias/", "alias/two", "one", &id[1..], &format!("{id}0"), &long] {
        assert_eq!(kind(kms.describe(name)), ErrorKind::KeyNotFound, "{name}");
        assert_eq!(kind(kms.disable(name)), ErrorKind::KeyNotFound, "{name}");
        assert_eq!(kind(kms.generate(name, &context())), ErrorKind::KeyNotFound, "{name}");
    }
    assert!(kms.describe(&long).unwrap_err().to_string().len() < 4096);
    assert_eq!(kind(kms.create_key(Some("alias/one"))), ErrorKind::Exists);
    let too_long = format!("alias/{}", "x".repeat(251));
    for alias in ["one", "alias/", "alias/a b", "alias/\u{e9}", &too_long] {
        assert_eq!(kind(kms.create_key(Some(alias))), ErrorKind::InvalidArgument, "{alias}");
        assert_eq!(kind(kms.set_alias(alias, &id)), ErrorKind::InvalidArgument, "{alias}");
    }
    assert_eq!(kind(kms.delete_alias("alias/two")), ErrorKind::KeyNotFound);
    assert_eq!(kms.list().unwrap().len(), 1);
}

#[test]
fn every_use_is_refused_unless_the_key_is_enabled() {
    let bench = Bench::new();
    let kms = bench.init();
    let id = kms.create_key(Some("alias/one")).unwrap().id;
    kms.create_key(Some("alias/other")).unwrap();
    let (secret, wrapped) = kms.generate(&id, &context()).unwrap();
    let (_, wrapped_other) = kms.generate("alias/other", &context()).unwrap();

    let refused_with = |expected: ErrorKind| {
        assert_eq!(kind(kms.generate(&id, &context())), expected);
        assert_eq!(kind(kms.generate("alias/one", &context())), expected);
        assert_eq!(kind(kms.wrap(&id, &context(), &secret)), expected);
        assert_eq!(kind(kms.unwrap(&wrapped, &context())), expected);
        assert_eq!(kind(kms.rewrap(&wrapped, &context(), "alias/other")), expected);
        assert_eq!(kind(kms.rewrap(&wrapped_other, &context(), &id)), expected);
        assert_eq!(kind(kms.rotate(&id)), expected);
    };
    assert_eq!(kms.disable(&id).unwrap().state, KeyState::Disabled);
    refused_with(ErrorKind::KeyDisabled);
    assert_eq!(kms.enable(&id).unwrap().state, KeyState::Enabled);
    assert!(kms.unwrap(&wrapped, &context()).unwrap().ct_eq(&secret));

    let pending = KeyState::PendingDeletion { at: START + 7 * DAY };
    assert_eq!(kms.schedule_deletion(&id, 7).unwrap().state, pending);
    refused_with(ErrorKind::KeyDisabled);
    assert_eq!(kind(kms.enable(&id)), ErrorKind::KeyDisabled);
    assert_eq!(kind(kms.disable(&id)), ErrorKind::KeyDisabled);
    assert_eq!(kind(kms.schedule_deletion(&id, 30)), ErrorKind::KeyDisabled);
    assert_eq!(kind(kms.set_alias("alias/new", &id)), ErrorKind::KeyDisabled);

    bench.pass(7 * DAY - 1);
    assert_eq!(kms.cancel_deletion(&id).unwrap().state, KeyState::Disabled);
    refused_with(ErrorKind::KeyDisabled);
    assert_eq!(kind(kms.cancel_deletion(&id)), ErrorKind::InvalidArgument);
    kms.enable(&id).unwrap();
    assert!(kms.unwrap(&wrapped, &context()).unwrap().ct_eq(&secret));

    kms.schedule_deletion(&id, 30).unwrap();
    bench.pass(30 * DAY);
    refused_with(ErrorKind::KeyNotFound);
    assert_eq!(kind(kms.describe(&id)), ErrorKind::KeyNotFound);
    assert_eq!(kind(kms.cancel_deletion(&id)), ErrorKind::KeyNotFound);
    assert_eq!(kms.list().unwrap().len(), 1);
}

#[test]
fn deletion_waits_7_to_30_days_and_then_leaves_nothing_in_the_file() {
    let bench = Bench::new();
    let kms = bench.init();
    let id = kms.create_key(None).unwrap().id;
    for days in [0, 6, 31, u32::MAX] {
        assert_eq!(kind(kms.schedule_deletion(&id, days)), ErrorKind::InvalidArgument);
    }
    kms.schedule_deletion(&id, 7).unwrap();
    assert_eq!(kms.destroy_expired().unwrap(), 0);
    bench.pass(7 * DAY);
    assert!(fs::read_to_string(bench.path()).unwrap().contains(&id));
    assert_eq!(kms.destroy_expired().unwrap(), 1);
    assert!(!fs::read_to_string(bench.path()).unwrap().contains(&id));
}

#[test]
fn rotation_keeps_old_versions_and_rewrap_moves_to_the_newest() {
    let bench = Bench::new();
    let kms = bench.init();
    kms.create_key(Some("alias/one")).unwrap();
    let (secret, old) = kms.generate("alias/one", &context()).unwrap();
    bench.pass(60);
    let rotated = kms.rotate("alias/one").unwrap();
    assert_eq!((rotated.version, rotated.created, rotated.rotated), (2, START, START + 60));
    assert!(kms.unwrap(&old, &context()).unwrap().ct_eq(&secret));

    let new = kms.rewrap(&old, &context(), "alias/one").unwrap();
    assert_eq!((old.blob()[17], new.blob()[17]), (1, 2), "version of the wrapping key");
    assert!(kms.unwrap(&new, &context()).unwrap().ct_eq(&secret));

    let two = kms.create_key(None).unwrap().id;
    let moved = kms.rewrap(&new, &context(), &two).unwrap();
    assert_eq!(moved.key_id(), two);
    assert!(bench.open().unwrap().unwrap(&moved, &context()).unwrap().ct_eq(&secret));
}

#[test]
fn each_destroyed_key_counts_once() {
    let bench = Bench::new();
    let id = bench.init().create_key(None).unwrap().id;
    let services = [bench.open().unwrap(), bench.open().unwrap()];
    services[0].schedule_deletion(&id, 7).unwrap();
    bench.pass(7 * DAY);
    // Both see the key, and wait for each other to destroy it.
    let file = std::fs::File::open(bench.path()).unwrap();
    file.lock().unwrap();
    let counts = std::thread::scope(|scope| {
        let waiting = services.each_ref().map(|kms| scope.spawn(|| kms.destroy_expired().unwrap()));
        std::thread::sleep(std::time::Duration::from_millis(100));
        file.unlock().unwrap();
        waiting.map(|thread| thread.join().unwrap())
    });
    assert_eq!(counts.iter().sum::<usize>(), 1);
}
