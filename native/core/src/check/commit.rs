//! Commits: a tree, parents, one author, one committer.

use super::{broken, check_header_end, ident, line_oid, split_line, Links};
use crate::error::Result;
use crate::object::Kind;
use crate::oid::Oid;

/// Checks a commit and reports its tree and parents.
pub fn check<const W: usize>(bytes: &[u8], fsck: bool, links: &mut impl Links<W>) -> Result<()> {
    let (tree, mut rest) = bytes
        .strip_prefix(b"tree ")
        .ok_or_else(|| broken("missingTree", "a commit does not begin with its tree"))
        .and_then(|rest| parse_oid_line(rest, "badTreeSha1"))?;
    if rest.is_empty() {
        return Err(broken("missingAuthor", "a commit ends after its tree"));
    }
    links.link(&tree, Kind::Tree)?;
    while let Some(line) = rest.strip_prefix(b"parent ") {
        let (parent, after) = parse_oid_line(line, "badParentSha1")?;
        links.link(&parent, Kind::Commit)?;
        rest = after;
    }
    if fsck {
        check_header_end(bytes)?;
        check_people(rest)?;
        if memchr::memchr(0, bytes).is_some() {
            return Err(broken("nulInCommit", "a commit holds NUL"));
        }
    }
    Ok(())
}

fn parse_oid_line<'a, const W: usize>(bytes: &'a [u8], id: &str) -> Result<(Oid<W>, &'a [u8])> {
    split_line(bytes)
        .and_then(|(line, rest)| Some((line_oid(line)?, rest)))
        .ok_or_else(|| broken(id, "bad object id in a commit"))
}

/// Requires one author line and then a committer line.
fn check_people(mut rest: &[u8]) -> Result<()> {
    let mut authors = 0u32;
    while let Some(line) = rest.strip_prefix(b"author ") {
        authors += 1;
        rest = check_ident(line)?;
    }
    match authors {
        0 => return Err(broken("missingAuthor", "a commit has no author line")),
        1 => {}
        _ => return Err(broken("multipleAuthors", "a commit has several author lines")),
    }
    let line = rest
        .strip_prefix(b"committer ")
        .ok_or_else(|| broken("missingCommitter", "a commit has no committer line"))?;
    check_ident(line).map(|_| ())
}

fn check_ident(bytes: &[u8]) -> Result<&[u8]> {
    let (line, rest) = split_line(bytes)
        .ok_or_else(|| broken("unterminatedHeader", "a commit ends within its header"))?;
    ident::check(line)?;
    Ok(rest)
}

#[cfg(test)]
mod tests {
    use super::super::testing::{verdict, Collected};
    use super::*;

    const TREE: &str = "tree 4b825dc642cb6eb9a060e54bf8d69288fbee4904\n";
    const WHO: &str = "A <a> 1 +0000\n";

    #[test]
    fn rules() {
        let cases = [
            (format!("{TREE}author {WHO}committer {WHO}\nmessage"), ""),
            (format!("{TREE}author {WHO}committer {WHO}"), ""),
            (format!("{TREE}author {WHO}committer {WHO}gpgsig x\n y\n\n"), ""),
            (format!("author {WHO}committer {WHO}\n"), "missingTree"),
            ("tree 4b825dc\n".into(), "badTreeSha1"),
            (TREE.into(), "missingAuthor"),
            (format!("{TREE}parent 4b82\nauthor {WHO}committer {WHO}\n"), "badParentSha1"),
            (format!("{TREE}committer {WHO}\n"), "missingAuthor"),
            (format!("{TREE}author {WHO}author {WHO}committer {WHO}\n"), "multipleAuthors"),
            (format!("{TREE}author {WHO}\n"), "missingCommitter"),
            (format!("{TREE}author {WHO}committer A <a> 1 +0000"), "unterminatedHeader"),
            (format!("{TREE}author {WHO}committer {WHO}x\0y\n\nmessage"), "nulInHeader"),
            (format!("{TREE}author {WHO}committer {WHO}\nmess\0age"), "nulInCommit"),
        ];
        for (text, want) in cases {
            assert_eq!(verdict(Kind::Commit, text.as_bytes()), want, "{text}");
        }
    }

    #[test]
    fn links() {
        let parent = "parent 0123456789012345678901234567890123456789\n";
        let text = format!("{TREE}{parent}{parent}author {WHO}committer {WHO}\n");
        let mut collected = Collected::default();
        check::<5>(text.as_bytes(), true, &mut collected).unwrap();
        let kinds: Vec<Kind> = collected.links.iter().map(|link| link.1).collect();
        assert_eq!(kinds, [Kind::Tree, Kind::Commit, Kind::Commit]);
    }
}
