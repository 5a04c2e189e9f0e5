//! Who does what next: the queue that the workers share.
//!
//! Tracks which segments are being scanned and how far each could be, which objects may have
//! deltas to resolve, and how many workers are busy. Rules:
//!
//! 1. Scanning comes first. A base whose deltas are taken on when all of them are known is made once
//!    and dropped; earlier, it has to be kept, or made again, for those that come later. So as long
//!    as there are bytes, find entries; when they have to be waited for, resolve.
//!    But the deltas of a base lie in its own segment, but for a few: a segment that is scanned can
//!    be resolved for good, and comes first. Of one that is not, objects are ripe whose deltas will
//!    hardly turn up any more, so far beyond them is the scan: see [`Reach`]. A delta whose base
//!    was dealt with before it turned up, and has left the cache since, would have a chain made again
//!    for itself alone: such deltas wait until there are many, and go by their bases then, or until
//!    their segment is scanned.
//! 2. The pack's own checksum follows the scan closely, while the bytes are still in memory.
//! 3. Deltas that a worker shared come before new roots: their bases are in the cache.

use crate::names::lock;
use crate::object::Kind;
use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Condvar, Mutex};

/// The checksum may fall this far behind the scan, so that it still finds the bytes in memory.
const CHECKSUM_LAG: u64 = 4 << 20;
/// With less than this to hash, a worker rather waits for more.
const CHECKSUM_LEAST: u64 = 256 << 10;
/// Roots taken at once; most have no deltas.
const ROOTS: usize = 64;
/// So many deltas whose bases have to be made again are worth beginning with, before all are known.
const COLD: usize = 4096;

/// What a worker is to do.
#[derive(Debug, PartialEq, Eq)]
pub enum Job {
    /// Scan a batch of the segment with this number.
    Scan(usize),
    /// Hash the pack from the first of these offsets to the second.
    Checksum(u64, u64),
    /// Resolve these deltas, whose bases are resolved, and what is based on them.
    Deltas(Vec<u32>),
    /// The same for deltas that are given with their bases, but for those whose base would have to be
    /// made again: they come back through [`Queue::cooled`].
    Late(Vec<Late>),
    /// Resolve what is based on these objects, which are resolved.
    Roots(Vec<u32>),
}

/// How far behind an object in a pack its deltas are to be expected.
///
/// In git/git's reel 90 of 100 deltas of trees follow their base within a MiB, but of those of blobs
/// a quarter only after 3.5, and one in a hundred after 16. Taking on a blob's deltas too early costs more
/// than it gains: each that comes late has a chain made again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// Soon: trees, commits, tags.
    Near,
    /// Any time: blobs.
    Far,
}

impl Reach {
    /// Both.
    pub const ALL: [Reach; 2] = [Reach::Near, Reach::Far];

    /// How far it is for objects of a kind.
    pub fn of(kind: Kind) -> Self {
        match kind {
            Kind::Blob => Reach::Far,
            Kind::Commit | Kind::Tree | Kind::Tag => Reach::Near,
        }
    }

    /// An object is ripe when the scan is so many bytes beyond it, in a segment of `length` bytes.
    pub fn bytes(self, length: u64) -> u64 {
        match self {
            Reach::Near => (length / 16).min(1 << 20),
            Reach::Far => (length / 4 * 3).min(16 << 20),
        }
    }
}

/// An object that may have deltas.
pub type Root = (u32, Reach);

/// For each reach, the number of the first entry of a segment that is not ripe.
pub type Ripe = [u32; Reach::ALL.len()];

/// A delta after its base, which had been dealt with before the delta turned up.
pub type Late = (u32, u32);

/// How the scan of one segment stands, and what it left to do.
struct Place {
    /// The number of its first entry.
    first: u32,
    /// Resolved objects of it that may have deltas, by their reach; the first ones first, about.
    roots: [VecDeque<u32>; Reach::ALL.len()],
    /// Which of them are ripe while it is not complete.
    ripe: Ripe,
    /// Deltas of it that came late; others may be based on them.
    late: Vec<Late>,
    /// Those of them whose bases have to be made again, as long as there may be more for the same bases.
    cold: Vec<Late>,
    /// Those to resolve whether or not their bases have to be made again, in the order of these.
    due: Vec<Late>,
    /// A worker is at it.
    busy: bool,
    /// Complete.
    done: bool,
    /// How far the scan is.
    at: u64,
    /// How far it has been tried to read.
    tried: u64,
    /// How far it may be read.
    limit: u64,
}

