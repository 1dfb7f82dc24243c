//! Lower-case hexadecimal: how ids and sealed bytes stand in JSON, key files and contexts.

/// The bytes as lower-case digits, most significant first.
pub(crate) fn encode(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(2 * bytes.len());
    for digits in bytes.iter().map(|&byte| digits(byte)) {
        text.extend(digits.map(char::from));
    }
    text
}

/// The digits of a byte.
pub(crate) fn digits(byte: u8) -> [u8; 2] {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    [DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]]
}

/// Exactly `2 * N` lower-case digits into `out`; false, with `out` unspecified, for all else. One
/// spelling per value, so that equal bytes are equal text. Takes a destination so that a key
/// needs no second copy.
pub(crate) fn decode_into<const N: usize>(text: &[u8], out: &mut [u8; N]) -> bool {
    let (pairs, rest) = text.as_chunks::<2>();
    if pairs.len() != N || !rest.is_empty() {
        return false;
    }
    pairs.iter().zip(out.iter_mut()).all(|(&[high, low], byte)| {
        match (digit(high), digit(low)) {
            (Some(high), Some(low)) => *byte = high << 4 | low,
            _ => return false,
        }
        true
    })
}

fn digit(c: u8) -> Option<u8> {
    match c {
        b'0'..=b'9' => Some(c - b'0'),
        b'a'..=b'f' => Some(c - b'a' + 10),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decode<const N: usize>(text: &str) -> Option<[u8; N]> {
        let mut out = [0; N];
        decode_into(text.as_bytes(), &mut out).then_some(out)
    }

    #[test]
    fn one_spelling_per_value() {
        assert_eq!(encode(&[0, 0x1f, 0xa0, 0xff]), "001fa0ff");
        assert_eq!(decode::<4>("001fa0ff"), Some([0, 0x1f, 0xa0, 0xff]));
        for bad in ["", "001fa0f", "001fa0ff0", "001fa0ff00", "001FA0FF", "001fa0fg", " 01fa0ff"] {
            assert_eq!(decode::<4>(bad), None, "{bad:?}");
        }
    }
}
