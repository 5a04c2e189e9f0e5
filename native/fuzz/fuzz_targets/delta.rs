//! Deltas: applied whole and streamed, they come to the same.
#![no_main]

use libfuzzer_sys::fuzz_target;
use pack_index::delta::{stream, Delta, StreamSink};
use pack_index::error::{Error, Fault, Result};

/// Results beyond this are not made.
const LARGEST: u64 = 1 << 20;

struct Sink<'a>(&'a [u8], Vec<u8>);

impl StreamSink for Sink<'_> {
    fn begin(&mut self, size: u64) -> Result<()> {
        if size > LARGEST {
            return Err(Error::new(Fault::Usage, "too large for this"));
        }
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

fuzz_target!(|input: (&[u8], &[u8])| {
    let (base, delta) = input;
    let mut sink = Sink(base, Vec::new());
    let streamed = stream(&mut &*delta, base.len() as u64, &mut sink);
    match Delta::parse(delta, base.len() as u64) {
        Ok(parsed) if parsed.result_size <= LARGEST => {
            let mut result = Vec::new();
            parsed.apply(base, &mut result);
            assert_eq!(result.len() as u64, parsed.result_size);
            assert!(streamed.is_ok() && sink.1 == result);
        }
        Ok(_) => {}
        Err(_) => assert!(streamed.is_err() || delta.len() < 4),
    }
});