/// The shared state.
pub struct Queue {
    state: Mutex<State>,
    work: Condvar,
    quiet: Condvar,
    /// Whether a worker waits for something to do.
    hungry: AtomicBool,
    /// Whether every segment has been scanned.
    scanned: AtomicBool,
}

struct State {
    deltas: Vec<u32>,
    places: Vec<Place>,
    /// All before this is there.
    contiguous: u64,
    /// Where the checksum stands, whether a worker is at it, and where it ends.
    hashed: u64,
    hashing: bool,
    hash_end: u64,
    busy: usize,
    waiting: usize,
    workers: usize,
    stop: bool,
}

impl Queue {
    /// A queue for segments that begin at these offsets with so many entries, and a checksum
    /// that ends at `hash_end`.
    pub fn new(segments: &[(u64, u32)], hash_end: u64, workers: usize) -> Self {
        let mut first = 0;
        let place = |&(at, count): &(u64, u32)| {
            let place = Place {
                first,
                roots: Default::default(),
                ripe: Ripe::default(),
                late: Vec::new(),
                cold: Vec::new(),
                due: Vec::new(),
                busy: false,
                done: count == 0,
                at,
                tried: at,
                limit: at,
            };
            first += count;
            place
        };
        let state = State {
            deltas: Vec::new(),
            places: segments.iter().map(place).collect(),
            contiguous: 0,
            hashed: 0,
            hashing: false,
            hash_end,
            busy: 0,
            waiting: 0,
            workers,
            stop: false,
        };
        let scanned = AtomicBool::new(state.places.iter().all(|place| place.done));
        Queue {
            state: Mutex::new(state),
            work: Condvar::new(),
            quiet: Condvar::new(),
            hungry: AtomicBool::new(false),
            scanned,
        }
    }

    /// Takes notice of bytes that arrived: how far each segment and the whole may be read.
    pub fn arrived(&self, limits: impl Iterator<Item = u64>, contiguous: u64) {
        let mut state = lock(&self.state);
        for (place, limit) in state.places.iter_mut().zip(limits) {
            place.limit = place.limit.max(limit);
        }
        state.contiguous = state.contiguous.max(contiguous);
        drop(state);
        self.work.notify_all();
    }

    /// Sends the workers home.
    pub fn stop(&self) {
        lock(&self.state).stop = true;
        self.work.notify_all();
        self.quiet.notify_all();
    }

    /// Waits for something to do; `None` when it is time to go home.
    pub fn next(&self) -> Option<Job> {
        let mut state = lock(&self.state);
        loop {
            if state.stop {
                return None;
            }
            if let Some(job) = state.take() {
                state.busy += 1;
                return Some(job);
            }
            if state.busy == 0 {
                self.quiet.notify_all();
            }
            state.waiting += 1;
            self.hungry.store(true, Relaxed);
            state = self.work.wait(state).unwrap_or_else(|poison| poison.into_inner());
            state.waiting -= 1;
            self.hungry.store(state.waiting > 0, Relaxed);
        }
    }

    /// A job is over.
    pub fn finished(&self) {
        let mut state = lock(&self.state);
        state.busy -= 1;
        if state.busy == 0 {
            self.quiet.notify_all();
        }
    }

    /// A scan has left its segment at `at`, having read all up to `tried` if that was too little.
    pub fn left(&self, segment: usize, at: u64, ripe: Ripe, tried: Option<u64>, done: bool) {
        let mut state = lock(&self.state);
        let place = &mut state.places[segment];
        place.busy = false;
        place.at = at;
        place.ripe = ripe;
        place.tried = tried.unwrap_or(place.tried);
        place.done = done;
        if done {
            place.call_due();
        }
        if state.places.iter().all(|place| place.done) {
            self.scanned.store(true, Relaxed);
        }
        drop(state);
        if done {
            self.work.notify_all();
        } else {
            self.work.notify_one();
        }
    }

