//! The end of a pack: completing a thin one, what is missing, the index.

use crate::check::{check_gitattributes, check_gitmodules, Special};
use crate::engine::{trailer_algorithm, Engine};
use crate::error::{Error, Fault, Result};
use crate::index::Sorted;
use crate::object::Kind;
use crate::oid::Oid;
use crate::resolve::Worker;
use std::os::unix::fs::FileExt;
use std::path::Path;

/// Git refuses to check a `.gitmodules` it would stream: above its default for big files.
const LARGEST_SPECIAL: u64 = 512 << 20;

/// The caller's repository, and its zlib.
pub trait Repository<const W: usize> {
    /// The object called `oid`, if the repository has it.
    fn read(&mut self, oid: &Oid<W>) -> Result<Option<(Kind, Vec<u8>)>>;
    /// Compresses as git would: an appended base must come out byte for byte the same.
    fn deflate(&mut self, bytes: &[u8]) -> Result<Vec<u8>>;
}

/// What became of a pack.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Summary<const W: usize> {
    /// The pack's trailer, of the completed pack if it was thin.
    pub checksum: Oid<W>,
    /// Objects in the pack, with appended bases.
    pub objects: u32,
    /// Size of the pack in bytes, with them.
    pub size: u64,
    /// Bases appended to complete a thin pack, in order.
    pub appended: Vec<Oid<W>>,
    /// What objects of the pack, or the caller's tips, refer to and the pack as sent lacks.
    pub missing: Vec<(Oid<W>, Option<Kind>)>,
    /// What git would obey and the pack lacks, so that its content is unchecked; submodules too.
    pub unchecked: Vec<(Oid<W>, Special)>,
}

/// Where the index goes, and what must be in it.
pub struct Finish<'a, const W: usize> {
    /// Path of the index.
    pub idx: &'a Path,
    /// Path of the reverse index, if it is wanted.
    pub rev: Option<&'a Path>,
    /// Where a thin pack is completed; in place, if nowhere else. Nothing appears there for a pack
    /// that needs no base.
    pub completed: Option<&'a Path>,
    /// Objects that must be in the pack; others are reported as missing.
    pub tips: &'a [Oid<W>],
}

impl<const W: usize> Engine<W> {
    /// Waits for the workers, completes and checks the pack, and writes its index.
    pub fn finish(
        &self,
        finish: &Finish<'_, W>,
        mut repository: Option<&mut dyn Repository<W>>,
    ) -> Result<Summary<W>> {
        self.check()?;
        if !self.has_arrived() {
            return Err(Error::usage("the pack has not arrived completely"));
        }
        self.quiet()?;
        if !self.queue.is_complete() {
            return Err(Error::new(Fault::Bug, "workers have stopped too early"));
        }
        let mut checksum = self.checked_trailer()?;
        let own = self.table.count();
        let (mut size, mut appended) = (self.config.size, Vec::new());
        let waiting = self.names.still_waiting();
        if let Some((number, oid)) = waiting.first() {
            let Some(repository) = repository.as_deref_mut() else {
                return Err(self.missing_base(*number, oid));
            };
            (checksum, size, appended) =
                self.complete_thin(&waiting, finish.completed, repository)?;
        }
        if let Some((offset, number)) = self.waits.unmet().first() {
            let what = format!("no entry begins at the delta's base offset {offset}");
            return Err(Error::pack(self.table.offset(*number), what));
        }
        if self.progress().resolved != u64::from(own) {
            return Err(Error::new(Fault::Bug, "objects are left unresolved"));
        }
        let missing = self.missing(finish.tips);
        let mut unchecked = self.check_specials(repository)?;
        // A submodule may be called .gitmodules: nobody looks for its commit, as git does not.
        unchecked.retain(|(oid, special)| {
            *special != Special::Modules
                || missing.binary_search_by_key(oid, |(lacking, _)| *lacking).is_ok()
        });
        self.cache.clear();
        let rows = self.table.rows();
        let objects = rows.len() as u32;
        let algorithm = trailer_algorithm(self.config.algorithm);
        let sorted = Sorted::new(rows);
        if let Some(rev) = finish.rev {
            sorted.write_rev(rev, algorithm, &checksum)?;
        }
        sorted.write_idx(finish.idx, algorithm, &checksum)?;
        Ok(Summary { checksum, objects, size, appended, missing, unchecked })
    }

