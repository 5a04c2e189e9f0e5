//! Git's rules for objects, as `git index-pack --strict` applies them.
//!
//! What is an error here is what is an error there: git's fsck errors, and its warnings, which
//! `--strict` promotes; what git merely reports (unusual file modes, odd tag names) is let pass.
//! Each object tells what it refers to through [`Links`], so that one pass over the objects also
//! decides whether everything referred to is there. Entries for submodules are not followed.

mod commit;
mod config;
mod gitmodules;
mod ident;
mod lookalike;
mod tag;
mod tree;
mod url;

pub use gitmodules::{check_gitattributes, check_gitmodules};
pub use tree::{Reuse, TreeIndex};

use crate::error::Result;
use crate::object::Kind;
use crate::oid::Oid;

/// Files whose content git itself obeys, and therefore checks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Special {
    /// `.gitmodules`, or a name some file system takes for it.
    Modules,
    /// `.gitattributes`, likewise.
    Attributes,
}

/// Told what an object refers to.
pub trait Links<const W: usize> {
    /// The object refers to `oid` as a `kind`.
    fn link(&mut self, oid: &Oid<W>, kind: Kind) -> Result<()>;
    /// A tree names the blob `oid` so that git will obey it.
    fn special(&mut self, oid: &Oid<W>, special: Special);
}

/// How much to check.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rules {
    /// Parse commits, trees and tags, and follow their links.
    pub objects: bool,
    /// Also hold them to fsck's grammar.
    pub fsck: bool,
}

/// Checks one object; the error is one sentence that names git's message id where it has one.
///
/// `reuse` gives what is known of the tree that `bytes` was made from by a delta. For a tree, the
/// index of its entries comes back, to be such knowledge for the next.
pub fn check<const W: usize>(
    kind: Kind,
    bytes: &[u8],
    rules: Rules,
    reuse: Option<Reuse<'_>>,
    links: &mut impl Links<W>,
) -> Result<Option<TreeIndex>> {
    if !rules.objects {
        return Ok(None);
    }
    match kind {
        Kind::Blob => Ok(None),
        Kind::Commit => commit::check(bytes, rules.fsck, links).map(|()| None),
        Kind::Tag => tag::check(bytes, rules.fsck, links).map(|()| None),
        Kind::Tree => tree::check(bytes, rules.fsck, reuse, links).map(Some),
    }
}

/// The error for a broken rule; `id` is git's name for it.
fn broken(id: &str, what: &str) -> crate::error::Error {
    crate::error::Error::new(crate::error::Fault::Pack, format!("{id}: {what}"))
}

/// Requires the header of a commit or tag to end in an empty line or with the object, without NUL.
fn check_header_end(bytes: &[u8]) -> Result<()> {
    let end = memchr::memmem::find(bytes, b"\n\n").unwrap_or(bytes.len());
    if let Some(at) = memchr::memchr(0, &bytes[..end]) {
        return Err(broken("nulInHeader", &format!("NUL at byte {at}")));
    }
    if end == bytes.len() && bytes.last() != Some(&b'\n') {
        return Err(broken("unterminatedHeader", "the header does not end"));
    }
    Ok(())
}

/// The rest of the line that `bytes` begins with, and what follows it.
fn split_line(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let end = memchr::memchr(b'\n', bytes)?;
    Some((&bytes[..end], &bytes[end + 1..]))
}

/// An id that makes up a whole line.
fn line_oid<const W: usize>(line: &[u8]) -> Option<Oid<W>> {
    if line.len() == Oid::<W>::HEX {
        Oid::from_hex(line)
    } else {
        None
    }
}

#[cfg(test)]
pub(crate) mod testing {
    use super::*;

    /// Collects the links of one object.
    #[derive(Default)]
    pub struct Collected {
        pub links: Vec<(String, Kind)>,
        pub special: Vec<(String, Special)>,
    }

    impl Links<5> for Collected {
        fn link(&mut self, oid: &Oid<5>, kind: Kind) -> Result<()> {
            self.links.push((oid.to_string(), kind));
            Ok(())
        }
        fn special(&mut self, oid: &Oid<5>, special: Special) {
            self.special.push((oid.to_string(), special));
        }
    }

    /// The message of the rule that `bytes` breaks, or "" if none.
    pub fn verdict(kind: Kind, bytes: &[u8]) -> String {
        let rules = Rules { objects: true, fsck: true };
        match check::<5>(kind, bytes, rules, None, &mut Collected::default()) {
            Ok(_) => String::new(),
            Err(error) => error.what.split(':').next().unwrap_or_default().to_owned(),
        }
    }
}
