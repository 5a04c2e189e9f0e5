//! What is known of each entry of the pack, by its number.
//!
//! Scanner and resolvers write different fields of an entry, each once, and everybody reads, so
//! the fields are atomics rather than locked. An entry's `kind` is stored last, with release
//! ordering: whoever sees it non-zero sees the rest. Bases appended to a thin pack get the numbers
//! after the pack's own.
//!
//! The deltas of a base form a list through `children` and `siblings`. It is open until somebody
//! takes on its deltas and closes it; a delta that comes later finds it closed, and so knows that
//! its base is resolved and that nobody will come for it.

use crate::object::Kind;
use crate::oid::Oid;
use std::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release};
use std::sync::atomic::{AtomicU32, AtomicU64, AtomicU8};
use std::sync::RwLock;

/// Stands for "no entry" where a number is expected.
pub const NONE: u32 = u32::MAX;
/// Stands in `children` for a list that has been closed.
const CLOSED: u32 = u32::MAX - 1;
/// Numbers from here on mean something else.
pub const MOST: u32 = CLOSED;

/// The fields of one entry as the index lists them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Row<const W: usize> {
    /// The object's name.
    pub oid: Oid<W>,
    /// Where the entry begins in the pack.
    pub offset: u64,
    /// CRC-32 of the entry's bytes in the pack.
    pub crc: u32,
}

/// A base appended to a thin pack.
#[derive(Clone, Copy, Debug)]
pub struct Appended<const W: usize> {
    /// What the index says of it.
    pub row: Row<W>,
    /// Where it ends.
    pub end: u64,
}

/// The entries of a pack.
pub struct Table<const W: usize> {
    /// Where each entry begins, and at the end where the trailer does.
    offsets: Box<[AtomicU64]>,
    crcs: Box<[AtomicU32]>,
    /// The number of the entry that a delta was applied to.
    bases: Box<[AtomicU32]>,
    /// The last delta that joined the list of those based on an entry.
    children: Box<[AtomicU32]>,
    /// The delta that joined before.
    siblings: Box<[AtomicU32]>,
    oids: Box<[[AtomicU32; W]]>,
    /// The object's kind once it is known, else 0.
    kinds: Box<[AtomicU8]>,
    appended: RwLock<Vec<Appended<W>>>,
}

impl<const W: usize> Table<W> {
    /// A table of `count` entries nothing is known of.
    pub fn new(count: u32) -> Self {
        let count = count as usize;
        Table {
            offsets: (0..=count).map(|_| AtomicU64::new(0)).collect(),
            crcs: (0..count).map(|_| AtomicU32::new(0)).collect(),
            bases: (0..count).map(|_| AtomicU32::new(NONE)).collect(),
            children: (0..count).map(|_| AtomicU32::new(NONE)).collect(),
            siblings: (0..count).map(|_| AtomicU32::new(NONE)).collect(),
            oids: (0..count).map(|_| std::array::from_fn(|_| AtomicU32::new(0))).collect(),
            kinds: (0..count).map(|_| AtomicU8::new(0)).collect(),
            appended: RwLock::new(Vec::new()),
        }
    }

    /// Bytes of memory an entry takes.
    pub const fn weight() -> usize {
        8 + 4 * 4 + W * 4 + 1
    }

    /// Entries of the pack as it came, without appended ones.
    pub fn count(&self) -> u32 {
        self.kinds.len() as u32
    }

    /// Notes where an entry, or the trailer, begins.
    pub fn set_offset(&self, number: u32, offset: u64) {
        self.offsets[number as usize].store(offset, Relaxed);
    }

    /// Notes an entry's checksum.
    pub fn set_crc(&self, number: u32, crc: u32) {
        self.crcs[number as usize].store(crc, Relaxed);
    }

    /// Notes what a delta is based on, and puts it on that entry's list; false if that is closed.
    pub fn adopt(&self, base: u32, child: u32) -> bool {
        self.bases[child as usize].store(base, Relaxed);
        let Some(list) = self.children.get(base as usize) else { return false };
        let mut head = list.load(Acquire);
        loop {
            if head == CLOSED {
                return false;
            }
            self.siblings[child as usize].store(head, Relaxed);
            match list.compare_exchange_weak(head, child, AcqRel, Acquire) {
                Ok(_) => return true,
                Err(now) => head = now,
            }
        }
    }

    /// Whether any delta is on an entry's list.
    pub fn has_children(&self, number: u32) -> bool {
        self.children.get(number as usize).is_some_and(|list| list.load(Relaxed) < MOST)
    }

    /// Closes an entry's list and calls `each` for every delta on it.
    pub fn close(&self, number: u32, mut each: impl FnMut(u32)) {
        let Some(list) = self.children.get(number as usize) else { return };
        let mut child = list.swap(CLOSED, AcqRel);
        while child < MOST {
            each(child);
            child = self.siblings[child as usize].load(Relaxed);
        }
    }