    /// Waits until the workers have nothing to do.
    pub(crate) fn quiet(&self) -> Result<()> {
        self.queue.wait_quiet();
        self.check()
    }

    /// The error for a delta whose base is nowhere.
    pub(crate) fn missing_base(&self, number: u32, oid: &Oid<W>) -> Error {
        Error::new(Fault::MissingBase, format!("the base {oid} of a delta is missing"))
            .at(self.table.offset(number))
    }

    fn checked_trailer(&self) -> Result<Oid<W>> {
        let found = self.take_checksum()?;
        let mut trailer = vec![0; Oid::<W>::BYTES];
        self.file
            .read_exact_at(&mut trailer, self.trailer_at())
            .map_err(|error| Error::io("reading the pack's trailer", &error))?;
        if found.to_bytes() != trailer {
            return Err(Error::pack(
                self.trailer_at(),
                "the pack's checksum does not match its bytes",
            ));
        }
        if self.config.checksum.as_ref().is_some_and(|wanted| *wanted != trailer) {
            return Err(Error::pack(
                self.trailer_at(),
                "the pack has another checksum than was announced",
            ));
        }
        Ok(found)
    }

    fn missing(&self, tips: &[Oid<W>]) -> Vec<(Oid<W>, Option<Kind>)> {
        let own = self.table.count();
        let linked = self.names.missing(own);
        let mut missing: Vec<_> = linked.into_iter().map(|(oid, kind)| (oid, Some(kind))).collect();
        let lacking =
            tips.iter().filter(|tip| self.names.find(tip).is_none_or(|(number, _)| number >= own));
        missing.extend(lacking.map(|tip| (*tip, None)));
        missing.sort_by_key(|(oid, kind)| (*oid, kind.is_none()));
        missing.dedup_by_key(|(oid, _)| *oid);
        missing
    }

    /// Checks the blobs that git obeys; those that are nowhere come back.
    fn check_specials(
        &self,
        mut repository: Option<&mut dyn Repository<W>>,
    ) -> Result<Vec<(Oid<W>, Special)>> {
        let mut unchecked = Vec::new();
        let mut worker = Worker::default();
        for (oid, special) in self.names.specials() {
            let (kind, bytes) = match (self.names.find(&oid), repository.as_deref_mut()) {
                (Some((number, kind)), _) => {
                    let content = self.content(&mut worker, number)?;
                    if content.size() > LARGEST_SPECIAL {
                        let what = format!("gitmodulesLarge: blob {oid} is too large to parse");
                        return Err(Error::new(Fault::Pack, what));
                    }
                    (kind, self.load(&content)?)
                }
                (None, Some(repository)) => match repository.read(&oid)? {
                    Some(found) => found,
                    None => {
                        unchecked.push((oid, special));
                        continue;
                    }
                },
                (None, None) => {
                    unchecked.push((oid, special));
                    continue;
                }
            };
            check_special(special, kind, &bytes)
                .map_err(|error| Error { what: format!("blob {oid}: {}", error.what), ..error })?;
        }
        Ok(unchecked)
    }
}

fn check_special(special: Special, kind: Kind, bytes: &[u8]) -> Result<()> {
    match (kind, special) {
        (Kind::Blob, Special::Modules) => check_gitmodules(bytes),
        (Kind::Blob, Special::Attributes) => check_gitattributes(bytes),
        (_, Special::Modules) => {
            Err(Error::new(Fault::Pack, "gitmodulesBlob: .gitmodules is no blob"))
        }
        (_, Special::Attributes) => {
            Err(Error::new(Fault::Pack, "gitattributesBlob: .gitattributes is no blob"))
        }
    }
}
