//! Deflating packs: no error is a defect of ours; what comes out is the same pack to the same
//! function, however it is read and however many threads there are.
#![no_main]

use libfuzzer_sys::fuzz_target;
use pack_deflate::{deflate_pack, Settings};
use pack_index::error::{Error, Fault};
use pack_index::hash::{Algorithm, Hasher};
use pack_index::oid::Oid;

fn sealed(mut pack: Vec<u8>) -> Vec<u8> {
    let mut hasher = Hasher::new(Algorithm::Sha1);
    hasher.update(&pack);
    pack.extend(hasher.finish::<5>().map(|oid: Oid<5>| oid.to_bytes()).unwrap());
    pack
}

fn run(pack: &[u8], settings: Settings) -> Result<Vec<u8>, Error> {
    let mut out = Vec::new();
    let made = deflate_pack::<5>(pack, &mut out, settings)?;
    assert_eq!(made.size, out.len() as u64);
    Ok(out)
}

fuzz_target!(|input: (u8, &[u8])| {
    let (objects, body) = input;
    let mut pack = b"PACK\0\0\0\x02\0\0\0".to_vec();
    pack.push(objects);
    pack.extend_from_slice(body);
    let pack = sealed(pack);
    let usual = Settings::new(Algorithm::Sha1, 2);
    let whole = run(&pack, usual);
    let pieces = run(&pack, Settings { large: 0, ..Settings::new(Algorithm::Sha1, 1) });
    for result in [&whole, &pieces] {
        if let Err(error) = result {
            assert_eq!(error.fault, Fault::Pack, "{error}");
        }
    }
    assert_eq!(whole.as_ref().ok(), pieces.as_ref().ok());
    if let Ok(out) = whole {
        assert_eq!(out, sealed(out[..out.len() - 20].to_vec()));
        assert_eq!(run(&out, usual).unwrap(), out);
    }
});
