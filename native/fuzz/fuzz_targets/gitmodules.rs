//! `.gitmodules`, `.gitattributes`, commits and tags: no panic.
#![no_main]

use libfuzzer_sys::fuzz_target;
use pack_index::check::{check, check_gitattributes, check_gitmodules, Links, Rules, Special};
use pack_index::error::Result;
use pack_index::object::Kind;
use pack_index::oid::Oid;

struct Nobody;

impl Links<5> for Nobody {
    fn link(&mut self, _oid: &Oid<5>, _kind: Kind) -> Result<()> {
        Ok(())
    }
    fn special(&mut self, _oid: &Oid<5>, _special: Special) {}
}

fuzz_target!(|bytes: &[u8]| {
    let _ = check_gitmodules(bytes);
    let _ = check_gitattributes(bytes);
    let url = [b"[submodule \"a\"]\nurl=\"https://", bytes, b"\"\n"].concat();
    let _ = check_gitmodules(&url);
    for kind in [Kind::Commit, Kind::Tag, Kind::Tree] {
        let _ = check::<5>(kind, bytes, Rules { objects: true, fsck: true }, None, &mut Nobody);
    }
});
