//! Every object name seen: which entry has it, what refers to it, which deltas wait for it.
//!
//! Names from trees, commits and deltas are the sender's to choose, so the maps hash with keys of
//! this process. They are sharded by the first byte, which lets workers seldom meet.

use crate::check::Special;
use crate::error::{Error, Fault, Result};
use crate::object::Kind;
use crate::oid::Oid;
use crate::table::NONE;
use std::collections::{BTreeSet, HashMap};
use std::sync::{Mutex, MutexGuard};

const SHARDS: usize = 256;

/// What is known of a name.
#[derive(Clone, Copy)]
struct Known {
    /// The entry that has it, or [`NONE`].
    number: u32,
    /// Its kind, as found or as expected by what refers to it.
    kind: Kind,
    /// Whether anything refers to it.
    wanted: bool,
}

#[derive(Default)]
struct Shard<const W: usize> {
    known: HashMap<Oid<W>, Known>,
    waiting: HashMap<Oid<W>, Vec<u32>>,
}

/// All names.
pub struct Names<const W: usize> {
    shards: Vec<Mutex<Shard<W>>>,
    special: Mutex<BTreeSet<(Oid<W>, Special)>>,
}

impl<const W: usize> Default for Names<W> {
    fn default() -> Self {
        Names { shards: (0..SHARDS).map(|_| Mutex::default()).collect(), special: Mutex::default() }
    }
}

fn conflict<const W: usize>(oid: &Oid<W>, one: Kind, other: Kind) -> Error {
    let what = format!("object {oid} is wanted as a {} and is a {}", one.name(), other.name());
    Error::new(Fault::Pack, what)
}

impl<const W: usize> Names<W> {
    /// Bytes of memory a name takes, about.
    pub const fn weight() -> usize {
        // A map entry with its control byte, at a load between a half and seven eighths.
        (W * 4 + 8 + 1) * 3 / 2
    }

    fn shard(&self, oid: &Oid<W>) -> MutexGuard<'_, Shard<W>> {
        lock(&self.shards[oid.first_byte()])
    }

    /// Gives a resolved object its name; the deltas that waited for it.
    pub fn insert(&self, oid: &Oid<W>, number: u32, kind: Kind) -> Result<Vec<u32>> {
        let mut shard = self.shard(oid);
        let known = shard.known.entry(*oid).or_insert(Known { number, kind, wanted: false });
        if known.kind != kind {
            return Err(conflict(oid, known.kind, kind));
        }
        if known.number != number && known.number != NONE {
            return Err(Error::new(Fault::Pack, format!("object {oid} is in the pack twice")));
        }
        known.number = number;
        Ok(shard.waiting.remove(oid).unwrap_or_default())
    }

    /// Notes that something refers to `oid` as a `kind`.
    pub fn link(&self, oid: &Oid<W>, kind: Kind) -> Result<()> {
        let mut shard = self.shard(oid);
        let known = shard.known.entry(*oid).or_insert(Known { number: NONE, kind, wanted: false });
        known.wanted = true;
        if known.kind == kind {
            Ok(())
        } else {
            Err(conflict(oid, kind, known.kind))
        }
    }

    /// Notes that git obeys the blob `oid`.
    pub fn special(&self, oid: &Oid<W>, special: Special) {
        lock(&self.special).insert((*oid, special));
    }

    /// The entry that has a name, and its kind.
    pub fn find(&self, oid: &Oid<W>) -> Option<(u32, Kind)> {
        let shard = self.shard(oid);
        shard
            .known
            .get(oid)
            .filter(|known| known.number != NONE)
            .map(|known| (known.number, known.kind))
    }

    /// The entry that has a name; if there is none yet, the delta `number` is kept until
    /// [`Self::insert`].
    pub fn find_or_wait(&self, oid: &Oid<W>, number: u32) -> Option<u32> {
        let mut shard = self.shard(oid);
        match shard.known.get(oid) {
            Some(known) if known.number != NONE => Some(known.number),
            _ => {
                shard.waiting.entry(*oid).or_default().push(number);
                None
            }
        }
    }

    /// Every delta still waiting and the base it waits for, in order of the deltas.
    pub fn still_waiting(&self) -> Vec<(u32, Oid<W>)> {
        let mut found = Vec::new();
        for shard in &self.shards {
            for (oid, list) in &lock(shard).waiting {
                found.extend(list.iter().map(|&number| (number, *oid)));
            }
        }
        found.sort_unstable();
        found
    }

    /// What is referred to and has no entry below `own`, in order.
    pub fn missing(&self, own: u32) -> Vec<(Oid<W>, Kind)> {
        let mut found = Vec::new();
        for shard in &self.shards {
            let shard = lock(shard);
            let foreign =
                shard.known.iter().filter(|(_, known)| known.wanted && known.number >= own);
            found.extend(foreign.map(|(oid, known)| (*oid, known.kind)));
        }
        found.sort_unstable_by_key(|(oid, _)| *oid);
        found
    }

    /// The blobs git obeys, in order.
    pub fn specials(&self) -> Vec<(Oid<W>, Special)> {
        lock(&self.special).iter().copied().collect()
    }
}

/// Locks whatever happened to other holders: a panic elsewhere is reported as an error anyway.
pub fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(|poison| poison.into_inner())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn oid(fill: u32) -> Oid<5> {
        Oid([fill; 5])
    }

    #[test]
    fn a_name_wakes_what_waits_for_it() {
        let names = Names::<5>::default();
        assert_eq!(names.find_or_wait(&oid(1), 7), None);
        assert_eq!(names.still_waiting(), [(7, oid(1))]);
        assert_eq!(names.insert(&oid(1), 3, Kind::Blob).unwrap(), [7]);
        assert_eq!(names.find_or_wait(&oid(1), 8), Some(3));
        assert!(names.still_waiting().is_empty());
    }

    #[test]
    fn kinds_must_agree_and_names_be_unique() {
        let names = Names::<5>::default();
        names.link(&oid(1), Kind::Blob).unwrap();
        assert!(names.link(&oid(1), Kind::Tree).is_err());
        assert!(names.insert(&oid(1), 0, Kind::Tree).is_err());
        names.insert(&oid(2), 0, Kind::Tree).unwrap();
        assert!(names.insert(&oid(2), 1, Kind::Tree).is_err());
        assert!(names.link(&oid(2), Kind::Blob).is_err());
    }

    #[test]
    fn missing_are_the_wanted_without_an_entry_of_the_pack() {
        let names = Names::<5>::default();
        names.link(&oid(2), Kind::Blob).unwrap();
        names.link(&oid(1), Kind::Tree).unwrap();
        names.insert(&oid(1), 0, Kind::Tree).unwrap();
        names.insert(&oid(2), 5, Kind::Blob).unwrap();
        names.insert(&oid(3), 6, Kind::Blob).unwrap();
        assert_eq!(names.missing(5), [(oid(2), Kind::Blob)]);
    }
}
