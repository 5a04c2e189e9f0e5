//! The indexer: a pack that grows, workers that keep up with it.
//!
//! Holds everything the workers share. The first error stops them all and is what every later
//! call reports. Knows nothing of Python, of git, or of where the bytes come from.

use crate::cache::Cache;
use crate::config::{Budget, Config, PACK_HEADER};
use crate::error::{Error, Fault, Result};
use crate::hash::{Algorithm, Hasher};
use crate::names::{lock, Names};
use crate::oid::Oid;
use crate::resolve::Worker;
use crate::scan::{Ended, Segment, Source};
use crate::table::Table;
use crate::waits::{Held, Waits};
use crate::work::{Job, Queue, Reach};
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::panic::{catch_unwind, AssertUnwindSafe};
use std::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release};
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::sync::{Arc, Mutex, OnceLock};
use std::thread::JoinHandle;

/// Hashed at a time for the pack's checksum.
const CHUNK: usize = 1 << 20;

/// How far the work is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// Entries found.
    pub scanned: u64,
    /// Objects resolved, named and checked.
    pub resolved: u64,
    /// Bytes of the pack whose entries have been found.
    pub bytes: u64,
}

/// What the workers share.
pub struct Engine<const W: usize> {
    pub(crate) config: Config,
    pub(crate) budget: Budget,
    pub(crate) file: File,
    /// The copy in which a thin pack is completed, if it is not completed in place.
    pub(crate) completed: OnceLock<File>,
    pub(crate) table: Table<W>,
    pub(crate) names: Names<W>,
    pub(crate) cache: Cache,
    pub(crate) waits: Waits,
    pub(crate) held: Held,
    pub(crate) queue: Queue,
    pub(crate) resolved: AtomicU64,
    pub(crate) segments: Vec<Segment<W>>,
    prefix: AtomicU64,
    failed: AtomicBool,
    error: Mutex<Option<Error>>,
    hasher: Mutex<Option<Hasher>>,
}

/// The plain form of the hash that packs and indexes end with.
///
/// It need not notice collisions: every object is checked by itself.
pub fn trailer_algorithm(algorithm: Algorithm) -> Algorithm {
    match algorithm {
        Algorithm::Sha1Checked => Algorithm::Sha1,
        other => other,
    }
}

impl<const W: usize> Engine<W> {
    /// Opens the pack; nothing of it need be there yet but the file.
    pub fn new(config: Config) -> Result<Self> {
        config.validate::<W>()?;
        let file =
            File::open(&config.path).map_err(|error| Error::io("opening the pack", &error))?;
        let end = config.size - Oid::<W>::BYTES as u64;
        let starts = config.segments();
        let ends = starts.iter().skip(1).map(|segment| segment.0).chain([end]);
        let mut first = 0;
        let mut segments = Vec::with_capacity(starts.len());
        for (&(start, count), end) in starts.iter().zip(ends) {
            segments.push(Segment::new(first, count, start, end));
            first += count;
        }
        let table = Table::new(config.objects);
        table.set_offset(config.objects, end);
        segments.iter().for_each(|segment| table.set_offset(segment.first, segment.start));
        let budget = config.budget::<W>();
        Ok(Engine {
            budget,
            file,
            completed: OnceLock::new(),
            table,
            names: Names::default(),
            cache: Cache::new(budget.cache),
            waits: Waits::default(),
            held: Held::new(budget.held),
            queue: Queue::new(&starts, end, config.workers()),
            resolved: AtomicU64::new(0),
            segments,
            prefix: AtomicU64::new(0),
            failed: AtomicBool::new(false),
            error: Mutex::new(None),
            hasher: Mutex::new(Some(Hasher::new(trailer_algorithm(config.algorithm)))),
            config,
        })
    }

    /// Starts the workers.
    pub fn start(self: &Arc<Self>) -> Result<Vec<JoinHandle<()>>> {
        let spawn = |number| {
            let engine = self.clone();
            std::thread::Builder::new()
                .name(format!("pack-index-{number}"))
                .spawn(move || engine.work())
                .map_err(|error| Error::io("starting a thread", &error))
        };
        (0..self.config.workers()).map(spawn).collect()
    }

