"""What a depot answers: what became of each ref, and words for the user.

Pure. Reasons and messages may hold what others wrote, so all of it is made fit to be shown.
Source: gitprotocol-pack(5), Report Status; gitprotocol-capabilities(5), side-band-64k.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import Struct

from gittorrent.printable import printable
from gittorrent.wire import notify, pktline
from gittorrent.wire.limits import MAX_PKT_PAYLOAD

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from gittorrent.errors import GitTorrentError
    from gittorrent.ids import ObjectFormat, Oid, RefName

MAX_REASON = 1000
"""Characters of a reason: some lines of a terminal, with a key's name and a command to type."""

_DATA, _MESSAGE, _FATAL = b"\1", b"\2", b"\3"
_MAX_BAND = MAX_PKT_PAYLOAD - 1


class RefReport(Struct, frozen=True):
    """What became of one ref.

    Args:
        ref: its name.
        refusal: why it was not changed; empty if it was.
        values: what it was and is, where that is not what the client asked for.
    """

    ref: RefName
    refusal: str = ""
    values: tuple[Oid | None, Oid | None] | None = None


class Report(Struct, frozen=True):
    """What became of a push.

    Args:
        refs: of each ref.
        messages: lines for the user, whatever else is shown.
        remarks: lines that a user who wants quiet does without. Git asks for that where it was
            called with ``-q``, or has no terminal and was not called with ``--progress``.
        unpacked: what went wrong with the objects; empty if nothing did.
    """

    refs: tuple[RefReport, ...]
    messages: tuple[str, ...] = ()
    unpacked: str = ""
    remarks: tuple[str, ...] = ()


def encode_report(
    report: Report, abilities: Collection[bytes], object_format: ObjectFormat
) -> bytes:
    """Return a report as a client that can do so much reads it.

    Args:
        report: what became of its push.
        abilities: what it said it can do.
        object_format: of the repository.
    """
    lines = _lines(report, b"report-status-v2" in abilities, object_format.zero)
    is_asked = b"report-status" in abilities or b"report-status-v2" in abilities
    status = pktline.encode_lines(lines) if is_asked else b""
    if b"side-band-64k" not in abilities:
        return status
    remarks = () if b"quiet" in abilities else report.remarks
    said = "".join(f"{_one_line(line)}\n" for line in (*report.messages, *remarks))
    return (
        b"".join(_on_band(_MESSAGE, said.encode("utf-8", "backslashreplace")))
        + b"".join(_on_band(_DATA, status))
        + pktline.encode_special(pktline.FLUSH)
    )


def encode_fatal(reason: str, abilities: Collection[bytes]) -> bytes:
    """Return an answer to a client whose request was not understood, so that it has no report."""
    if b"side-band-64k" not in abilities:
        return pktline.encode(notify.encode_refusal(reason))
    said = f"{_one_line(reason)}\n".encode("utf-8", "backslashreplace")
    return b"".join(_on_band(_FATAL, said)) + pktline.encode_special(pktline.FLUSH)


def encode_message(text: str) -> bytes:
    """Return words for the user, lines or parts of lines, that are fit to be shown."""
    return b"".join(_on_band(_MESSAGE, text.encode("utf-8", "backslashreplace")))


def words_of(error: GitTorrentError) -> str:
    """Return an error in one line: what is wrong, and what to do."""
    said = " ".join(str(error).split())
    return f"{said}; {error.hint}" if error.hint else said


def refused(refs: Iterable[RefName], reason: str, *messages: str) -> Report:
    """Return the report of a push of which nothing happens, all for one reason."""
    return Report(tuple(RefReport(ref, reason) for ref in refs), messages)


def _lines(report: Report, has_values: bool, zero: Oid) -> list[bytes]:
    lines = [f"unpack {_one_line(report.unpacked) or 'ok'}\n".encode("utf-8", "backslashreplace")]
    for ref in report.refs:
        if ref.refusal:
            reason = _one_line(ref.refusal).encode("utf-8", "backslashreplace")
            lines.append(b"ng " + ref.ref + b" " + reason + b"\n")
            continue
        lines.append(b"ok " + ref.ref + b"\n")
        if ref.values is not None and has_values:
            old, new = (value or zero for value in ref.values)
            lines += [f"option old-oid {old}\n".encode("ascii")]
            lines += [f"option new-oid {new}\n".encode("ascii")]
    return lines


def _on_band(band: bytes, data: bytes) -> Iterable[bytes]:
    for at in range(0, len(data), _MAX_BAND):
        yield pktline.encode(band + data[at : at + _MAX_BAND])


def _one_line(text: str) -> str:
    return printable(text, MAX_REASON)
