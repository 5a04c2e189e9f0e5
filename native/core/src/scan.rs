//! Finding the entries of a segment: headers, checksums, and what they inflate to.
//!
//! An entry's length is known only once it is inflated, so a segment is read by one worker at a
//! time, from front to back, a batch of entries at once; whoever scanned a batch goes on to
//! resolve it while another scans the next. A scan stops in the middle of an entry where the
//! bytes that have arrived end, and goes on there later.

use crate::entry::{self, Body, Header, LONGEST_HEADER};
use crate::error::{Error, Result};
use crate::hash::{Algorithm, Hasher};
use crate::inflate::{wrong_size, Inflater};
use crate::oid::Oid;
use crate::table::Table;
use crate::work::Reach;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering::Acquire, Ordering::Release};
use std::sync::Mutex;

/// Read from the pack at a time.
const WINDOW: usize = 256 << 10;
/// A batch ends with the entry that reaches this many inflated bytes...
const BATCH_BYTES: usize = 1 << 20;
/// ...or this many entries.
const BATCH_ENTRIES: usize = 512;
/// Inflated at a time when an entry is not kept.
const CHUNK: usize = 64 << 10;

/// A stretch of the pack that begins and ends with whole entries.
pub struct Segment<const W: usize> {
    /// The number of its first entry.
    pub first: u32,
    /// How many entries it has.
    pub count: u32,
    /// Where it begins in the pack.
    pub start: u64,
    /// Where it ends.
    pub end: u64,
    /// Whether all its bytes are there, whatever precedes it.
    pub ready: AtomicBool,
    /// How many entries are scanned, for readers of the table.
    scanned: AtomicU32,
    /// Where the scan stands.
    pub scan: Mutex<Scan<W>>,
}

/// Where the scan of a segment stands.
pub struct Scan<const W: usize> {
    /// Entries scanned.
    next: u32,
    /// Pack offset of `window[used]`.
    at: u64,
    window: Vec<u8>,
    used: usize,
    /// The decoder, made when first needed.
    inflater: Option<Box<Inflater>>,
    partial: Option<Partial<W>>,
}

/// An entry in the middle of which the scan stands.
struct Partial<const W: usize> {
    header: Header<W>,
    offset: u64,
    crc: crc32fast::Hasher,
    made: u64,
    sink: Sink,
}

/// Where the inflated bytes go.
enum Sink {
    Keep(Vec<u8>),
    Hash(Box<Hasher>, Vec<u8>),
    Drop(Vec<u8>),
}

/// What an entry inflated to.
pub enum Payload<const W: usize> {
    /// These bytes.
    Kept(Vec<u8>),
    /// A large object of this name, whose bytes were not kept.
    Hashed(Oid<W>),
    /// A large delta, whose bytes were not kept.
    Dropped,
}

/// A scanned entry.
pub struct Scanned<const W: usize> {
    /// Its number in the pack.
    pub number: u32,
    /// What it is.
    pub body: Body<W>,
    /// Its inflated bytes.
    pub payload: Payload<W>,
    /// How many those are.
    pub size: u64,
}

/// Why a batch ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// It is large enough.
    Full,
    /// The bytes that have arrived are used up.
    Starved,
    /// The segment is complete.
    Complete,
}

/// What a scan needs to know beside its segment.
pub struct Source<'a> {
    /// The pack.
    pub file: &'a File,
    /// How objects are hashed.
    pub algorithm: Algorithm,
    /// Entries that inflate to more than this are not kept.
    pub large: u64,
    /// Entries that inflate to more than this are refused.
    pub largest: u64,
}

impl<const W: usize> Segment<W> {
    /// A segment of which nothing is scanned.
    pub fn new(first: u32, count: u32, start: u64, end: u64) -> Self {
        let scan =
            Scan { next: 0, at: start, window: Vec::new(), used: 0, inflater: None, partial: None };
        Segment {
            first,
            count,
            start,
            end,
            ready: AtomicBool::new(false),
            scanned: AtomicU32::new(0),
            scan: Mutex::new(scan),
        }
    }

    /// The numbers of the entries scanned so far.
    pub fn scanned(&self) -> std::ops::Range<u32> {
        self.first..self.first + self.scanned.load(Acquire)
    }

    /// Its size in the pack, in bytes.
    pub fn length(&self) -> u64 {
        self.end - self.start
    }

    /// Where entries begin to be not ripe when the scan is at `at`.
    pub fn ripe_to(&self, at: u64, reach: Reach) -> u64 {
        at.saturating_sub(reach.bytes(self.length()))
    }

    /// Whether all its entries are scanned.
    pub fn is_scanned(&self) -> bool {
        self.scanned.load(Acquire) == self.count
    }

    /// How far the pack may be read, when all before `prefix` is there.
    pub fn limit(&self, prefix: u64) -> u64 {
        if self.ready.load(Acquire) {
            self.end
        } else {
            prefix.clamp(self.start, self.end)
        }
    }

