//! Checks and recovery, for C.

use super::boundary::{out, put, with_store};
use super::error::{efscrypt_error, efscrypt_status};
use super::store::efscrypt_store;
use crate::check::{CheckOptions, CheckReport, check, check_with};
use crate::store::Store;
use crate::txn::Recovery;

/// What a check found. It never grows.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
#[allow(non_camel_case_types, reason = "the name is C's")]
pub struct efscrypt_check_report {
    /// 1 where nothing is wrong and no space is lost, else 0.
    pub clean: u32,
    /// Zero.
    pub reserved: u32,
    /// Nodes that were read and are as they were written.
    pub nodes: u64,
    /// Places where a node is damaged, or cannot be read.
    pub nodes_damaged: u64,
    /// Things that do not fit together: names, inodes, contents and keys.
    pub findings: u64,
    /// Rows of all trees.
    pub rows: u64,
    /// Inodes, with directories.
    pub inodes: u64,
    /// Directories.
    pub directories: u64,
    /// Names.
    pub entries: u64,
    /// Inodes without a name that wait to be freed.
    pub orphans: u64,
    /// Units of 4 KiB that something owns.
    pub units: u64,
    /// Units in use that nothing owns: lost, and harmless.
    pub units_lost: u64,
    /// Units that something owns and that count as free: what is written next may destroy them.
    pub units_unrecorded: u64,
    /// Units with two owners.
    pub units_shared: u64,
    /// Zero; for later versions.
    pub reserved2: [u64; 8],
}

impl From<&CheckReport> for efscrypt_check_report {
    fn from(report: &CheckReport) -> efscrypt_check_report {
        let structure = &report.structure;
        efscrypt_check_report {
            clean: u32::from(report.is_clean()),
            reserved: 0,
            nodes: structure.nodes,
            nodes_damaged: structure.damaged.len() as u64,
            findings: report.findings.len() as u64,
            rows: structure.rows,
            inodes: report.inodes,
            directories: report.directories,
            entries: report.entries,
            orphans: report.orphans,
            units: structure.owned,
            units_lost: structure.lost,
            units_unrecorded: structure.unrecorded,
            units_shared: structure.shared,
            reserved2: [0; 8],
        }
    }
}

/// Verifies every copy of every block of metadata, what is in use and what is free, and that names,
/// directories, inodes and keys fit together. Needs no data key: contents are not read; read them
/// to verify them. What it finds wrong is no failure: see `report->clean`. Expects that nobody
/// changes anything meanwhile. Repairs nothing; writes a checkpoint first unless the store was
/// opened read-only. Takes about 250 bytes of memory for each inode; `efscrypt_store_check_within`
/// can do with less.
///
/// # Safety
/// `store` is valid; `report` is valid for a write.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn efscrypt_store_check(
    store: *const efscrypt_store,
    report: *mut efscrypt_check_report,
    error: *mut efscrypt_error,
) -> efscrypt_status {
    let body = |store: &Store| {
        let report = out(report)?;
        let found = check(store.file_system())?;
        // SAFETY: as the caller promises.
        unsafe { put(report, (&found).into()) };
        Ok(())
    };
    // SAFETY: as the caller promises.
    unsafe { with_store(store, error, body) }
}

/// As `efscrypt_store_check`, in about `memory` bytes of memory beside the cache of the store, 1
/// MiB at least: what does not fit is checked in parts, each of which reads all metadata again. 16
/// bytes for each directory come on top then.
///
/// # Safety
/// As for `efscrypt_store_check`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn efscrypt_store_check_within(
    store: *const efscrypt_store,
    memory: usize,
    report: *mut efscrypt_check_report,
    error: *mut efscrypt_error,
) -> efscrypt_status {
    let body = |store: &Store| {
        let report = out(report)?;
        let found = check_with(store.file_system(), CheckOptions::within(memory))?;
        // SAFETY: as the caller promises.
        unsafe { put(report, (&found).into()) };
        Ok(())
    };
    // SAFETY: as the caller promises.
    unsafe { with_store(store, error, body) }
}

/// What opening found: all zero for a store that was closed. It never grows.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
#[allow(non_camel_case_types, reason = "the name is C's")]
pub struct efscrypt_recovery {
    /// Records of the log that were applied.
    pub records: u64,
    /// Transactions in them.
    pub transactions: u64,
    /// Bytes of their payloads.
    pub bytes: u64,
    /// Slots of the superblock ring that no writer of this store left there: forged, or written to
    /// the wrong place.
    pub rejected_slots: u32,
    /// 1 where opening finished a rewrap that was interrupted, else 0.
    pub finished_rewrap: u32,
    /// Zero; for later versions.
    pub reserved: [u64; 4],
}

impl From<&Recovery> for efscrypt_recovery {
    fn from(found: &Recovery) -> efscrypt_recovery {
        let Recovery { records, transactions, bytes, rejected_slots, finished_rewrap } = *found;
        let finished_rewrap = u32::from(finished_rewrap);
        let reserved = [0; 4];
        efscrypt_recovery {
            records,
            transactions,
            bytes,
            rejected_slots,
            finished_rewrap,
            reserved,
        }
    }
}

/// Sets `*recovery` to what opening found in the log: changes since the last checkpoint of a store
/// that was not closed.
///
/// # Safety
/// `store` is valid; `recovery` is valid for a write.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn efscrypt_store_recovery(
    store: *const efscrypt_store,
    recovery: *mut efscrypt_recovery,
    error: *mut efscrypt_error,
) -> efscrypt_status {
    let body = |store: &Store| {
        // SAFETY: as the caller promises.
        unsafe { put(out(recovery)?, store.recovery().into()) };
        Ok(())
    };
    // SAFETY: as the caller promises.
    unsafe { with_store(store, error, body) }
}