    /// Notes what the object is, and with that publishes everything else noted of it.
    pub fn set_object(&self, number: u32, kind: Kind, oid: &Oid<W>) {
        for (cell, word) in self.oids[number as usize].iter().zip(oid.0) {
            cell.store(word, Relaxed);
        }
        self.kinds[number as usize].store(kind as u8, Release);
    }

    /// Adds a base that was appended; its number.
    pub fn append(&self, appended: Appended<W>) -> Option<u32> {
        let mut list = self.appended.write().unwrap_or_else(|poison| poison.into_inner());
        let number =
            u32::try_from(self.kinds.len() + list.len()).ok().filter(|&number| number < MOST)?;
        list.push(appended);
        Some(number)
    }

    /// Where an entry begins and ends.
    pub fn span(&self, number: u32) -> (u64, u64) {
        let at = number as usize;
        match self.kinds.len() {
            own if at < own => (self.offsets[at].load(Relaxed), self.offsets[at + 1].load(Relaxed)),
            own => {
                let list = self.appended.read().unwrap_or_else(|poison| poison.into_inner());
                list.get(at - own).map_or((0, 0), |appended| (appended.row.offset, appended.end))
            }
        }
    }

    /// Where an entry begins.
    pub fn offset(&self, number: u32) -> u64 {
        self.span(number).0
    }

    /// The number of the entry a delta was applied to; [`NONE`] for a whole object.
    pub fn base(&self, number: u32) -> u32 {
        self.bases.get(number as usize).map_or(NONE, |base| base.load(Relaxed))
    }

    /// The object's kind, if it has been resolved; for the pack's own entries.
    pub fn kind(&self, number: u32) -> Option<Kind> {
        Kind::from_number(self.kinds.get(number as usize)?.load(Acquire))
    }

    /// The number of the entry beginning at `offset` among `range`, which is scanned.
    pub fn find(&self, offset: u64, range: std::ops::Range<u32>) -> Option<u32> {
        let (mut low, mut high) = (range.start, range.end);
        while low < high {
            let middle = low + (high - low) / 2;
            match self.offsets[middle as usize].load(Relaxed).cmp(&offset) {
                std::cmp::Ordering::Equal => return Some(middle),
                std::cmp::Ordering::Less => low = middle + 1,
                std::cmp::Ordering::Greater => high = middle,
            }
        }
        None
    }

    /// The number of the first entry among `range`, which is scanned, that does not begin before
    /// `offset`.
    pub fn beginning_after(&self, offset: u64, range: std::ops::Range<u32>) -> u32 {
        let (from, to) = (range.start as usize, range.end as usize);
        let before = |at: &AtomicU64| at.load(Relaxed) < offset;
        range.start + self.offsets[from..to].partition_point(before) as u32
    }

    /// What the index says of every entry, appended ones last; for when all are resolved.
    pub fn rows(&self) -> Vec<Row<W>> {
        let appended = self.appended.read().unwrap_or_else(|poison| poison.into_inner());
        let own = (0..self.kinds.len()).map(|at| Row {
            oid: Oid(std::array::from_fn(|word| self.oids[at][word].load(Relaxed))),
            offset: self.offsets[at].load(Relaxed),
            crc: self.crcs[at].load(Relaxed),
        });
        own.chain(appended.iter().map(|appended| appended.row)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_entries_by_offset() {
        let table = Table::<5>::new(4);
        for (number, offset) in [12, 40, 41, 99, 120].into_iter().enumerate() {
            table.set_offset(number as u32, offset);
        }
        assert_eq!(table.find(41, 0..4), Some(2));
        assert_eq!(table.find(41, 0..2), None);
        assert_eq!(table.find(42, 0..4), None);
        assert_eq!([0, 13, 41, 100].map(|at| table.beginning_after(at, 0..4)), [0, 1, 2, 4]);
        assert_eq!(table.beginning_after(99, 1..2), 2);
        assert_eq!(table.span(3), (99, 120));
        assert_eq!(table.kind(0), None);
    }

    #[test]
    fn a_closed_list_takes_no_more() {
        let table = Table::<5>::new(4);
        assert!(table.adopt(0, 1) && table.adopt(0, 2));
        assert!(table.has_children(0) && !table.has_children(1));
        let mut found = Vec::new();
        table.close(0, |child| found.push(child));
        assert_eq!(found, [2, 1]);
        assert!(!table.adopt(0, 3));
        assert_eq!(table.base(3), 0);
        table.close(0, |_| panic!("closed twice"));
    }

    #[test]
    fn appended_entries_follow() {
        let table = Table::<5>::new(1);
        let row = Row { oid: Oid([7; 5]), offset: 500, crc: 3 };
        assert_eq!(table.append(Appended { row, end: 510 }), Some(1));
        assert_eq!(table.span(1), (500, 510));
        assert_eq!(table.base(1), NONE);
        assert_eq!(table.rows().last(), Some(&row));
    }
}
