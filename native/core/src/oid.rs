//! Object ids as a fixed number of 32-bit words.
//!
//! `W` is 5 for SHA-1 and 8 for SHA-256. The words hold the id's bytes big-endian, so comparing
//! words compares bytes, which is the order an index is sorted in. A word is also the unit the
//! object table stores atomically.

use std::fmt;

/// An object id of `W` words.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Oid<const W: usize>(pub(crate) [u32; W]);

impl<const W: usize> Oid<W> {
    /// Bytes in a binary id.
    pub const BYTES: usize = W * 4;
    /// Digits in a hexadecimal id.
    pub const HEX: usize = W * 8;

    /// Reads an id from exactly [`Self::BYTES`] bytes; `None` for any other length.
    #[inline]
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        if bytes.len() != Self::BYTES {
            return None;
        }
        let mut words = [0u32; W];
        for (word, chunk) in words.iter_mut().zip(bytes.chunks_exact(4)) {
            *word = u32::from_be_bytes([chunk[0], chunk[1], chunk[2], chunk[3]]);
        }
        Some(Oid(words))
    }

    /// Reads an id from the first [`Self::HEX`] digits, either case, as git does.
    pub fn from_hex(text: &[u8]) -> Option<Self> {
        let digits = text.get(..Self::HEX)?;
        let mut words = [0u32; W];
        for (word, chunk) in words.iter_mut().zip(digits.chunks_exact(8)) {
            for &digit in chunk {
                *word = *word << 4 | (digit as char).to_digit(16)?;
            }
        }
        Some(Oid(words))
    }

    /// Appends the binary id to `out`.
    pub fn write_to(&self, out: &mut Vec<u8>) {
        for word in self.0 {
            out.extend_from_slice(&word.to_be_bytes());
        }
    }

    /// The binary id.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(Self::BYTES);
        self.write_to(&mut out);
        out
    }

    /// Tells whether this is the id git uses for "no object".
    pub fn is_null(&self) -> bool {
        self.0.iter().all(|&word| word == 0)
    }

    /// The first byte, by which an index's fan-out table counts.
    pub fn first_byte(&self) -> usize {
        (self.0[0] >> 24) as usize
    }
}

impl<const W: usize> fmt::Display for Oid<W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|word| write!(f, "{word:08x}"))
    }
}

impl<const W: usize> fmt::Debug for Oid<W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hex_and_bytes_agree() {
        let hex = b"4b825dc642cb6eb9a060e54bf8d69288fbee4904";
        let oid = Oid::<5>::from_hex(hex).unwrap();
        assert_eq!(oid.to_string().as_bytes(), hex);
        assert_eq!(Oid::<5>::from_bytes(&oid.to_bytes()), Some(oid));
        assert_eq!(oid.first_byte(), 0x4b);
    }

    #[test]
    fn wrong_lengths_and_digits_are_refused() {
        assert!(Oid::<5>::from_bytes(&[0; 19]).is_none());
        assert!(Oid::<5>::from_hex(b"4b82").is_none());
        assert!(Oid::<8>::from_hex(&[b'g'; 64]).is_none());
        assert!(Oid::<5>::from_hex(&[b'+'; 40]).is_none());
    }
}
