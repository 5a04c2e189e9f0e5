//! Reads a pack from front to back out of a pipe, entry by entry.
//!
//! Every byte goes through the hash that the trailer has to match. Memory is a window; what an entry
//! inflates to goes where the caller says.

use pack_index::entry::{self, Header, LONGEST_HEADER};
use pack_index::error::{Error, Fault, Result};
use pack_index::hash::{Algorithm, Hasher};
use pack_index::inflate::{wrong_size, Inflater, Step};
use pack_index::oid::Oid;
use std::io::{ErrorKind, Read};

/// Read from the pipe at a time, in bytes; Linux' pipes hold as much.
const WINDOW: usize = 64 << 10;
/// `PACK`, version and number of entries.
pub const HEADER: usize = 12;

/// A pack being read.
pub struct Source<R, const W: usize> {
    inner: R,
    /// Bytes read and not used yet are `window[used..filled]`.
    window: Vec<u8>,
    used: usize,
    filled: usize,
    /// Pack offset of `window[used]`.
    at: u64,
    hasher: Hasher,
    inflater: Inflater,
}

impl<R: Read, const W: usize> Source<R, W> {
    /// A source of which nothing is read; `algorithm` is that of the pack's trailer.
    pub fn new(inner: R, algorithm: Algorithm) -> Self {
        Source {
            inner,
            window: vec![0; WINDOW],
            used: 0,
            filled: 0,
            at: 0,
            hasher: Hasher::new(algorithm),
            inflater: Inflater::default(),
        }
    }

    /// Pack offset of what comes next.
    pub fn position(&self) -> u64 {
        self.at
    }

    /// Reads the pack's header; returns the number of entries it announces.
    pub fn begin(&mut self) -> Result<u32> {
        let header = self.fill(HEADER)?;
        if header.len() < HEADER {
            return Err(self.ends_early());
        }
        if header[..8] != *b"PACK\0\0\0\x02" {
            return Err(Error::pack(0, "no pack of version 2 begins like this"));
        }
        let objects = u32::from_be_bytes([header[8], header[9], header[10], header[11]]);
        self.consume(HEADER);
        Ok(objects)
    }

    /// Reads the header of the next entry.
    pub fn entry(&mut self) -> Result<Header<W>> {
        let at = self.at;
        let bytes = self.fill(LONGEST_HEADER)?;
        let header = entry::parse::<W>(bytes, at)?;
        // Headers are shorter than what was asked for, unless the pack ends.
        let header = header.ok_or_else(|| self.ends_early())?;
        self.consume(header.length);
        self.inflater.reset();
        Ok(header)
    }

    /// Fills `output` from the entry's stream, which must make that much.
    pub fn inflate(&mut self, output: &mut [u8]) -> Result<()> {
        let mut made = 0;
        while made < output.len() {
            let step = self.step(&mut output[made..])?;
            made += step.made;
            if step.done && made < output.len() {
                return Err(wrong_size());
            }
        }
        Ok(())
    }

    /// Ends the entry, whose stream must make no further byte.
    pub fn end_entry(&mut self) -> Result<()> {
        // Without room for output a step is the last one, or fails. At the end of a stream the
        // decoder says so as often as it is asked.
        self.step(&mut []).map(|_| ())
    }

    /// Reads the trailer, which must be right and the last of all.
    pub fn finish(mut self) -> Result<()> {
        let bytes = self.fill(Oid::<W>::BYTES + 1)?;
        let (count, stated) = (bytes.len(), bytes.get(..Oid::<W>::BYTES).and_then(Oid::from_bytes));
        let Some(stated) = stated else { return Err(self.ends_early()) };
        if count > Oid::<W>::BYTES {
            return Err(Error::pack(self.at, "bytes follow the pack's trailer"));
        }
        let found: Oid<W> = self.hasher.finish()?;
        if found != stated {
            return Err(Error::pack(self.at, "the pack's trailer does not match its content"));
        }
        Ok(())
    }

    fn step(&mut self, output: &mut [u8]) -> Result<Step> {
        loop {
            self.fill(1)?;
            let input = &self.window[self.used..self.filled];
            let step = self.inflater.step(input, output)?;
            let starved = input.is_empty();
            self.consume(step.used);
            if step.done || step.made != 0 {
                return Ok(step);
            }
            if step.used == 0 {
                return Err(if starved { self.ends_early() } else { wrong_size() });
            }
        }
    }

    /// Reads on until `want` bytes are in the window, or the input ends.
    fn fill(&mut self, want: usize) -> Result<&[u8]> {
        if self.filled - self.used < want {
            self.window.copy_within(self.used..self.filled, 0);
            self.filled -= self.used;
            self.used = 0;
        }
        while self.filled < want {
            match self.inner.read(&mut self.window[self.filled..]) {
                Ok(0) => break,
                Ok(count) => self.filled += count,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(Error::io("reading the pack to deflate", &error)),
            }
        }
        Ok(&self.window[self.used..self.filled])
    }

    fn consume(&mut self, count: usize) {
        self.hasher.update(&self.window[self.used..self.used + count]);
        self.used += count;
        self.at += count as u64;
    }

    fn ends_early(&self) -> Error {
        let at = self.at + (self.filled - self.used) as u64;
        Error::new(Fault::Pack, format!("the pack ends early, after {at} bytes"))
    }
}
