//! Deltas whose base lies at an offset that has not been scanned, and the instructions of all
//! deltas that are not yet applied, as far as memory allows.

use crate::names::lock;
use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::Mutex;

const SHARDS: usize = 64;

/// Deltas by the offset of the entry they wait for.
pub struct Waits {
    shards: Vec<Mutex<HashMap<u64, Vec<u32>>>>,
}

impl Default for Waits {
    fn default() -> Self {
        Waits { shards: (0..SHARDS).map(|_| Mutex::default()).collect() }
    }
}

impl Waits {
    fn shard(&self, offset: u64) -> &Mutex<HashMap<u64, Vec<u32>>> {
        &self.shards[(offset.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 58) as usize]
    }

    /// Has a delta wait for the entry at `offset`, unless `scanned` finds that entry.
    ///
    /// It is asked under the lock that [`Self::take`] takes, so no wake-up is missed.
    pub fn wait(
        &self,
        offset: u64,
        number: u32,
        scanned: impl FnOnce() -> Option<u32>,
    ) -> Option<u32> {
        let mut shard = lock(self.shard(offset));
        let found = scanned();
        if found.is_none() {
            shard.entry(offset).or_default().push(number);
        }
        found
    }

    /// The deltas that waited for the entry at `offset`, which is scanned now.
    pub fn take(&self, offset: u64) -> Vec<u32> {
        let mut shard = lock(self.shard(offset));
        if shard.is_empty() {
            return Vec::new();
        }
        shard.remove(&offset).unwrap_or_default()
    }

    /// The offsets still waited for, and the first delta waiting for each.
    pub fn unmet(&self) -> Vec<(u64, u32)> {
        let mut found = Vec::new();
        for shard in &self.shards {
            found.extend(
                lock(shard).iter().filter_map(|(offset, list)| Some((*offset, *list.first()?))),
            );
        }
        found.sort_unstable();
        found
    }
}

/// The instructions of deltas by their number.
pub struct Held {
    shards: Vec<Mutex<HashMap<u32, Box<[u8]>>>>,
    bytes: AtomicUsize,
    budget: usize,
}

impl Held {
    /// Bytes of memory that holding a delta costs beside its instructions, about.
    const OVERHEAD: usize = 56;

    /// Holds at most `budget` bytes.
    pub fn new(budget: usize) -> Self {
        let shards = (0..SHARDS).map(|_| Mutex::default()).collect();
        Held { shards, bytes: AtomicUsize::new(0), budget }
    }

    fn shard(&self, number: u32) -> &Mutex<HashMap<u32, Box<[u8]>>> {
        &self.shards[number as usize % SHARDS]
    }

    /// Keeps the instructions of a delta if there is room; they can be inflated again.
    pub fn put(&self, number: u32, delta: Vec<u8>) {
        let weight = delta.len() + Self::OVERHEAD;
        if self.bytes.fetch_add(weight, Relaxed) + weight > self.budget {
            self.bytes.fetch_sub(weight, Relaxed);
            return;
        }
        lock(self.shard(number)).insert(number, delta.into_boxed_slice());
    }

    /// Takes out the instructions of a delta, if they are here.
    pub fn take(&self, number: u32) -> Option<Box<[u8]>> {
        let delta = lock(self.shard(number)).remove(&number)?;
        self.bytes.fetch_sub(delta.len() + Self::OVERHEAD, Relaxed);
        Some(delta)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instructions_are_dropped_when_there_is_no_room() {
        let held = Held::new(200);
        held.put(1, vec![0; 100]);
        held.put(2, vec![0; 100]);
        assert!(held.take(2).is_none());
        assert_eq!(held.take(1).unwrap().len(), 100);
        held.put(2, vec![0; 100]);
        assert!(held.take(2).is_some() && held.take(2).is_none());
    }

    #[test]
    fn a_scanned_base_is_not_waited_for() {
        let waits = Waits::default();
        assert_eq!(waits.wait(12, 1, || Some(9)), Some(9));
        assert_eq!(waits.wait(12, 1, || None), None);
        assert_eq!(waits.unmet(), [(12, 1)]);
        assert_eq!(waits.take(12), [1]);
        assert!(waits.unmet().is_empty());
    }
}
