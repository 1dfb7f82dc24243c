//! What opens the file, who may read it, crashes and other processes.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};

use efscrypt::ErrorKind;
use efscrypt::keys::{KeyProvider, KeyState, LocalKms, Passphrase, Unlock};

use crate::{Bench, context, kind, mode, passphrase};

#[test]
fn what_opens_the_file_is_told_from_damage() {
    let bench = Bench::new();
    bench.init();
    let open = |unlock: &Unlock| LocalKms::open(&bench.path(), unlock);
    assert_eq!(kind(open(&passphrase("wrong horse"))), ErrorKind::WrongPassphrase);
    assert_eq!(kind(open(&passphrase("correct horse "))), ErrorKind::WrongPassphrase);
    let key_file = bench.dir.path().join("key");
    Unlock::create_key_file(&key_file).unwrap();
    let by_file = Unlock::KeyFile(key_file);
    assert_eq!(kind(open(&by_file)), ErrorKind::InvalidArgument);
    assert!(Passphrase::new(Vec::new()).is_err());
    assert!(Passphrase::new(vec![b'x'; 4097]).is_err());

    let path = bench.dir.path().join("by-file");
    let kms = LocalKms::init(&path, &by_file).unwrap();
    let id = kms.create_key(None).unwrap().id;
    assert_eq!(LocalKms::open(&path, &by_file).unwrap().list().unwrap()[0].id, id);
    let other = bench.dir.path().join("other");
    Unlock::create_key_file(&other).unwrap();
    assert_eq!(kind(LocalKms::open(&path, &Unlock::KeyFile(other))), ErrorKind::WrongKey);
    assert_eq!(kind(LocalKms::open(&path, &passphrase("x"))), ErrorKind::InvalidArgument);
}

#[test]
fn what_opens_the_file_can_be_changed() {
    let bench = Bench::new();
    let kms = bench.init();
    let running = bench.open().unwrap();
    kms.create_key(Some("alias/one")).unwrap();
    let (secret, wrapped) = kms.generate("alias/one", &context()).unwrap();
    let wrong = passphrase("wrong");
    assert_eq!(kind(kms.change_unlock(&wrong, &passphrase("new"))), ErrorKind::WrongPassphrase);
    kms.change_unlock(&passphrase("correct horse"), &passphrase("new")).unwrap();

    assert!(running.unwrap(&wrapped, &context()).unwrap().ct_eq(&secret));
    assert_eq!(kind(bench.open()), ErrorKind::WrongPassphrase);
    let reopened = LocalKms::open(&bench.path(), &passphrase("new")).unwrap();
    assert!(reopened.unwrap(&wrapped, &context()).unwrap().ct_eq(&secret));
}

#[test]
fn key_files_are_private_exact_and_never_overwritten() {
    let bench = Bench::new();
    let path = bench.dir.path().join("key");
    Unlock::create_key_file(&path).unwrap();
    assert_eq!(mode(&path), 0o600);
    assert_eq!(kind(Unlock::create_key_file(&path)), ErrorKind::Exists);
    let text = fs::read_to_string(&path).unwrap();
    assert_eq!(text.len(), 65);
    let init = || LocalKms::init(&bench.path(), &Unlock::KeyFile(path.clone()));
    for open in [0o640, 0o604, 0o620, 0o602, 0o601, 0o644] {
        fs::set_permissions(&path, fs::Permissions::from_mode(open)).unwrap();
        assert_eq!(kind(init()), ErrorKind::KeyDenied, "{open:o}");
    }
    fs::set_permissions(&path, fs::Permissions::from_mode(0o400)).unwrap();
    init().unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    for bad in ["", "\n", &text[1..], &format!("{text}\n"), &format!(" {text}"), &"0".repeat(64)] {
        fs::write(&path, bad).unwrap();
        let result = LocalKms::open(&bench.path(), &Unlock::KeyFile(path.clone()));
        assert_eq!(kind(result), ErrorKind::InvalidArgument, "{bad:?}");
    }
    let missing = Unlock::KeyFile(bench.dir.path().join("missing"));
    assert_eq!(kind(LocalKms::open(&bench.path(), &missing)), ErrorKind::Io);
    let directory = Unlock::KeyFile(bench.dir.path().to_owned());
    assert_eq!(kind(LocalKms::open(&bench.path(), &directory)), ErrorKind::IsDirectory);
}

#[test]
fn a_file_is_created_once_and_a_missing_one_never_again() {
    let bench = Bench::new();
    let missing = bench.open().err().unwrap();
    assert_eq!(missing.kind(), ErrorKind::KeyUnreachable);
    assert!(missing.to_string().contains("kms.json"), "{missing}");
    assert!(!bench.path().exists());

    let kms = bench.init();
    let before = fs::read(bench.path()).unwrap();
    let again = LocalKms::init_with(&bench.path(), &passphrase("x"), bench.options());
    assert_eq!(kind(again), ErrorKind::Exists);
    assert_eq!(fs::read(bench.path()).unwrap(), before);
    assert_eq!(bench.names(), ["kms.json"], "nothing is left beside the file");

    fs::rename(bench.path(), bench.dir.path().join("away")).unwrap();
    assert_eq!(kind(kms.list()), ErrorKind::KeyUnreachable);
    assert_eq!(kind(kms.create_key(None)), ErrorKind::KeyUnreachable);
    assert!(!bench.path().exists());
    fs::rename(bench.dir.path().join("away"), bench.path()).unwrap();
    assert_eq!(kms.list().unwrap(), []);

    let nowhere = bench.dir.path().join("no/such/directory");
    let there = LocalKms::init_with(&nowhere, &passphrase("x"), bench.options());
    assert_eq!(kind(there), ErrorKind::Io);
    let here = LocalKms::open(bench.dir.path(), &passphrase("x"));
    assert_eq!(kind(here), ErrorKind::IsDirectory);
    for other in ["", "{}", "not json", "{\"format\":\"x\",\"version\":1}", "[1,2]"] {
        fs::write(bench.path(), other).unwrap();
        assert_eq!(kind(bench.open()), ErrorKind::Corrupt, "{other}");
    }
}

