//! Stock zlib's deflate with the parameters git gives it. The only unsafe code of this crate.
//!
//! Stock zlib's output can depend on how it is given its input, if seldom: it moves its window on when
//! input runs out, and the oldest position in the window can be referred to just before that and
//! not after. Cut at multiples of [`PIECE`] it cannot: the window then moves on where it would have
//! done with all the input there. Nor can it in the steps of 16 KiB in which git gives it large blobs.

use libz_sys::{
    deflate, deflateEnd, deflateInit2_, deflateReset, z_stream, zlibVersion, Z_BUF_ERROR,
    Z_DEFAULT_STRATEGY, Z_DEFLATED, Z_FINISH, Z_NO_FLUSH, Z_OK, Z_STREAM_END,
};
use pack_index::error::{Error, Fault, Result};
use std::ffi::{c_int, CStr};
use std::mem::MaybeUninit;

/// What git's `Z_BEST_SPEED`...`Z_DEFAULT_COMPRESSION` comes to in stock zlib.
const LEVEL: c_int = 6;
/// What `deflateInit` stands for.
const WINDOW_BITS: c_int = 15;
/// What `deflateInit` stands for.
const MEMORY_LEVEL: c_int = 8;
/// Where input may be cut, in bytes: any multiple of zlib's window of 32 KiB, or a power of two below,
/// would do. zlib fills its buffer of two windows, then always one window more, so that it would have
/// taken in more just where a piece ends, had there been more.
pub const PIECE: usize = 256 << 10;
/// Room made for output at a time, in bytes.
const ROOM: usize = 16 << 10;

/// One encoder, used again for each stream.
pub struct Deflater {
    /// In a box, because zlib keeps a pointer to it.
    stream: Box<MaybeUninit<z_stream>>,
}

// SAFETY: the stream and all it points to belong to this value alone; zlib has no thread-local state.
unsafe impl Send for Deflater {}

impl Deflater {
    /// An encoder at the beginning of a stream.
    pub fn new() -> Result<Self> {
        let mut stream = Box::new(MaybeUninit::<z_stream>::zeroed());
        // SAFETY: zlib takes a zeroed stream, in which null pointers ask for its own allocator, and
        // fills them in. No `z_stream`, of which null function pointers are no valid value, exists
        // before that on our side: it is only ever reached through the raw pointer.
        let status = unsafe {
            deflateInit2_(
                stream.as_mut_ptr(),
                LEVEL,
                Z_DEFLATED,
                WINDOW_BITS,
                MEMORY_LEVEL,
                Z_DEFAULT_STRATEGY,
                zlibVersion(),
                size_of::<z_stream>() as c_int,
            )
        };
        match status {
            Z_OK => Ok(Deflater { stream }),
            status => Err(unexpected("deflateInit", status)),
        }
    }

    /// Begins another stream.
    pub fn reset(&mut self) -> Result<()> {
        // SAFETY: the stream was initialised by `new`.
        match unsafe { deflateReset(self.stream.as_mut_ptr()) } {
            Z_OK => Ok(()),
            status => Err(unexpected("deflateReset", status)),
        }
    }

    /// Deflates `input`, appending to `out` what comes of it; `last` ends the stream.
    ///
    /// All pushes of a stream but the last have to be of a multiple of [`PIECE`] bytes.
    pub fn push(&mut self, input: &[u8], last: bool, out: &mut Vec<u8>) -> Result<()> {
        let Ok(length) = u32::try_from(input.len()) else {
            return Err(Error::new(Fault::Bug, "more input for zlib than it can count"));
        };
        let flush = if last { Z_FINISH } else { Z_NO_FLUSH };
        let stream = self.stream.as_mut_ptr();
        // SAFETY: the stream was initialised by `new`; `input` outlives the calls below, and zlib
        // only reads it.
        unsafe {
            (*stream).next_in = input.as_ptr().cast_mut();
            (*stream).avail_in = length;
        }
        loop {
            out.reserve(ROOM);
            let room = out.spare_capacity_mut();
            let given = u32::try_from(room.len()).unwrap_or(u32::MAX);
            // SAFETY: zlib writes at most `avail_out` bytes to `next_out`, all within the spare
            // capacity, and counts `avail_out` down by those it wrote, which are then initialised.
            let (status, full, left) = unsafe {
                (*stream).next_out = room.as_mut_ptr().cast();
                (*stream).avail_out = given;
                let status = deflate(stream, flush);
                let unused = (*stream).avail_out;
                out.set_len(out.len() + (given - unused) as usize);
                (status, unused == 0, (*stream).avail_in)
            };
            match status {
                Z_STREAM_END => return Ok(()),
                // Nothing to do is no error when the call before happened to fill the room exactly.
                Z_OK | Z_BUF_ERROR if full => {}
                Z_OK | Z_BUF_ERROR if !last && left == 0 => return Ok(()),
                status => return Err(unexpected("deflate", status)),
            }
        }
    }
}

