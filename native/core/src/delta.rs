//! Applying deltas (gitformat-pack: "Deltified representation").
//!
//! [`Delta::parse`] proves a whole delta sound before a byte of the result is allocated: a short
//! delta may claim a huge result, and only its own instructions can back the claim. [`stream`] is
//! for bases and results too large to hold; it checks as it goes.

use crate::error::{Error, Fault, Result};
use std::io::{ErrorKind, Read};

/// Git refuses shorter deltas; the shortest useful one has two sizes and one instruction.
const SHORTEST: usize = 4;

/// A delta whose instructions are known to fit its base and to make the promised size.
pub struct Delta<'a> {
    /// Size of the result in bytes.
    pub result_size: u64,
    instructions: &'a [u8],
}

/// One instruction: bytes of the base, or bytes of the delta.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Copy { from: u64, length: u64 },
    Insert { length: usize },
}

fn broken(what: &str) -> Error {
    Error::new(Fault::Pack, format!("delta {what}"))
}

/// Reads one number of the delta's head; 7 bits a byte, lowest first.
fn parse_size(bytes: &[u8]) -> Result<(u64, usize)> {
    let mut size = 0u64;
    for (at, &byte) in bytes.iter().enumerate() {
        let (bits, shift) = (u64::from(byte & 0x7f), at as u32 * 7);
        if shift > 63 || bits << shift >> shift != bits {
            return Err(broken("size is beyond 64 bits"));
        }
        size |= bits << shift;
        if byte & 0x80 == 0 {
            return Ok((size, at + 1));
        }
    }
    Err(broken("ends within its sizes"))
}

/// Reads one instruction; `None` when `bytes` ends within it.
#[inline]
fn parse_step(bytes: &[u8]) -> Result<Option<(Step, usize)>> {
    let Some((&code, rest)) = bytes.split_first() else { return Ok(None) };
    if code & 0x80 == 0 {
        if code == 0 {
            return Err(broken("has a reserved instruction"));
        }
        return Ok(Some((Step::Insert { length: usize::from(code) }, 1)));
    }
    let (mut value, mut at) = (0u64, 0usize);
    for bit in 0..7 {
        if code & 1 << bit != 0 {
            let Some(&byte) = rest.get(at) else { return Ok(None) };
            value |= u64::from(byte) << (8 * bit);
            at += 1;
        }
    }
    let length = match value >> 32 {
        0 => 0x10000,
        length => length,
    };
    Ok(Some((Step::Copy { from: value & 0xffff_ffff, length }, at + 1)))
}

impl<'a> Delta<'a> {
    /// Checks `bytes` as a delta against a base of `base_size` bytes.
    pub fn parse(bytes: &'a [u8], base_size: u64) -> Result<Self> {
        if bytes.len() < SHORTEST {
            return Err(broken("is too short"));
        }
        let (claimed, used) = parse_size(bytes)?;
        if claimed != base_size {
            return Err(broken(&format!("is for a base of {claimed} bytes, not {base_size}")));
        }
        let (result_size, more) = parse_size(&bytes[used..])?;
        let instructions = &bytes[used + more..];
        let (mut left, mut rest) = (result_size, instructions);
        while !rest.is_empty() {
            let Some((step, used)) = parse_step(rest)? else {
                return Err(broken("ends within an instruction"));
            };
            let (made, skip) = match step {
                Step::Copy { from, length } if from + length <= base_size => (length, used),
                Step::Copy { .. } => return Err(broken("copies from beyond its base")),
                Step::Insert { length } => (length as u64, used + length),
            };
            if made > left {
                return Err(broken("makes more than it says"));
            }
            left -= made;
            rest = rest.get(skip..).ok_or_else(|| broken("ends within an insertion"))?;
        }
        if left != 0 {
            return Err(broken("makes less than it says"));
        }
        Ok(Delta { result_size, instructions })
    }

    /// Appends the result to `result`; `base` must have the size given to [`Delta::parse`].
    pub fn apply(&self, base: &[u8], result: &mut Vec<u8>) {
        result.reserve(self.result_size as usize);
        self.runs(|run| match run {
            Run::Base { from, length } => result.extend_from_slice(&base[from..from + length]),
            Run::New(bytes) => result.extend_from_slice(bytes),
        });
    }

