//! Trees: sorted entries of mode, name and id.
//!
//! Most trees are made by a delta from one that was checked before, and differ from it in an entry
//! or two. [`Reuse`] says which stretches were copied: an entry that lies wholly inside one and
//! begins where an entry of the base begins *is* that entry, so it need not be checked, nor its
//! link reported, a second time. What depends on neighbours is checked where stretches meet.

use super::lookalike::{self, ATTRIBUTES, MODULES};
use super::{broken, Links, Special};
use crate::error::Result;
use crate::object::Kind;
use crate::oid::Oid;
use std::cmp::Ordering;

/// Git warns about longer names, and `--strict` makes that an error.
const LONGEST_NAME: usize = 4096;
/// How many neighbours a changed entry is compared with before the tree is checked as a whole.
const NEIGHBOURS: usize = 64;

const TYPE_MASK: u32 = 0o170000;
const DIRECTORY: u32 = 0o040000;
const REGULAR: u32 = 0o100000;
const SYMLINK: u32 = 0o120000;

/// Where each entry of a checked tree begins.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TreeIndex {
    starts: Vec<u32>,
}

impl TreeIndex {
    /// Bytes of memory held.
    pub fn weight(&self) -> usize {
        self.starts.capacity() * 4
    }
}

/// What is known of the tree that a tree was made from.
#[derive(Clone, Copy)]
pub struct Reuse<'a> {
    /// Where the entries of the base begin.
    pub index: &'a TreeIndex,
    /// Stretches copied from the base: position here, position there, length; in order.
    pub copies: &'a [(u32, u32, u32)],
}

/// One entry; `end` is where the next begins.
struct Entry<'a> {
    mode: u32,
    name: &'a [u8],
    id: &'a [u8],
    end: usize,
}

fn malformed(what: &str) -> crate::error::Error {
    broken("badTree", what)
}

impl Entry<'_> {
    fn is_directory(&self) -> bool {
        self.mode & TYPE_MASK == DIRECTORY
    }
}

/// Parses the entry at `at`, which is within `bytes`.
#[inline]
fn parse(bytes: &[u8], at: usize, id_length: usize) -> Result<Entry<'_>> {
    let mut mode = 0u32;
    let mut rest = bytes[at..].iter();
    let mut digits = 0usize;
    loop {
        match rest.next() {
            Some(digit @ b'0'..=b'7') => mode = mode << 3 | u32::from(digit - b'0'),
            Some(b' ') if digits > 0 => break,
            _ => return Err(malformed("malformed mode")),
        }
        digits += 1;
    }
    let from = at + digits + 1;
    let length =
        memchr::memchr(0, &bytes[from..]).ok_or_else(|| malformed("an entry does not end"))?;
    if length == 0 {
        return Err(malformed("an entry has no name"));
    }
    let id_from = from + length + 1;
    let end = id_from + id_length;
    let id = bytes.get(id_from..end).ok_or_else(|| malformed("an entry does not end"))?;
    // Git keeps 16 bits of the mode.
    Ok(Entry { mode: mode & 0xffff, name: &bytes[from..from + length], id, end })
}

/// Checks a tree and reports the links that a base has not reported already.
pub fn check<const W: usize>(
    bytes: &[u8],
    fsck: bool,
    reuse: Option<Reuse<'_>>,
    links: &mut impl Links<W>,
) -> Result<TreeIndex> {
    if u32::try_from(bytes.len()).is_err() {
        return Err(malformed("4 GiB or more"));
    }
    let mut walk = Walk { bytes, fsck, links, starts: Vec::new(), fresh: Vec::new() };
    match reuse {
        Some(reuse) => {
            walk.starts.reserve(reuse.index.starts.len() + 1);
            walk.reusing(reuse)?;
            if fsck && !walk.fresh_are_unique()? {
                walk.unique()?;
            }
        }
        None => {
            walk.starts.reserve(bytes.len() / (Oid::<W>::BYTES + 14) + 1);
            walk.all()?;
            if fsck {
                walk.unique()?;
            }
        }
    }
    Ok(TreeIndex { starts: walk.starts })
}

