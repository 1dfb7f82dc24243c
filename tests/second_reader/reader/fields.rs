//! Numbers at offsets of bytes that are long enough.

pub fn u16_at(bytes: &[u8], at: usize) -> usize {
    usize::from(u16::from_le_bytes([bytes[at], bytes[at + 1]]))
}

pub fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().expect("4 bytes"))
}

pub fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().expect("8 bytes"))
}

/// A number in a row key.
pub fn key_u64(bytes: &[u8], at: usize) -> u64 {
    u64::from_be_bytes(bytes[at..at + 8].try_into().expect("8 bytes"))
}

/// Bytes of the device, which may not have them.
pub fn bytes_at(image: &[u8], at: u64, len: usize) -> Result<&[u8], String> {
    let at = usize::try_from(at).map_err(|_| "an address beyond memory")?;
    at.checked_add(len).and_then(|end| image.get(at..end)).ok_or("beyond the device".into())
}

/// The unit's first byte.
pub fn unit_at(unit: u64) -> Result<u64, String> {
    unit.checked_mul(4096).ok_or("an address beyond the device".into())
}
