//! Contents of objects that a later delta may be based on; the least recently used go first.
//!
//! A miss costs inflating the object's chain again, never a failure, so the budget is a hard one.

use crate::content::Content;
use crate::names::lock;
use crate::table::NONE;
use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex};

/// Hashes entry numbers, which are dense and our own, by spreading their bits.
#[derive(Default)]
struct NumberHasher(u64);

impl Hasher for NumberHasher {
    fn finish(&self) -> u64 {
        self.0
    }
    fn write(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.0 = (self.0 ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }
    fn write_u32(&mut self, number: u32) {
        self.0 = u64::from(number).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }
}

/// A doubly linked list through a vector, most recent first.
struct Node {
    number: u32,
    newer: u32,
    older: u32,
    content: Option<Arc<Content>>,
}

struct Lru {
    places: HashMap<u32, u32, BuildHasherDefault<NumberHasher>>,
    nodes: Vec<Node>,
    free: Vec<u32>,
    newest: u32,
    oldest: u32,
    weight: usize,
}

/// See the module.
pub struct Cache {
    lru: Mutex<Lru>,
    budget: usize,
    hits: AtomicU64,
    misses: AtomicU64,
}

impl Cache {
    /// A cache of at most `budget` bytes.
    pub fn new(budget: usize) -> Self {
        let lru = Lru {
            places: HashMap::default(),
            nodes: Vec::new(),
            free: Vec::new(),
            newest: NONE,
            oldest: NONE,
            weight: 0,
        };
        Cache { lru: Mutex::new(lru), budget, hits: AtomicU64::new(0), misses: AtomicU64::new(0) }
    }

    /// The content of an entry, if it is still here.
    pub fn get(&self, number: u32) -> Option<Arc<Content>> {
        let found = lock(&self.lru).get(number);
        let counter = if found.is_some() { &self.hits } else { &self.misses };
        counter.fetch_add(1, Relaxed);
        found
    }

    /// Whether the content of an entry is still here.
    pub fn holds(&self, number: u32) -> bool {
        lock(&self.lru).places.contains_key(&number)
    }

    /// Keeps the content of an entry as long as there is room.
    pub fn put(&self, number: u32, content: Arc<Content>) {
        if content.weight() > self.budget / 2 {
            return;
        }
        // Freeing large contents takes time: it is done when the lock is no longer held.
        let mut dropped = Vec::new();
        lock(&self.lru).put(number, content, self.budget, &mut dropped);
    }

    /// Takes out the content of an entry, if it is still here.
    pub fn remove(&self, number: u32) -> Option<Arc<Content>> {
        lock(&self.lru).remove(number)
    }

    /// Forgets everything.
    pub fn clear(&self) {
        let mut lru = lock(&self.lru);
        *lru = Lru {
            places: HashMap::default(),
            nodes: Vec::new(),
            free: Vec::new(),
            newest: NONE,
            oldest: NONE,
            weight: 0,
        };
    }

    /// How often something was here, and was not.
    pub fn counts(&self) -> (u64, u64) {
        (self.hits.load(Relaxed), self.misses.load(Relaxed))
    }
}

impl Lru {
    fn get(&mut self, number: u32) -> Option<Arc<Content>> {
        let place = *self.places.get(&number)?;
        if self.newest != place {
            self.unlink(place);
            self.link_newest(place);
        }
        self.nodes[place as usize].content.clone()
    }

    fn put(
        &mut self,
        number: u32,
        content: Arc<Content>,
        budget: usize,
        dropped: &mut Vec<Arc<Content>>,
    ) {
        if self.places.contains_key(&number) {
            return;
        }
        self.weight += content.weight();
        while self.weight > budget && self.oldest != NONE {
            let oldest = self.nodes[self.oldest as usize].number;
            dropped.extend(self.remove(oldest));
        }
        let node = Node { number, newer: NONE, older: NONE, content: Some(content) };
        let place = match self.free.pop() {
            Some(place) => {
                self.nodes[place as usize] = node;
                place
            }
            None => {
                self.nodes.push(node);
                self.nodes.len() as u32 - 1
            }
        };
        self.places.insert(number, place);
        self.link_newest(place);
    }

    fn remove(&mut self, number: u32) -> Option<Arc<Content>> {
        let place = self.places.remove(&number)?;
        self.unlink(place);
        self.free.push(place);
        let content = self.nodes[place as usize].content.take()?;
        self.weight -= content.weight();
        Some(content)
    }

    fn unlink(&mut self, place: u32) {
        let (newer, older) = (self.nodes[place as usize].newer, self.nodes[place as usize].older);
        match newer {
            NONE => self.newest = older,
            _ => self.nodes[newer as usize].older = older,
        }
        match older {
            NONE => self.oldest = newer,
            _ => self.nodes[older as usize].newer = newer,
        }
    }

    fn link_newest(&mut self, place: u32) {
        let before = self.newest;
        self.nodes[place as usize].newer = NONE;
        self.nodes[place as usize].older = before;
        match before {
            NONE => self.oldest = place,
            _ => self.nodes[before as usize].newer = place,
        }
        self.newest = place;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::content::Data;
    use crate::object::Kind;

    fn content(size: usize) -> Arc<Content> {
        Arc::new(Content::new(Kind::Blob, Data::Memory(vec![0; size])))
    }

    #[test]
    fn the_least_recently_used_goes_first() {
        let cache = Cache::new(3 * 1200);
        for number in 0..3 {
            cache.put(number, content(1000));
        }
        assert!(cache.get(0).is_some());
        cache.put(3, content(1000));
        assert!(cache.get(1).is_none());
        assert!(cache.get(0).is_some() && cache.get(2).is_some() && cache.get(3).is_some());
        assert_eq!(cache.counts(), (4, 1));
    }

    #[test]
    fn nothing_larger_than_half_is_kept() {
        let cache = Cache::new(1000);
        cache.put(0, content(600));
        assert!(cache.get(0).is_none());
    }

    #[test]
    fn the_weight_stays_within_the_budget() {
        let cache = Cache::new(10_000);
        for number in 0..200u32 {
            cache.put(number, content((number as usize * 37) % 3000));
            let lru = lock(&cache.lru);
            assert!(lru.weight <= 10_000);
            let held: usize =
                lru.nodes.iter().filter_map(|node| node.content.as_ref()).map(|c| c.weight()).sum();
            assert_eq!(held, lru.weight);
        }
    }
}