struct Walk<'a, 'l, const W: usize, L> {
    bytes: &'a [u8],
    fsck: bool,
    links: &'l mut L,
    starts: Vec<u32>,
    /// Positions in `starts` of entries the base does not have.
    fresh: Vec<u32>,
}

impl<'a, const W: usize, L: Links<W>> Walk<'a, '_, W, L> {
    fn entry(&self, number: usize) -> Result<Entry<'a>> {
        parse(self.bytes, self.starts[number] as usize, Oid::<W>::BYTES)
    }

    fn all(&mut self) -> Result<()> {
        let mut before: Option<Entry<'a>> = None;
        let mut at = 0;
        while at < self.bytes.len() {
            let entry = self.fresh_entry(at)?;
            if let Some(before) = before.filter(|_| self.fsck) {
                in_order(&before, &entry)?;
            }
            at = entry.end;
            before = Some(entry);
        }
        Ok(())
    }

    fn reusing(&mut self, reuse: Reuse<'_>) -> Result<()> {
        let mut copies = reuse.copies.iter().peekable();
        let base = &reuse.index.starts;
        let mut at = 0usize;
        while at < self.bytes.len() {
            while copies.next_if(|copy| copy.0 as usize + copy.2 as usize <= at).is_some() {}
            let first = self.starts.len();
            let known = copies.peek().and_then(|copy| known_run(copy, at, base));
            let next = if let Some((from, to, end)) = known {
                let shift = (at as u32).wrapping_sub(base[from]);
                self.starts.extend(base[from..to].iter().map(|start| start.wrapping_add(shift)));
                end
            } else {
                self.fresh.push(first as u32);
                self.fresh_entry(at)?.end
            };
            if self.fsck && first > 0 {
                in_order(&self.entry(first - 1)?, &self.entry(first)?)?;
            }
            at = next;
        }
        Ok(())
    }

    /// Checks the entry at `at` by itself, reports its link and notes where it begins.
    #[inline]
    fn fresh_entry(&mut self, at: usize) -> Result<Entry<'a>> {
        let entry = parse(self.bytes, at, Oid::<W>::BYTES)?;
        self.starts.push(at as u32);
        let oid = Oid::from_bytes(entry.id).ok_or_else(|| malformed("an entry does not end"))?;
        match entry.mode & TYPE_MASK {
            DIRECTORY => self.links.link(&oid, Kind::Tree)?,
            REGULAR | SYMLINK => self.links.link(&oid, Kind::Blob)?,
            _ => {} // a submodule, or what git takes for one
        }
        if self.fsck {
            if oid.is_null() {
                return Err(broken("nullSha1", "a tree entry has the null id"));
            }
            if self.bytes[at] == b'0' {
                return Err(broken("zeroPaddedFilemode", "a mode begins with a nought"));
            }
            check_name(entry.name)?;
            if !lookalike::plain(entry.name) {
                self.check_lookalikes(&entry, &oid)?;
            }
        }
        Ok(entry)
    }

    #[cold]
    fn check_lookalikes(&mut self, entry: &Entry<'_>, oid: &Oid<W>) -> Result<()> {
        if entry.name == b"." {
            return Err(broken("hasDot", "a tree entry is called '.'"));
        }
        if entry.name == b".." {
            return Err(broken("hasDotdot", "a tree entry is called '..'"));
        }
        if lookalike::is_dotgit(entry.name) {
            return Err(broken("hasDotgit", "a tree entry is called '.git', or the like"));
        }
        let link = entry.mode & TYPE_MASK == SYMLINK;
        if lookalike::is(entry.name, &MODULES) {
            if link {
                return Err(broken("gitmodulesSymlink", ".gitmodules is a symbolic link"));
            }
            self.links.special(oid, Special::Modules);
        }
        if !link && lookalike::is(entry.name, &ATTRIBUTES) {
            self.links.special(oid, Special::Attributes);
        }
        Ok(())
    }

    /// Looks for a file and a directory of one name, which need not be neighbours, in a sorted tree.
    ///
    /// `foo`, `foo.c` and `foo/` are in order. Whatever stands between the two begins with the
    /// name, so a stack of the files that may yet meet their directory is enough.
    fn unique(&self) -> Result<()> {
        let mut open: Vec<&[u8]> = Vec::new();
        let mut before: Option<Entry<'_>> = None;
        for number in 0..self.starts.len() {
            let entry = self.entry(number)?;
            if let Some(before) = before {
                if goes_on_below_slash(entry.name, before.name) && !before.is_directory() {
                    open.push(before.name);
                } else if entry.is_directory() && goes_on_below_slash(before.name, entry.name) {
                    while let Some(&file) = open.last() {
                        if file == entry.name {
                            return Err(duplicate());
                        }
                        if goes_on_below_slash(entry.name, file) {
                            break;
                        }
                        open.pop();
                    }
                }
            }
            before = Some(entry);
        }
        Ok(())
    }

    /// Does the same for the entries the base does not have; false if that takes too long.
    ///
    /// Entries of the base cannot clash with each other: it has been checked.
    fn fresh_are_unique(&self) -> Result<bool> {
        for &number in &self.fresh {
            let number = number as usize;
            let entry = self.entry(number)?;
            let directory = entry.is_directory();
            for step in 1..=NEIGHBOURS {
                let other = match directory {
                    true => number.checked_sub(step),
                    false => Some(number + step).filter(|&other| other < self.starts.len()),
                };
                let Some(other) = other else { break };
                let other = self.entry(other)?;
                if other.name == entry.name {
                    return Err(duplicate());
                }
                if !goes_on_below_slash(other.name, entry.name) {
                    break;
                }
                if step == NEIGHBOURS {
                    return Ok(false);
                }
            }
        }
        Ok(true)
    }
}

