//! Names that some file system takes for `.git` or for a file git obeys.
//!
//! HFS+ folds case and ignores certain code points; NTFS folds case, drops trailing dots, spaces
//! and stream names, and knows every file by a short name too (`GIT~1`). A tree with such a name
//! would write into `.git` when checked out there.

/// A file git obeys.
pub struct Needle {
    /// The name without its dot, in lower case.
    name: &'static [u8],
    /// What NTFS calls it when `~1` to `~4` are taken: six characters that begin a short name.
    fallback: &'static [u8; 6],
}

/// `.gitmodules`
pub const MODULES: Needle = Needle { name: b"gitmodules", fallback: b"gi7eba" };
/// `.gitattributes`
pub const ATTRIBUTES: Needle = Needle { name: b"gitattributes", fallback: b"gi7d29" };

/// Code points that HFS+ ignores in names.
const IGNORED: [std::ops::RangeInclusive<u32>; 4] =
    [0x200c..=0x200f, 0x202a..=0x202e, 0x206a..=0x206f, 0xfeff..=0xfeff];

/// Tells whether no function of this module can find anything in `name`.
///
/// Cheap, for it is asked of every entry of every tree: such names begin with a dot, a `g`, a tilde
/// or a byte outside ASCII, or have a part after a backslash that does.
#[inline]
pub fn plain(name: &[u8]) -> bool {
    let first = name.first().copied().unwrap_or(0);
    !matches!(first, b'.' | b'g' | b'G' | b'~' | 0x80..) && memchr::memchr(b'\\', name).is_none()
}

/// Tells whether the name is `.git` somewhere.
pub fn is_dotgit(name: &[u8]) -> bool {
    hfs(name, b"git") || ntfs_dotgit(name) || after_backslashes(name).any(ntfs_dotgit)
}

/// Tells whether the name is that of `needle` somewhere.
///
/// Git looks for `.gitmodules` behind backslashes too, but not for the others.
pub fn is(name: &[u8], needle: &Needle) -> bool {
    hfs(name, needle.name)
        || ntfs(name, needle)
        || (needle.name == MODULES.name && after_backslashes(name).any(|part| ntfs(part, needle)))
}

fn after_backslashes(name: &[u8]) -> impl Iterator<Item = &[u8]> {
    memchr::memchr_iter(b'\\', name).map(|at| &name[at + 1..])
}

fn hfs(name: &[u8], needle: &[u8]) -> bool {
    let mut characters = HfsCharacters(name);
    if characters.next() != Some(u32::from(b'.')) {
        return false;
    }
    for &wanted in needle {
        match characters.next() {
            Some(found) if found < 128 && (found as u8).to_ascii_lowercase() == wanted => {}
            _ => return false,
        }
    }
    // A name that is no UTF-8 from here on counts as ended, as git has it.
    matches!(characters.next(), None | Some(0x2f))
}

/// The characters of a name as HFS+ sees them; ends at the end or at the first malformed one.
struct HfsCharacters<'a>(&'a [u8]);

impl Iterator for HfsCharacters<'_> {
    type Item = u32;

    fn next(&mut self) -> Option<u32> {
        loop {
            let (character, length) = decode_utf8(self.0)?;
            self.0 = &self.0[length..];
            if !IGNORED.iter().any(|range| range.contains(&character)) {
                return Some(character);
            }
        }
    }
}

/// Decodes one character; refuses overlong forms, surrogates, U+FFFE and U+FFFF.
fn decode_utf8(bytes: &[u8]) -> Option<(u32, usize)> {
    let first = *bytes.first()?;
    let length = match first {
        0..=0x7f => 1,
        0xc2..=0xdf => 2,
        0xe0..=0xef => 3,
        0xf0..=0xf4 => 4,
        _ => return None,
    };
    let text = std::str::from_utf8(bytes.get(..length)?).ok()?;
    let character = text.chars().next()? as u32;
    (character != 0xfffe && character != 0xffff).then_some((character, length))
}

