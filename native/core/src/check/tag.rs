//! Annotated tags: an object, its type, a name, and since 2005 a tagger.

use super::{broken, check_header_end, ident, line_oid, split_line, Links};
use crate::error::Result;
use crate::object::Kind;
use crate::oid::Oid;

/// Git reads the type into a buffer of this size.
const LONGEST_TYPE: usize = 20;
/// Git takes nothing shorter for a tag, beside the id.
const SHORTEST_BESIDE_ID: usize = 24;

/// Checks a tag and reports what it tags.
pub fn check<const W: usize>(bytes: &[u8], fsck: bool, links: &mut impl Links<W>) -> Result<()> {
    if bytes.len() < Oid::<W>::HEX + SHORTEST_BESIDE_ID {
        return Err(broken("missingObject", "a tag is too short"));
    }
    let (object, rest) = field(bytes, b"object ", "missingObject")?;
    let tagged =
        line_oid(object).ok_or_else(|| broken("badObjectSha1", "bad object id in a tag"))?;
    let (name, rest) = field(rest, b"type ", "missingTypeEntry")?;
    let kind = Some(name).filter(|name| name.len() < LONGEST_TYPE).and_then(Kind::from_name);
    let kind = kind.ok_or_else(|| broken("badType", "a tag names no type of object"))?;
    let (_, rest) = field(rest, b"tag ", "missingTagEntry")?;
    links.link(&tagged, kind)?;
    if fsck {
        check_header_end(bytes)?;
        check_tagger(rest)?;
    }
    Ok(())
}

fn field<'a>(bytes: &'a [u8], key: &[u8], id: &str) -> Result<(&'a [u8], &'a [u8])> {
    bytes
        .strip_prefix(key)
        .and_then(split_line)
        .ok_or_else(|| broken(id, &format!("a tag has no {}line", String::from_utf8_lossy(key))))
}

/// Checks the tagger line, if there is one.
///
/// Git forgets about a bad tagger when further header lines follow it; so do we, for the two must
/// not disagree on which repositories can be cloned.
fn check_tagger(rest: &[u8]) -> Result<()> {
    let Some(line) = rest.strip_prefix(b"tagger ") else { return Ok(()) };
    let (line, after) = split_line(line)
        .ok_or_else(|| broken("unterminatedHeader", "a tag ends within its header"))?;
    let verdict = ident::check(line);
    if after.is_empty() || after[0] == b'\n' {
        verdict
    } else {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{verdict, Collected};
    use super::*;

    const OBJECT: &str = "object 4b825dc642cb6eb9a060e54bf8d69288fbee4904\n";

    #[test]
    fn rules() {
        let cases = [
            (format!("{OBJECT}type tree\ntag v1\ntagger A <a> 1 +0000\n\nx"), ""),
            (format!("{OBJECT}type tree\ntag v1 of long ago\n\nx"), ""),
            (format!("{OBJECT}type tree\ntag v1\ntagger A <a 1 +0000\n\nx"), "badEmail"),
            (format!("{OBJECT}type tree\ntag v1\ntagger A <a 1 +0000\nmore x\n\nx"), ""),
            (format!("{OBJECT}type tre\ntag v1\ntagger A <a> 1 +0000\n\nx"), "badType"),
            (format!("{OBJECT}tag v1 and so on and on\n\nx"), "missingTypeEntry"),
            (format!("{OBJECT}type tree\ntagger A <a> 1 +0000\n\nx"), "missingTagEntry"),
            (format!("{OBJECT}type tree\ntag v1\ntagger A <a> 1 +0000"), "unterminatedHeader"),
            (OBJECT.into(), "missingObject"),
        ];
        for (text, want) in cases {
            assert_eq!(verdict(Kind::Tag, text.as_bytes()), want, "{text}");
        }
    }

    #[test]
    fn links() {
        let mut collected = Collected::default();
        let text = format!("{OBJECT}type tree\ntag version-one\n\nx");
        check::<5>(text.as_bytes(), true, &mut collected).unwrap();
        assert_eq!(collected.links.len(), 1);
        assert_eq!(collected.links[0].1, Kind::Tree);
    }
}
