//! Inflating zlib streams: in pieces as they arrive, whole from memory, and as a reader.
//!
//! zlib-rs is a port of zlib, so it accepts what git's zlib accepts and nothing else.

use crate::error::{Error, Fault, Result};
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use zlib_rs::{Inflate, InflateFlush, Status};

/// The largest window zlib has; git asks for it.
const WINDOW_BITS: u8 = 15;
/// Read from disk at a time when an entry is streamed.
const CHUNK: usize = 64 << 10;

/// One zlib decoder, used again for each stream.
pub struct Inflater {
    inner: Inflate,
}

/// What one step of a stream did.
pub struct Step {
    /// Bytes of input used.
    pub used: usize,
    /// Bytes of output made.
    pub made: usize,
    /// Whether the stream ended, with a right checksum.
    pub done: bool,
}

impl Default for Inflater {
    fn default() -> Self {
        Inflater { inner: Inflate::new(true, WINDOW_BITS) }
    }
}

impl Inflater {
    /// Makes ready for another stream.
    pub fn reset(&mut self) {
        self.inner.reset(true);
    }

    /// Inflates as much as `input` and `output` allow.
    ///
    /// A step that neither uses nor makes anything and is not done cannot go on with these two.
    pub fn step(&mut self, input: &[u8], output: &mut [u8]) -> Result<Step> {
        let (before_in, before_out) = (self.inner.total_in(), self.inner.total_out());
        let status = self
            .inner
            .decompress(input, output, InflateFlush::Finish)
            .map_err(|error| Error::new(Fault::Pack, format!("zlib: {}", error.as_str())))?;
        Ok(Step {
            used: (self.inner.total_in() - before_in) as usize,
            made: (self.inner.total_out() - before_out) as usize,
            done: status == Status::StreamEnd,
        })
    }

    /// Inflates a whole stream of which `input` holds all, to exactly `size` bytes.
    pub fn whole(&mut self, input: &[u8], size: usize) -> Result<Vec<u8>> {
        self.reset();
        let mut output = vec![0; size];
        let step = self.step(input, &mut output)?;
        if !step.done || step.made != size {
            return Err(wrong_size());
        }
        Ok(output)
    }
}

/// The error for a stream that does not make what its header promised.
pub fn wrong_size() -> Error {
    Error::new(Fault::Pack, "entry inflates to another size than its header says")
}

/// Reads a stretch of a pack file, inflated.
pub struct InflateReader<'a> {
    file: &'a File,
    at: u64,
    end: u64,
    inflater: Inflater,
    input: Vec<u8>,
    used: usize,
    output: Vec<u8>,
    given: usize,
    made: usize,
    done: bool,
}

impl<'a> InflateReader<'a> {
    /// Reads the stream at `at`, which ends before `end`.
    pub fn new(file: &'a File, at: u64, end: u64) -> Self {
        InflateReader {
            file,
            at,
            end,
            inflater: Inflater::default(),
            input: Vec::new(),
            used: 0,
            output: vec![0; CHUNK],
            given: 0,
            made: 0,
            done: false,
        }
    }

    fn refill(&mut self) -> io::Result<()> {
        (self.given, self.made) = (0, 0);
        while self.made == 0 && !self.done {
            if self.used == self.input.len() && self.at < self.end {
                self.input.resize(CHUNK.min((self.end - self.at) as usize), 0);
                self.file.read_exact_at(&mut self.input, self.at)?;
                self.at += self.input.len() as u64;
                self.used = 0;
            }
            let step = self
                .inflater
                .step(&self.input[self.used..], &mut self.output)
                .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error.what))?;
            if step.used == 0 && step.made == 0 && !step.done {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            self.used += step.used;
            self.made = step.made;
            self.done = step.done;
        }
        Ok(())
    }
}

impl io::Read for InflateReader<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.given == self.made {
            self.refill()?;
        }
        let length = buffer.len().min(self.made - self.given);
        buffer[..length].copy_from_slice(&self.output[self.given..self.given + length]);
        self.given += length;
        Ok(length)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};

    /// `zlib.compress(b"hello " * 20000)` would be short; this is stored, thus longer than a chunk.
    fn stored(bytes: &[u8]) -> Vec<u8> {
        let mut out = vec![0x78, 0x01];
        let mut chunks = bytes.chunks(0xffff).peekable();
        while let Some(chunk) = chunks.next() {
            out.push(u8::from(chunks.peek().is_none()));
            out.extend_from_slice(&(chunk.len() as u16).to_le_bytes());
            out.extend_from_slice(&(!(chunk.len() as u16)).to_le_bytes());
            out.extend_from_slice(chunk);
        }
        let (mut a, mut b) = (1u32, 0u32);
        for &byte in bytes {
            a = (a + u32::from(byte)) % 65521;
            b = (b + a) % 65521;
        }
        out.extend_from_slice(&(b << 16 | a).to_be_bytes());
        out
    }

    #[test]
    fn whole_and_reader_agree() {
        let bytes: Vec<u8> = (0..200_000u32).map(|number| (number % 251) as u8).collect();
        let stream = stored(&bytes);
        assert_eq!(Inflater::default().whole(&stream, bytes.len()).unwrap(), bytes);
        assert!(Inflater::default().whole(&stream, bytes.len() - 1).is_err());
        assert!(Inflater::default().whole(&stream, bytes.len() + 1).is_err());
        assert!(Inflater::default().whole(&stream[..stream.len() - 1], bytes.len()).is_err());
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(b"xx").unwrap();
        file.write_all(&stream).unwrap();
        let mut read = Vec::new();
        let end = 2 + stream.len() as u64;
        InflateReader::new(&file, 2, end).read_to_end(&mut read).unwrap();
        assert_eq!(read, bytes);
        assert!(InflateReader::new(&file, 2, end - 1).read_to_end(&mut read).is_err());
    }

    #[test]
    fn steps_go_on_where_they_stopped() {
        let stream = stored(b"hello");
        let (mut inflater, mut output, mut made) = (Inflater::default(), [0; 5], 0);
        for (number, byte) in stream.iter().enumerate() {
            let step = inflater.step(&[*byte], &mut output[made..]).unwrap();
            made += step.made;
            assert_eq!(step.done, number + 1 == stream.len());
        }
        assert_eq!(&output, b"hello");
    }
}