fn duplicate() -> crate::error::Error {
    broken("duplicateEntries", "a tree has two entries of one name")
}

/// The entries of the base that follow at `at`: first, one past the last, and where the latter is here.
#[inline]
fn known_run(copy: &(u32, u32, u32), at: usize, base: &[u32]) -> Option<(usize, usize, usize)> {
    let &(here, there, length) = copy;
    let at = u32::try_from(at).ok().filter(|&at| at >= here)?;
    let (position, end) = (there + (at - here), there + length);
    let from = base.binary_search(&position).ok()?;
    // An entry ends where the next begins. The last of the base has none after it: it is not reused.
    let to = from + base[from..].partition_point(|&start| start <= end);
    let to = to.checked_sub(1).filter(|&to| to > from)?;
    Some((from, to, (at + (base[to] - position)) as usize))
}

fn check_name(name: &[u8]) -> Result<()> {
    if memchr::memchr(b'/', name).is_some() {
        return Err(broken("fullPathname", "a tree entry's name holds a slash"));
    }
    if name.len() > LONGEST_NAME {
        return Err(broken("largePathname", "a tree entry's name is too long"));
    }
    Ok(())
}

/// Tells whether `name` is `prefix` and a byte below `/`, and so comes between file and directory.
fn goes_on_below_slash(name: &[u8], prefix: &[u8]) -> bool {
    name.len() > prefix.len() && name.starts_with(prefix) && name[prefix.len()] < b'/'
}

