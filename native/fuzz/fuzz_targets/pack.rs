//! Whole packs: however the bytes arrive, the verdict and the index are the same, and no error is
//! a defect of ours.
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

fn index(path: &Path, pack: &[u8], step: usize, memory: usize) -> Result<Vec<u8>> {
    let config = Config {
        path: path.join("x.pack"),
        size: pack.len() as u64,
        objects: u32::from_be_bytes([pack[8], pack[9], pack[10], pack[11]]),
        checksum: None,
        segments: Vec::new(),
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
        for prefix in (0..pack.len()).step_by(step.max(1)) {
            engine.advance(prefix as u64)?;
        }
        engine.advance(pack.len() as u64)?;
        let idx = path.join("x.idx");
        engine.finish(&Finish { idx: &idx, rev: None, completed: None, tips: &[] }, None)?;
        Ok(std::fs::read(&idx).unwrap())
    };
    let result = run();
    engine.queue_stop();
    threads.into_iter().for_each(|thread| thread.join().unwrap());
    result
}

fuzz_target!(|input: (u16, u8, &[u8])| {
    let (step, objects, body) = input;
    let mut pack = b"PACK\0\0\0\x02\0\0\0".to_vec();
    pack.push(objects);
    pack.extend_from_slice(body);
    let mut hasher = Hasher::new(Algorithm::Sha1);
    hasher.update(&pack);
    pack.extend(hasher.finish::<5>().map(|oid: Oid<5>| oid.to_bytes()).unwrap());
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("x.pack"), &pack).unwrap();
    let whole = index(directory.path(), &pack, pack.len(), 0);
    let pieces = index(directory.path(), &pack, usize::from(step), 64 << 20);
    assert_eq!(whole.as_ref().ok(), pieces.as_ref().ok());
    for result in [whole, pieces] {
        if let Err(error) = result {
            assert!(!matches!(error.fault, Fault::Bug | Fault::Io), "{error}");
        }
    }
});
