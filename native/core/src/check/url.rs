//! Submodule URLs that git refuses, because they could carry options or headers elsewhere.
//!
//! For HTTP and FTP, git normalises the URL and refuses what it cannot normalise; [`normalise`]
//! does as much of that as decides the verdict.

/// Characters allowed in a host, with those of IPv6 literals.
const HOST: &[u8] = b".-_[:]";
/// Characters that are escaped in a normal URL.
const UNSAFE: &[u8] = b" <>\"%{}|\\^`";
/// Delimiters, which stay as they were, escaped or not.
const RESERVED: &[u8] = b":/?#[]@!$&'()*+,;=";
/// Schemes of git-remote-curl.
const CURL: [&[u8]; 4] = [b"http", b"https", b"ftp", b"ftps"];

/// Tells whether git lets a `.gitmodules` name this URL.
pub fn is_safe(url: &[u8]) -> bool {
    if url.starts_with(b"-") {
        return false;
    }
    if starts_with_dots(url).is_some() || url.starts_with(b"git://") {
        return !decode(url).contains(&b'\n') && !escapes_its_root(url);
    }
    match curl_url(url) {
        Some(url) => normalise(url).is_some_and(|normal| !decode(&normal).contains(&b'\n')),
        None => true,
    }
}

/// What follows a leading `./` or `../`, and whether it was the latter; a backslash is a slash.
fn starts_with_dots(url: &[u8]) -> Option<(bool, &[u8])> {
    match url {
        [b'.', b'/' | b'\\', rest @ ..] => Some((false, rest)),
        [b'.', b'.', b'/' | b'\\', rest @ ..] => Some((true, rest)),
        _ => None,
    }
}

/// Tells whether a relative URL goes up and then begins anew, and so reaches the host's name.
fn escapes_its_root(mut url: &[u8]) -> bool {
    let mut up = false;
    while let Some((parent, rest)) = starts_with_dots(url) {
        up |= parent;
        url = rest;
    }
    up && matches!(url.first(), Some(b':' | b'/'))
}

/// The URL that git-remote-curl would get, if it would get it.
fn curl_url(url: &[u8]) -> Option<&[u8]> {
    let after = |scheme: &[u8], mark: &[u8]| url.strip_prefix(scheme)?.strip_prefix(mark);
    if let Some(rest) = CURL.iter().find_map(|scheme| after(scheme, b"::")) {
        return Some(rest);
    }
    CURL.iter().find_map(|scheme| after(scheme, b"://")).map(|_| url)
}

/// Undoes %-escapes; leaves broken ones and %00 as they are.
fn decode(url: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(url.len());
    let mut rest = url;
    while let Some((&byte, after)) = rest.split_first() {
        match (byte, hex_pair(after)) {
            (b'%', Some(value)) if value != 0 => {
                out.push(value);
                rest = &after[2..];
            }
            _ => {
                out.push(byte);
                rest = after;
            }
        }
    }
    out
}

fn hex_pair(bytes: &[u8]) -> Option<u8> {
    let digit = |at: usize| (*bytes.get(at)? as char).to_digit(16);
    Some((digit(0)? << 4 | digit(1)?) as u8)
}

/// Appends `from` with its escapes made normal; `None` for a broken escape.
fn append_escaped(out: &mut Vec<u8>, from: &[u8]) -> Option<()> {
    let mut rest = from;
    while let Some((&first, after)) = rest.split_first() {
        let (byte, escaped) = match first {
            b'%' => (hex_pair(after)?, true),
            byte => (byte, false),
        };
        rest = if escaped { &after[2..] } else { after };
        let plain = (0x20..0x7f).contains(&byte)
            && !UNSAFE.contains(&byte)
            && !(escaped && RESERVED.contains(&byte));
        if plain {
            out.push(byte);
        } else {
            out.extend_from_slice(format!("%{byte:02X}").as_bytes());
        }
    }
    Some(())
}

/// The URL in git's normal form, or `None` where git calls it invalid.
fn normalise(url: &[u8]) -> Option<Vec<u8>> {
    let is_scheme = |byte: &u8| byte.is_ascii_alphanumeric() || b"+.-".contains(byte);
    let scheme = url.iter().take_while(|byte| is_scheme(byte)).count();
    if !url.first()?.is_ascii_alphabetic() || !url[scheme..].starts_with(b"://") {
        return None;
    }
    let mut normal = url[..scheme + 3].to_ascii_lowercase();
    let rest = &url[scheme + 3..];
    let path_at =
        |url: &[u8]| url.iter().position(|byte| b"/?#".contains(byte)).unwrap_or(url.len());
    let authority = &rest[..path_at(rest)];
    let mut host = authority;
    if let Some(at) = memchr::memchr(b'@', authority) {
        append_escaped(&mut normal, &authority[..at])?;
        normal.push(b'@');
        host = &authority[at + 1..];
    }
    append_host(&mut normal, host, scheme)?;
    append_path(&mut normal, &rest[authority.len()..])?;
    Some(normal)
}