    /// Calls `each` for every instruction in turn.
    pub fn runs(&self, mut each: impl FnMut(Run<'a>)) {
        let mut rest = self.instructions;
        while let Ok(Some((step, used))) = parse_step(rest) {
            rest = &rest[used..];
            match step {
                Step::Copy { from, length } => {
                    each(Run::Base { from: from as usize, length: length as usize });
                }
                Step::Insert { length } => {
                    let (bytes, after) = rest.split_at(length);
                    each(Run::New(bytes));
                    rest = after;
                }
            }
        }
    }
}

/// Where a stretch of the result comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Run<'a> {
    /// A stretch of the base.
    Base {
        /// First byte in the base.
        from: usize,
        /// Bytes copied.
        length: usize,
    },
    /// Bytes the delta brings along.
    New(&'a [u8]),
}

/// Applies a delta read from `delta` without holding base, delta or result in memory.
///
/// `copy(from, length)` is asked to append a stretch of the base to the result, which is known to
/// lie inside it; `insert(bytes)` to append new bytes; `begin(size)` is told the size of the
/// result before either.
pub fn stream(delta: &mut dyn Read, base_size: u64, sink: &mut dyn StreamSink) -> Result<()> {
    let mut source = ByteSource { delta };
    let claimed = source.size()?;
    if claimed != base_size {
        return Err(broken(&format!("is for a base of {claimed} bytes, not {base_size}")));
    }
    let mut left = source.size()?;
    sink.begin(left)?;
    let mut head = [0u8; 8];
    while let Some(code) = source.byte()? {
        head[0] = code;
        let operands = if code & 0x80 == 0 { 0 } else { (code & 0x7f).count_ones() as usize };
        source.exact(&mut head[1..=operands])?;
        let made = match parse_step(&head[..=operands])? {
            Some((Step::Copy { from, length }, _)) => {
                if from + length > base_size {
                    return Err(broken("copies from beyond its base"));
                }
                if length > left {
                    return Err(broken("makes more than it says"));
                }
                sink.copy(from, length)?;
                length
            }
            Some((Step::Insert { length }, _)) => {
                if length as u64 > left {
                    return Err(broken("makes more than it says"));
                }
                let mut bytes = [0u8; 0x7f];
                source.exact(&mut bytes[..length])?;
                sink.insert(&bytes[..length])?;
                length as u64
            }
            None => return Err(broken("ends within an instruction")),
        };
        left -= made;
    }
    if left != 0 {
        return Err(broken("makes less than it says"));
    }
    Ok(())
}

/// Where [`stream`] puts what it makes.
pub trait StreamSink {
    /// The result will have `size` bytes.
    fn begin(&mut self, size: u64) -> Result<()>;
    /// Append a stretch of the base; it lies inside the base.
    fn copy(&mut self, from: u64, length: u64) -> Result<()>;
    /// Append these bytes.
    fn insert(&mut self, bytes: &[u8]) -> Result<()>;
}

struct ByteSource<'a> {
    delta: &'a mut dyn Read,
}

impl ByteSource<'_> {
    fn byte(&mut self) -> Result<Option<u8>> {
        let mut byte = [0u8];
        match self.delta.read(&mut byte).map_err(|error| Error::io("reading a delta", &error))? {
            0 => Ok(None),
            _ => Ok(Some(byte[0])),
        }
    }

    fn exact(&mut self, bytes: &mut [u8]) -> Result<()> {
        self.delta.read_exact(bytes).map_err(|error| match error.kind() {
            ErrorKind::UnexpectedEof => broken("ends within an instruction"),
            _ => Error::io("reading a delta", &error),
        })
    }

    fn size(&mut self) -> Result<u64> {
        let mut bytes = Vec::new();
        loop {
            let byte = self.byte()?.ok_or_else(|| broken("ends within its sizes"))?;
            bytes.push(byte);
            if byte & 0x80 == 0 {
                return Ok(parse_size(&bytes)?.0);
            }
            if bytes.len() > 10 {
                return Err(broken("size is beyond 64 bits"));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Collect<'a>(&'a [u8], Vec<u8>);

    impl StreamSink for Collect<'_> {
        fn begin(&mut self, _size: u64) -> Result<()> {
            Ok(())
        }
        fn copy(&mut self, from: u64, length: u64) -> Result<()> {
            self.1.extend_from_slice(&self.0[from as usize..(from + length) as usize]);
            Ok(())
        }
        fn insert(&mut self, bytes: &[u8]) -> Result<()> {
            self.1.extend_from_slice(bytes);
            Ok(())
        }
    }

    fn both(base: &[u8], delta: &[u8]) -> Option<Vec<u8>> {
        let apply = |delta: Delta<'_>| {
            let mut result = Vec::new();
            delta.apply(base, &mut result);
            result
        };
        let whole = Delta::parse(delta, base.len() as u64).map(apply).ok();
        let mut sink = Collect(base, Vec::new());
        let mut reader = delta;
        let streamed = stream(&mut reader, base.len() as u64, &mut sink).is_ok();
        if delta.len() >= SHORTEST {
            assert_eq!(streamed, whole.is_some());
            if let Some(bytes) = &whole {
                assert_eq!(bytes, &sink.1);
            }
        }
        whole
    }

    #[test]
    fn copies_and_inserts() {
        let delta = [10, 7, 0x91, 2, 3, 2, b'x', b'y', 0x91, 0, 2];
        assert_eq!(both(b"0123456789", &delta).unwrap(), b"234xy01");
    }

    #[test]
    fn a_copy_of_length_nought_is_64_kib() {
        let base = vec![7u8; 0x10000];
        let delta = [0x80, 0x80, 0x04, 0x80, 0x80, 0x04, 0x80];
        assert_eq!(both(&base, &delta).unwrap(), base);
    }

    #[test]
    fn broken_deltas_are_refused() {
        let base = b"0123456789";
        let cases: [&[u8]; 9] = [
            &[10, 3],
            &[9, 3, 0x91, 2, 3],
            &[10, 3, 0x91, 9, 3],
            &[10, 2, 0x91, 2, 3],
            &[10, 4, 0x91, 2, 3],
            &[10, 3, 0x91, 2],
            &[10, 3, 4, b'x', b'y', b'z'],
            &[10, 0, 0, 0],
            &[0xff; 24],
        ];
        for delta in cases {
            assert_eq!(both(base, delta), None, "{delta:?}");
        }
    }
}
