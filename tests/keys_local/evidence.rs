//! What is recorded, and what is never shown.

use std::fs;
use std::sync::Arc;

use efscrypt::keys::{AuditPolicy, Audited, EncryptionContext, KeyProvider, MemoryAudit};

use crate::secrets::{Secrets, WINDOW};
use crate::{Bench, DAY, context, passphrase};

#[test]
fn no_key_bytes_in_files_records_errors_or_debug_output() {
    let bench = Bench::new();
    let sink = Arc::new(MemoryAudit::new());
    let kms = Audited::new(bench.init(), sink.clone(), AuditPolicy::FailClosed);
    kms.create_key(Some("alias/one")).unwrap();
    let (secret, wrapped) = kms.generate("alias/one", &context()).unwrap();
    kms.unwrap(&wrapped, &context()).unwrap();
    let rewrapped = kms.rewrap(&wrapped, &context(), "alias/one").unwrap();
    let mut texts = vec![format!("{wrapped:?} {rewrapped:?}")];
    texts.push(format!("{:?}", kms.unwrap(&wrapped, &EncryptionContext::new()).err().unwrap()));
    kms.disable("alias/one").unwrap();
    let error = kms.unwrap(&wrapped, &context()).err().unwrap();
    texts.push(format!("{error:?} {error}"));
    texts.push(format!("{:?}", kms.describe("alias/one").unwrap()));
    texts.push(format!("{:?}", sink.take()));
    texts.push(fs::read_to_string(bench.path()).unwrap());

    let mut secrets = Secrets::default();
    assert!(secrets.add(0, secret.expose()));
    let hex: String = secret.expose().iter().map(|b| format!("{b:02x}")).collect();
    let debug = format!("{:?}", &secret.expose()[..WINDOW]);
    let debug = debug.trim_matches(['[', ']']);
    for text in &texts {
        for needle in [&hex[..32], &hex[32..], debug, "correct horse"] {
            assert!(!text.contains(needle), "{text}");
        }
    }
    let raw = [wrapped.encode(), rewrapped.encode(), texts.concat().into_bytes()].concat();
    assert_eq!(secrets.find(&raw).next(), None);
}

#[test]
fn every_call_leaves_one_record_whatever_its_end() {
    let bench = Bench::new();
    let sink = Arc::new(MemoryAudit::new());
    let kms = Audited::new(bench.init(), sink.clone(), AuditPolicy::FailClosed);
    let kms = kms.with_principal("uid 0");
    let id = kms.create_key(Some("alias/one")).unwrap().id;
    let (secret, wrapped) = kms.generate("alias/one", &context()).unwrap();
    kms.wrap("alias/one", &context(), &secret).unwrap();
    kms.rotate("alias/one").unwrap();
    kms.rewrap(&wrapped, &context(), "alias/one").unwrap();
    assert!(kms.unwrap(&wrapped, &EncryptionContext::new()).is_err());
    kms.set_alias("alias/two", &id).unwrap();
    kms.delete_alias("alias/two").unwrap();
    kms.disable(&id).unwrap();
    assert!(kms.unwrap(&wrapped, &context()).is_err());
    kms.enable(&id).unwrap();
    kms.schedule_deletion(&id, 7).unwrap();
    kms.cancel_deletion(&id).unwrap();
    kms.describe(&id).unwrap();
    kms.destroy_expired().unwrap();
    kms.change_unlock(&passphrase("correct horse"), &passphrase("new")).unwrap();
    assert!(kms.generate("alias/none", &context()).is_err());

    let records = sink.take();
    let told: Vec<_> =
        records.iter().map(|r| (r.op.as_str(), r.key.as_str(), r.result.as_str())).collect();
    let id = id.as_str();
    assert_eq!(
        told,
        [
            ("create-key", id, "ok"),
            ("generate", id, "ok"),
            ("wrap", id, "ok"),
            ("rotate", id, "ok"),
            ("rewrap", id, "ok"),
            ("unwrap", id, "WrongContext"),
            ("set-alias", id, "ok"),
            ("delete-alias", id, "ok"),
            ("disable", id, "ok"),
            ("unwrap", id, "KeyDisabled"),
            ("enable", id, "ok"),
            ("schedule-deletion", id, "ok"),
            ("cancel-deletion", id, "ok"),
            ("describe", id, "ok"),
            ("destroy-expired", "", "ok"),
            ("change-unlock", "", "ok"),
            ("generate", "alias/none", "KeyNotFound"),
        ]
    );
    assert!(records.iter().all(|r| r.principal.as_deref() == Some("uid 0")));
    assert_eq!(records[1].domain.as_deref(), Some("DATA"));
    assert_eq!(records[1].context["tenant"], "acme");
    let named: Vec<_> =
        records.iter().filter_map(|r| Some((r.op.as_str(), r.alias.as_deref()?))).collect();
    assert_eq!(
        named,
        [("create-key", "alias/one"), ("set-alias", "alias/two"), ("delete-alias", "alias/two")]
    );
}

#[test]
fn a_change_records_what_else_it_did() {
    let bench = Bench::new();
    let sink = Arc::new(MemoryAudit::new());
    let kms = Audited::new(bench.init(), sink.clone(), AuditPolicy::FailClosed);
    let ids: Vec<_> = (0..4).map(|_| kms.create_key(None).unwrap().id).collect();
    kms.schedule_deletion(&ids[0], 7).unwrap();
    kms.schedule_deletion(&ids[1], 7).unwrap();
    kms.set_alias("alias/data", &ids[2]).unwrap();
    kms.set_alias("alias/data", &ids[2]).unwrap();
    sink.take();
    let told = || -> Vec<_> {
        let records = sink.take().into_iter();
        records.map(|r| (r.op, r.key, r.alias.unwrap_or_default(), r.result)).collect()
    };
    let record = |op: &str, key: &str, alias: &str, result: &str| {
        (op.to_owned(), key.to_owned(), alias.to_owned(), result.to_owned())
    };

    bench.pass(7 * DAY);
    assert!(kms.set_alias("alias/data", &ids[0]).is_err());
    assert_eq!(told(), [record("set-alias", &ids[0], "alias/data", "KeyNotFound")]);
    kms.set_alias("alias/data", &ids[3]).unwrap();
    assert_eq!(
        told(),
        [
            record("destroy-key", &ids[0], "", "ok"),
            record("destroy-key", &ids[1], "", "ok"),
            record("delete-alias", &ids[2], "alias/data", "ok"),
            record("set-alias", &ids[3], "alias/data", "ok"),
        ]
    );
    kms.schedule_deletion(&ids[3], 7).unwrap();
    bench.pass(7 * DAY);
    sink.take();
    assert_eq!(kms.destroy_expired().unwrap(), 1);
    assert_eq!(kms.destroy_expired().unwrap(), 0);
    assert_eq!(
        told(),
        [
            record("destroy-key", &ids[3], "", "ok"),
            record("destroy-expired", "", "", "ok"),
            record("destroy-expired", "", "", "ok"),
        ]
    );
}
