"""Bencoding, strict: one value has one encoding, and nothing else is read.

Pure. Values are ``int``, ``bytes``, ``list`` and ``dict`` with ``bytes`` keys. Rules: integers
without leading zeros and without ``-0``; lengths without leading zeros; keys strictly ascending;
nothing after the value; depth, digits and number of values are bounded before anything is built.
Must not know what the values mean (docs/protocol/gtp01.md, Bencoding).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeAlias, Union

from gittorrent.gtp.errors import BencodeError
from gittorrent.gtp.limits import MAX_BENCODE, MAX_DEPTH, MAX_DIGITS, MAX_ITEMS
from gittorrent.printable import decoded

Value: TypeAlias = Union[  # noqa: UP007 - names itself
    int, bytes, list["Value"], dict[bytes, "Value"]
]
"""What bencoding can say."""

Encodable: TypeAlias = Union[  # noqa: UP007 - names itself
    int, bytes, Sequence["Encodable"], Mapping[bytes, "Encodable"]
]
"""What `encode` takes."""

_DIGITS = b"0123456789"


def encode(value: Encodable) -> bytes:
    """Return the one encoding of a value.

    Args:
        value: integers of at most `MAX_DIGITS` digits, byte strings, sequences, mappings.

    Raises:
        BencodeError: it has no encoding that `decode` would read.
    """
    out: list[bytes] = []
    _write(value, out, 0)
    return b"".join(out)


def _write(value: Encodable, out: list[bytes], depth: int) -> None:
    if depth > MAX_DEPTH:
        raise BencodeError(f"nested more than {MAX_DEPTH} deep")
    if isinstance(value, bool):
        raise BencodeError("truth values have no bencoding; use 0 and 1")
    if isinstance(value, int):
        if len(str(abs(value))) > MAX_DIGITS:
            raise BencodeError(f"integer of more than {MAX_DIGITS} digits")
        out.append(b"i%de" % value)
    elif isinstance(value, bytes):
        out.append(b"%d:" % len(value))
        out.append(value)
    elif isinstance(value, Mapping):
        out.append(b"d")
        for key in sorted(value):
            _write(key, out, depth + 1)
            _write(value[key], out, depth + 1)
        out.append(b"e")
    elif isinstance(value, Sequence) and not isinstance(value, str):
        out.append(b"l")
        for item in value:
            _write(item, out, depth + 1)
        out.append(b"e")
    else:
        raise BencodeError(f"{type(value).__name__} has no bencoding")


def decode(data: bytes, limit: int = MAX_BENCODE) -> Value:
    """Read one value that fills ``data``.

    Args:
        data: the encoding.
        limit: bytes it may have at most.

    Raises:
        BencodeError: not canonical, or beyond a limit; names the offset.
    """
    if len(data) > limit:
        raise BencodeError(f"{len(data)} bytes of bencoding; at most {limit} are read")
    reader = _Reader(data)
    value = reader.value(0)
    if reader.at != len(data):
        raise BencodeError(f"offset {reader.at}: something follows the value")
    return value


class _Reader:
    """A position in one encoding."""

    def __init__(self, data: bytes) -> None:
        self.at = 0
        self._data = data
        self._items = 0

    def value(self, depth: int) -> Value:
        """Read the value at the position."""
        self._items += 1
        if depth > MAX_DEPTH:
            raise BencodeError(f"offset {self.at}: nested more than {MAX_DEPTH} deep")
        if self._items > MAX_ITEMS:
            raise BencodeError(f"more than {MAX_ITEMS} values")
        first = self._data[self.at : self.at + 1]
        if first == b"i":
            return self._integer()
        if first == b"l":
            return self._list(depth)
        if first == b"d":
            return self._dictionary(depth)
        if first and first in _DIGITS:
            return self._string()
        raise BencodeError(f"offset {self.at}: {decoded(first)!r} begins no value")

    def _number(self, end: bytes, *, signed: bool) -> int:
        stop = self._data.find(end, self.at, self.at + MAX_DIGITS + 2)
        text = self._data[self.at : stop] if stop >= 0 else b""
        digits = text.removeprefix(b"-") if signed else text
        plain = digits.isdigit() and (digits == b"0" or digits[:1] != b"0")
        if not plain or text == b"-0" or len(digits) > MAX_DIGITS:
            raise BencodeError(
                f"offset {self.at}: no canonical number that ends with {decoded(end)!r}"
            )
        self.at = stop + 1
        return int(text)

    def _integer(self) -> int:
        self.at += 1
        return self._number(b"e", signed=True)

    def _string(self) -> bytes:
        size = self._number(b":", signed=False)
        if size > len(self._data) - self.at:
            raise BencodeError(f"offset {self.at}: string of {size} bytes is cut off")
        found = self._data[self.at : self.at + size]
        self.at += size
        return found

    def _list(self, depth: int) -> list[Value]:
        self.at += 1
        found: list[Value] = []
        while not self._ends():
            found.append(self.value(depth + 1))
        return found

    def _dictionary(self, depth: int) -> dict[bytes, Value]:
        self.at += 1
        found: dict[bytes, Value] = {}
        last: bytes | None = None
        while not self._ends():
            where = self.at
            if self._data[where : where + 1] not in (b"%c" % d for d in _DIGITS):
                raise BencodeError(f"offset {where}: a key must be a string")
            key = self._string()
            if last is not None and key <= last:
                raise BencodeError(f"offset {where}: keys are not strictly ascending")
            last = key
            found[key] = self.value(depth + 1)
        return found

    def _ends(self) -> bool:
        found = self._data[self.at : self.at + 1] == b"e"
        self.at += found
        return found


def text_of(value: Value | None, what: str, limit: int) -> str:
    """Return a byte string as text.

    Raises:
        BencodeError: it is no string, too long, or not printable UTF-8; names ``what``.
    """
    if not isinstance(value, bytes) or len(value) > limit:
        raise BencodeError(f"{what} is no string of at most {limit} bytes")
    try:
        text = value.decode("utf-8")
    except UnicodeDecodeError:
        raise BencodeError(f"{what} is not UTF-8") from None
    if not all(char.isprintable() or char in "\n\t" for char in text):
        raise BencodeError(f"{what} has characters that cannot be printed")
    return text


def remark_of(value: Value | None, what: str, limit: int) -> str:
    """Return what people wrote as text: like `text_of`, or the digits of an integer.

    Encoders in languages that do not tell numbers from text, such as Perl's, write a text that
    looks like an integer as one.
    """
    return str(value) if isinstance(value, int) else text_of(value, what, limit)
