//! Whole packs: what comes out is the same pack, however it is read, and odd input is an error.

use pack_deflate::{deflate_pack, Made, Settings};
use pack_index::entry::{write_distance, write_size, write_whole, NAME_DELTA, OFFSET_DELTA};
use pack_index::error::{Error, Fault};
use pack_index::hash::{Algorithm, Hasher};
use pack_index::object::Kind;
use pack_index::oid::Oid;
use proptest::prelude::*;
use std::io::{self, Read, Write};

/// A zlib stream of stored blocks, as level 0 makes them.
fn stored(bytes: &[u8]) -> Vec<u8> {
    let mut out = vec![0x78, 0x01];
    let mut chunks = bytes.chunks(0xffff).peekable();
    if bytes.is_empty() {
        out.extend_from_slice(&[1, 0, 0, 0xff, 0xff]);
    }
    while let Some(chunk) = chunks.next() {
        out.push(u8::from(chunks.peek().is_none()));
        out.extend_from_slice(&(chunk.len() as u16).to_le_bytes());
        out.extend_from_slice(&(!(chunk.len() as u16)).to_le_bytes());
        out.extend_from_slice(chunk);
    }
    let (mut a, mut b) = (1u32, 0u32);
    for &byte in bytes {
        a = (a + u32::from(byte)) % 65521;
        b = (b + a) % 65521;
    }
    out.extend_from_slice(&(b << 16 | a).to_be_bytes());
    out
}

/// A pack in the making.
struct Writer {
    bytes: Vec<u8>,
    offsets: Vec<u64>,
}

impl Writer {
    fn new(count: u32) -> Self {
        let mut bytes = b"PACK\0\0\0\x02".to_vec();
        bytes.extend_from_slice(&count.to_be_bytes());
        Writer { bytes, offsets: Vec::new() }
    }

    fn whole(&mut self, content: &[u8]) {
        self.offsets.push(self.bytes.len() as u64);
        write_whole(Kind::Blob, content.len() as u64, &mut self.bytes);
        self.bytes.extend(stored(content));
    }

    fn offset_delta(&mut self, base: usize, content: &[u8]) {
        let at = self.bytes.len() as u64;
        write_size(OFFSET_DELTA, content.len() as u64, &mut self.bytes);
        write_distance(at - self.offsets[base], &mut self.bytes);
        self.offsets.push(at);
        self.bytes.extend(stored(content));
    }

    fn name_delta(&mut self, content: &[u8]) {
        self.offsets.push(self.bytes.len() as u64);
        write_size(NAME_DELTA, content.len() as u64, &mut self.bytes);
        self.bytes.extend_from_slice(&[7; 20]);
        self.bytes.extend(stored(content));
    }

    fn sealed(self) -> Vec<u8> {
        sealed(self.bytes)
    }
}

fn sealed(mut bytes: Vec<u8>) -> Vec<u8> {
    let mut hasher = Hasher::new(Algorithm::Sha1);
    hasher.update(&bytes);
    let trailer: Oid<5> = hasher.finish().unwrap();
    trailer.write_to(&mut bytes);
    bytes
}

/// Content that compresses, another one for each seed.
fn text(seed: usize, size: usize) -> Vec<u8> {
    let words = ["tree", "blob", "commit", "tag", "delta", "base", "\n", "{ ", "} "];
    let mut state = (seed as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let mut out = Vec::new();
    while out.len() < size {
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        out.extend_from_slice(words[(state >> 60) as usize % words.len()].as_bytes());
        out.push((state >> 40) as u8 % 24 + b'a');
    }
    out.truncate(size);
    out
}

/// A pack with all types of entries, of many sizes, whose entries lie far apart or close.
fn sample() -> Vec<u8> {
    let sizes = [0, 1, 100, 5_000, 70_000, 300_000, 20, 3];
    let mut writer = Writer::new(64 * 3);
    for number in 0..64 {
        writer.whole(&text(number, sizes[number % sizes.len()]));
        writer.name_delta(&text(number, 10 + number));
        writer.offset_delta(number * 3 / 2, &text(number, number * 31));
    }
    writer.sealed()
}

fn settings() -> Settings {
    Settings::new(Algorithm::Sha1, 2)
}

fn run(pack: &[u8], settings: Settings) -> Result<(Made, Vec<u8>), Error> {
    let mut out = Vec::new();
    let made = deflate_pack::<5>(pack, &mut out, settings)?;
    Ok((made, out))
}

/// Gives few bytes at a time.
struct Drip<'a>(&'a [u8], usize);

impl Read for Drip<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.1.min(buffer.len());
        self.0.read(&mut buffer[..count])
    }
}

#[test]
fn the_result_is_a_smaller_pack_with_a_right_trailer() {
    let pack = sample();
    let (made, out) = run(&pack, settings()).unwrap();
    assert_eq!((made.objects, made.size), (192, out.len() as u64));
    assert!(out.len() < pack.len() / 2);
    assert_eq!(out, sealed(out[..out.len() - 20].to_vec()));
    let trailer = Oid::<5>::from_bytes(&out[out.len() - 20..]).unwrap();
    assert_eq!(made.checksum, trailer.to_string());
    // Every distance leads to an entry, or this would fail.
    assert_eq!(run(&out, settings()).unwrap().1, out);
}