/// Requires `first` to come before `second`, where a directory's name counts with a slash.
#[inline]
fn in_order(first: &Entry<'_>, second: &Entry<'_>) -> Result<()> {
    let common = first.name.len().min(second.name.len());
    match first.name[..common].cmp(&second.name[..common]) {
        Ordering::Less => return Ok(()),
        Ordering::Greater => return Err(unsorted()),
        Ordering::Equal => {}
    }
    if first.name.len() == second.name.len() {
        return Err(duplicate());
    }
    let next = |entry: &Entry<'_>| match entry.name.get(common) {
        Some(&byte) => byte,
        None if entry.is_directory() => b'/',
        None => 0,
    };
    if next(first) < next(second) {
        Ok(())
    } else {
        Err(unsorted())
    }
}

fn unsorted() -> crate::error::Error {
    broken("treeNotSorted", "a tree is not in order")
}

#[cfg(test)]
mod tests {
    use super::super::testing::{verdict, Collected};
    use super::*;

    fn tree(entries: &[(&str, &[u8])]) -> Vec<u8> {
        let mut bytes = Vec::new();
        for (number, (mode, name)) in entries.iter().enumerate() {
            bytes.extend_from_slice(mode.as_bytes());
            bytes.push(b' ');
            bytes.extend_from_slice(name);
            bytes.push(0);
            bytes.extend_from_slice(&[number as u8 + 1; 20]);
        }
        bytes
    }