    /// Whether no more entries will be found, so that every delta by offset is known.
    ///
    /// A batch may still be under way to the table when this becomes true; a delta in it then
    /// finds its base closed, which costs time and nothing else.
    pub fn is_scanned(&self) -> bool {
        self.scanned.load(Relaxed)
    }

    /// The checksum stands here now.
    pub fn hashed(&self, at: u64) {
        let mut state = lock(&self.state);
        state.hashed = at;
        state.hashing = false;
    }

    /// Adds resolved objects that may have deltas, and deltas that came late.
    pub fn found(&self, roots: &[Root], late: &[Late]) {
        if roots.is_empty() && late.is_empty() {
            return;
        }
        let mut state = lock(&self.state);
        for &(number, reach) in roots {
            state.place_of(number).roots[reach as usize].push_back(number);
        }
        for &delta in late {
            state.place_of(delta.1).late.push(delta);
        }
        drop(state);
        self.work.notify_all();
    }

    /// Takes back deltas of one segment whose bases have left the cache.
    pub fn cooled(&self, cold: &[Late]) {
        let Some(&(_, number)) = cold.first() else { return };
        let mut state = lock(&self.state);
        let place = state.place_of(number);
        place.cold.extend_from_slice(cold);
        if place.done || place.cold.len() >= COLD {
            place.call_due();
            drop(state);
            self.work.notify_all();
        }
    }

    /// Adds deltas to resolve at once; their bases are resolved.
    pub fn add(&self, deltas: &[u32]) {
        if deltas.is_empty() {
            return;
        }
        lock(&self.state).deltas.extend_from_slice(deltas);
        self.work.notify_all();
    }

    /// Whether a worker waits for something to do.
    pub fn is_hungry(&self) -> bool {
        self.hungry.load(Relaxed)
    }

    /// Waits until there is nothing to do with the bytes that have arrived.
    pub fn wait_quiet(&self) {
        let mut state = lock(&self.state);
        while !(state.stop || (state.busy == 0 && !state.has_work())) {
            state = self.quiet.wait(state).unwrap_or_else(|poison| poison.into_inner());
        }
    }

    /// Whether all segments are scanned and the checksum is at its end.
    pub fn is_complete(&self) -> bool {
        let state = lock(&self.state);
        state.hashed == state.hash_end && state.places.iter().all(|place| place.done)
    }
}

impl Place {
    /// Whether there is something to resolve now.
    fn has_left_something(&self) -> bool {
        !self.late.is_empty() || !self.due.is_empty() || self.ripe_reach().is_some()
    }

    fn is_ripe(&self, reach: Reach, root: u32) -> bool {
        self.done || root < self.ripe[reach as usize]
    }

    /// The reach whose first root is ripe, the nearer one if both are.
    fn ripe_reach(&self) -> Option<Reach> {
        let first = |reach: Reach| self.roots[reach as usize].front();
        Reach::ALL
            .into_iter()
            .find(|&reach| first(reach).is_some_and(|&root| self.is_ripe(reach, root)))
    }

    /// Takes some of what there is to resolve now.
    fn take(&mut self) -> Option<Job> {
        if !self.late.is_empty() {
            return Some(Job::Late(self.late.split_off(self.late.len().saturating_sub(ROOTS))));
        }
        if !self.due.is_empty() {
            let chunk = self.due.split_off(self.due.len().saturating_sub(ROOTS));
            return Some(Job::Deltas(chunk.into_iter().map(|(_, delta)| delta).collect()));
        }
        let reach = self.ripe_reach()?;
        let roots = self.roots[reach as usize].iter().take(ROOTS);
        let count = roots.take_while(|&&root| self.is_ripe(reach, root)).count();
        Some(Job::Roots(self.roots[reach as usize].drain(..count).collect()))
    }