    /// Scans a batch of entries, reading the pack no further than `limit`.
    pub fn batch(
        &self,
        scan: &mut Scan<W>,
        source: &Source<'_>,
        limit: u64,
        table: &Table<W>,
        batch: &mut Vec<Scanned<W>>,
    ) -> Result<Ended> {
        let mut bytes = 0;
        let ended = loop {
            if scan.next == self.count {
                break self.complete(scan)?;
            }
            if batch.len() >= BATCH_ENTRIES || bytes >= BATCH_BYTES {
                break Ended::Full;
            }
            let Some(done) = scan.entry(source, limit)? else {
                if limit == self.end {
                    return Err(Error::pack(
                        scan.at,
                        format!(
                            "pack ends, or a segment does, after {} of {} entries",
                            scan.next, self.count
                        ),
                    ));
                }
                break Ended::Starved;
            };
            let number = self.first + scan.next;
            scan.next += 1;
            let crc = done.crc.finalize();
            table.set_crc(number, crc);
            table.set_offset(number + 1, scan.at);
            let payload = match done.sink {
                Sink::Keep(kept) => {
                    bytes += kept.len();
                    Payload::Kept(kept)
                }
                Sink::Hash(hasher, _) => {
                    bytes += BATCH_BYTES;
                    Payload::Hashed(hasher.finish().map_err(|error| error.at(done.offset))?)
                }
                Sink::Drop(_) => Payload::Dropped,
            };
            batch.push(Scanned { number, body: done.header.body, payload, size: done.header.size });
        };
        self.scanned.store(scan.next, Release);
        Ok(ended)
    }

    fn complete(&self, scan: &mut Scan<W>) -> Result<Ended> {
        if scan.at != self.end {
            let what = format!("{} entries end here, not at {}", self.count, self.end);
            return Err(Error::pack(scan.at, what));
        }
        scan.window = Vec::new();
        scan.inflater = None;
        Ok(Ended::Complete)
    }
}

impl<const W: usize> Scan<W> {
    /// Where the scan stands in the pack.
    pub fn position(&self) -> u64 {
        self.at
    }

    /// Reads on until `want` bytes are in the window, or all up to `limit`.
    fn fill(&mut self, file: &File, limit: u64, want: usize) -> Result<&[u8]> {
        let held = self.window.len() - self.used;
        let read_to = self.at + held as u64;
        if held < want && read_to < limit {
            self.window.drain(..self.used);
            self.used = 0;
            let more = (WINDOW - held).min((limit - read_to) as usize);
            self.window.resize(held + more, 0);
            file.read_exact_at(&mut self.window[held..], read_to)
                .map_err(|error| Error::io("reading the pack", &error))?;
        }
        Ok(&self.window[self.used..])
    }

    fn consume(&mut self, bytes: usize) {
        self.used += bytes;
        self.at += bytes as u64;
    }

    /// Scans one entry, or as much of it as there is.
    fn entry(&mut self, source: &Source<'_>, limit: u64) -> Result<Option<Partial<W>>> {
        let mut partial = match self.partial.take() {
            Some(partial) => partial,
            None => match self.begin(source, limit)? {
                Some(partial) => partial,
                None => return Ok(None),
            },
        };
        let mut inflater = self.inflater.take().unwrap_or_default();
        let done = self.inflate(source.file, limit, &mut partial, &mut inflater);
        self.inflater = Some(inflater);
        if done.map_err(|error| error.at(partial.offset))? {
            return Ok(Some(partial));
        }
        self.partial = Some(partial);
        Ok(None)
    }

    fn begin(&mut self, source: &Source<'_>, limit: u64) -> Result<Option<Partial<W>>> {
        let offset = self.at;
        let bytes = self.fill(source.file, limit, LONGEST_HEADER)?;
        let Some(header) = entry::parse::<W>(bytes, offset)? else {
            return Ok(None);
        };
        if header.size > source.largest {
            let what =
                format!("entry of {} bytes is above the limit of {}", header.size, source.largest);
            return Err(Error::pack(offset, what));
        }
        let mut crc = crc32fast::Hasher::new();
        crc.update(&bytes[..header.length]);
        self.consume(header.length);
        let sink = match header.body {
            _ if header.size <= source.large => Sink::Keep(vec![0; header.size as usize]),
            Body::Whole(kind) => {
                let hasher = Hasher::of_object(source.algorithm, kind, header.size);
                Sink::Hash(Box::new(hasher), vec![0; CHUNK])
            }
            _ => Sink::Drop(vec![0; CHUNK]),
        };
        if let Some(inflater) = &mut self.inflater {
            inflater.reset();
        }
        Ok(Some(Partial { header, offset, crc, made: 0, sink }))
    }

    /// Inflates on; whether the entry is done.
    fn inflate(
        &mut self,
        file: &File,
        limit: u64,
        partial: &mut Partial<W>,
        inflater: &mut Inflater,
    ) -> Result<bool> {
        let size = partial.header.size;
        loop {
            let input = self.fill(file, limit, 1)?;
            let left = size - partial.made;
            let output = match &mut partial.sink {
                Sink::Keep(kept) => &mut kept[partial.made as usize..],
                Sink::Hash(_, chunk) | Sink::Drop(chunk) => {
                    &mut chunk[..left.min(CHUNK as u64) as usize]
                }
            };
            let step = inflater.step(input, output)?;
            partial.crc.update(&input[..step.used]);
            if let Sink::Hash(hasher, chunk) = &mut partial.sink {
                hasher.update(&chunk[..step.made]);
            }
            partial.made += step.made as u64;
            let (starved, stuck) = (input.is_empty(), step.used == 0 && step.made == 0);
            self.consume(step.used);
            if step.done {
                return if partial.made == size { Ok(true) } else { Err(wrong_size()) };
            }
            if stuck {
                return if starved { Ok(false) } else { Err(wrong_size()) };
            }
        }
    }
}
