//! Completing a thin pack as `git index-pack --fix-thin` does.
//!
//! Each base that is not in the pack is appended, in the order in which the deltas that need one
//! come in the pack; a delta that an earlier base has resolved needs none. Then the header's count
//! and the trailer are rewritten. That is done in place, and undone if it fails; or in a copy, where
//! others may be reading the pack as it came.

use crate::content::{Content, Data};
use crate::engine::{trailer_algorithm, Engine};
use crate::entry;
use crate::error::{Error, Fault, Result};
use crate::finish::Repository;
use crate::hash::Hasher;
use crate::oid::Oid;
use crate::table::{Appended, Row};
use std::fs::File;
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::path::Path;
use std::sync::Arc;

/// Hashed at a time.
const CHUNK: usize = 1 << 20;

fn write_error(error: std::io::Error) -> Error {
    Error::io("completing the thin pack", &error)
}

/// Checksum, size, and the bases appended.
type Completed<const W: usize> = (Oid<W>, u64, Vec<Oid<W>>);

impl<const W: usize> Engine<W> {
    /// Appends the bases that the deltas `waiting` need.
    pub(crate) fn complete_thin(
        &self,
        waiting: &[(u32, Oid<W>)],
        elsewhere: Option<&Path>,
        repository: &mut dyn Repository<W>,
    ) -> Result<Completed<W>> {
        match elsewhere {
            Some(path) => self.complete_copy(path, waiting, repository),
            None => self.complete_in_place(waiting, repository),
        }
    }

    /// Completes a copy, which appears at `path` when it is whole.
    fn complete_copy(
        &self,
        path: &Path,
        waiting: &[(u32, Oid<W>)],
        repository: &mut dyn Repository<W>,
    ) -> Result<Completed<W>> {
        let folder = path.parent().filter(|parent| !parent.as_os_str().is_empty());
        let folder = folder.unwrap_or(Path::new("."));
        let mut copy = tempfile::Builder::new()
            .prefix("tmp_pack_")
            .tempfile_in(folder)
            .map_err(write_error)?;
        // Shares the blocks where the file system can. Nothing else moves the file's position.
        let mut source = &self.file;
        let copied = std::io::copy(&mut source, copy.as_file_mut()).map_err(write_error)?;
        if copied != self.config.size {
            return Err(Error::new(Fault::Io, "the pack changed its size while it was copied"));
        }
        let file = copy.as_file().try_clone().map_err(write_error)?;
        let file = self.completed.get_or_init(|| file);
        let completed = self.append_bases(file, waiting, repository)?;
        let read_only = std::fs::Permissions::from_mode(0o444);
        copy.as_file().set_permissions(read_only).map_err(write_error)?;
        copy.persist(path).map_err(|error| write_error(error.error))?;
        Ok(completed)
    }

    fn complete_in_place(
        &self,
        waiting: &[(u32, Oid<W>)],
        repository: &mut dyn Repository<W>,
    ) -> Result<Completed<W>> {
        let file =
            File::options().read(true).write(true).open(&self.config.path).map_err(write_error)?;
        let mut trailer = vec![0; Oid::<W>::BYTES];
        file.read_exact_at(&mut trailer, self.trailer_at()).map_err(write_error)?;
        let completed = self.append_bases(&file, waiting, repository);
        if completed.is_err() {
            // What stands is the error that led here; a failure to undo could only hide it.
            let _ = file.write_all_at(&trailer, self.trailer_at());
            let _ = file.set_len(self.config.size);
        }
        completed
    }

    fn append_bases(
        &self,
        file: &File,
        waiting: &[(u32, Oid<W>)],
        repository: &mut dyn Repository<W>,
    ) -> Result<Completed<W>> {
        let mut end = self.trailer_at();
        let mut appended = Vec::new();
        for (number, oid) in waiting {
            if self.table.kind(*number).is_some() {
                continue;
            }
            // A base that is nowhere may yet come out of a delta that another base resolves.
            if let Some(new_end) = self.append_base(file, end, oid, repository)? {
                end = new_end;
                appended.push(*oid);
                self.quiet()?;
            }
        }
        if let Some((number, oid)) = self.names.still_waiting().first() {
            return Err(self.missing_base(*number, oid));
        }
        let count = self.table.count() + appended.len() as u32;
        let checksum = self.rewrite_ends(file, end, count)?;
        Ok((checksum, end + Oid::<W>::BYTES as u64, appended))
    }

    /// Appends one base at `at` and hands out the deltas that wait for it; where it ends.
    fn append_base(
        &self,
        file: &File,
        at: u64,
        oid: &Oid<W>,
        repository: &mut dyn Repository<W>,
    ) -> Result<Option<u64>> {
        let Some((kind, bytes)) = repository.read(oid)? else { return Ok(None) };
        let mut hasher = Hasher::of_object(self.config.algorithm, kind, bytes.len() as u64);
        hasher.update(&bytes);
        if hasher.finish::<W>()? != *oid {
            return Err(Error::new(Fault::Io, format!("the repository's object {oid} is corrupt")));
        }
        let mut entry = Vec::new();
        entry::write_whole(kind, bytes.len() as u64, &mut entry);
        entry.extend_from_slice(&repository.deflate(&bytes)?);
        file.write_all_at(&entry, at).map_err(write_error)?;
        let end = at + entry.len() as u64;
        let row = Row { oid: *oid, offset: at, crc: crc32fast::hash(&entry) };
        let number = self.table.append(Appended { row, end });
        let number = number.ok_or_else(|| Error::new(Fault::Pack, "too many objects"))?;
        self.cache.put(number, Arc::new(Content::new(kind, Data::Memory(bytes))));
        let woken = self.names.insert(oid, number, kind)?;
        // An appended base has no list of its own; adopting only notes what they are based on.
        woken.iter().for_each(|&child| {
            self.table.adopt(number, child);
        });
        self.queue.add(&woken);
        Ok(Some(end))
    }

    /// Writes the new count and the new trailer; the trailer.
    fn rewrite_ends(&self, file: &File, end: u64, count: u32) -> Result<Oid<W>> {
        let mut hasher = Hasher::new(trailer_algorithm(self.config.algorithm));
        let mut buffer = vec![0; CHUNK];
        let mut at = 0;
        while at < end {
            let part = &mut buffer[..(end - at).min(CHUNK as u64) as usize];
            file.read_exact_at(part, at).map_err(write_error)?;
            if at == 0 {
                part[8..12].copy_from_slice(&count.to_be_bytes());
            }
            hasher.update(part);
            at += part.len() as u64;
        }
        let checksum = hasher.finish::<W>()?;
        file.write_all_at(&checksum.to_bytes(), end).map_err(write_error)?;
        file.write_all_at(&count.to_be_bytes(), 8).map_err(write_error)?;
        file.sync_all().map_err(write_error)?;
        Ok(checksum)
    }
}