    /// Sees to it that deltas whose bases are made again are resolved, those of one base together.
    ///
    /// They are taken from the end, and bases precede what is based on them: made in the order of
    /// the pack, each is a step on the way to the next of its chain.
    fn call_due(&mut self) {
        self.due.append(&mut self.cold);
        if self.done {
            self.due.append(&mut self.late);
        }
        self.due.sort_unstable_by(|one, other| other.cmp(one));
    }
}

impl State {
    /// The segment of an entry.
    fn place_of(&mut self, number: u32) -> &mut Place {
        let after = self.places.partition_point(|place| place.first <= number);
        &mut self.places[after.saturating_sub(1)]
    }

    fn has_work(&self) -> bool {
        !self.deltas.is_empty()
            || self.places.iter().any(Place::has_left_something)
            || self.next_scan().is_some()
            || self.checksum(CHECKSUM_LEAST).is_some()
    }

    fn take(&mut self) -> Option<Job> {
        let position =
            self.places.iter().find(|place| !place.done).map_or(self.hash_end, |place| place.at);
        let due = position.min(self.contiguous).saturating_sub(self.hashed) > CHECKSUM_LAG;
        if let Some((from, to)) = self.checksum(CHECKSUM_LEAST).filter(|_| due) {
            self.hashing = true;
            return Some(Job::Checksum(from, to.min(from + CHECKSUM_LAG)));
        }
        if let Some(segment) = self.next_scan() {
            self.places[segment].busy = true;
            return Some(Job::Scan(segment));
        }
        if !self.deltas.is_empty() {
            // Leave the others their share.
            let keep = self.deltas.len() - self.deltas.len().div_ceil(self.workers.max(1));
            return Some(Job::Deltas(self.deltas.split_off(keep)));
        }
        if let Some(number) = self.next_place() {
            return self.places[number].take();
        }
        let (from, to) = self.checksum(CHECKSUM_LEAST)?;
        self.hashing = true;
        Some(Job::Checksum(from, to))
    }

    /// The first segment with something to resolve: one that is scanned if there is any.
    fn next_place(&self) -> Option<usize> {
        let scanned = self.places.iter().position(|place| place.done && place.has_left_something());
        scanned.or_else(|| self.places.iter().position(Place::has_left_something))
    }

    fn next_scan(&self) -> Option<usize> {
        self.places.iter().position(|place| !place.done && !place.busy && place.limit > place.tried)
    }

