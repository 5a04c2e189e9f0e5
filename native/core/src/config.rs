//! What the caller asks for, and the limits that follow from it.

use crate::check::Rules;
use crate::error::{Error, Result};
use crate::hash::Algorithm;
use crate::names::Names;
use crate::table::{Table, MOST};
use std::path::PathBuf;

/// Bytes of a pack's header: signature, version, count.
pub const PACK_HEADER: u64 = 12;
/// No entry is shorter: one byte of header, and eight of an empty zlib stream.
const SHORTEST_ENTRY: u64 = 9;
/// However little memory is allowed, so much is used for what is under way.
const LEAST_MEMORY: usize = 8 << 20;
/// Objects above this are never held in memory, and never fewer bytes than [`LEAST_LARGE`] are
/// called large: streaming through a temporary file costs more than it saves.
const MOST_LARGE: usize = 32 << 20;
const LEAST_LARGE: usize = 64 << 10;
/// More threads than this do not help: a segment is scanned by one at a time.
const MOST_THREADS: usize = 64;
/// More segments than this are a mistake; the scheduler looks through them.
const MOST_SEGMENTS: usize = 1 << 12;

/// A pack to index.
#[derive(Clone, Debug)]
pub struct Config {
    /// The pack file; it may still be growing.
    pub path: PathBuf,
    /// Size of the whole pack in bytes, with its trailer.
    pub size: u64,
    /// How many entries it has.
    pub objects: u32,
    /// Its trailer, if known beforehand.
    pub checksum: Option<Vec<u8>>,
    /// First offset and entry count of each segment, in order; empty for one segment.
    pub segments: Vec<(u64, u32)>,
    /// How objects are hashed.
    pub algorithm: Algorithm,
    /// What to check of them.
    pub rules: Rules,
    /// Worker threads; 0 for one per CPU.
    pub threads: usize,
    /// Memory to use in bytes, about; more costs less inflating.
    pub memory: usize,
    /// No object larger than this is accepted.
    pub largest_object: u64,
    /// Where temporary files for large objects go.
    pub spill: PathBuf,
}

/// How the memory is divided.
#[derive(Clone, Copy, Debug)]
pub struct Budget {
    /// For contents that deltas may be based on.
    pub cache: usize,
    /// For the instructions of deltas not yet applied.
    pub held: usize,
    /// Larger objects go through temporary files.
    pub large: u64,
}

impl Config {
    /// Refuses what cannot be; nothing has been allocated in proportion to the claims before.
    pub fn validate<const W: usize>(&self) -> Result<()> {
        let trailer = W as u64 * 4;
        let room = self.size.checked_sub(PACK_HEADER + trailer);
        let room =
            room.ok_or_else(|| Error::usage("the pack is smaller than header and trailer"))?;
        if u64::from(self.objects) > room / SHORTEST_ENTRY || self.objects >= MOST {
            return Err(Error::usage(format!(
                "{} objects do not fit {} bytes",
                self.objects, self.size
            )));
        }
        if self.objects == 0 && room != 0 {
            return Err(Error::usage("no objects, yet something between header and trailer"));
        }
        if self.checksum.as_ref().is_some_and(|checksum| checksum.len() as u64 != trailer) {
            return Err(Error::usage("the checksum is not of this object format"));
        }
        self.validate_segments(self.size - trailer)
    }

    fn validate_segments(&self, end: u64) -> Result<()> {
        let segments = self.segments();
        if segments.len() > MOST_SEGMENTS {
            return Err(Error::usage("too many segments"));
        }
        let mut objects = 0u32;
        let mut before: Option<u64> = None;
        for &(offset, count) in &segments {
            let ordered = before.map_or(offset == PACK_HEADER, |before| offset > before);
            if !ordered || offset > end || (count == 0 && self.objects != 0) {
                return Err(Error::usage(format!("segment at {offset} is out of place or empty")));
            }
            objects = objects.checked_add(count).ok_or_else(|| Error::usage("too many objects"))?;
            before = Some(offset);
        }
        if objects != self.objects {
            return Err(Error::usage(format!(
                "segments have {objects} objects, the pack {}",
                self.objects
            )));
        }
        Ok(())
    }

    /// The segments; one if none were given.
    pub fn segments(&self) -> Vec<(u64, u32)> {
        if self.segments.is_empty() {
            vec![(PACK_HEADER, self.objects)]
        } else {
            self.segments.clone()
        }
    }

    /// The number of workers.
    pub fn workers(&self) -> usize {
        let cpus = || std::thread::available_parallelism().map_or(1, |count| count.get());
        match self.threads {
            0 => cpus().min(MOST_THREADS),
            threads => threads.min(MOST_THREADS),
        }
    }

    /// How the memory is divided: tables take what they must, the rest is shared out.
    pub fn budget<const W: usize>(&self) -> Budget {
        let tables = self.objects as usize * (Table::<W>::weight() + Names::<W>::weight());
        // The allocator takes more from the system than it is asked for, about a quarter.
        let rest = (self.memory / 4 * 3).saturating_sub(tables).max(LEAST_MEMORY);
        Budget {
            cache: rest / 2,
            held: rest / 4,
            large: (rest / 16).clamp(LEAST_LARGE, MOST_LARGE) as u64,
        }
    }
}
