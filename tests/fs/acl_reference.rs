//! What Linux does with access control lists, function by function (`fs/posix_acl.c`), on entries
//! as its attributes have them: tag, permissions, id.

pub type Entry = (u16, u16, u32);

const USER_OBJ: u16 = 1;
const USER: u16 = 2;
const GROUP_OBJ: u16 = 4;
const GROUP: u16 = 8;
const MASK: u16 = 16;
const OTHER: u16 = 32;

pub fn encode(entries: &[Entry]) -> Vec<u8> {
    let mut value = vec![2, 0, 0, 0];
    for (tag, perm, id) in entries {
        value.extend_from_slice(&tag.to_le_bytes());
        value.extend_from_slice(&perm.to_le_bytes());
        value.extend_from_slice(&id.to_le_bytes());
    }
    value
}

pub fn decode(value: &[u8]) -> Vec<Entry> {
    let entry = |bytes: &[u8]| {
        let id = [bytes[4], bytes[5], bytes[6], bytes[7]];
        let two = |at: usize| u16::from_le_bytes([bytes[at], bytes[at + 1]]);
        (two(0), two(2), u32::from_le_bytes(id))
    };
    value[4..].chunks(8).map(entry).collect()
}

/// What Linux gives out after it took a list in.
pub fn canonical(entries: &[Entry]) -> Vec<u8> {
    let id = |tag, id| if tag == USER || tag == GROUP { id } else { u32::MAX };
    let entries: Vec<Entry> = entries.iter().map(|e| (e.0, e.1, id(e.0, e.2))).collect();
    encode(&entries)
}

/// `posix_acl_valid`
pub fn valid(entries: &[Entry]) -> bool {
    let (mut state, mut needs_mask) = (USER_OBJ, false);
    for &(tag, perm, id) in entries {
        if perm & !7 != 0 {
            return false;
        }
        match (tag, state) {
            (USER_OBJ, USER_OBJ) => state = USER,
            (USER, USER) | (GROUP, GROUP) if id != u32::MAX => needs_mask = true,
            (GROUP_OBJ, USER) => state = GROUP,
            (MASK, GROUP) => state = OTHER,
            (OTHER, OTHER) => state = 0,
            (OTHER, GROUP) if !needs_mask => state = 0,
            _ => return false,
        }
    }
    state == 0
}

/// `posix_acl_equiv_mode`
pub fn equiv_mode(entries: &[Entry], old: u32) -> (u32, bool) {
    let (mut mode, mut same) = (0, true);
    for &(tag, perm, _) in entries {
        let perm = u32::from(perm & 7);
        match tag {
            USER_OBJ => mode |= perm << 6,
            GROUP_OBJ => mode |= perm << 3,
            OTHER => mode |= perm,
            MASK => {
                mode = (mode & !0o070) | perm << 3;
                same = false;
            }
            _ => same = false,
        }
    }
    (old & !0o777 | mode, same)
}

/// `__posix_acl_chmod_masq`
pub fn chmod(entries: &[Entry], mode: u32) -> Vec<Entry> {
    let mut entries = entries.to_vec();
    let masked = entries.iter().any(|entry| entry.0 == MASK);
    for entry in &mut entries {
        match entry.0 {
            USER_OBJ => entry.1 = (mode >> 6 & 7) as u16,
            GROUP_OBJ if !masked => entry.1 = (mode >> 3 & 7) as u16,
            MASK => entry.1 = (mode >> 3 & 7) as u16,
            OTHER => entry.1 = (mode & 7) as u16,
            _ => {}
        }
    }
    entries
}

/// `posix_acl_create_masq`: the mode, and the access list where it is kept.
pub fn create(entries: &[Entry], asked: u32) -> (u32, Option<Vec<u8>>) {
    let mut entries = entries.to_vec();
    let (mut mode, mut keep) = (asked, false);
    for entry in &mut entries {
        match entry.0 {
            USER_OBJ => {
                entry.1 &= (mode >> 6) as u16 & 7;
                mode &= u32::from(entry.1) << 6 | !0o700;
            }
            OTHER => {
                entry.1 &= mode as u16 & 7;
                mode &= u32::from(entry.1) | !0o007;
            }
            GROUP_OBJ => {}
            _ => keep = true,
        }
    }
    let masked = entries.iter().position(|entry| entry.0 == MASK);
    let group = entries.iter().position(|entry| entry.0 == GROUP_OBJ);
    if let Some(at) = masked.or(group) {
        entries[at].1 &= (mode >> 3) as u16 & 7;
        mode &= u32::from(entries[at].1) << 3 | !0o070;
    }
    let mode = asked & !0o777 | mode & 0o777;
    (mode, keep.then(|| canonical(&entries)))
}

/// `posix_acl_permission`
pub fn permission(
    entries: &[Entry],
    owner: (u32, u32),
    uid: u32,
    groups: &[u32],
    want: u16,
) -> bool {
    let mut found = false;
    for (at, &(tag, perm, id)) in entries.iter().enumerate() {
        let fits = perm & want == want;
        let masked = |whole: bool| {
            let mask = entries[at + 1..].iter().find(|entry| entry.0 == MASK);
            mask.map_or(whole, |mask| perm & mask.1 & want == want)
        };
        match tag {
            USER_OBJ if uid == owner.0 => return fits,
            USER if uid == id => return masked(fits),
            GROUP_OBJ if groups.contains(&owner.1) => {
                found = true;
                if fits {
                    return masked(true);
                }
            }
            GROUP if groups.contains(&id) => {
                found = true;
                if fits {
                    return masked(true);
                }
            }
            OTHER => return !found && fits,
            _ => {}
        }
    }
    false
}
