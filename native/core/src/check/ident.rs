//! Author, committer and tagger lines: `Name <email> seconds +zone`.

use super::broken;
use crate::error::Result;

/// Checks the part of an author, committer or tagger line that follows its keyword.
///
/// `line` is without the line end.
pub fn check(line: &[u8]) -> Result<()> {
    let date = check_person(line)?;
    let after = check_date(date)?;
    let zone_ok = after.len() == 5
        && matches!(after[0], b'+' | b'-')
        && after[1..].iter().all(u8::is_ascii_digit);
    if zone_ok {
        Ok(())
    } else {
        Err(broken("badTimezone", "bad time zone in an author, committer or tagger line"))
    }
}

/// Checks name and email; returns what follows the space after them.
fn check_person(line: &[u8]) -> Result<&[u8]> {
    let bracket = |bytes: &[u8]| memchr::memchr2(b'<', b'>', bytes);
    if line.first() == Some(&b'<') {
        return Err(broken("missingNameBeforeEmail", "no name before the email address"));
    }
    let open = bracket(line).ok_or_else(|| broken("missingEmail", "no email address"))?;
    if line[open] == b'>' {
        return Err(broken("badName", "a name holds '>'"));
    }
    if line[open - 1] != b' ' {
        return Err(broken("missingSpaceBeforeEmail", "no space before the email address"));
    }
    let email = &line[open + 1..];
    let close = bracket(email).filter(|&at| email[at] == b'>');
    let close = close.ok_or_else(|| broken("badEmail", "the email address does not end"))?;
    match email[close + 1..].split_first() {
        Some((b' ', date)) => Ok(date),
        _ => Err(broken("missingSpaceBeforeDate", "no space before the date")),
    }
}

/// Checks the seconds; returns what follows the space after them.
fn check_date(bytes: &[u8]) -> Result<&[u8]> {
    let blank = bytes.iter().take_while(|byte| matches!(byte, b' ' | b'\t')).count();
    let bytes = &bytes[blank..];
    let digits = bytes.iter().take_while(|byte| byte.is_ascii_digit()).count();
    if digits == 0 {
        return Err(broken("badDate", "bad date"));
    }
    if bytes[0] == b'0' && bytes.get(1) != Some(&b' ') {
        return Err(broken("zeroPaddedDate", "the date begins with a nought"));
    }
    let seconds = bytes[..digits].iter().try_fold(0i64, |value, &digit| {
        value.checked_mul(10)?.checked_add(i64::from(digit - b'0'))
    });
    if seconds.is_none() {
        return Err(broken("badDateOverflow", "the date is beyond 63 bits"));
    }
    match bytes[digits..].split_first() {
        Some((b' ', zone)) => Ok(zone),
        _ => Err(broken("badDate", "bad date")),
    }
}

#[cfg(test)]
mod tests {
    use super::check;

    #[test]
    fn rules() {
        let cases = [
            ("A U Thor <a@example.com> 1 +0000", ""),
            ("A <> 0 -1200", ""),
            ("A <a> \t 12 +0000", ""),
            (" <a> 12 +0000", ""),
            ("<a> 1 +0000", "missingNameBeforeEmail"),
            ("A > <a> 1 +0000", "badName"),
            ("A 1 +0000", "missingEmail"),
            ("A<a> 1 +0000", "missingSpaceBeforeEmail"),
            ("A <a< 1 +0000", "badEmail"),
            ("A <a>1 +0000", "missingSpaceBeforeDate"),
            ("A <a> x +0000", "badDate"),
            ("A <a> 1+0000", "badDate"),
            ("A <a> 01 +0000", "zeroPaddedDate"),
            ("A <a> 0", "zeroPaddedDate"),
            ("A <a> 9223372036854775807 +0000", ""),
            ("A <a> 9223372036854775808 +0000", "badDateOverflow"),
            ("A <a> 1 0000", "badTimezone"),
            ("A <a> 1 +000", "badTimezone"),
            ("A <a> 1 +00000", "badTimezone"),
        ];
        for (line, want) in cases {
            let got = check(line.as_bytes()).err().map(|error| error.what).unwrap_or_default();
            assert_eq!(got.split(':').next().unwrap(), want, "{line}");
        }
    }
}
