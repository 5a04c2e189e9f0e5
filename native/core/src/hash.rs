//! Hashing objects and packs: SHA-1 plain, SHA-1 with collision detection, SHA-256.
//!
//! All three use the CPU's instructions where it has them. Detection costs about a quarter more than
//! the plain hash; the caller decides (a pack every part of which matched a manifest signed by an
//! authorised key needs none).

use crate::error::{Error, Fault, Result};
use crate::object::Kind;
use crate::oid::Oid;
use sha1::Digest as _;

/// Which hash names the objects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Algorithm {
    /// SHA-1 as fast as the CPU does it.
    Sha1,
    /// SHA-1 that notices the known collision attacks, as git's own does.
    Sha1Checked,
    /// SHA-256.
    Sha256,
}

/// A hash under way.
#[derive(Clone)]
pub enum Hasher {
    /// See [`Algorithm::Sha1`].
    Sha1(sha1::Sha1),
    /// See [`Algorithm::Sha1Checked`].
    Sha1Checked(sha1dc::Hasher),
    /// See [`Algorithm::Sha256`].
    Sha256(sha2::Sha256),
}

impl Hasher {
    /// Begins a hash.
    pub fn new(algorithm: Algorithm) -> Self {
        match algorithm {
            Algorithm::Sha1 => Hasher::Sha1(sha1::Sha1::new()),
            Algorithm::Sha1Checked => Hasher::Sha1Checked(sha1dc::Hasher::new()),
            Algorithm::Sha256 => Hasher::Sha256(sha2::Sha256::new()),
        }
    }

    /// Begins the hash of an object: git hashes `<type> <size>\0` and then the content.
    pub fn of_object(algorithm: Algorithm, kind: Kind, size: u64) -> Self {
        let mut hasher = Hasher::new(algorithm);
        hasher.update(format!("{} {size}\0", kind.name()).as_bytes());
        hasher
    }

    /// Adds bytes.
    #[inline]
    pub fn update(&mut self, bytes: &[u8]) {
        match self {
            Hasher::Sha1(hash) => hash.update(bytes),
            Hasher::Sha1Checked(hash) => hash.update(bytes),
            Hasher::Sha256(hash) => hash.update(bytes),
        }
    }

    /// Ends the hash; an error if the content is part of a SHA-1 collision attack.
    pub fn finish<const W: usize>(self) -> Result<Oid<W>> {
        let oid = match self {
            Hasher::Sha1(hash) => Oid::from_bytes(&hash.finalize()),
            Hasher::Sha1Checked(hash) => match hash.finalize() {
                Ok(digest) => Oid::from_bytes(digest.as_ref()),
                Err(_) => {
                    let what = "content is part of a SHA-1 collision attack";
                    return Err(Error::new(Fault::Pack, what));
                }
            },
            Hasher::Sha256(hash) => Oid::from_bytes(&hash.finalize()),
        };
        oid.ok_or_else(|| Error::new(Fault::Bug, "hash and id differ in length"))
    }
}

/// The hash of an object as it stood at regular steps.
///
/// Most trees differ from the one they were made from in one id, not in size, and so agree with it
/// from the object header up to that id: their hash can go on from there.
#[derive(Clone, Default)]
pub struct Trail {
    states: Vec<Hasher>,
}

impl Trail {
    /// Bytes between two states: often enough to save most of a tree, seldom enough that the states
    /// stay small beside it.
    const STEP: usize = 2 << 10;

    /// Hashes an object, leaving a trail; `known` is the trail of an object of the same kind and
    /// size that begins with the same bytes, and how many those are.
    pub fn hash<const W: usize>(
        algorithm: Algorithm,
        kind: Kind,
        bytes: &[u8],
        known: Option<(&Trail, usize)>,
    ) -> Result<(Oid<W>, Trail)> {
        let mut trail = Trail::default();
        if let Some((known, same)) = known {
            let states = known.states.len().min(same / Self::STEP);
            trail.states.extend_from_slice(&known.states[..states]);
        }
        let mut hasher = match trail.states.last() {
            Some(state) => state.clone(),
            None => Hasher::of_object(algorithm, kind, bytes.len() as u64),
        };
        for part in bytes[trail.states.len() * Self::STEP..].chunks(Self::STEP) {
            hasher.update(part);
            if part.len() == Self::STEP {
                trail.states.push(hasher.clone());
            }
        }
        Ok((hasher.finish()?, trail))
    }

    /// Bytes of memory held.
    pub fn weight(&self) -> usize {
        self.states.capacity() * size_of::<Hasher>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn knows_the_empty_tree() {
        for algorithm in [Algorithm::Sha1, Algorithm::Sha1Checked] {
            let oid: Oid<5> = Hasher::of_object(algorithm, Kind::Tree, 0).finish().unwrap();
            assert_eq!(oid.to_string(), "4b825dc642cb6eb9a060e54bf8d69288fbee4904");
        }
        let oid: Oid<8> = Hasher::of_object(Algorithm::Sha256, Kind::Tree, 0).finish().unwrap();
        assert_eq!(
            oid.to_string(),
            "6ef19b41225c5369f1c104d45d8d85efa9b057b53b14b4b9b939dd74decc5321"
        );
    }

    #[test]
    fn a_trail_changes_nothing_but_the_work() {
        let base: Vec<u8> = (0..30_000u32).map(|number| (number % 253) as u8).collect();
        for algorithm in [Algorithm::Sha1, Algorithm::Sha1Checked] {
            let (_, trail) = Trail::hash::<5>(algorithm, Kind::Tree, &base, None).unwrap();
            for same in [0, 1, 2047, 2048, 8192, 20_000, 29_999] {
                let mut other = base.clone();
                other[same] ^= 1;
                let (all, _) = Trail::hash::<5>(algorithm, Kind::Tree, &other, None).unwrap();
                let (some, again) =
                    Trail::hash::<5>(algorithm, Kind::Tree, &other, Some((&trail, same))).unwrap();
                assert_eq!(all, some);
                assert_eq!(again.states.len(), trail.states.len());
                let mut plain = Hasher::of_object(algorithm, Kind::Tree, other.len() as u64);
                plain.update(&other);
                assert_eq!(plain.finish::<5>().unwrap(), all);
            }
        }
    }

    #[test]
    fn the_checked_hash_agrees_with_another_implementation() {
        let bytes: Vec<u8> =
            (0..100_000u64).map(|n| (n.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56) as u8).collect();
        for length in (0..400).chain([4095, 4096, 65_537, 100_000]) {
            let mut hasher = Hasher::new(Algorithm::Sha1Checked);
            bytes[..length].chunks(97).for_each(|part| hasher.update(part));
            let other = sha1_checked::Sha1::try_digest(&bytes[..length]);
            let name: Oid<5> = hasher.finish().unwrap();
            assert!(!other.has_collision());
            assert_eq!(name.to_bytes(), other.hash().as_slice());
        }
    }
}
