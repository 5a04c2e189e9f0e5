//! Entry headers: no panic, and what parses lies within its bounds.
#![no_main]

use libfuzzer_sys::fuzz_target;
use pack_index::entry::{parse, write_whole, Body, LONGEST_HEADER};

fuzz_target!(|input: (u64, &[u8])| {
    let (offset, bytes) = input;
    if let Ok(Some(header)) = parse::<5>(bytes, offset) {
        assert!(header.length <= bytes.len() && header.length <= LONGEST_HEADER);
        match header.body {
            Body::Whole(kind) => {
                let mut again = Vec::new();
                write_whole(kind, header.size, &mut again);
                assert_eq!(parse::<5>(&again, offset).unwrap().unwrap().size, header.size);
            }
            Body::OffsetDelta(base) => assert!(base < offset),
            Body::NameDelta(_) => {}
        }
        // A header is complete or not, whatever follows it.
        assert!(parse::<5>(&bytes[..header.length - 1], offset).is_ok_and(|header| header.is_none()));
    }
    let _ = parse::<8>(bytes, offset);
});
