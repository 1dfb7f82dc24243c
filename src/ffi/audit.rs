//! The log of key uses, for C.

use std::ffi::c_char;
use std::sync::Arc;

use super::boundary::{give, guard, out, put};
use super::bytes::{path, text};
use super::error::{efscrypt_error, efscrypt_status};
use super::provider::{efscrypt_provider, provider};
use crate::keys::{AuditDurability, AuditLog, AuditPolicy, Audited};

/// Makes a provider that hands every call to another one and records it in a file: one JSON object
/// a line, each chained to the one before by a hash, durable before the call returns. A call that
/// cannot be recorded fails. The file is made with mode 0600 where it is not there; several
/// programs may use one. `principal` says for whom the calls are made, in words of the caller's, or
/// is NULL.
///
/// The other provider may be freed. Stores that are opened with it leave no record.
///
/// # Safety
/// `inner` is valid; `file` is a NUL-terminated string, and so is `principal` unless it is NULL;
/// `audited` is valid for a write.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn efscrypt_provider_audit(
    inner: *const efscrypt_provider,
    file: *const c_char,
    principal: *const c_char,
    audited: *mut *mut efscrypt_provider,
    error: *mut efscrypt_error,
) -> efscrypt_status {
    guard(error, || {
        let audited = out(audited)?;
        // SAFETY: as the caller promises.
        let inner = unsafe { provider(inner, "the provider is NULL")? };
        // SAFETY: as the caller promises.
        let file = unsafe { path(file)? };
        let log = Arc::new(AuditLog::open(file, AuditDurability::EachRecord)?);
        let mut recorded = Audited::new(inner, log, AuditPolicy::FailClosed);
        if !principal.is_null() {
            // SAFETY: as the caller promises.
            recorded = recorded.with_principal(unsafe { text(principal)? });
        }
        let recorded = efscrypt_provider::new(Arc::new(recorded))?;
        // SAFETY: `audited` is valid for a write.
        unsafe { give(audited, recorded) };
        Ok(())
    })
}

/// Verifies a file of records from the first to the last, and sets `*records` to how many there
/// are. `EFSCRYPT_STATUS_CORRUPT` where one is not what was written there, or is missing in
/// between. A log that was cut at its end looks like a shorter one.
///
/// # Safety
/// `file` is a NUL-terminated string; `records` is valid for a write.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn efscrypt_audit_verify(
    file: *const c_char,
    records: *mut u64,
    error: *mut efscrypt_error,
) -> efscrypt_status {
    guard(error, || {
        let records = out(records)?;
        // SAFETY: as the caller promises.
        let summary = AuditLog::verify(unsafe { path(file)? })?;
        // SAFETY: `records` is valid for a write.
        unsafe { put(records, summary.records) };
        Ok(())
    })
}
