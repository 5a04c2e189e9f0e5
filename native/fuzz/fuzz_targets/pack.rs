//! Whole packs: however the bytes arrive, the verdict and the index are the same, and no error is
//! a defect of ours. Cut into segments that come last first, a pack is indexed the same way, or
//! refused because an entry begins elsewhere.
#![no_main]

use libfuzzer_sys::fuzz_target;
use pack_index::check::Rules;
use pack_index::config::Config;
use pack_index::error::{Fault, Result};
use pack_index::finish::Finish;
use pack_index::hash::{Algorithm, Hasher};
use pack_index::oid::Oid;
use pack_index::Engine;
use std::path::Path;
use std::sync::Arc;

/// How a pack arrives.
enum Arrival {
    /// So many bytes at a time.
    Steps(usize),
    /// In two segments, the second one first: where that begins, and how many entries precede it.
    Segments(u64, u32),
}

fn index(path: &Path, pack: &[u8], arrival: &Arrival, memory: usize) -> Result<Vec<u8>> {
    let objects = u32::from_be_bytes([pack[8], pack[9], pack[10], pack[11]]);
    let segments = match *arrival {
        Arrival::Steps(_) => Vec::new(),
        Arrival::Segments(cut, first) => vec![(12, first), (cut, objects.wrapping_sub(first))],
    };
    let config = Config {
        path: path.join("x.pack"),
        size: pack.len() as u64,
        objects,
        checksum: None,
        segments,
        algorithm: Algorithm::Sha1,
        rules: Rules { objects: true, fsck: true },
        threads: 2,
        memory,
        largest_object: 16 << 20,
        spill: path.to_owned(),
    };
    let engine = Arc::new(Engine::<5>::new(config)?);
    let threads = engine.start()?;
    let run = || {
        match *arrival {
            Arrival::Steps(step) => {
                for prefix in (0..pack.len()).step_by(step.max(1)) {
                    engine.advance(prefix as u64)?;
                }
                engine.advance(pack.len() as u64)?;
            }
            Arrival::Segments(..) => {
                engine.segment_ready(1)?;
                engine.segment_ready(0)?;
            }
        }
        let idx = path.join("x.idx");
        engine.finish(&Finish { idx: &idx, rev: None, completed: None, tips: &[] }, None)?;
        Ok(std::fs::read(&idx).unwrap())
    };
    let result = run();
    engine.queue_stop();
    threads.into_iter().for_each(|thread| thread.join().unwrap());
    result
}

fuzz_target!(|input: (u16, u8, u16, u8, &[u8])| {
    let (step, objects, cut, first, body) = input;
    let mut pack = b"PACK\0\0\0\x02\0\0\0".to_vec();
    pack.push(objects);
    pack.extend_from_slice(body);
    let mut hasher = Hasher::new(Algorithm::Sha1);
    hasher.update(&pack);
    pack.extend(hasher.finish::<5>().map(|oid: Oid<5>| oid.to_bytes()).unwrap());
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("x.pack"), &pack).unwrap();
    let all = |arrival, memory| index(directory.path(), &pack, &arrival, memory);
    let whole = all(Arrival::Steps(pack.len()), 0);
    let pieces = all(Arrival::Steps(usize::from(step)), 64 << 20);
    let segments = all(Arrival::Segments(u64::from(cut), u32::from(first)), 0);
    assert_eq!(whole.as_ref().ok(), pieces.as_ref().ok());
    if let Ok(segments) = &segments {
        assert_eq!(Some(segments), whole.as_ref().ok());
    }
    for result in [whole, pieces, segments] {
        if let Err(error) = result {
            assert!(!matches!(error.fault, Fault::Bug | Fault::Io), "{error}");
        }
    }
});
