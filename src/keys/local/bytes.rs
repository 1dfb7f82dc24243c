//! Bytes of a fixed length in JSON.

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::keys::hex;

/// Public bytes of a fixed length that stand in JSON as hexadecimal digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Hex<const N: usize>(pub [u8; N]);

impl<const N: usize> Serialize for Hex<N> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&hex::encode(&self.0))
    }
}

impl<'de, const N: usize> Deserialize<'de> for Hex<N> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = String::deserialize(from)?;
        let mut bytes = [0; N];
        match hex::decode_into(text.as_bytes(), &mut bytes) {
            true => Ok(Hex(bytes)),
            false => Err(de::Error::custom("not the expected number of hexadecimal digits")),
        }
    }
}
