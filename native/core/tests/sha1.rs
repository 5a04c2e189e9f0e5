//! The collision-detecting hash against another implementation, `sha1-checked`: the same digests,
//! and the same verdict on published collisions and everything near them.
//!
//! `data/sha-mbles-*.bin` are the two messages of the first chosen-prefix collision (Leurent and
//! Peyrin, "SHA-1 is a Shambles", 2020): a different prefix each, then nine near-collision blocks.

use pack_index::hash::{Algorithm, Hasher};
use pack_index::oid::Oid;

const SHAMBLES: [&[u8]; 2] =
    [include_bytes!("data/sha-mbles-1.bin"), include_bytes!("data/sha-mbles-2.bin")];

/// Random numbers that are the same each time: xorshift64*.
struct Draw(u64);

impl Draw {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    fn below(&mut self, limit: usize) -> usize {
        (self.next() % limit as u64) as usize
    }

    fn bytes(&mut self, count: usize) -> Vec<u8> {
        (0..count.div_ceil(8)).flat_map(|_| self.next().to_le_bytes()).take(count).collect()
    }
}

/// The digest of what `feed` hashes; `None` for part of an attack.
fn ours(feed: impl FnOnce(&mut Hasher)) -> Option<Vec<u8>> {
    let mut hasher = Hasher::new(Algorithm::Sha1Checked);
    feed(&mut hasher);
    hasher.finish::<5>().ok().map(|oid: Oid<5>| oid.to_bytes())
}

fn theirs(bytes: &[u8]) -> Option<Vec<u8>> {
    let done = sha1_checked::Sha1::try_digest(bytes);
    (!done.has_collision()).then(|| done.hash().to_vec())
}

/// Feeds bytes in pieces of random lengths, some through a copy of the state.
fn in_pieces(draw: &mut Draw, hasher: &mut Hasher, mut bytes: &[u8]) {
    while !bytes.is_empty() {
        let (part, rest) = bytes.split_at(1 + draw.below(bytes.len().min(300)));
        if draw.below(3) == 0 {
            let mut copy = hasher.clone();
            // What is done to the original must not reach the copy.
            hasher.update(&[0x5a; 200]);
            copy.update(part);
            *hasher = copy;
        } else {
            hasher.update(part);
        }
        bytes = rest;
    }
}

#[test]
fn digests_agree_however_messages_are_cut() {
    let mut draw = Draw(0x9e37_79b9_7f4a_7c15);
    for round in 0..2000 {
        let length = draw.below(if round % 10 == 0 { 20_000 } else { 400 });
        let bytes = draw.bytes(length);
        let found = ours(|hasher| in_pieces(&mut draw, hasher, &bytes));
        assert_eq!(found, theirs(&bytes), "round {round}, {length} bytes");
        assert!(found.is_some());
    }
}

#[test]
fn long_streams_agree_and_find_no_attack() {
    // Every block is looked at; one in twenty passes the filter and is computed again.
    let mut draw = Draw(7);
    let count = if cfg!(debug_assertions) { 1 << 20 } else { 64 << 20 };
    let bytes = draw.bytes(count);
    assert_eq!(ours(|hasher| in_pieces(&mut draw, hasher, &bytes)), theirs(&bytes));
}

#[test]
#[cfg(not(debug_assertions))]
fn lengths_beyond_32_bits_of_bits_are_counted() {
    use sha1::Digest as _;
    let chunk = vec![0x61; 1 << 20];
    let mut plain = sha1::Sha1::new();
    let found = ours(|hasher| {
        for _ in 0..600 {
            hasher.update(&chunk);
            plain.update(&chunk);
        }
    });
    assert_eq!(found.unwrap(), plain.finalize().to_vec());
}

#[test]
fn published_collisions_are_noticed_however_they_are_cut() {
    let mut draw = Draw(2020);
    for message in SHAMBLES {
        assert_eq!(theirs(message), None);
        for _ in 0..200 {
            assert_eq!(ours(|hasher| in_pieces(&mut draw, hasher, message)), None);
        }
        // Whatever follows, the state has met an attack.
        let longer = [message, b" and more".as_slice()].concat();
        assert_eq!(ours(|hasher| hasher.update(&longer)), None);
        assert_eq!(theirs(&longer), None);
    }
}

#[test]
fn a_copy_taken_before_an_attack_is_clean_and_one_taken_after_is_not() {
    let [message, _] = SHAMBLES;
    let mut hasher = Hasher::new(Algorithm::Sha1Checked);
    hasher.update(&message[..128]);
    let before = hasher.clone();
    hasher.update(&message[128..]);
    assert!(hasher.clone().finish::<5>().is_err());
    assert_eq!(before.finish::<5>().unwrap().to_bytes(), theirs(&message[..128]).unwrap());
    assert!(hasher.finish::<5>().is_err());
}

/// Whatever is one bit away from a collision is judged alike.
#[test]
fn verdicts_agree_next_to_published_collisions() {
    for message in SHAMBLES {
        for bit in (0..message.len() * 8).step_by(if cfg!(debug_assertions) { 7 } else { 1 }) {
            let mut near = message.to_vec();
            near[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(ours(|hasher| hasher.update(&near)), theirs(&near), "bit {bit}");
        }
        for end in (64..=message.len()).step_by(64) {
            let part = &message[..end];
            assert_eq!(ours(|hasher| hasher.update(part)), theirs(part), "{end} bytes");
        }
    }
}

/// Blocks of the attack where they do not belong, between others: the same verdict again.
#[test]
fn verdicts_agree_on_blocks_put_together_anyhow() {
    let mut draw = Draw(1995);
    let blocks: Vec<&[u8]> = SHAMBLES.iter().flat_map(|message| message.chunks(64)).collect();
    for round in 0..2000 {
        let mut message = Vec::new();
        for _ in 0..draw.below(14) {
            if draw.below(8) == 0 {
                message.extend(draw.bytes(64));
            } else {
                message.extend_from_slice(blocks[draw.below(blocks.len())]);
            }
        }
        assert_eq!(ours(|hasher| hasher.update(&message)), theirs(&message), "round {round}");
    }
}
