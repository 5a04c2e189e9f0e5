//! Objects too large for memory: inflated to, and made by deltas in, temporary files.

use crate::content::{Content, Data};
use crate::delta::StreamSink;
use crate::error::{Error, Result};
use crate::hash::{Algorithm, Hasher};
use crate::object::Kind;
use crate::oid::Oid;
use std::fs::File;
use std::io::{Read, Write};
use std::path::Path;

/// Copied at a time.
const CHUNK: usize = 64 << 10;

fn spill_error(error: std::io::Error) -> Error {
    Error::io("writing a temporary file", &error)
}

/// A file in `directory` that vanishes when closed.
fn temporary(directory: &Path) -> Result<File> {
    tempfile::tempfile_in(directory).map_err(spill_error)
}

/// Writes the `size` bytes that `reader` gives to a temporary file.
pub fn spill(reader: &mut dyn Read, size: u64, directory: &Path) -> Result<Data> {
    let mut file = temporary(directory)?;
    let copied = std::io::copy(&mut reader.take(size + 1), &mut file).map_err(spill_error)?;
    if copied != size {
        return Err(crate::inflate::wrong_size());
    }
    Ok(Data::Disk(file, size))
}

/// Takes what a delta makes, hashing it on the way.
pub struct LargeSink<'a> {
    base: &'a Content,
    algorithm: Algorithm,
    /// Results above this go to disk.
    large: u64,
    largest: u64,
    directory: &'a Path,
    hasher: Option<Hasher>,
    chunk: Vec<u8>,
    data: Data,
}

impl<'a> LargeSink<'a> {
    /// A sink for a delta against `base`.
    pub fn new(
        base: &'a Content,
        algorithm: Algorithm,
        large: u64,
        largest: u64,
        directory: &'a Path,
    ) -> Self {
        LargeSink {
            base,
            algorithm,
            large,
            largest,
            directory,
            hasher: None,
            chunk: vec![0; CHUNK],
            data: Data::Memory(Vec::new()),
        }
    }

    /// What was made, and its name.
    pub fn finish<const W: usize>(self) -> Result<(Content, Oid<W>)> {
        let kind: Kind = self.base.kind;
        let hasher = self.hasher.unwrap_or_else(|| Hasher::of_object(self.algorithm, kind, 0));
        Ok((Content::new(kind, self.data), hasher.finish()?))
    }
}

impl StreamSink for LargeSink<'_> {
    fn begin(&mut self, size: u64) -> Result<()> {
        if size > self.largest {
            return Err(too_large(size, self.largest));
        }
        self.hasher = Some(Hasher::of_object(self.algorithm, self.base.kind, size));
        if size > self.large {
            self.data = Data::Disk(temporary(self.directory)?, size);
        }
        Ok(())
    }

    fn copy(&mut self, from: u64, length: u64) -> Result<()> {
        let mut chunk = std::mem::take(&mut self.chunk);
        let (mut at, end) = (from, from + length);
        while at < end {
            let part = &mut chunk[..(end - at).min(CHUNK as u64) as usize];
            self.base.read_at(at, part)?;
            self.insert(part)?;
            at += part.len() as u64;
        }
        self.chunk = chunk;
        Ok(())
    }

    fn insert(&mut self, bytes: &[u8]) -> Result<()> {
        if let Some(hasher) = &mut self.hasher {
            hasher.update(bytes);
        }
        match &mut self.data {
            Data::Memory(kept) => kept.extend_from_slice(bytes),
            Data::Disk(file, _) => file.write_all(bytes).map_err(spill_error)?,
        }
        Ok(())
    }
}

/// The error for an object above the caller's limit.
pub fn too_large(size: u64, largest: u64) -> Error {
    let what = format!("object of {size} bytes is above the limit of {largest}");
    Error::new(crate::error::Fault::Pack, what)
}