#[test]
fn the_file_is_private_and_stays_where_a_link_points() {
    let bench = Bench::new();
    let kms = bench.init();
    assert_eq!(mode(&bench.path()), 0o600);
    fs::set_permissions(bench.path(), fs::Permissions::from_mode(0o644)).unwrap();
    kms.create_key(None).unwrap();
    assert_eq!(mode(&bench.path()), 0o644, "as its owner wants it");
    fs::set_permissions(bench.path(), fs::Permissions::from_mode(0o600)).unwrap();

    let link = bench.dir.path().join("link");
    symlink(bench.path(), &link).unwrap();
    let unlock = passphrase("correct horse");
    let through = LocalKms::open_with(&link, &unlock, bench.options()).unwrap();
    through.create_key(None).unwrap();
    assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
    assert_eq!(kms.list().unwrap().len(), 2);
}

#[test]
fn an_administrators_change_leaves_the_file_to_its_owner() {
    let bench = Bench::new();
    let kms = bench.init();
    if chown(bench.path(), Some(12345), Some(12346)).is_err() {
        eprintln!("not checked: only root can give a file away");
        return;
    }
    kms.create_key(None).unwrap();
    let about = fs::metadata(bench.path()).unwrap();
    assert_eq!((about.uid(), about.gid(), mode(&bench.path())), (12345, 12346, 0o600));
}

#[test]
fn remains_of_a_crash_are_ignored_and_not_written_through() {
    let bench = Bench::new();
    let kms = bench.init();
    let temporary = bench.dir.path().join("kms.json.0123456789abcdef.tmp");
    fs::write(&temporary, "half a file").unwrap();
    assert_eq!(bench.open().unwrap().list().unwrap(), []);
    kms.create_key(None).unwrap();
    assert_eq!(bench.names(), ["kms.json", "kms.json.reserve"]);

    let victim = bench.dir.path().join("victim");
    fs::write(&victim, "precious").unwrap();
    symlink(&victim, &temporary).unwrap();
    kms.create_key(None).unwrap();
    assert_eq!(fs::read_to_string(&victim).unwrap(), "precious");
    assert_eq!(bench.open().unwrap().list().unwrap().len(), 2);
}

#[test]
fn a_change_that_cannot_be_written_changes_nothing() {
    let bench = Bench::new();
    let kms = bench.init();
    kms.create_key(Some("alias/one")).unwrap();
    let before = fs::read(bench.path()).unwrap();
    // Beside so long a name there can be none that is longer.
    let long = bench.dir.path().join("k".repeat(250));
    fs::rename(bench.path(), &long).unwrap();
    let there = LocalKms::open(&long, &passphrase("correct horse")).unwrap();
    assert_eq!(kind(there.disable("alias/one")), ErrorKind::Io);
    assert_eq!(fs::read(&long).unwrap(), before);
    assert_eq!(there.describe("alias/one").unwrap().state, KeyState::Enabled);
    fs::rename(&long, bench.path()).unwrap();
    assert_eq!(kms.disable("alias/one").unwrap().state, KeyState::Disabled);
    assert_eq!(bench.names(), ["kms.json", "kms.json.reserve"]);
}

#[test]
fn another_process_disabling_a_key_is_noticed_at_once() {
    let bench = Bench::new();
    let administrator = bench.init();
    administrator.create_key(Some("alias/one")).unwrap();
    let server = bench.open().unwrap();
    let (_, wrapped) = server.generate("alias/one", &context()).unwrap();
    for _ in 0..50 {
        administrator.disable("alias/one").unwrap();
        assert_eq!(kind(server.unwrap(&wrapped, &context())), ErrorKind::KeyDisabled);
        administrator.enable("alias/one").unwrap();
        server.unwrap(&wrapped, &context()).unwrap();
    }
}

#[test]
fn changes_by_many_at_once_are_all_kept() {
    const OPENERS: usize = 4;
    const CHANGES: usize = 6;
    let bench = Bench::new();
    let first = bench.init();
    // Each opener has its own lock, as another process has; two threads share each.
    let openers: Vec<_> = (0..OPENERS).map(|_| bench.open().unwrap()).collect();
    std::thread::scope(|scope| {
        for (i, kms) in openers.iter().enumerate() {
            for half in 0..2 {
                scope.spawn(move || {
                    for n in 0..CHANGES {
                        let alias = format!("alias/{i}-{half}-{n}");
                        let id = kms.create_key(Some(&alias)).unwrap().id;
                        assert_eq!(kms.describe(&alias).unwrap().id, id);
                    }
                });
            }
        }
    });
    let keys = first.list().unwrap();
    assert_eq!(keys.len(), OPENERS * 2 * CHANGES);
    assert_eq!(bench.open().unwrap().list().unwrap(), keys);
}

#[test]
fn nobody_waits_for_a_pipe() {
    let bench = Bench::new();
    rustix::fs::mkfifoat(rustix::fs::CWD, bench.path(), 0o600.into()).unwrap();
    assert_eq!(kind(bench.open()), ErrorKind::InvalidArgument);
}