    #[test]
    fn rules() {
        let long = vec![b'x'; 4097];
        type Rows<'a> = &'a [(&'a str, &'a [u8])];
        let cases: [(Rows<'_>, &str); 18] = [
            (&[], ""),
            (&[("100644", b"a"), ("40000", b"b"), ("120000", b"c"), ("160000", b"d")], ""),
            (&[("100644", b"a.c"), ("40000", b"a"), ("100644", b"a0")], ""),
            (&[("100664", b"a"), ("0", b"b")], "zeroPaddedFilemode"),
            (&[("100664", b"a"), ("7", b"b")], ""),
            (&[("040000", b"a")], "zeroPaddedFilemode"),
            (&[("100644", b"a/b")], "fullPathname"),
            (&[("100644", b"")], "badTree"),
            (&[("10064x", b"a")], "badTree"),
            (&[("40000", b".")], "hasDot"),
            (&[("40000", b"..")], "hasDotdot"),
            (&[("40000", b".Git")], "hasDotgit"),
            (&[("120000", b".gitmodules")], "gitmodulesSymlink"),
            (&[("100644", &long)], "largePathname"),
            (&[("100644", b"b"), ("100644", b"a")], "treeNotSorted"),
            (&[("40000", b"a"), ("100644", b"a.c")], "treeNotSorted"),
            (&[("100644", b"a"), ("40000", b"a")], "duplicateEntries"),
            (
                &[
                    ("100644", b"a"),
                    ("100644", b"a.b"),
                    ("100644", b"a.b.c"),
                    ("40000", b"a.b"),
                    ("40000", b"a"),
                ],
                "duplicateEntries",
            ),
        ];
        for (entries, want) in cases {
            assert_eq!(verdict(Kind::Tree, &tree(entries)), want, "{entries:?}");
        }
        let whole = tree(&[("100644", b"a")]);
        assert_eq!(verdict(Kind::Tree, &whole[..whole.len() - 1]), "badTree");
        let mut null = tree(&[("100644", b"a")]);
        null.truncate(9);
        null.extend_from_slice(&[0; 20]);
        assert_eq!(verdict(Kind::Tree, &null), "nullSha1");
    }

    #[test]
    fn reports_what_git_would_follow() {
        let bytes = tree(&[("100644", b".gitmodules"), ("40000", b"dir"), ("160000", b"sub")]);
        let mut collected = Collected::default();
        check::<5>(&bytes, true, None, &mut collected).unwrap();
        let kinds: Vec<Kind> = collected.links.iter().map(|link| link.1).collect();
        assert_eq!(kinds, [Kind::Blob, Kind::Tree]);
        assert_eq!(collected.special, [("01".repeat(20), Special::Modules)]);
    }

    /// A tree of `count` entries whose `odd`th has another id and name.
    fn varied(count: usize, odd: usize, name: &str) -> Vec<u8> {
        let mut bytes = Vec::new();
        for number in 0..count {
            let (text, fill) = match number == odd {
                true => (name.to_owned(), 0xee),
                false => (format!("f{number:03}"), number as u8 + 1),
            };
            bytes.extend_from_slice(format!("100644 {text}\0").as_bytes());
            bytes.extend_from_slice(&[fill; 20]);
        }
        bytes
    }

    /// Every common stretch at the ends of two trees, as a delta would copy them.
    fn copies(base: &[u8], new: &[u8]) -> Vec<(u32, u32, u32)> {
        let head = base.iter().zip(new).take_while(|(a, b)| a == b).count();
        let tail = base[head.min(base.len())..]
            .iter()
            .rev()
            .zip(new[head..].iter().rev())
            .take_while(|(a, b)| a == b)
            .count();
        vec![
            (0, 0, head as u32),
            ((new.len() - tail) as u32, (base.len() - tail) as u32, tail as u32),
        ]
    }

    #[test]
    fn reuse_agrees_with_checking_all() {
        let base = varied(40, usize::MAX, "");
        let index = check::<5>(&base, true, None, &mut Collected::default()).unwrap();
        for (count, odd, name) in [
            (40, 7, "f007"),
            (40, 0, "a"),
            (40, 39, "z"),
            (41, 40, "f0400"),
            (40, 20, "f0190"),
            (40, 20, "f019"),
            (40, 20, "f030"),
            (12, 3, "f003"),
            (40, 5, ".git"),
        ] {
            let new = varied(count, odd, name);
            let reuse = Reuse { index: &index, copies: &copies(&base, &new) };
            let (mut all, mut some) = (Collected::default(), Collected::default());
            let whole = check::<5>(&new, true, None, &mut all).map_err(|error| error.what);
            let partly = check::<5>(&new, true, Some(reuse), &mut some).map_err(|error| error.what);
            assert_eq!(whole, partly, "{count} {odd} {name}");
            let most = if count < 40 { count } else { 3 };
            assert!(some.links.len() <= most, "{count} {odd} {name}: {}", some.links.len());
        }
    }

    #[test]
    fn reuse_finds_a_new_directory_beside_an_old_file() {
        let old =
            [("100644", b"a".as_slice()), ("100644", b"a.b"), ("100644", b"a.c"), ("100644", b"z")];
        let base = tree(&old);
        let index = check::<5>(&base, true, None, &mut Collected::default()).unwrap();
        let mut entries = old.to_vec();
        entries.insert(3, ("40000", b"a"));
        let new = tree(&entries);
        let reuse = Reuse { index: &index, copies: &[(0, 0, 83)] };
        let error = check::<5>(&new, true, Some(reuse), &mut Collected::default()).unwrap_err();
        assert!(error.what.starts_with("duplicateEntries"));
    }

    #[test]
    fn a_misaligned_copy_is_not_reused() {
        // The new tree copies the base from within an id that looks like an entry.
        let mut base = b"100644 a\0".to_vec();
        base.extend_from_slice(b"100644 .git\0xxxxxxxx");
        base.extend_from_slice(b"100644 b\0");
        base.extend_from_slice(&[5; 20]);
        let index = check::<5>(&base, true, None, &mut Collected::default()).unwrap();
        let copied = base[9..].to_vec();
        let mut new = copied.clone();
        new.extend_from_slice(&[b'y'; 3]);
        let reuse = Reuse { index: &index, copies: &[(0, 9, copied.len() as u32)] };
        let whole = check::<5>(&new, true, None, &mut Collected::default()).unwrap_err();
        let partly = check::<5>(&new, true, Some(reuse), &mut Collected::default()).unwrap_err();
        assert_eq!(whole.what, partly.what);
    }
}
