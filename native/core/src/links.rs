//! Passing on what objects refer to, without repeating oneself.

use crate::check::{Links, Special};
use crate::error::Result;
use crate::names::Names;
use crate::object::Kind;
use crate::oid::Oid;

/// Links remembered by a worker; a power of two. They fit a second-level cache.
const REMEMBERED: usize = 1 << 14;

/// The links a worker saw last: one for each value of an id's low bits.
pub struct Recent<const W: usize> {
    links: Vec<Option<(Oid<W>, Kind)>>,
}

impl<const W: usize> Default for Recent<W> {
    fn default() -> Self {
        Recent { links: vec![None; REMEMBERED] }
    }
}

/// Gives links to [`Names`], except those given just before.
pub struct Linker<'a, const W: usize> {
    /// Where they go.
    pub names: &'a Names<W>,
    /// What has just gone there.
    pub recent: &'a mut Recent<W>,
}

impl<const W: usize> Links<W> for Linker<'_, W> {
    #[inline]
    fn link(&mut self, oid: &Oid<W>, kind: Kind) -> Result<()> {
        let slot = &mut self.recent.links[oid.0[W - 1] as usize % REMEMBERED];
        if *slot == Some((*oid, kind)) {
            return Ok(());
        }
        self.names.link(oid, kind)?;
        *slot = Some((*oid, kind));
        Ok(())
    }

    fn special(&mut self, oid: &Oid<W>, special: Special) {
        self.names.special(oid, special);
    }
}
