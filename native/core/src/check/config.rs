//! Git's configuration syntax, as far as `.gitmodules` needs it (git-config: "CONFIGURATION FILE").
//!
//! Pure. Reports each variable as it is read: what stands before a syntax error counts.
//!
//! This reads what git reads from a checked out file. Git's own fsck reads less: there a byte order
//! mark is a syntax error and 0xff the end, and such a file passes whatever it says.

use std::ops::ControlFlow;

/// Files beyond this are not parsed; git stops there as well.
const LONGEST: usize = i32::MAX as usize;

/// Calls `each(name, value)` for every variable in `bytes`.
///
/// The name is `section.subsection.key`; section and key are in lower case. The value is `None`
/// for a variable without `=`.
pub fn parse(bytes: &[u8], mut each: impl FnMut(&[u8], Option<&[u8]>)) {
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    let mut parser = Parser { rest: &bytes[..bytes.len().min(LONGEST)], ended: false };
    let mut name = Vec::new();
    let mut stem = 0;
    while let ControlFlow::Continue(()) = parser.line(&mut name, &mut stem, &mut each) {}
}

/// Git's idea of white space.
fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\n' | b'\r')
}

fn is_key(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'-'
}

struct Parser<'a> {
    rest: &'a [u8],
    ended: bool,
}

/// A syntax error: nothing after it is read.
struct Broken;

impl Parser<'_> {
    /// The next character; CR LF is one, and the end looks like an end of line.
    fn next(&mut self) -> u8 {
        match self.rest {
            [b'\r', b'\n', rest @ ..] => {
                self.rest = rest;
                b'\n'
            }
            [byte, rest @ ..] => {
                self.rest = rest;
                *byte
            }
            [] => {
                self.ended = true;
                b'\n'
            }
        }
    }

    /// Reads up to the end of one comment, section header or variable.
    fn line(
        &mut self,
        name: &mut Vec<u8>,
        stem: &mut usize,
        each: &mut impl FnMut(&[u8], Option<&[u8]>),
    ) -> ControlFlow<()> {
        let byte = self.next();
        match byte {
            b'\n' if self.ended => return ControlFlow::Break(()),
            b'#' | b';' => while self.next() != b'\n' {},
            b'[' => {
                name.clear();
                if self.section(name).is_err() || name.is_empty() {
                    return ControlFlow::Break(());
                }
                name.push(b'.');
                *stem = name.len();
            }
            _ if is_space(byte) => {}
            _ if byte.is_ascii_alphabetic() => {
                name.truncate(*stem);
                name.push(byte.to_ascii_lowercase());
                match self.variable(name) {
                    Ok(value) => each(name, value.as_deref()),
                    Err(Broken) => return ControlFlow::Break(()),
                }
            }
            _ => return ControlFlow::Break(()),
        }
        if self.ended {
            return ControlFlow::Break(());
        }
        ControlFlow::Continue(())
    }

    fn section(&mut self, name: &mut Vec<u8>) -> Result<(), Broken> {
        loop {
            let byte = self.next();
            if self.ended {
                return Err(Broken);
            }
            if byte == b']' {
                return Ok(());
            }
            if is_space(byte) {
                return self.subsection(name, byte);
            }
            if !is_key(byte) && byte != b'.' {
                return Err(Broken);
            }
            name.push(byte.to_ascii_lowercase());
        }
    }

    fn subsection(&mut self, name: &mut Vec<u8>, mut byte: u8) -> Result<(), Broken> {
        while is_space(byte) {
            if byte == b'\n' {
                return Err(Broken);
            }
            byte = self.next();
        }
        if byte != b'"' {
            return Err(Broken);
        }
        name.push(b'.');
        loop {
            match self.next() {
                b'\n' => return Err(Broken),
                b'"' => break,
                b'\\' => match self.next() {
                    b'\n' => return Err(Broken),
                    byte => name.push(byte),
                },
                byte => name.push(byte),
            }
        }
        if self.next() == b']' {
            Ok(())
        } else {
            Err(Broken)
        }
    }

    /// Reads the rest of a key into `name`, and the value.
    fn variable(&mut self, name: &mut Vec<u8>) -> Result<Option<Vec<u8>>, Broken> {
        let mut byte = self.next();
        while !self.ended && is_key(byte) {
            name.push(byte.to_ascii_lowercase());
            byte = self.next();
        }
        while byte == b' ' || byte == b'\t' {
            byte = self.next();
        }
        match byte {
            b'\n' => Ok(None),
            b'=' => self.value().map(Some),
            _ => Err(Broken),
        }
    }

    fn value(&mut self) -> Result<Vec<u8>, Broken> {
        let (mut value, mut quoted, mut comment) = (Vec::new(), false, false);
        // Where trailing white space begins, which does not belong to the value.
        let mut trim: Option<usize> = None;
        loop {
            let byte = self.next();
            if byte == b'\n' {
                if quoted {
                    return Err(Broken);
                }
                value.truncate(trim.unwrap_or(value.len()));
                return Ok(value);
            }
            if comment {
                continue;
            }
            if is_space(byte) && !quoted {
                if !value.is_empty() {
                    trim.get_or_insert(value.len());
                    value.push(byte);
                }
                continue;
            }
            if !quoted && matches!(byte, b';' | b'#') {
                comment = true;
                continue;
            }
            trim = None;
            match byte {
                b'\\' => match self.next() {
                    b'\n' => {}
                    b't' => value.push(b'\t'),
                    b'b' => value.push(8),
                    b'n' => value.push(b'\n'),
                    byte @ (b'\\' | b'"') => value.push(byte),
                    _ => return Err(Broken),
                },
                b'"' => quoted = !quoted,
                _ => value.push(byte),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Vec<(String, Option<String>)> {
        let mut found = Vec::new();
        parse(text.as_bytes(), |name, value| {
            let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
            found.push((text(name), value.map(text)));
        });
        found
    }

    #[test]
    fn reads_what_git_reads() {
        let text = "\u{feff}; c\n[Core]\n\tBare\nx = 1 # c\r\n[sub \"A\\\"b\"] Url = \" a \" b  \nk=\\\n z\\t\n";
        let want = [
            ("core.bare", None),
            ("core.x", Some("1")),
            ("sub.A\"b.url", Some(" a  b")),
            ("sub.A\"b.k", Some("z\t")),
        ];
        let want: Vec<_> =
            want.map(|(name, value)| (name.to_owned(), value.map(str::to_owned))).into();
        assert_eq!(read(text), want);
        assert_eq!(read("[a]b"), [("a.b".to_owned(), None)]);
    }

    #[test]
    fn keeps_what_precedes_an_error() {
        assert_eq!(read("[a]\nb=1\n[a\nc=2\n").len(), 1);
        assert_eq!(read("[a]\nb=1\nc=\"x\n").len(), 1);
        assert_eq!(read("[a]\nb=1\nc=\\x\nd=1\n").len(), 1);
        assert_eq!(read("[a \"b\nc=1").len(), 0);
        assert_eq!(read("[]\nc=1").len(), 0);
    }
}