    /// Everything before `prefix` is in the file now.
    pub fn advance(&self, prefix: u64) -> Result<()> {
        if prefix > self.config.size {
            return Err(Error::usage(format!(
                "{prefix} is beyond the pack's {} bytes",
                self.config.size
            )));
        }
        self.prefix.fetch_max(prefix, AcqRel);
        self.arrived()
    }

    /// All bytes of segment `number` are in the file now, whatever precedes it.
    pub fn segment_ready(&self, number: usize) -> Result<()> {
        let segment = self.segments.get(number).ok_or_else(|| Error::usage("no such segment"))?;
        segment.ready.store(true, Release);
        self.arrived()
    }

    fn arrived(&self) -> Result<()> {
        self.check()?;
        let prefix = self.prefix.load(Acquire);
        let limits = self.segments.iter().map(|segment| segment.limit(prefix));
        self.queue.arrived(limits, self.contiguous());
        Ok(())
    }

    /// Everything before this is there.
    fn contiguous(&self) -> u64 {
        let mut at = self.prefix.load(Acquire);
        for segment in &self.segments {
            // The header arrives with the prefix, or with the first segment.
            let reached = at.max(PACK_HEADER) >= segment.start;
            if reached && segment.ready.load(Acquire) {
                at = at.max(segment.end);
            }
        }
        at
    }

    /// How far the work is.
    pub fn progress(&self) -> Progress {
        let scanned = self.segments.iter().map(|segment| segment.scanned());
        let (mut entries, mut bytes) = (0, 0);
        for (segment, range) in self.segments.iter().zip(scanned) {
            entries += u64::from(range.end - range.start);
            bytes += match range.end - range.start {
                count if count == segment.count => segment.length(),
                _ => self.table.offset(range.end) - segment.start,
            };
        }
        Progress { scanned: entries, resolved: self.resolved.load(Relaxed), bytes }
    }

    /// How often a base was in memory, and was not.
    pub fn cache_counts(&self) -> (u64, u64) {
        self.cache.counts()
    }

    /// Stops everything with `error`, unless it has stopped before.
    pub fn fail(&self, error: Error) {
        lock(&self.error).get_or_insert(error);
        self.failed.store(true, Release);
        self.queue.stop();
    }

    /// Sends the workers home, with or without an error.
    pub fn queue_stop(&self) {
        self.queue.stop();
    }

    /// Whether the work has stopped.
    pub fn has_failed(&self) -> bool {
        self.failed.load(Acquire)
    }

    /// The error that stopped the work, if any.
    pub fn check(&self) -> Result<()> {
        if !self.has_failed() {
            return Ok(());
        }
        lock(&self.error).clone().map_or(Ok(()), Err)
    }

    /// Whether every byte of the pack is there.
    pub fn has_arrived(&self) -> bool {
        // The trailer belongs to no segment; it comes with the prefix.
        self.prefix.load(Acquire) == self.config.size || self.contiguous() >= self.trailer_at()
    }

    /// Where the trailer begins.
    pub fn trailer_at(&self) -> u64 {
        self.config.size - Oid::<W>::BYTES as u64
    }

    /// The hash of everything before the trailer, once it is complete.
    pub fn take_checksum(&self) -> Result<Oid<W>> {
        let hasher = lock(&self.hasher).take();
        hasher.ok_or_else(|| Error::usage("the index was finished before"))?.finish()
    }

    /// What a worker does all its life.
    fn work(&self) {
        let mut worker = Worker::default();
        while let Some(job) = self.queue.next() {
            let done = catch_unwind(AssertUnwindSafe(|| self.perform(&mut worker, job)));
            let done = done.unwrap_or_else(|_| Err(Error::new(Fault::Bug, "a worker panicked")));
            if let Err(error) = done {
                self.fail(error);
            }
            self.queue.finished();
        }
    }

    fn perform(&self, worker: &mut Worker<W>, job: Job) -> Result<()> {
        match job {
            Job::Deltas(deltas) => self.resolve_deltas(worker, &deltas),
            Job::Late(late) => self.resolve_late(worker, &late),
            Job::Roots(roots) => self.resolve_roots(worker, &roots),
            Job::Scan(segment) => self.scan(worker, segment),
            Job::Checksum(from, to) => self.checksum(from, to),
        }
    }