/// Appends `host[:port]`, without a port that is the scheme's own.
fn append_host(normal: &mut Vec<u8>, host: &[u8], scheme: usize) -> Option<()> {
    let is_file = &normal[..scheme] == b"file";
    if matches!(host.first(), None | Some(b':')) && !is_file {
        return None;
    }
    let mark = host.iter().rposition(|byte| matches!(byte, b':' | b']'));
    let colon = mark.filter(|&at| host[at] == b':');
    let (name, port) = match colon {
        Some(at) => (&host[..at], &host[at + 1..]),
        None => (host, [].as_slice()),
    };
    if is_file && matches!(host.first(), None | Some(b':')) && !port.is_empty() {
        return None;
    }
    if !name.iter().all(|byte| byte.is_ascii_alphanumeric() || HOST.contains(byte)) {
        return None;
    }
    normal.extend(name.to_ascii_lowercase());
    if port.is_empty() {
        return Some(());
    }
    let noughts = port.iter().take_while(|&&byte| byte == b'0').count();
    let digits = &port[noughts..];
    if !digits.iter().all(u8::is_ascii_digit) || digits.len() > 5 {
        return None;
    }
    let number = digits.iter().fold(0u32, |value, digit| value * 10 + u32::from(digit - b'0'));
    if number == 0 || number > 65535 {
        return None;
    }
    let usual = match &normal[..scheme] {
        b"http" => 80,
        b"https" => 443,
        _ => 0,
    };
    if number != usual {
        normal.extend_from_slice(format!(":{number}").as_bytes());
    }
    Some(())
}

/// Appends path, query and fragment; `None` if `..` leaves the root.
fn append_path(normal: &mut Vec<u8>, path: &[u8]) -> Option<()> {
    let root = normal.len();
    normal.push(b'/');
    let mut rest = path.strip_prefix(b"/").unwrap_or(path);
    loop {
        let from = normal.len();
        let end = rest.iter().position(|byte| b"/?#".contains(byte)).unwrap_or(rest.len());
        append_escaped(normal, &rest[..end])?;
        let mut slash = true;
        match &normal[from..] {
            b"." => {
                slash = from != root + 1;
                normal.truncate(if slash { from - 1 } else { from });
            }
            b".." => {
                if from == root + 1 {
                    return None;
                }
                let parent = root + memchr::memrchr(b'/', &normal[root..from - 1])?;
                slash = parent != root;
                normal.truncate(if slash { parent } else { root + 1 });
            }
            _ => {}
        }
        rest = &rest[end..];
        let Some(after) = rest.strip_prefix(b"/") else { break };
        rest = after;
        if slash {
            normal.push(b'/');
        }
    }
    append_escaped(normal, rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn verdicts() {
        let safe: [&[u8]; 12] = [
            b"https://example.com/a.git",
            b"../a",
            b"./a",
            b"git://h/x",
            b"ssh://h/%0a",
            b"/path%0a",
            b"http::https://example.com",
            b"https://u:p@h:8080/a/../b?c#d",
            b"http://[::1]:80/",
            b"ext::sh",
            b"ftp://h:00021/x",
            b"https://h?x",
        ];
        for url in safe {
            assert!(is_safe(url), "{:?}", String::from_utf8_lossy(url));
        }
        let bad: [&[u8]; 15] = [
            b"-u",
            b"../a%0a",
            b"./%0ahost=x",
            b"git://h/%0a",
            b"..\\../:a",
            b".././/x",
            b"https://h/%0ax",
            b"https:///x",
            b"http::x",
            b"https://h/../x",
            b"https://h:99999/",
            b"https://h:0/",
            b"https://h/%zz",
            b"https://ho st/",
            b"https://u@/x",
        ];
        for url in bad {
            assert!(!is_safe(url), "{:?}", String::from_utf8_lossy(url));
        }
    }

    #[test]
    fn normal_forms() {
        let cases = [
            ("HTTP://Example.COM:080/a/./b/../c", "http://example.com/a/c"),
            ("https://h", "https://h/"),
            ("https://h:444/%7eu/%2F", "https://h:444/~u/%2F"),
            ("https://h/.", "https://h/"),
            ("https://h/a/..", "https://h/"),
            ("https://h/a/b/..", "https://h/a"),
            ("https://h/./a", "https://h/a"),
        ];
        for (url, want) in cases {
            let got = normalise(url.as_bytes()).map(|normal| String::from_utf8(normal).unwrap());
            assert_eq!(got.as_deref(), Some(want), "{url}");
        }
    }
}