impl Drop for Deflater {
    fn drop(&mut self) {
        // SAFETY: the stream was initialised by `new` and is not used again.
        unsafe { deflateEnd(self.stream.as_mut_ptr()) };
    }
}

/// The version of the zlib that is built in, such as "1.3.1".
pub fn version() -> String {
    // SAFETY: zlib returns a constant string that ends with a zero byte.
    unsafe { CStr::from_ptr(zlibVersion()) }.to_string_lossy().into_owned()
}

fn unexpected(call: &str, status: c_int) -> Error {
    match status {
        libz_sys::Z_MEM_ERROR => Error::new(Fault::Io, "out of memory for zlib"),
        status => Error::new(Fault::Bug, format!("zlib: {call} returned {status}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The longest distance zlib refers back over.
    const FARTHEST: usize = 32768 - 262;

    /// Deflates `data` given `step` bytes at a time, the last of them with the end or before it.
    fn in_steps(data: &[u8], step: usize, end_apart: bool) -> Vec<u8> {
        let (mut deflater, mut out) = (Deflater::new().unwrap(), Vec::new());
        let mut left = data.len();
        for piece in data.chunks(step) {
            left -= piece.len();
            deflater.push(piece, left == 0 && !end_apart, &mut out).unwrap();
        }
        if end_apart {
            deflater.push(&[], true, &mut out).unwrap();
        }
        out
    }

    fn at_once(data: &[u8]) -> Vec<u8> {
        let (mut deflater, mut out) = (Deflater::new().unwrap(), Vec::new());
        deflater.push(data, true, &mut out).unwrap();
        out
    }

    /// Bytes that hardly repeat.
    fn noise(count: usize) -> Vec<u8> {
        let mut state = 0x2545_f491_4f6c_dd1d_u64;
        let mut next = || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state >> 32) as u8
        };
        (0..count).map(|_| next()).collect()
    }

    /// Noise in which every window's first bytes come again as far away as zlib can refer to.
    fn awkward(windows: usize) -> Vec<u8> {
        let mut data = noise(windows * 32768);
        for start in (32768..data.len() - 32768).step_by(32768) {
            let again = start + FARTHEST;
            data.copy_within(start..start + 40, again);
        }
        data
    }

    #[test]
    fn steps_of_the_right_size_make_no_difference() {
        for windows in [3, 8, 9, 40] {
            for less in [0, 1, 100, 300, 20_000] {
                let data = awkward(windows);
                let data = &data[..data.len() - less];
                let expected = at_once(data);
                assert!(in_steps(data, PIECE, false) == expected, "{windows} {less}");
                assert!(in_steps(data, 16 << 10, true) == expected, "git: {windows} {less}");
            }
        }
    }

    #[test]
    fn other_steps_do() {
        let data = awkward(40);
        assert!(in_steps(&data, 65_535, false) != at_once(&data));
    }

    #[test]
    fn a_stream_can_follow_another() {
        let (mut deflater, mut out) = (Deflater::new().unwrap(), Vec::new());
        deflater.push(&awkward(3), false, &mut Vec::new()).unwrap();
        for data in [b"".as_slice(), b"abc", &awkward(3)] {
            deflater.reset().unwrap();
            out.clear();
            deflater.push(data, true, &mut out).unwrap();
            assert!(out == at_once(data));
        }
    }
}