/// Tells whether NTFS drops all of `tail`: dots and spaces, up to the end or a stream name.
fn dropped(tail: &[u8], ends: &[u8]) -> bool {
    let kept = tail.iter().find(|byte| !matches!(byte, b'.' | b' '));
    kept.is_none_or(|byte| ends.contains(byte))
}

fn ntfs_dotgit(name: &[u8]) -> bool {
    let Some(head) = name.get(..4) else { return false };
    let tail = if head.eq_ignore_ascii_case(b".git") {
        &name[4..]
    } else if head.eq_ignore_ascii_case(b"git~") && name.get(4) == Some(&b'1') {
        &name[5..]
    } else {
        return false;
    };
    dropped(tail, b"/\\:")
}

fn ntfs(name: &[u8], needle: &Needle) -> bool {
    let has = |prefix: &[u8]| {
        name.get(..prefix.len()).is_some_and(|head| head.eq_ignore_ascii_case(prefix))
    };
    if name.first() == Some(&b'.') && name[1..].len() >= needle.name.len() {
        let (head, tail) = name[1..].split_at(needle.name.len());
        if head.eq_ignore_ascii_case(needle.name) {
            return dropped(tail, b":");
        }
    }
    if has(&needle.name[..6])
        && name.get(6) == Some(&b'~')
        && matches!(name.get(7), Some(b'1'..=b'4'))
    {
        return dropped(&name[8..], b":");
    }
    ntfs_fallback(name, needle.fallback)
}

/// Tells whether the first eight bytes are a fall-back short name: up to six characters of
/// `prefix`, a tilde, a number.
fn ntfs_fallback(name: &[u8], prefix: &[u8; 6]) -> bool {
    let Some(short) = name.get(..8) else { return false };
    let same = short.iter().zip(prefix).take_while(|(a, b)| a.eq_ignore_ascii_case(b)).count();
    let number = match short[same..].split_first() {
        Some((b'~', number)) => number,
        _ => return false,
    };
    matches!(number.first(), Some(b'1'..=b'9'))
        && number[1..].iter().all(u8::is_ascii_digit)
        && dropped(&name[8..], b":")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dotgit() {
        let yes: [&[u8]; 15] = [
            b".git",
            b".GIT",
            b".Git ",
            b".git...",
            b".git. .",
            b".git:x",
            b"git~1",
            b"GIT~1.",
            b".git\\x",
            b".g\xe2\x80\x8cit",
            b"\xef\xbb\xbf.git",
            b".git\xe2\x80\x8d",
            b"x\\.git",
            b"a\\b\\git~1",
            b".git\xff",
        ];
        for name in yes {
            assert!(is_dotgit(name) && !plain(name), "{name:?}");
        }
        let no: [&[u8]; 8] = [
            b"git",
            b".gi",
            b".gitx",
            b"git~2",
            b"git~10",
            b".git x",
            b"x.git",
            b".g\xe2\x80\x90it",
        ];
        for name in no {
            assert!(!is_dotgit(name), "{name:?}");
        }
    }

    #[test]
    fn gitmodules() {
        let yes: [&[u8]; 13] = [
            b".gitmodules",
            b".GITMODULES",
            b".gitmodules .",
            b".gitmodules:x",
            b"gitmod~1",
            b"GITMOD~4 ",
            b"gi7eba~1",
            b"gi7eb~10",
            b"gi7e~123",
            b"~1234567",
            b".gitmodule\xe2\x80\x8cs",
            b"x\\.gitmodules",
            b".gitmodules\xe2\x80\x8c",
        ];
        for name in yes {
            assert!(is(name, &MODULES) && !plain(name), "{name:?}");
        }
        let no: [&[u8]; 9] = [
            b"gitmodules",
            b".gitmodulesx",
            b"gitmod~5",
            b"GI7E~123x",
            b"gi7eba~0",
            b"gi7eba~",
            b"gi7ebx~1",
            b"gi7eba~x",
            b".gitmodules\\x",
        ];
        for name in no {
            assert!(!is(name, &MODULES), "{name:?}");
        }
        assert!(is(b"gitatt~1", &ATTRIBUTES));
        assert!(!is(b"x\\.gitattributes", &ATTRIBUTES));
    }
}
