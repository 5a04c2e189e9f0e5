//! The content of an object: in memory, or on disk if it is large.

use crate::check::TreeIndex;
use crate::error::{Error, Result};
use crate::hash::Trail;
use crate::object::Kind;
use std::fs::File;
use std::os::unix::fs::FileExt;

/// Memory taken by an object beside its bytes, about.
const OVERHEAD: usize = 160;

/// What keeping a file open counts for, so that a cache of some hundred megabytes keeps at most as
/// many files.
const DISK_OVERHEAD: usize = 1 << 20;
/// A byte on disk counts for a byte in memory divided by this.
const DISK_SHARE: u64 = 64;

/// Where the bytes are.
pub enum Data {
    /// Here.
    Memory(Vec<u8>),
    /// In a temporary file that has no name any more: these many bytes.
    Disk(File, u64),
}

/// An object's content.
pub struct Content {
    /// The object's kind.
    pub kind: Kind,
    /// Its bytes.
    pub data: Data,
    /// Where its entries begin, if it is a tree that has been checked.
    pub tree: Option<TreeIndex>,
    /// How its hash came about, if it is such a tree.
    pub trail: Trail,
}

impl Content {
    /// Content that is not, or not yet, a checked tree.
    pub fn new(kind: Kind, data: Data) -> Self {
        Content { kind, data, tree: None, trail: Trail::default() }
    }

    /// Size in bytes.
    pub fn size(&self) -> u64 {
        match &self.data {
            Data::Memory(bytes) => bytes.len() as u64,
            Data::Disk(_, size) => *size,
        }
    }

    /// What it costs to keep.
    pub fn weight(&self) -> usize {
        let tree = self.tree.as_ref().map_or(0, TreeIndex::weight);
        OVERHEAD
            + tree
            + self.trail.weight()
            + match &self.data {
                Data::Memory(bytes) => bytes.capacity(),
                // An open file, and disk space: neither is endless.
                Data::Disk(_, size) => DISK_OVERHEAD + (size / DISK_SHARE) as usize,
            }
    }

    /// The bytes, if they are in memory.
    pub fn memory(&self) -> Option<&[u8]> {
        match &self.data {
            Data::Memory(bytes) => Some(bytes),
            Data::Disk(..) => None,
        }
    }

    /// Reads the bytes from `at` on, which must be there.
    pub fn read_at(&self, at: u64, buffer: &mut [u8]) -> Result<()> {
        match &self.data {
            Data::Memory(bytes) => {
                let at = at as usize;
                buffer.copy_from_slice(&bytes[at..at + buffer.len()]);
                Ok(())
            }
            Data::Disk(file, _) => file
                .read_exact_at(buffer, at)
                .map_err(|error| Error::io("reading a temporary file", &error)),
        }
    }
}
