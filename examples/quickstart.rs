//! Stores a real directory tree, reopens it, and shows what a thief and an auditor would see.
//!
//! `cargo run --release --example quickstart [PATH]`; the crate's own source by default. The exit
//! code is 0 if all is as it should be, 1 if something of the tree was found in the raw store or
//! did not come back from it, 2 if the work could not be done.

#[path = "support/progress.rs"]
pub(crate) mod progress;
#[path = "support/sample.rs"]
pub(crate) mod sample;
#[path = "support/secrets.rs"]
pub(crate) mod secrets;
#[path = "support/tree.rs"]
pub(crate) mod tree;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use efscrypt::keys::{
    AuditDurability, AuditLog, AuditPolicy, Audited, KeyProvider, LocalKms, Passphrase, Unlock,
};
use efscrypt::{ErrorKind, Providers, Rewrap, Store, StoreOptions};

use progress::grouped;
use sample::Theft;
use tree::{Import, Stored};

pub(crate) type Result<T = ()> = std::result::Result<T, Box<dyn std::error::Error>>;

pub(crate) fn main() -> ExitCode {
    let mut arguments = std::env::args_os().skip(1);
    let source = arguments.next().unwrap_or(concat!(env!("CARGO_MANIFEST_DIR"), "/src").into());
    if arguments.next().is_some() || source.as_encoded_bytes().starts_with(b"-") {
        eprintln!(
            "usage: quickstart [PATH]    PATH: the directory to store, as a try; it is only read"
        );
        return ExitCode::from(2);
    }
    match show(&PathBuf::from(source)) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("quickstart: {error}");
            ExitCode::from(2)
        }
    }
}

/// Everything, with a line of output for each step. Returns whether all was as it should be.
pub(crate) fn show(source: &Path) -> Result<bool> {
    if !fs::metadata(source).map_err(|error| format!("{source:?}: {error}"))?.is_dir() {
        return Err(format!("{source:?} is not a directory: name one to be stored").into());
    }
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

    // A store, and a tree in it. Another store stays empty.
    let create = |name: &str| {
        let (service, data, options) = ("alias/service", "alias/customer", StoreOptions::default());
        Store::create_file(path(name), providers.clone(), service, data, options)
    };
    create("empty.efs")?.close()?;
    let store = create("store.efs")?;
    let (root, except) = (source.canonicalize()?, place.path().canonicalize()?);
    let import = Import { root: &root, except: &except, list: &path("list") };
    let stored = import.run(store.file_system()).map_err(|error| {
        format!("{error}\nThe store is in {:?}; TMPDIR names another place.", place.path())
    })?;
    store.close()?;
    tell_stored(&stored, source);

    // Reopened, everything is as it was.
    let open = |providers: Providers| -> efscrypt::Result<Store> {
        Store::open_file(path("store.efs"), providers, StoreOptions::default())
    };
    let store = open(providers.clone())?;
    let differences = tree::differences(store.file_system(), &path("list"))?;
    if differences.is_empty() {
        println!("reopened     all {} files are identical", grouped(stored.files));
    }

    // What a thief finds in the raw store: no name, no contents.
    let theft = stored.secrets.search(&path("store.efs"), &path("empty.efs"))?;
    if !differences.is_empty() || theft.found > 0 {
        store.close()?;
        tell_failure(&differences, &theft, &place.keep());
        return Ok(false);
    }
    tell_theft(&theft);

    // Another key for the contents: one commit, whatever the size.
    kms.create_key(Some("alias/customer-2027"))?;
    let provider: Arc<dyn KeyProvider> = Arc::new(audited);
    store.rewrap(Rewrap::new().data(provider, "alias/customer-2027"))?;
    store.close()?;
    kms.disable("alias/customer")?;
    open(providers.clone())?.close()?;
    println!("rewrapped    opens with the new key while {} is disabled", customer.id);

    kms.disable("alias/customer-2027")?;
    tell_refusals(open(providers), &path("kms.json"))?;
    tell_audit(&path("audit.jsonl"))?;
    Ok(true)
}

fn tell_stored(stored: &Stored, source: &Path) {
    let Stored { files, links, directories, bytes, left_out, .. } = stored;
    let [files, links, directories, bytes] =
        [files, links, directories, bytes].map(|n| grouped(*n));
    println!("stored       {files} files, {bytes} bytes, from {}", source.display());
    println!("             {directories} directories, {links} symbolic links");
    for (why, (number, first)) in left_out {
        println!("left out     {} {why}, the first {first:?}", grouped(*number));
    }
}

fn tell_theft(theft: &Theft) {
    let [bytes, untold] = [theft.bytes, theft.untold].map(grouped);
    let [searched, offered] = [theft.searched as u64, theft.offered].map(grouped);
    println!(
        "stolen       {bytes} bytes of store hold none of {searched} names and pieces of contents"
    );
    if searched != offered {
        println!("             a random choice of {offered}");
    }
    println!("             ({untold} others are too short or too uniform to prove anything)");
}

fn tell_failure(differences: &[PathBuf], theft: &Theft, place: &Path) {
    println!("FAILED       this must not be; please report it with these lines");
    for path in differences.iter().take(10) {
        println!("  differs    {path:?} did not come back from the store as it was stored");
    }
    for found in &theft.places {
        println!("  in clear   {found}");
    }
    println!("  {} differ, {} pieces stand in clear in store.efs", differences.len(), theft.found);
    println!("  kept for a look, and yours to delete: {}", place.display());
}

/// A disabled key and a wrong passphrase are refused.
fn tell_refusals(opened: efscrypt::Result<Store>, kms: &Path) -> Result {
    match opened {
        Err(refused) if refused.kind() == ErrorKind::KeyDisabled => {
            println!("disabled     {refused}");
        }
        Err(other) => return Err(other.into()),
        Ok(_) => return Err("the store opened although its key is disabled".into()),
    }
    let wrong = Unlock::Passphrase(Passphrase::new(b"incorrect horse".to_vec())?);
    match LocalKms::open(kms, &wrong) {
        Err(refused) => println!("wrong key    {refused}"),
        Ok(_) => return Err("the key service opened with a wrong passphrase".into()),
    }
    Ok(())
}

/// Every use of a key left a line, each chained to the one before.
fn tell_audit(log: &Path) -> Result {
    let log = fs::read_to_string(log)?;
    println!("audited      {} uses of keys; the last:", log.lines().count());
    for line in log.lines().rev().take(2) {
        println!("  {line}");
    }
    Ok(())
}