#[test]
fn neither_threads_nor_pieces_nor_reads_make_a_difference() {
    let pack = sample();
    let expected = run(&pack, settings()).unwrap();
    for threads in [1, 3, 100] {
        assert_eq!(run(&pack, Settings::new(Algorithm::Sha1, threads)).unwrap(), expected);
    }
    for large in [0, 1000, 299_999] {
        assert_eq!(run(&pack, Settings { large, ..settings() }).unwrap(), expected, "{large}");
    }
    for step in [1, 7, 65_537] {
        let mut out = Vec::new();
        deflate_pack::<5>(Drip(&pack, step), &mut out, settings()).unwrap();
        assert_eq!(out, expected.1, "{step}");
    }
}

#[test]
fn a_pack_of_sha256_has_its_own_trailer_and_names() {
    let mut pack = b"PACK\0\0\0\x02\0\0\0\x01".to_vec();
    write_size(NAME_DELTA, 3, &mut pack);
    pack.extend_from_slice(&[9; 32]);
    pack.extend(stored(b"abc"));
    let mut hasher = Hasher::new(Algorithm::Sha256);
    hasher.update(&pack);
    hasher.finish::<8>().unwrap().write_to(&mut pack);
    let mut out = Vec::new();
    let settings = Settings::new(Algorithm::Sha256, 1);
    let made = deflate_pack::<8>(&pack[..], &mut out, settings).unwrap();
    assert_eq!((made.objects, made.checksum.len()), (1, 64));
    assert_eq!(out[13..45], [9; 32]);
}

#[test]
fn a_pack_cut_short_is_refused_wherever_it_is_cut() {
    let mut writer = Writer::new(3);
    writer.whole(&text(1, 400));
    writer.offset_delta(0, &text(2, 300));
    writer.name_delta(b"");
    let pack = writer.sealed();
    for large in [0, u64::MAX] {
        for length in 0..pack.len() {
            let settings = Settings { large: large.min(4 << 20), ..settings() };
            let error = run(&pack[..length], settings).unwrap_err();
            assert_eq!(error.fault, Fault::Pack, "{length}: {error}");
            assert!(error.what.contains("ends early"), "{length}: {error}");
        }
    }
}

fn refused(pack: &[u8]) -> String {
    let error = run(pack, settings()).unwrap_err();
    assert_eq!(error.fault, Fault::Pack, "{error}");
    error.to_string()
}

#[test]
fn odd_packs_are_refused_with_a_reason() {
    let one = |content: &[u8]| {
        let mut writer = Writer::new(1);
        writer.whole(content);
        writer
    };
    assert!(refused(b"PACK\0\0\0\x03\0\0\0\0").contains("version 2"));
    let mut pack = one(b"abc").sealed();
    *pack.last_mut().unwrap() ^= 1;
    assert!(refused(&pack).contains("trailer does not match"));
    let mut pack = one(b"abc").sealed();
    pack.push(0);
    assert!(refused(&pack).contains("follow the pack's trailer"));
    // The header claims more, or less, than its stream makes.
    for claimed in [2, 4, 200] {
        let mut writer = Writer::new(1);
        write_whole(Kind::Blob, claimed, &mut writer.bytes);
        writer.bytes.extend(stored(b"abc"));
        assert!(refused(&writer.sealed()).contains("another size"), "{claimed}");
    }
    let mut writer = one(&text(1, 50));
    writer.bytes[8..12].copy_from_slice(&2u32.to_be_bytes());
    writer.offsets[0] += 1;
    writer.offset_delta(0, b"abc");
    assert!(refused(&writer.sealed()).contains("no entry begins at offset 13"));
    let mut writer = one(&text(1, 50));
    writer.bytes[20] ^= 1;
    assert!(refused(&writer.sealed()).contains("offset 12"));
}

#[test]
fn what_is_claimed_is_not_allocated() {
    for size in [u64::MAX, 1 << 40] {
        let mut writer = Writer::new(u32::MAX);
        write_whole(Kind::Blob, size, &mut writer.bytes);
        writer.bytes.extend(stored(b"abc"));
        assert!(refused(&writer.sealed()).contains("another size"));
    }
}

/// Takes some bytes and then no more.
struct Full(usize);

impl Write for Full {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        if self.0 == 0 {
            return Err(io::ErrorKind::StorageFull.into());
        }
        let count = self.0.min(buffer.len());
        self.0 -= count;
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_full_disk_ends_it_in_an_error_of_this_machine() {
    let pack = sample();
    for room in [0, 12, 100, 200_000] {
        for large in [0, 4 << 20] {
            let settings = Settings { large, ..settings() };
            let error = deflate_pack::<5>(&pack[..], Full(room), settings).unwrap_err();
            assert_eq!(error.fault, Fault::Io, "{error}");
        }
    }
}

proptest! {
    #[test]
    fn changed_bytes_never_do_more_than_fail(
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
    ) {
        let mut writer = Writer::new(4);
        writer.whole(&text(1, 900));
        writer.offset_delta(0, &text(2, 30));
        writer.name_delta(&text(3, 3));
        writer.offset_delta(1, &text(2, 200));
        let mut pack = writer.bytes;
        for (at, byte) in changes {
            let at = at.index(pack.len());
            pack[at] = byte;
        }
        let pack = sealed(pack);
        let pieces = run(&pack, Settings { large: 0, ..settings() });
        match run(&pack, settings()) {
            Ok((made, out)) => {
                prop_assert_eq!(&run(&out, settings()).unwrap().1, &out);
                prop_assert_eq!(pieces.unwrap(), (made, out));
            }
            Err(error) => {
                prop_assert_eq!(error.fault, Fault::Pack);
                prop_assert_eq!(pieces.unwrap_err().fault, Fault::Pack);
            }
        }
    }
}