    fn scan(&self, worker: &mut Worker<W>, number: usize) -> Result<()> {
        let segment = &self.segments[number];
        let source = Source {
            file: &self.file,
            algorithm: self.config.algorithm,
            large: self.budget.large,
            largest: self.config.largest_object,
        };
        let mut batch = Vec::new();
        {
            let mut scan = lock(&segment.scan);
            let limit = segment.limit(self.prefix.load(Acquire));
            let ended = segment.batch(&mut scan, &source, limit, &self.table, &mut batch)?;
            let tried = (ended == Ended::Starved).then_some(limit);
            let (at, scanned) = (scan.position(), segment.scanned());
            let ripe = Reach::ALL.map(|reach| {
                self.table.beginning_after(segment.ripe_to(at, reach), scanned.clone())
            });
            self.queue.left(number, at, ripe, tried, ended == Ended::Complete);
        }
        self.take_on(worker, batch)
    }

    fn checksum(&self, from: u64, to: u64) -> Result<()> {
        let mut at = from;
        let mut buffer = vec![0; CHUNK.min((to - from) as usize)];
        while at < to && !self.has_failed() {
            let part = (to - at).min(CHUNK as u64) as usize;
            self.file
                .read_exact_at(&mut buffer[..part], at)
                .map_err(|error| Error::io("reading the pack", &error))?;
            if at == 0 {
                self.check_header(&buffer[..part])?;
            }
            if let Some(hasher) = lock(&self.hasher).as_mut() {
                hasher.update(&buffer[..part]);
            }
            at += part as u64;
        }
        self.queue.hashed(at);
        Ok(())
    }

    fn check_header(&self, bytes: &[u8]) -> Result<()> {
        let wrong = |what: &str| Err(Error::pack(0, format!("pack header {what}")));
        let word = |at: usize| {
            bytes
                .get(at..at + 4)
                .map(|word| u32::from_be_bytes([word[0], word[1], word[2], word[3]]))
        };
        if bytes.get(..4) != Some(b"PACK") {
            return wrong("has another signature");
        }
        if !matches!(word(4), Some(2 | 3)) {
            return wrong("has an unknown version");
        }
        if word(8) != Some(self.config.objects) {
            return wrong("has another number of objects than was announced");
        }
        Ok(())
    }

    /// Whether the whole segment of an entry is scanned, so that few more deltas can need it.
    pub(crate) fn is_scanned_around(&self, number: u32) -> bool {
        self.segment_of(number).is_none_or(Segment::is_scanned)
    }

    /// Whether few deltas will turn up any more that need an entry of a segment.
    pub(crate) fn is_ripe(&self, number: u32, reach: Reach) -> bool {
        self.segment_of(number).is_none_or(|segment| {
            let at = self.table.offset(segment.scanned().end);
            segment.is_scanned() || self.table.offset(number) < segment.ripe_to(at, reach)
        })
    }

    fn segment_of(&self, number: u32) -> Option<&Segment<W>> {
        let after = self.segments.partition_point(|segment| segment.first <= number);
        after.checked_sub(1).map(|at| &self.segments[at])
    }

    /// The entry at `offset`; or the delta `number` waits until that is scanned.
    pub(crate) fn find_base(&self, offset: u64, number: u32) -> Result<Option<u32>> {
        let missing = || {
            Error::new(Fault::Pack, format!("no entry begins at the delta's base offset {offset}"))
        };
        let after = self.segments.partition_point(|segment| segment.start <= offset);
        let segment = after.checked_sub(1).map(|at| &self.segments[at]).ok_or_else(missing)?;
        let scanned = segment.scanned();
        if let Some(base) = self.table.find(offset, scanned.clone()) {
            return Ok(Some(base));
        }
        if !scanned.is_empty() && offset < self.table.offset(scanned.end) {
            return Err(missing());
        }
        Ok(self.waits.wait(offset, number, || self.table.find(offset, segment.scanned())))
    }
}