    fn checksum(&self, least: u64) -> Option<(u64, u64)> {
        let to = self.contiguous.min(self.hash_end);
        let enough =
            to.saturating_sub(self.hashed) >= least || (to == self.hash_end && to > self.hashed);
        (enough && !self.hashing).then_some((self.hashed, to))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const UNRIPE: Ripe = [0, 0];

    #[test]
    fn scanning_comes_before_resolving() {
        let queue = Queue::new(&[(12, 5), (1000, 5)], 2000, 2);
        queue.found(&[(1, Reach::Near)], &[]);
        queue.add(&[2, 3]);
        queue.arrived([500, 1000].into_iter(), 500);
        assert_eq!(queue.next(), Some(Job::Scan(0)));
        assert_eq!(queue.next(), Some(Job::Deltas(vec![3])));
        queue.left(0, 450, UNRIPE, Some(500), false);
        assert_eq!(queue.next(), Some(Job::Deltas(vec![2])));
        queue.arrived([1000, 2000].into_iter(), 2000);
        assert_eq!(queue.next(), Some(Job::Scan(0)));
        assert_eq!(queue.next(), Some(Job::Scan(1)));
        queue.left(0, 1000, UNRIPE, None, true);
        queue.left(1, 2000, UNRIPE, None, true);
        assert!(queue.is_scanned() && !queue.is_complete());
        assert_eq!(queue.next(), Some(Job::Roots(vec![1])));
        assert_eq!(queue.next(), Some(Job::Checksum(0, 2000)));
        queue.hashed(2000);
        (0..7).for_each(|_| queue.finished());
        queue.wait_quiet();
        assert!(queue.is_complete());
        queue.stop();
        assert_eq!(queue.next(), None);
    }

    #[test]
    fn a_scanned_segment_is_resolved_before_one_that_is_not() {
        let queue = Queue::new(&[(12, 5), (1012, 5)], 2000, 2);
        queue.arrived([1000, 2000].into_iter(), 1000);
        assert_eq!(queue.next(), Some(Job::Scan(0)));
        assert_eq!(queue.next(), Some(Job::Scan(1)));
        queue.found(&[(2, Reach::Far), (6, Reach::Far)], &[(1, 3)]);
        queue.left(0, 400, [0, 3], Some(1000), false);
        queue.left(1, 2000, UNRIPE, None, true);
        assert_eq!(queue.next(), Some(Job::Roots(vec![6])));
        assert_eq!(queue.next(), Some(Job::Late(vec![(1, 3)])));
        assert_eq!(queue.next(), Some(Job::Roots(vec![2])));
    }

    #[test]
    fn objects_are_resolved_when_they_are_ripe() {
        let queue = Queue::new(&[(12, 9), (1000, 5)], 6000, 2);
        queue.arrived([500].into_iter(), 500);
        assert_eq!(queue.next(), Some(Job::Scan(0)));
        let near = [1, 4, 6].map(|number| (number, Reach::Near));
        let far = [0, 2, 3].map(|number| (number, Reach::Far));
        queue.found(&near, &[]);
        queue.found(&far, &[]);
        queue.left(0, 400, [5, 2], Some(500), false);
        assert_eq!(queue.next(), Some(Job::Roots(vec![1, 4])));
        assert_eq!(queue.next(), Some(Job::Roots(vec![0])));
        (0..3).for_each(|_| queue.finished());
        queue.wait_quiet();
        queue.left(0, 1000, [5, 2], None, true);
        assert_eq!(queue.next(), Some(Job::Roots(vec![6])));
        assert_eq!(queue.next(), Some(Job::Roots(vec![2, 3])));
    }

    #[test]
    fn deltas_whose_bases_are_gone_wait_for_each_other() {
        let queue = Queue::new(&[(12, 20_000)], 1 << 30, 2);
        queue.arrived([500].into_iter(), 500);
        assert_eq!(queue.next(), Some(Job::Scan(0)));
        queue.found(&[], &[(1, 7), (2, 8)]);
        assert_eq!(queue.next(), Some(Job::Late(vec![(1, 7), (2, 8)])));
        queue.cooled(&[(2, 8), (1, 7)]);
        (0..2).for_each(|_| queue.finished());
        queue.wait_quiet();
        let many: Vec<Late> =
            (0..COLD as u32).map(|number| (10 + number % 2, 100 + number)).collect();
        queue.cooled(&many);
        let Some(Job::Deltas(last)) = queue.next() else { panic!("many are not called") };
        // The last of them is taken first.
        assert_eq!((last.len(), last[ROOTS - 1]), (ROOTS, 7));
        let rest = &last[..ROOTS - 2];
        assert!(rest.iter().all(|number| number % 2 == 0), "those of one base go together");
        queue.cooled(&[(3, 9)]);
        queue.left(0, 1 << 30, UNRIPE, None, true);
        let mut left = 0;
        while let Some(Job::Deltas(deltas)) = queue.next() {
            left += deltas.len();
            if left == COLD + 3 - ROOTS {
                break;
            }
        }
        assert_eq!(left, COLD + 3 - ROOTS);
        // What comes back when all is scanned does not wait.
        queue.cooled(&[(4, 10)]);
        assert_eq!(queue.next(), Some(Job::Deltas(vec![10])));
    }

    #[test]
    fn the_checksum_does_not_fall_behind() {
        let queue = Queue::new(&[(12, 5)], 100 << 20, 2);
        queue.arrived([60 << 20].into_iter(), 60 << 20);
        assert_eq!(queue.next(), Some(Job::Scan(0)));
        queue.left(0, 30 << 20, UNRIPE, None, false);
        assert_eq!(queue.next(), Some(Job::Checksum(0, CHECKSUM_LAG)));
        assert_eq!(queue.next(), Some(Job::Scan(0)));
    }
}
