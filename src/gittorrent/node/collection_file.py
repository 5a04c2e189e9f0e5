"""Reads ``collection.toml``: which repositories the owners of a collection want carried.

Pure. The text is a stranger's: every bound is checked first, and reading takes time in proportion
to its length. It is a subset of TOML (no nesting, no dotted keys, one kind of table), so that no
document is expensive to read, and every document that is read means to TOML what it means here.

Rules: a document that is not understood is refused as a whole, with its line, so that half of one
never counts. An entry that is wrong is left out and named, and the others count; its id, if that
can be read, still stands in the document. Keys that are not known are passed over and named.
Addresses are learned URLs and judged as such. Must not know what is done with the entries.
Source: docs/protocol/collections.md, The file.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from msgspec import Struct, field

from gittorrent.errors import GitTorrentError
from gittorrent.ids import RepositoryId, is_repository_id
from gittorrent.printable import printable
from gittorrent.transfer.location import SCHEME, LocationError, parse_location
from gittorrent.trust.errors import PolicyError
from gittorrent.trust.policy import check_name
from gittorrent.wire.urls import LOW_PORTS, Endpoint, UrlError, parse_learned_url

if TYPE_CHECKING:
    from collections.abc import Iterator

FILE_NAME = "collection.toml"
"""Name of the file, at the top of the default branch."""

MAX_BYTES = 1 << 20
"""Bytes of a document: some thousand entries."""

MAX_ENTRIES = 5000
"""Entries of one: far more than a host carries."""

MAX_URLS = 8
"""Addresses of one repository: as many as are asked in turn."""

MAX_PRIORITY = 1000
"""Largest priority, and smallest with a minus, as in node.toml."""

MAX_FAULTS = 100
"""Wrong entries that are named; of more only the number is told."""

_BLANK = re.compile(r"[ \t]*(?:#[^\n]*)?(?:\r?\n|\Z)")
_HEADER = re.compile(
    r"[ \t]*\[(\[?)[ \t]*([A-Za-z0-9_-]+)[ \t]*\](\]?)[ \t]*(?:#[^\n]*)?(?:\r?\n|\Z)"
)
_KEY = re.compile(r"[ \t]*([A-Za-z0-9_-]+)[ \t]*=[ \t]*")
_BASIC = re.compile(r'"((?:[^"\\\x00-\x08\x0a-\x1f\x7f]|\\["\\])*)"')
_LITERAL = re.compile(r"'([^'\x00-\x08\x0a-\x1f\x7f]*)'")
_INTEGER = re.compile(r"[+-]?(?:0|[1-9][0-9]{0,17})(?![0-9A-Za-z_.:+-])")
_FLAG = re.compile(r"(true|false)(?![0-9A-Za-z_-])")
_BETWEEN = re.compile(r"(?:[ \t]|\r?\n|#[^\n]*)*")
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]|\r(?!\n)")
_ESCAPE = re.compile(r"\\(.)")

_KNOWN = ("id", "urls", "name", "priority")

Value = str | int | bool | tuple[str, ...]
"""What a key may have."""


class CollectionError(GitTorrentError):
    """A document cannot be used at all."""


class Entry(Struct, frozen=True):
    """A repository that the owners want carried.

    Args:
        repository: its id.
        line: where the entry begins.
        urls: where it may be had; nobody vouches for them.
        name: to carry it under; None for the policy's.
        priority: those with a higher one are wanted first.
    """

    repository: RepositoryId
    line: int
    urls: tuple[Endpoint, ...] = ()
    name: str | None = None
    priority: int = 0


class Fault(Struct, frozen=True):
    """Something that is wrong or not known, and was left out.

    Args:
        line: of it.
        text: what it is, and what to write.
    """

    line: int
    text: str

    def __str__(self) -> str:
        return f"{FILE_NAME}:{self.line}: {self.text}"


class CollectionFile(Struct, frozen=True):
    """What a document says.

    Args:
        entries: that are right, each repository once, in the order of the document.
        faults: entries that are wrong, up to `MAX_FAULTS`.
        unknown: keys and tables that were passed over, likewise.
        wrong: how many entries are wrong.
        named: ids of all entries, of wrong ones too.
        is_whole: whether the ids of all entries can be read, so that what is missing is gone.
    """

    entries: tuple[Entry, ...]
    faults: tuple[Fault, ...] = ()
    unknown: tuple[Fault, ...] = ()
    wrong: int = 0
    named: frozenset[RepositoryId] = frozenset()
    is_whole: bool = True


class _Table(Struct):
    """One table of the document: what its keys say, and on which lines they stand."""

    name: str
    line: int
    values: dict[str, Value] = field(default_factory=dict)
    lines: dict[str, int] = field(default_factory=dict)


def parse_collection(data: bytes) -> CollectionFile:
    """Read a document.

    Args:
        data: of the file.

    Raises:
        CollectionError: it is too long, no text, or not of the form.
    """
    if len(data) > MAX_BYTES:
        raise CollectionError(f"{FILE_NAME}: longer than {MAX_BYTES} bytes")
    text = _text_of(data)
    faults: list[Fault] = []
    unknown: list[Fault] = []
    entries: dict[RepositoryId, Entry] = {}
    named: set[RepositoryId] = set()
    is_whole, count, wrong = True, 0, 0
    for table in _tables(text):
        if table.name != "repository":
            what = f"[{table.name}]" if table.name else ", ".join(table.values)
            if what:
                unknown.append(Fault(table.line, f"{what} is not known, and is passed over"))
            continue
        count += 1
        if count > MAX_ENTRIES:
            raise _fault(table.line, f"more than {MAX_ENTRIES} repositories")
        unknown += [
            Fault(table.lines[key], f"{key}: is not known, and is passed over")
            for key in table.values
            if key not in _KNOWN
        ]
        repository = _id_of(table)
        try:
            entry = _entry(table, entries)
            entries[entry.repository] = entry
        except _WrongError as error:
            wrong += 1
            faults.append(Fault(table.lines.get(error.key, table.line), str(error)))
            is_whole = is_whole and repository is not None
        named |= set() if repository is None else {repository}
    return CollectionFile(
        tuple(entries.values()),
        tuple(faults[:MAX_FAULTS]),
        tuple(unknown[:MAX_FAULTS]),
        wrong,
        frozenset(named),
        is_whole,
    )


def _text_of(data: bytes) -> str:
    """Return the text of a document.

    Raises:
        CollectionError: it is none.
    """
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise _fault(line, "is not UTF-8") from None
    if text.startswith("\ufeff"):
        raise _fault(1, "begins with a byte order mark; save it without one")
    if control := _CONTROL.search(text):
        raise _fault(text.count("\n", 0, control.start()) + 1, "has a control character")
    return text


class _WrongError(Exception):
    """An entry is wrong: which key, and what it is."""

    def __init__(self, key: str, text: str) -> None:
        super().__init__(f"{key}: {text}")
        self.key = key


def _id_of(table: _Table) -> RepositoryId | None:
    value = table.values.get("id")
    return RepositoryId(value) if isinstance(value, str) and is_repository_id(value) else None


def _entry(table: _Table, before: dict[RepositoryId, Entry]) -> Entry:
    """Return what an entry says.

    Raises:
        _WrongError: it is wrong.
    """
    repository = _id_of(table)
    if repository is None:
        said = table.values.get("id")
        what = "is missing" if said is None else f"{_shown(said)} is no repository id"
        raise _WrongError("id", f"{what}; 'gittorrent status' shows ids")
    if repository in before:
        raise _WrongError("id", f"{repository} stands in line {before[repository].line} already")
    urls = table.values.get("urls", ())
    if not isinstance(urls, tuple):
        raise _WrongError("urls", f'{_shown(urls)} is no list; write ["git://HOST/PATH"]')
    if len(urls) > MAX_URLS:
        raise _WrongError("urls", f"more than {MAX_URLS} addresses")
    name = table.values.get("name")
    if name is not None:
        try:
            check_name(name if isinstance(name, str) else "")
        except PolicyError as error:
            raise _WrongError("name", f"{_shown(name)}: {error.hint}") from None
    priority = table.values.get("priority", 0)
    if isinstance(priority, bool) or not isinstance(priority, int) or abs(priority) > MAX_PRIORITY:
        raise _WrongError(
            "priority", f"{_shown(priority)} is no number from -{MAX_PRIORITY} to {MAX_PRIORITY}"
        )
    found = tuple(dict.fromkeys(_address(url, repository) for url in urls))
    return Entry(repository, table.line, found, str(name) if name is not None else None, priority)


def _address(url: str, repository: RepositoryId) -> Endpoint:
    """Return where a repository may be had.

    Raises:
        _WrongError: nobody takes such a URL from a stranger.
    """
    try:
        if url.startswith(f"{SCHEME}://"):
            location = parse_location(url)
            if location.expected not in (None, repository) or location.endpoint is None:
                raise _WrongError("urls", f"{_shown(url)} names another repository, or no host")
            url = location.endpoint.url
        endpoint = parse_learned_url(url)
    except (UrlError, LocationError) as error:
        forms = f"git://, http://, https:// or {SCHEME}://HOST/PATH"
        raise _WrongError("urls", f"{error}; write {forms}") from None
    if endpoint.port < 1024 and endpoint.port not in LOW_PORTS:
        raise _WrongError("urls", f"port {endpoint.port} is not asked on the word of others")
    return endpoint


def _shown(value: object) -> str:
    """Quote a value of the document for an error."""
    text = str(value).lower() if isinstance(value, bool) else str(value)
    return f'"{printable(text[:60])}"'


def _fault(line: int, text: str) -> CollectionError:
    return CollectionError(
        f"{FILE_NAME}:{line}: {text}",
        hint="the form is in docs/protocol/collections.md; 'gittorrent collection check' tries it",
    )


def _tables(text: str) -> Iterator[_Table]:
    """Take the document apart.

    Raises:
        CollectionError: it is not of the form.
    """
    table = _Table("", 1)
    at, line = 0, 1
    headers: dict[str, str] = {}
    while at < len(text):
        if blank := _BLANK.match(text, at):
            at, line = blank.end(), line + 1
            continue
        header = _HEADER.match(text, at)
        if header is not None and len(header[1]) == len(header[3]):
            yield table
            table = _Table(header[2], line)
            if headers.setdefault(header[2], header[1]) != header[1] or not header[1]:
                raise _fault(line, f"write [[{header[2]}]]")
            at, line = header.end(), line + 1
            continue
        key = _KEY.match(text, at)
        if key is None:
            raise _fault(line, "is neither [[repository]] nor KEY = VALUE")
        if key[1] in table.values:
            raise _fault(line, f"{key[1]} stands in line {table.lines[key[1]]} already")
        table.lines[key[1]] = line
        table.values[key[1]], end = _value(text, key.end(), line)
        line += text.count("\n", at, end)
        rest = _BLANK.match(text, end)
        if rest is None:
            raise _fault(line, f"{key[1]}: something follows its value")
        at, line = rest.end(), line + 1
    yield table


def _value(text: str, at: int, line: int) -> tuple[Value, int]:
    """Take a value; returns it and where it ends.

    Raises:
        CollectionError: it is none.
    """
    if text.startswith("[", at):
        return _list(text, at + 1, line)
    if (string := _string(text, at)) is not None:
        return string
    if number := _INTEGER.match(text, at):
        return int(number[0]), number.end()
    if flag := _FLAG.match(text, at):
        return flag[1] == "true", flag.end()
    raise _fault(line, 'is no value; write "TEXT", a whole number, or ["TEXT", "TEXT"]')


def _string(text: str, at: int) -> tuple[str, int] | None:
    if basic := _BASIC.match(text, at):
        return _ESCAPE.sub(r"\1", basic[1]), basic.end()
    if literal := _LITERAL.match(text, at):
        return literal[1], literal.end()
    return None


def _list(text: str, at: int, line: int) -> tuple[tuple[str, ...], int]:
    """Take a list of strings, whose bracket was taken; it may go over several lines."""
    begin, found = at, list[str]()
    while True:
        at = _between(text, at)
        if text.startswith("]", at):
            return tuple(found), at + 1
        string = _string(text, at)
        if string is None:
            here = line + text.count("\n", begin, at)
            raise _fault(here, 'is no list of texts; write ["TEXT", "TEXT"]')
        found.append(string[0])
        at = _between(text, string[1])
        if text.startswith(",", at):
            at += 1
        elif not text.startswith("]", at):
            raise _fault(line + text.count("\n", begin, at), "a list is not closed; write ]")


def _between(text: str, at: int) -> int:
    found = _BETWEEN.match(text, at)
    return at if found is None else found.end()
