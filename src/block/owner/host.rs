//! Who this process is, among all that may open a store; and whether another is still there.

use std::fs;
use std::os::unix::fs::MetadataExt;

use crate::format::OwnerBody;

/// Who opens a store: the process, its host, and the host's boot.
#[derive(Clone)]
pub struct Identity(pub(super) OwnerBody);

impl Identity {
    /// This process. What the system does not tell stays unknown.
    pub fn this() -> Identity {
        let host = fs::read("/proc/sys/kernel/hostname").unwrap_or_default();
        let mut owner = OwnerBody::new(host.trim_ascii());
        let pid = std::process::id();
        owner.boot = id("/proc/sys/kernel/random/boot_id").unwrap_or_default();
        owner.machine = id("/etc/machine-id").unwrap_or_default();
        owner.pid = pid.into();
        owner.started = started(pid).unwrap_or(0).into();
        owner.namespace = fs::metadata("/proc/self/ns/pid").map_or(0, |about| about.ino()).into();
        Identity(owner)
    }

    /// Somebody, for tests and simulations: a host with a boot, and a process.
    #[cfg(any(test, feature = "sim"))]
    pub fn simulated(host: &str, boot: u8, pid: u32) -> Identity {
        let mut owner = OwnerBody::new(host.as_bytes());
        owner.boot = [boot; 16];
        owner.machine[..8].copy_from_slice(&(host.len() as u64 + 1).to_le_bytes());
        owner.pid = pid.into();
        Identity(owner)
    }
}

/// An id of 16 bytes in hexadecimal digits, with dashes or without.
fn id(path: &str) -> Option<[u8; 16]> {
    let text = fs::read_to_string(path).ok()?;
    let digits: String = text.chars().filter(char::is_ascii_hexdigit).collect();
    (digits.len() == 32).then(|| u128::from_str_radix(&digits, 16).ok())?.map(u128::to_be_bytes)
}

/// When a process started, in ticks since the boot; `None` where there is none of the number, or
/// only what is left of one that ended.
pub(super) fn started(pid: u32) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name of the program may hold anything.
    let mut fields = stat.get(stat.rfind(')')? + 1..)?.split_whitespace();
    let state = fields.next()?;
    let started = fields.nth(18)?.parse().ok()?;
    (!matches!(state, "Z" | "X" | "x")).then_some(started)
}

/// Whether a process that started then may still be there. Without `/proc` all may.
pub(super) fn lives(pid: u32, started_then: u64) -> bool {
    match started(pid) {
        Some(started) => started == started_then || started_then == 0,
        None => started(std::process::id()).is_none(),
    }
}
