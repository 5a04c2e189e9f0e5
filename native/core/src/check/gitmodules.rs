//! The content of `.gitmodules` and `.gitattributes`.
//!
//! Git takes submodule names, URLs and paths from `.gitmodules` to run commands with them; each
//! rule here keeps one of those from being turned against the user.

use super::{broken, config, url};
use crate::error::Result;

/// Git parses no larger `.gitattributes`.
const LARGEST_ATTRIBUTES: usize = 100 << 20;
/// Git parses no longer line of one.
const LONGEST_ATTRIBUTES_LINE: usize = 2048;

/// Checks the content of a `.gitmodules`.
pub fn check_gitmodules(bytes: &[u8]) -> Result<()> {
    let mut verdict = Ok(());
    config::parse(bytes, |name, value| {
        if verdict.is_ok() {
            verdict = check_variable(until_nul(name), value.map(until_nul));
        }
    });
    verdict
}

/// Git handles these as C strings.
fn until_nul(bytes: &[u8]) -> &[u8] {
    &bytes[..memchr::memchr(0, bytes).unwrap_or(bytes.len())]
}

fn check_variable(name: &[u8], value: Option<&[u8]>) -> Result<()> {
    let Some(rest) = name.strip_prefix(b"submodule.") else { return Ok(()) };
    let Some(dot) = memchr::memrchr(b'.', rest) else { return Ok(()) };
    let (submodule, key) = (&rest[..dot], &rest[dot + 1..]);
    if !name_is_safe(submodule) {
        return Err(broken("gitmodulesName", "disallowed submodule name"));
    }
    match (key, value) {
        (b"url", Some(value)) if !url::is_safe(value) => {
            Err(broken("gitmodulesUrl", "disallowed submodule URL"))
        }
        (b"path", Some(value)) if value.starts_with(b"-") => {
            Err(broken("gitmodulesPath", "disallowed submodule path"))
        }
        (b"update", Some(value)) if value.starts_with(b"!") => {
            Err(broken("gitmodulesUpdate", "disallowed submodule update setting"))
        }
        _ => Ok(()),
    }
}

/// The name becomes a directory in `.git/modules`: not empty, and no `..` in it.
fn name_is_safe(name: &[u8]) -> bool {
    !name.is_empty() && name.split(|byte| matches!(byte, b'/' | b'\\')).all(|part| part != b"..")
}

/// Checks the content of a `.gitattributes`.
pub fn check_gitattributes(bytes: &[u8]) -> Result<()> {
    if bytes.len() > LARGEST_ATTRIBUTES {
        return Err(broken("gitattributesLarge", ".gitattributes is too large"));
    }
    let longest = until_nul(bytes).split(|&byte| byte == b'\n').map(<[u8]>::len).max();
    if longest.unwrap_or(0) >= LONGEST_ATTRIBUTES_LINE {
        return Err(broken("gitattributesLineLength", ".gitattributes has too long a line"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modules() {
        let cases = [
            ("[submodule \"a\"]\npath = a\nurl = https://example.com/a\nupdate = rebase\n", ""),
            ("[submodule \"a/..b\"]\nurl = ../a\n", ""),
            ("[submodule \"..\"]\n", ""),
            ("[submodule \"..\"]\nx=1", "gitmodulesName"),
            ("[submodule \"a\\\\\\\\..\"]\nx=1", "gitmodulesName"),
            ("[submodule \"\"]\nx=1", "gitmodulesName"),
            ("[submodule \"a\"]\nurl = -u\n", "gitmodulesUrl"),
            ("[submodule \"a\"]\nurl\n", ""),
            ("[submodule \"a\"]\npath = -p\n", "gitmodulesPath"),
            ("[submodule \"a\"]\nupdate = !rm\n", "gitmodulesUpdate"),
            ("[submodule]\nurl = -u\n", ""),
            ("[submodule \"a\"\nurl = -u\n", ""),
        ];
        for (text, want) in cases {
            let got =
                check_gitmodules(text.as_bytes()).err().map(|error| error.what).unwrap_or_default();
            assert_eq!(got.split(':').next().unwrap(), want, "{text}");
        }
    }

    #[test]
    fn attributes() {
        assert!(check_gitattributes(b"* text\n").is_ok());
        assert!(check_gitattributes(&[b'x'; 2047]).is_ok());
        assert!(check_gitattributes(&[b'x'; 2048]).is_err());
        assert!(check_gitattributes(&[b"a\0".as_slice(), &[b'x'; 4096]].concat()).is_ok());
    }
}
