//! Stores a real directory tree, reopens it, and shows what a thief and an auditor would see.
//!
//! `cargo run --release --example quickstart [PATH]`; the crate's own source by default.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use efscrypt::fs::NewAttr;
use efscrypt::keys::{
    AuditDurability, AuditLog, AuditPolicy, Audited, KeyProvider, LocalKms, Passphrase, Unlock,
};
use efscrypt::{ErrorKind, Providers, Rewrap, Store, StoreOptions};

type Result<T = ()> = std::result::Result<T, Box<dyn std::error::Error>>;

fn main() -> Result {
    let source = std::env::args_os()
        .nth(1)
        .map_or(concat!(env!("CARGO_MANIFEST_DIR"), "/src").into(), PathBuf::from);
    let place = tempfile::tempdir()?;
    let path = |name: &str| place.path().join(name);

    // A key service with a key for the service's own metadata and one for the customer's contents.
    let unlock = Unlock::Passphrase(Passphrase::new(b"correct horse battery".to_vec())?);
    let kms = Arc::new(LocalKms::init(&path("kms.json"), &unlock)?);
    kms.create_key(Some("alias/service"))?;
    let customer = kms.create_key(Some("alias/customer"))?;
    let audit = Arc::new(AuditLog::open(&path("audit.jsonl"), AuditDurability::System)?);
    let audited = Audited::new(Arc::clone(&kms), audit, AuditPolicy::FailClosed);
    let providers = Providers::same(Arc::new(audited.clone()));

    // A store, and a tree in it.
    let (service, data, options) = ("alias/service", "alias/customer", StoreOptions::default());
    let store = Store::create_file(path("store.efs"), providers.clone(), service, data, options)?;
    let files = files_of(&source)?;
    let mut bytes = 0;
    let dir = NewAttr { mode: 0o755, ..NewAttr::default() };
    let file_mode = NewAttr { mode: 0o644, ..NewAttr::default() };
    for file in &files {
        let contents = fs::read(source.join(file))?;
        bytes += contents.len();
        let name = format!("/{}", file.display());
        if let Some(parent) = Path::new(&name).parent() {
            store.file_system().mkdir_all(parent.as_os_str().as_encoded_bytes(), &dir)?;
        }
        store.file_system().write_file(name.as_bytes(), &file_mode, &contents)?;
    }
    store.close()?;
    println!("stored       {} files, {bytes} bytes, from {}", files.len(), source.display());

    // Reopened, everything is as it was.
    let open = |providers: Providers| -> efscrypt::Result<Store> {
        Store::open_file(path("store.efs"), providers, StoreOptions::default())
    };
    let store = open(providers.clone())?;
    for file in &files {
        let stored = store.file_system().read_file(format!("/{}", file.display()).as_bytes())?;
        assert!(stored == fs::read(source.join(file))?, "{} differs", file.display());
    }
    println!("reopened     all {} files are identical", files.len());

    // What a thief finds in the raw store: no name, no contents.
    let raw = fs::read(path("store.efs"))?;
    let mut secrets = Vec::new();
    for file in &files {
        secrets.push(file.to_string_lossy().into_owned().into_bytes());
        secrets.push(fs::read(source.join(file))?.into_iter().take(32).collect());
    }
    secrets.retain(|secret| secret.len() >= 8);
    let found = secrets.iter().filter(|secret| contains(&raw, secret)).count();
    assert_eq!(found, 0);
    println!(
        "stolen       {} bytes of store hold none of {} names and contents",
        raw.len(),
        secrets.len()
    );

    // Another key for the contents: one commit, whatever the size.
    kms.create_key(Some("alias/customer-2027"))?;
    let provider: Arc<dyn KeyProvider> = Arc::new(audited);
    store.rewrap(Rewrap::new().data(provider, "alias/customer-2027"))?;
    store.close()?;
    kms.disable("alias/customer")?;
    open(providers.clone())?.close()?;
    println!("rewrapped    opens with the new key while {} is disabled", customer.id);

    // A disabled key and a wrong passphrase are refused.
    kms.disable("alias/customer-2027")?;
    let refused = open(providers).map(drop).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::KeyDisabled);
    println!("disabled     {refused}");
    let wrong = Unlock::Passphrase(Passphrase::new(b"incorrect horse".to_vec())?);
    let refused = LocalKms::open(&path("kms.json"), &wrong).map(drop).unwrap_err();
    println!("wrong key    {refused}");

    // Every use of a key left a line, each chained to the one before.
    let log = fs::read_to_string(path("audit.jsonl"))?;
    println!("audited      {} uses of keys; the last:", log.lines().count());
    for line in log.lines().rev().take(2) {
        println!("  {line}");
    }
    Ok(())
}

/// The regular files below a directory, relative to it.
fn files_of(root: &Path) -> Result<Vec<PathBuf>> {
    let (mut files, mut left) = (Vec::new(), vec![root.to_owned()]);
    while let Some(directory) = left.pop() {
        for entry in fs::read_dir(directory)? {
            let entry = entry?;
            match entry.file_type()? {
                kind if kind.is_dir() => left.push(entry.path()),
                kind if kind.is_file() => {
                    files.push(entry.path().strip_prefix(root)?.to_owned());
                }
                _ => {}
            }
        }
    }
    Ok(files)
}

fn contains(haystack: &[u8], needle: &[u8]) -> bool {
    memchr::memmem::find(haystack, needle).is_some()
}
