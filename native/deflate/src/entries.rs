//! Entries on their way from one pack to the other, and where they came to lie.

use crate::zlib::Deflater;
use pack_index::entry::{self, Body, Header};
use pack_index::error::{Error, Result};

/// An entry whose header is read.
pub struct Entry<const W: usize> {
    /// Where it began in the pack that is read.
    pub offset: u64,
    /// What it is; the size is that of its content.
    pub header: Header<W>,
}

/// Some entries with their contents.
#[derive(Default)]
pub struct Batch<const W: usize> {
    /// Each entry, and where its content ends in `contents`.
    pub entries: Vec<(Entry<W>, usize)>,
    /// What the entries inflate to, one behind the other; once deflated, their streams.
    pub contents: Vec<u8>,
}

impl<const W: usize> Batch<W> {
    /// Puts the entries' streams in place of their contents.
    pub fn deflate(&mut self, deflater: &mut Deflater) -> Result<()> {
        let mut streams = Vec::with_capacity(self.contents.len() / 2);
        let mut begin = 0;
        for (entry, end) in &mut self.entries {
            let content = self.contents.get(begin..*end).unwrap_or_default();
            begin = *end;
            deflater.reset()?;
            deflater.push(content, true, &mut streams).map_err(|error| error.at(entry.offset))?;
            *end = streams.len();
        }
        self.contents = streams;
        Ok(())
    }
}

/// Where entries began in the pack read, and where they begin in the pack written.
#[derive(Default)]
pub struct Moves {
    offsets: Vec<(u64, u64)>,
}

impl Moves {
    /// Notes where the next entry went.
    pub fn note(&mut self, from: u64, to: u64) {
        self.offsets.push((from, to));
    }

    /// Appends an entry's header as it has to be at offset `to`.
    pub fn write_header<const W: usize>(
        &self,
        entry: &Entry<W>,
        to: u64,
        out: &mut Vec<u8>,
    ) -> Result<()> {
        let size = entry.header.size;
        match &entry.header.body {
            Body::Whole(kind) => entry::write_whole(*kind, size, out),
            Body::OffsetDelta(base) => {
                let found = self.offsets.binary_search_by_key(base, |&(from, _)| from);
                let Some(&(_, base)) = found.ok().and_then(|at| self.offsets.get(at)) else {
                    let what = format!("no entry begins at offset {base}, where its base should");
                    return Err(Error::pack(entry.offset, what));
                };
                entry::write_size(entry::OFFSET_DELTA, size, out);
                entry::write_distance(to - base, out);
            }
            Body::NameDelta(base) => {
                entry::write_size(entry::NAME_DELTA, size, out);
                base.write_to(out);
            }
        }
        Ok(())
    }
}
