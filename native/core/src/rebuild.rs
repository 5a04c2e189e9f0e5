//! Objects made from entries of the pack: by applying one delta, or a whole chain again.

use crate::content::{Content, Data};
use crate::delta::{self, Delta, Run};
use crate::engine::Engine;
use crate::entry::{self, Body, LONGEST_HEADER};
use crate::error::{Error, Fault, Result};
use crate::inflate::InflateReader;
use crate::large::{spill, too_large, LargeSink};
use crate::oid::Oid;
use crate::resolve::Worker;
use crate::table::NONE;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

/// While a chain is inflated again, every so many links are kept in the cache: a way back up the
/// same chain then costs no more than that.
const CHECKPOINT: usize = 16;

/// An entry read again from the pack.
enum Reread<'a> {
    /// Its bytes.
    Memory(Vec<u8>),
    /// A reader of its bytes, and how many those are.
    Large(Box<InflateReader<'a>>, u64),
}

impl<const W: usize> Engine<W> {
    /// Applies a delta; the result, and its name if it had to be hashed on the way.
    pub(crate) fn apply(
        &self,
        worker: &mut Worker<W>,
        number: u32,
        base: &Content,
        held: Option<Box<[u8]>>,
        note_copies: bool,
    ) -> Result<(Content, Option<Oid<W>>)> {
        let delta = match held {
            Some(delta) => Reread::Memory(delta.into_vec()),
            None => self.reread(worker, number)?.1,
        };
        worker.copies.clear();
        let bytes = match delta {
            Reread::Large(mut reader, _) => return self.apply_large(reader.as_mut(), base),
            Reread::Memory(bytes) => bytes,
        };
        let parsed = Delta::parse(&bytes, base.size())?;
        if parsed.result_size > self.config.largest_object {
            return Err(too_large(parsed.result_size, self.config.largest_object));
        }
        let source = match base.memory() {
            Some(source) if parsed.result_size <= self.budget.large => source,
            _ => return self.apply_large(&mut bytes.as_slice(), base),
        };
        let size = parsed.result_size as usize;
        // What is kept for deltas yet to come must not take more than it needs.
        let soon_over = self.is_scanned_around(number);
        let mut result = if soon_over { worker.pool.take(size) } else { Vec::with_capacity(size) };
        if note_copies && base.tree.is_some() {
            parsed.runs(|run| match run {
                Run::Base { from, length } => {
                    worker.copies.push((result.len() as u32, from as u32, length as u32));
                    result.extend_from_slice(&source[from..from + length]);
                }
                Run::New(bytes) => result.extend_from_slice(bytes),
            });
        } else {
            parsed.apply(source, &mut result);
        }
        Ok((Content::new(base.kind, Data::Memory(result)), None))
    }

    fn apply_large(
        &self,
        delta: &mut dyn std::io::Read,
        base: &Content,
    ) -> Result<(Content, Option<Oid<W>>)> {
        let config = &self.config;
        let mut sink = LargeSink::new(
            base,
            config.algorithm,
            self.budget.large,
            config.largest_object,
            &config.spill,
        );
        delta::stream(delta, base.size(), &mut sink)?;
        let (content, oid) = sink.finish()?;
        Ok((content, Some(oid)))
    }

    /// The content of a resolved entry: from the cache, or inflated again with the chain below it.
    pub fn content(&self, worker: &mut Worker<W>, number: u32) -> Result<Arc<Content>> {
        let mut chain = Vec::new();
        let mut at = number;
        let mut content = loop {
            if let Some(content) = self.cache.get(at) {
                break content;
            }
            let base = self.table.base(at);
            if base == NONE {
                let content = Arc::new(self.reread_whole(worker, at)?);
                self.cache.put(at, content.clone());
                break content;
            }
            chain.push(at);
            at = base;
        };
        while let Some(link) = chain.pop() {
            content = Arc::new(self.apply(worker, link, &content, None, false)?.0);
            if chain.len() % CHECKPOINT == 0 {
                self.cache.put(link, content.clone());
            }
        }
        Ok(content)
    }

    /// A whole object, read from the pack again.
    pub(crate) fn reread_whole(&self, worker: &mut Worker<W>, number: u32) -> Result<Content> {
        match self.reread(worker, number)? {
            (Body::Whole(kind), Reread::Memory(bytes)) => {
                Ok(Content::new(kind, Data::Memory(bytes)))
            }
            (Body::Whole(kind), Reread::Large(mut reader, size)) => {
                Ok(Content::new(kind, spill(reader.as_mut(), size, &self.config.spill)?))
            }
            _ => Err(Error::new(Fault::Io, "the pack changed while it was read")),
        }
    }

    /// The file an entry is in: appended bases may be in a copy.
    fn file_of(&self, number: u32) -> &File {
        match self.completed.get() {
            Some(copy) if number >= self.table.count() => copy,
            _ => &self.file,
        }
    }

    /// Reads an entry of the pack again.
    fn reread(&self, worker: &mut Worker<W>, number: u32) -> Result<(Body<W>, Reread<'_>)> {
        let (at, end) = self.table.span(number);
        let length = end - at;
        let first = length.min(self.budget.large.max(LONGEST_HEADER as u64)) as usize;
        worker.input.resize(first, 0);
        let file = self.file_of(number);
        file.read_exact_at(&mut worker.input, at)
            .map_err(|error| Error::io("reading the pack", &error))?;
        let changed = || Error::new(Fault::Io, "the pack changed while it was read");
        let header = entry::parse::<W>(&worker.input, at)?.ok_or_else(changed)?;
        if header.size > self.budget.large || length > first as u64 {
            let reader = Box::new(InflateReader::new(file, at + header.length as u64, end));
            return Ok((header.body, Reread::Large(reader, header.size)));
        }
        let bytes = worker.inflater.whole(&worker.input[header.length..], header.size as usize)?;
        Ok((header.body, Reread::Memory(bytes)))
    }

    /// All bytes of a content, in memory whatever its size: what git parses, it parses in one piece.
    pub fn load(&self, content: &Content) -> Result<Vec<u8>> {
        let size = usize::try_from(content.size())
            .ok()
            .filter(|&size| size <= self.config.memory.max(self.budget.large as usize))
            .ok_or_else(|| {
                Error::new(Fault::Pack, "too large to be checked in the memory allowed")
            })?;
        let mut bytes = vec![0; size];
        content.read_at(0, &mut bytes)?;
        Ok(bytes)
    }
}
