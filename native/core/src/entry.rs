//! The header of a pack entry (gitformat-pack: "Pack file entry").
//!
//! Pure: bytes in, a header or "need more" out.

use crate::error::{Error, Result};
use crate::object::Kind;
use crate::oid::Oid;

/// No header is longer: 10 bytes of type and size, then at most a 32-byte id.
pub const LONGEST_HEADER: usize = 10 + 32;
/// Type of an entry that is a delta against an entry before it.
pub const OFFSET_DELTA: u8 = 6;
/// Type of an entry that is a delta against an object by name.
pub const NAME_DELTA: u8 = 7;

/// What an entry holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Body<const W: usize> {
    /// A whole object.
    Whole(Kind),
    /// A delta against the entry at this offset.
    OffsetDelta(u64),
    /// A delta against the object of this name, anywhere.
    NameDelta(Oid<W>),
}

/// An entry's header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header<const W: usize> {
    /// What follows.
    pub body: Body<W>,
    /// Bytes that follow once inflated: the object, or the delta's instructions.
    pub size: u64,
    /// Bytes of this header.
    pub length: usize,
}

/// Parses the header of the entry that begins at `offset` from `bytes`.
///
/// `Ok(None)` means that the header goes on beyond `bytes`.
pub fn parse<const W: usize>(bytes: &[u8], offset: u64) -> Result<Option<Header<W>>> {
    let Some(&first) = bytes.first() else { return Ok(None) };
    let mut size = u64::from(first & 0x0f);
    let (mut shift, mut at, mut byte) = (4u32, 1usize, first);
    while byte & 0x80 != 0 {
        let Some(&next) = bytes.get(at) else { return Ok(None) };
        byte = next;
        at += 1;
        let bits = u64::from(byte & 0x7f);
        if shift > 63 || bits << shift >> shift != bits {
            return Err(Error::pack(offset, "size of the entry is beyond 64 bits"));
        }
        size |= bits << shift;
        shift += 7;
    }
    let body = match first >> 4 & 7 {
        OFFSET_DELTA => match parse_distance(&bytes[at..], offset)? {
            None => return Ok(None),
            Some((distance, used)) => {
                at += used;
                Body::OffsetDelta(offset - distance)
            }
        },
        NAME_DELTA => {
            let Some(id) = bytes.get(at..at + Oid::<W>::BYTES) else { return Ok(None) };
            at += Oid::<W>::BYTES;
            match Oid::from_bytes(id) {
                Some(oid) => Body::NameDelta(oid),
                None => return Ok(None),
            }
        }
        number => match Kind::from_number(number) {
            Some(kind) => Body::Whole(kind),
            None => return Err(Error::pack(offset, format!("unknown object type {number}"))),
        },
    };
    Ok(Some(Header { body, size, length: at }))
}

/// Parses how far back the base of an offset delta lies; at least 1 and less than `offset`.
fn parse_distance(bytes: &[u8], offset: u64) -> Result<Option<(u64, usize)>> {
    let mut distance = 0u64;
    for (at, &byte) in bytes.iter().enumerate() {
        distance |= u64::from(byte & 0x7f);
        if byte & 0x80 == 0 {
            if distance == 0 || distance >= offset {
                return Err(Error::pack(offset, "delta base offset is out of bounds"));
            }
            return Ok(Some((distance, at + 1)));
        }
        distance += 1;
        if distance >> 57 != 0 {
            return Err(Error::pack(offset, "delta base offset is beyond 64 bits"));
        }
        distance <<= 7;
    }
    Ok(None)
}

/// Appends the header of a whole object of `size` bytes, as git writes it.
pub fn write_whole(kind: Kind, size: u64, out: &mut Vec<u8>) {
    write_size(kind as u8, size, out);
}

/// Appends the part of a header that all entries have: the number of its type, and its size.
pub fn write_size(number: u8, size: u64, out: &mut Vec<u8>) {
    let mut byte = number << 4 | (size & 0x0f) as u8;
    let mut rest = size >> 4;
    while rest != 0 {
        out.push(byte | 0x80);
        byte = (rest & 0x7f) as u8;
        rest >>= 7;
    }
    out.push(byte);
}

/// Appends how far back the base of an offset delta lies, as git writes it.
pub fn write_distance(distance: u64, out: &mut Vec<u8>) {
    let mut bytes = [0; 10];
    let mut at = bytes.len() - 1;
    bytes[at] = (distance & 0x7f) as u8;
    let mut rest = distance >> 7;
    while rest != 0 {
        rest -= 1;
        at -= 1;
        bytes[at] = (rest & 0x7f) as u8 | 0x80;
        rest >>= 7;
    }
    out.extend_from_slice(&bytes[at..]);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_objects_round_trip() {
        for size in [0, 15, 16, 2047, 2048, u64::from(u32::MAX) + 1, u64::MAX] {
            let mut bytes = Vec::new();
            write_whole(Kind::Tag, size, &mut bytes);
            let header = parse::<5>(&bytes, 12).unwrap().unwrap();
            assert_eq!(header, Header { body: Body::Whole(Kind::Tag), size, length: bytes.len() });
            assert_eq!(parse::<5>(&bytes[..bytes.len() - 1], 12).unwrap(), None);
        }
    }

    #[test]
    fn offset_deltas_point_backwards_and_inside() {
        let header = parse::<5>(&[0x65, 0x80, 0x00], 1000).unwrap().unwrap();
        assert_eq!(header.body, Body::OffsetDelta(1000 - 128));
        assert!(parse::<5>(&[0x65, 0x00], 1000).is_err());
        assert!(parse::<5>(&[0x65, 0x0c], 12).is_err());
        assert!(parse::<5>(&[[0x65].as_slice(), &[0xff; 12]].concat(), 1000).is_err());
    }

    #[test]
    fn distances_round_trip() {
        for distance in [1, 127, 128, 255, 16_511, 16_512, 2_113_663, 2_113_664, 1 << 40] {
            let mut bytes = Vec::new();
            write_size(OFFSET_DELTA, 5, &mut bytes);
            write_distance(distance, &mut bytes);
            let header = parse::<5>(&bytes, 1 << 41).unwrap().unwrap();
            assert_eq!(header.body, Body::OffsetDelta((1 << 41) - distance));
            assert_eq!(header.length, bytes.len());
        }
    }

    #[test]
    fn reserved_types_and_huge_sizes_are_refused() {
        assert!(parse::<5>(&[0x00], 12).is_err());
        assert!(parse::<5>(&[0x50], 12).is_err());
        assert!(parse::<5>(&[[0xbf].as_slice(), &[0xff; 10]].concat(), 12).is_err());
    }
}
