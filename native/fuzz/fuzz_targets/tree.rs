//! Trees: checked with what is known of a base, the verdict is the one without.
#![no_main]

use libfuzzer_sys::fuzz_target;
use pack_index::check::{check, Links, Reuse, Rules, Special};
use pack_index::error::Result;
use pack_index::object::Kind;
use pack_index::oid::Oid;
use std::collections::BTreeSet;

#[derive(Default)]
struct Seen(BTreeSet<(Oid<5>, u8)>);

impl Links<5> for Seen {
    fn link(&mut self, oid: &Oid<5>, kind: Kind) -> Result<()> {
        self.0.insert((*oid, kind as u8));
        Ok(())
    }
    fn special(&mut self, oid: &Oid<5>, _special: Special) {
        self.0.insert((*oid, 0));
    }
}

fuzz_target!(|input: (&[u8], Vec<(u16, u8, Vec<u8>)>)| {
    let rules = Rules { objects: true, fsck: true };
    let (base, pieces) = input;
    let mut of_base = Seen::default();
    let Ok(Some(index)) = check::<5>(Kind::Tree, base, rules, None, &mut of_base) else { return };
    let (mut tree, mut copies) = (Vec::new(), Vec::new());
    for (from, length, new) in pieces {
        let from = usize::from(from).min(base.len());
        let length = usize::from(length).min(base.len() - from);
        copies.push((tree.len() as u32, from as u32, length as u32));
        tree.extend_from_slice(&base[from..from + length]);
        tree.extend_from_slice(&new);
    }
    let reuse = Reuse { index: &index, copies: &copies };
    let mut some = Seen(of_base.0.clone());
    let mut all = Seen(of_base.0);
    let partly = check::<5>(Kind::Tree, &tree, rules, Some(reuse), &mut some);
    let whole = check::<5>(Kind::Tree, &tree, rules, None, &mut all);
    assert_eq!(partly.is_ok(), whole.is_ok());
    if let (Ok(partly), Ok(whole)) = (partly, whole) {
        assert_eq!(partly, whole);
        assert_eq!(some.0, all.0);
    }
});
