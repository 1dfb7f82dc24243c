//! The log under damage, crashes and company; the policies under a sink that fails.

use std::fs;
use std::io::Write;
use std::os::unix::fs::{MetadataExt, chown, symlink};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::fs::{CWD, FileType, Mode};

use super::*;
use crate::error::{Error, ErrorKind, Object, Result};
use crate::keys::{EncryptionContext, KeyDescription, KeyProvider, KeyState, WrappedKey};
use crate::secret::Secret;

fn event(key: &str) -> AuditEvent<'_> {
    AuditEvent::new(AuditOp::Unwrap, "local", key)
}

fn open(path: &Path) -> AuditLog {
    AuditLog::open(path, AuditDurability::System).unwrap()
}

/// A log of `count` records with keys k0, k1 and so on.
fn sample(count: usize) -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("audit");
    let log = open(&path);
    for i in 0..count {
        log.record(&event(&format!("k{i}"))).unwrap();
    }
    (dir, path)
}

fn lines(path: &Path) -> Vec<String> {
    fs::read_to_string(path).unwrap().lines().map(str::to_owned).collect()
}

fn write_lines(path: &Path, lines: &[String]) {
    fs::write(path, lines.iter().map(|l| format!("{l}\n")).collect::<String>()).unwrap();
}

/// Number of the record at which verification fails.
fn broken_at(path: &Path) -> u64 {
    match AuditLog::verify(path) {
        Err(Error::Corrupt { object: Object::AuditRecord { seq }, .. }) => seq,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_log_continues_its_chain_over_reopens() {
    let (_dir, path) = sample(3);
    open(&path).record(&event("k3")).unwrap();
    open(&path).record(&event("k4")).unwrap();
    let summary = AuditLog::verify(&path).unwrap();
    assert_eq!((summary.records, summary.torn_bytes), (5, 0));
    let last: serde_json::Value = serde_json::from_str(&lines(&path)[4]).unwrap();
    assert_eq!((last["seq"].as_u64(), last["key"].as_str()), (Some(4), Some("k4")));
    assert_eq!(last["hash"].as_str(), Some(summary.head.as_str()));
}

#[test]
fn a_changed_record_is_found_where_it_stands() {
    let (_dir, path) = sample(5);
    let whole = lines(&path);
    for at in 0..5usize {
        let mut edited = whole.clone();
        edited[at] = edited[at].replace("local", "locul");
        write_lines(&path, &edited);
        assert_eq!(broken_at(&path), at as u64, "edited");

        let mut doubled = whole.clone();
        doubled.insert(at, whole[at].clone());
        write_lines(&path, &doubled);
        assert_eq!(broken_at(&path), at as u64 + 1, "doubled");

        let mut deleted = whole.clone();
        deleted.remove(at);
        write_lines(&path, &deleted);
        if at < 4 {
            assert_eq!(broken_at(&path), at as u64, "deleted");
            let mut swapped = whole.clone();
            swapped.swap(at, at + 1);
            write_lines(&path, &swapped);
            assert_eq!(broken_at(&path), at as u64, "swapped");
        } else {
            let cut = AuditLog::verify(&path).unwrap();
            write_lines(&path, &whole);
            assert_ne!(cut.head, AuditLog::verify(&path).unwrap().head, "the kept head tells");
        }
    }
}

#[test]
fn a_record_of_another_log_does_not_fit() {
    let (_dir, path) = sample(4);
    let (_other_dir, other) = sample(0);
    let log = open(&other);
    for i in 0..4 {
        log.record(&event(&format!("other{i}"))).unwrap();
    }
    let mut mixed = lines(&path);
    mixed[2] = lines(&other)[2].clone();
    write_lines(&path, &mixed);
    assert_eq!(broken_at(&path), 2);
}

#[test]
fn a_torn_record_is_removed_and_the_log_says_so() {
    let (_dir, path) = sample(3);
    let whole = fs::read(&path).unwrap();
    let last = whole[..whole.len() - 1].iter().rposition(|&b| b == b'\n').unwrap() + 1;
    for cut in [last + 1, last + 40, whole.len() - 1] {
        fs::write(&path, &whole[..cut]).unwrap();
        assert_eq!(AuditLog::verify(&path).unwrap().torn_bytes, (cut - last) as u64);
        open(&path).record(&event("after")).unwrap();
        let summary = AuditLog::verify(&path).unwrap();
        assert_eq!((summary.records, summary.torn_bytes), (4, 0));
        assert!(lines(&path)[2].contains("recover-tail"), "{:?}", lines(&path)[2]);
    }
    for first in [&b"{\"seq\":0,"[..], &whole[..1], &whole[..60]] {
        fs::write(&path, first).unwrap();
        drop(open(&path));
        assert_eq!(AuditLog::verify(&path).unwrap().records, 1);
    }
}

#[test]
fn a_file_that_is_no_log_stays_as_it_is() {
    let (_dir, path) = sample(0);
    for foreign in ["correct horse", "correct horse\n", "{\"seq\":1,", "{}", "\0", "\n"] {
        fs::write(&path, foreign).unwrap();
        let error = AuditLog::open(&path, AuditDurability::System).err().unwrap();
        assert_eq!(error.kind(), ErrorKind::Corrupt, "{foreign}");
        assert_eq!(AuditLog::verify(&path).unwrap_err().kind(), ErrorKind::Corrupt, "{foreign}");
        assert_eq!(fs::read_to_string(&path).unwrap(), foreign);
    }
}

#[test]
fn no_log_is_made_or_continued_through_a_link() {
    let (dir, path) = sample(1);
    let (link, target) = (dir.path().join("link"), dir.path().join("target"));
    symlink(&target, &link).unwrap();
    let kind = |path: &Path| AuditLog::open(path, AuditDurability::System).err().unwrap().kind();
    assert_eq!(kind(&link), ErrorKind::Io, "a dangling link");
    assert!(!target.exists());
    assert!(AuditLog::open_like(&link, AuditDurability::System, &path).is_err());
    assert!(!target.exists());
    let whole = fs::read(&path).unwrap();
    fs::rename(&path, &target).unwrap();
    assert_eq!(kind(&link), ErrorKind::Io, "a link to a log");
    assert_eq!(fs::read(&target).unwrap(), whole);

    let socket = dir.path().join("socket");
    let _listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
    assert_eq!(kind(&socket), ErrorKind::Io);
    let pipe = dir.path().join("pipe");
    rustix::fs::mknodat(CWD, &pipe, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
    assert_eq!(kind(&pipe), ErrorKind::InvalidArgument);
}

#[test]
fn nobody_waits_for_a_pipe_or_reads_a_device() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("audit");
    rustix::fs::mkfifoat(rustix::fs::CWD, &path, 0o600.into()).unwrap();
    let kind = |path: &Path| AuditLog::verify(path).unwrap_err().kind();
    assert_eq!(kind(&path), ErrorKind::InvalidArgument);
    assert_eq!(kind(Path::new("/dev/zero")), ErrorKind::InvalidArgument);
    assert_eq!(kind(dir.path()), ErrorKind::IsDirectory);
    let opened = AuditLog::open(&path, AuditDurability::System);
    assert_eq!(opened.err().unwrap().kind(), ErrorKind::InvalidArgument);
}

#[test]
fn only_a_new_log_gets_an_owner() {
    let (dir, path) = sample(1);
    let like = dir.path().join("like");
    fs::write(&like, "").unwrap();
    // Only root may give files away; for others the owners are the same here.
    if chown(&like, Some(12345), Some(12346)).is_err() {
        assert!(AuditLog::open_like(&path, AuditDurability::System, &like).is_ok());
        return;
    }
    let owner = |path: &Path| fs::metadata(path).map(|m| (m.uid(), m.gid())).unwrap();
    let before = owner(&path);
    AuditLog::open_like(&path, AuditDurability::System, &like).unwrap();
    assert_eq!(owner(&path), before);
    let new = dir.path().join("new");
    AuditLog::open_like(&new, AuditDurability::System, &like).unwrap();
    assert_eq!(owner(&new), (12345, 12346));
}

#[test]
fn damage_at_the_end_is_refused_when_a_log_is_opened() {
    let (_dir, path) = sample(3);
    let whole = lines(&path);
    let mut edited = whole.clone();
    edited[2] = edited[2].replace("k2", "k9");
    write_lines(&path, &edited);
    let error = AuditLog::open(&path, AuditDurability::System).err().unwrap();
    assert_eq!(error.kind(), ErrorKind::Corrupt);
    fs::write(&path, vec![b'x'; 1 << 20]).unwrap();
    assert!(AuditLog::open(&path, AuditDurability::System).is_err());
    assert!(AuditLog::verify(&path).is_err());
}

#[test]
fn a_long_log_is_opened_by_its_end() {
    let (_dir, path) = sample(0);
    let context = (0..8)
        .fold(EncryptionContext::new(), |c, i| c.with(&i.to_string(), &"\"".repeat(1000)).unwrap());
    let log = open(&path);
    for _ in 0..40 {
        log.record(&AuditEvent { context: Some(&context), ..event("k") }).unwrap();
    }
    assert!(fs::metadata(&path).unwrap().len() > 600_000);
    open(&path).record(&event("k")).unwrap();
    assert_eq!(AuditLog::verify(&path).unwrap().records, 41);
}

#[test]
fn several_processes_share_one_chain() {
    let (_dir, path) = sample(0);
    // Each has its own file and lock, as another process has.
    let logs: Vec<_> = (0..3).map(|_| open(&path)).collect();
    std::thread::scope(|scope| {
        for log in &logs {
            scope.spawn(|| (0..40).for_each(|_| log.record(&event("k")).unwrap()));
            scope.spawn(|| (0..40).for_each(|_| log.record(&event("k")).unwrap()));
        }
    });
    assert_eq!(AuditLog::verify(&path).unwrap().records, 240);
}

#[test]
fn a_log_that_is_cut_removed_replaced_or_forged_in_use_takes_no_more() {
    let (dir, path) = sample(0);
    let log = open(&path);
    log.record(&event("k")).unwrap();
    let whole = fs::read(&path).unwrap();
    let kind = || log.record(&event("k")).unwrap_err().kind();

    fs::File::options().write(true).open(&path).unwrap().set_len(10).unwrap();
    assert_eq!(kind(), ErrorKind::Corrupt, "cut");
    fs::write(&path, &whole).unwrap();
    let mut file = fs::File::options().append(true).open(&path).unwrap();
    file.write_all(&whole).unwrap();
    assert_eq!(kind(), ErrorKind::Corrupt, "continued by something that does not fit");
    fs::write(&path, &whole).unwrap();
    log.record(&event("k")).unwrap();
    fs::rename(&path, dir.path().join("old")).unwrap();
    assert_eq!(kind(), ErrorKind::Io, "removed");
    fs::copy(dir.path().join("old"), &path).unwrap();
    assert_eq!(kind(), ErrorKind::Corrupt, "replaced");
}

/// A sink that fails while it is told to.
struct Flaky {
    fails: AtomicBool,
    sink: MemoryAudit,
}

impl AuditSink for Flaky {
    fn record(&self, event: &AuditEvent<'_>) -> Result<()> {
        match self.fails.load(Ordering::Relaxed) {
            true => Err(Error::io("append", Object::AuditLog, std::io::Error::other("full"))),
            false => self.sink.record(event),
        }
    }
}

/// A provider whose only key is all nines.
struct Nines;

impl KeyProvider for Nines {
    fn name(&self) -> &str {
        "nines"
    }

    fn generate(&self, key: &str, context: &EncryptionContext) -> Result<(Secret<32>, WrappedKey)> {
        let secret = Secret::take(&mut [9; 32]);
        let wrapped = self.wrap(key, context, &secret)?;
        Ok((secret, wrapped))
    }

    fn wrap(&self, key: &str, _: &EncryptionContext, _: &Secret<32>) -> Result<WrappedKey> {
        WrappedKey::new("nines", key, &[1])
    }

    fn unwrap(&self, wrapped: &WrappedKey, _: &EncryptionContext) -> Result<Secret<32>> {
        match wrapped.key_id() {
            "missing" => Err(Error::KeyNotFound("missing".to_owned())),
            _ => Ok(Secret::take(&mut [9; 32])),
        }
    }

    fn describe(&self, key: &str) -> Result<KeyDescription> {
        Ok(KeyDescription::new("nines", key, KeyState::Enabled))
    }
}

#[test]
fn without_a_record_no_use_or_a_counted_loss() {
    let sink = Arc::new(Flaky { fails: AtomicBool::new(true), sink: MemoryAudit::new() });
    let context = EncryptionContext::new();
    let wrapped = WrappedKey::new("nines", "k", &[1]).unwrap();
    let missing = WrappedKey::new("nines", "missing", &[1]).unwrap();

    let closed = Audited::new(Nines, sink.clone(), AuditPolicy::FailClosed);
    assert!(closed.generate("k", &context).is_err());
    assert!(closed.wrap("k", &context, &Secret::zeroed()).is_err());
    assert!(closed.unwrap(&wrapped, &context).is_err());
    assert!(closed.rewrap(&wrapped, &context, "k").is_err());
    assert!(closed.describe("k").is_err());
    let own_reason = closed.unwrap(&missing, &context).err().unwrap();
    assert_eq!(own_reason.kind(), ErrorKind::KeyNotFound);
    assert_eq!(closed.lost(), 6);

    let open = Audited::new(Arc::new(Nines), sink.clone(), AuditPolicy::FailOpen);
    let open = open.clone().with_principal("uid 4");
    assert_eq!(open.unwrap(&wrapped, &context).unwrap().expose(), &[9; 32]);
    assert_eq!(open.lost(), 1);
    sink.fails.store(false, Ordering::Relaxed);
    open.unwrap(&wrapped, &context).unwrap();
    open.unwrap(&missing, &context).err().unwrap();
    let records = sink.sink.take();
    assert_eq!(records.len(), 2);
    assert!(records.iter().all(|r| r.principal.as_deref() == Some("uid 4")));
    assert_eq!((&*records[0].result, &*records[1].result), ("ok", "KeyNotFound"));
    assert_eq!(records[1].prev, records[0].hash);
}
