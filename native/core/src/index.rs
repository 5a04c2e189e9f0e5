//! Writing `.idx` (version 2) and `.rev` files (gitformat-pack: "Version 2 pack-*.idx files",
//! "pack-*.rev files").
//!
//! Files appear under their names complete, synced and read-only, or not at all.

use crate::error::{Error, Result};
use crate::hash::{Algorithm, Hasher};
use crate::oid::Oid;
use crate::table::Row;
use std::io::{BufWriter, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

/// Offsets from here on need the table of 64-bit offsets.
const LARGE_OFFSET: u64 = 1 << 31;

/// Hashes what it writes.
struct HashWriter {
    file: BufWriter<tempfile::NamedTempFile>,
    hasher: Hasher,
}

fn write_error(path: &Path) -> impl Fn(std::io::Error) -> Error + '_ {
    move |error| Error::io(&format!("writing {}", path.display()), &error)
}

impl HashWriter {
    fn create(path: &Path, algorithm: Algorithm) -> std::io::Result<Self> {
        let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty());
        let file = tempfile::Builder::new()
            .prefix("tmp_idx_")
            .tempfile_in(directory.unwrap_or(Path::new(".")))?;
        Ok(HashWriter {
            file: BufWriter::with_capacity(1 << 16, file),
            hasher: Hasher::new(algorithm),
        })
    }

    fn write(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        self.hasher.update(bytes);
        self.file.write_all(bytes)
    }

    fn finish<const W: usize>(mut self, path: &Path) -> Result<()> {
        let trailer = self.hasher.finish::<W>()?.to_bytes();
        let publish = || -> std::io::Result<()> {
            self.file.write_all(&trailer)?;
            let file = self.file.into_inner().map_err(|error| error.into_error())?;
            file.as_file().set_permissions(std::fs::Permissions::from_mode(0o444))?;
            file.as_file().sync_all()?;
            file.persist(path).map_err(|error| error.error)?;
            Ok(())
        };
        publish().map_err(write_error(path))
    }
}

/// The rows of an index in its order, each with the number of its entry in the pack.
pub struct Sorted<const W: usize> {
    rows: Vec<(Row<W>, u32)>,
}

impl<const W: usize> Sorted<W> {
    /// Sorts the rows, which come in pack order.
    pub fn new(rows: Vec<Row<W>>) -> Self {
        let mut rows: Vec<_> = rows.into_iter().zip(0u32..).collect();
        rows.sort_unstable_by_key(|(row, _)| row.oid);
        Sorted { rows }
    }

    /// Writes the index of a pack that ends with `checksum`.
    pub fn write_idx(&self, path: &Path, algorithm: Algorithm, checksum: &Oid<W>) -> Result<()> {
        let mut out = HashWriter::create(path, algorithm).map_err(write_error(path))?;
        self.idx_body(&mut out, checksum).map_err(write_error(path))?;
        out.finish::<W>(path)
    }

    fn idx_body(&self, out: &mut HashWriter, checksum: &Oid<W>) -> std::io::Result<()> {
        out.write(b"\xfftOc\0\0\0\x02")?;
        let mut fanout = [0u32; 256];
        self.rows.iter().for_each(|(row, _)| fanout[row.oid.first_byte()] += 1);
        let mut total = 0u32;
        for count in fanout {
            total += count;
            out.write(&total.to_be_bytes())?;
        }
        self.column(out, Oid::<W>::BYTES, |row, bytes| row.oid.write_to(bytes))?;
        self.column(out, 4, |row, bytes| bytes.extend_from_slice(&row.crc.to_be_bytes()))?;
        let mut large = Vec::new();
        self.column(out, 4, |row, bytes| {
            let short = match u32::try_from(row.offset) {
                Ok(offset) if row.offset < LARGE_OFFSET => offset,
                _ => {
                    large.extend_from_slice(&row.offset.to_be_bytes());
                    LARGE_OFFSET as u32 | (large.len() / 8 - 1) as u32
                }
            };
            bytes.extend_from_slice(&short.to_be_bytes());
        })?;
        out.write(&large)?;
        out.write(&checksum.to_bytes())
    }

    /// Writes one column, some thousand rows at a time.
    fn column(
        &self,
        out: &mut HashWriter,
        width: usize,
        mut each: impl FnMut(&Row<W>, &mut Vec<u8>),
    ) -> std::io::Result<()> {
        let mut bytes = Vec::with_capacity(4096 * width);
        for rows in self.rows.chunks(4096) {
            bytes.clear();
            rows.iter().for_each(|(row, _)| each(row, &mut bytes));
            out.write(&bytes)?;
        }
        Ok(())
    }

    /// Writes the reverse index of the same pack.
    pub fn write_rev(&self, path: &Path, algorithm: Algorithm, checksum: &Oid<W>) -> Result<()> {
        let mut positions = vec![0u32; self.rows.len()];
        for (position, (_, number)) in self.rows.iter().enumerate() {
            positions[*number as usize] = position as u32;
        }
        let mut out = HashWriter::create(path, algorithm).map_err(write_error(path))?;
        let body = |out: &mut HashWriter| -> std::io::Result<()> {
            let hash_id: u32 = if W == 5 { 1 } else { 2 };
            out.write(b"RIDX\0\0\0\x01")?;
            out.write(&hash_id.to_be_bytes())?;
            let mut bytes = Vec::with_capacity(positions.len() * 4);
            positions.iter().for_each(|position| bytes.extend_from_slice(&position.to_be_bytes()));
            out.write(&bytes)?;
            out.write(&checksum.to_bytes())
        };
        body(&mut out).map_err(write_error(path))?;
        out.finish::<W>(path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn large_offsets_go_to_their_own_table() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("x.idx");
        let row = |fill: u32, offset| Row { oid: Oid::<5>([fill << 24; 5]), offset, crc: fill };
        let rows =
            vec![row(9, 12), row(3, LARGE_OFFSET - 1), row(7, LARGE_OFFSET), row(1, 1 << 40)];
        Sorted::new(rows).write_idx(&path, Algorithm::Sha1, &Oid([5; 5])).unwrap();
        let bytes = std::fs::read(&path).unwrap();
        let offsets = 8 + 1024 + 4 * 24;
        let words: Vec<u32> = bytes[offsets..offsets + 16]
            .chunks(4)
            .map(|word| u32::from_be_bytes(word.try_into().unwrap()))
            .collect();
        assert_eq!(words, [0x8000_0000, 0x7fff_ffff, 0x8000_0001, 12]);
        assert_eq!(bytes.len(), offsets + 16 + 16 + 40);
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o444);
    }
}
