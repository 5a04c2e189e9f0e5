"""Certificates that publish changes: within bounds, HEAD with what it needs."""

from __future__ import annotations

from gittorrent.ids import SHA1, SHA256, ObjectFormat, Oid, PushId, RefName, RepositoryId
from gittorrent.push.certificate import MAX_LINES, MAX_TEXT, Line, Nonce, parse_certificate
from gittorrent.push.publication import CertificateHead, HeadChange, Part, parts_of

OWN = RepositoryId("a" * 52)
MAIN, TRUNK = RefName(b"refs/heads/main"), RefName(b"refs/heads/trunk")


def oid(digit: int, object_format: ObjectFormat = SHA1) -> Oid:
    return Oid(str(digit) * object_format.hex_size)


def branch(name: str) -> RefName:
    return RefName(b"refs/heads/" + name.encode())


def check(part: Part, object_format: ObjectFormat = SHA1) -> None:
    """Make sure that a reader takes the certificate of a part."""
    head = CertificateHead(object_format, b"P Usher <p@example.org>", 1_700_000_000, b"x/p.git")
    nonce = Nonce(OWN, PushId(oid(7, object_format)), 3)
    made = head.certificate(part, nonce)
    read = parse_certificate(made.text(), object_format)
    assert read == made
    assert (read.head, read.lines) == (part.head, part.lines)


def test_nothing_takes_no_certificate() -> None:
    assert parts_of([]) == []


def test_deletions_come_first_and_names_are_sorted() -> None:
    lines = [
        Line(None, oid(1), branch("a/b")),
        Line(oid(1), oid(2), branch("c")),
        Line(oid(1), None, branch("d")),
        Line(oid(1), None, branch("a")),
    ]
    (part,) = parts_of(lines)
    assert part.lines == (lines[3], lines[2], lines[0], lines[1])
    check(part)


def test_a_renamed_default_branch_is_one_part() -> None:
    renamed = [Line(oid(1), None, MAIN), Line(None, oid(1), TRUNK)]
    others = [Line(None, oid(1), branch("z")), Line(oid(1), None, branch("gone"))]
    parts = parts_of([*others, *renamed], HeadChange(TRUNK, oid(1), MAIN))
    assert parts == [
        Part((others[1],)),
        Part(tuple(renamed), TRUNK),
        Part((others[0],)),
    ]
    for part in parts:
        check(part)


def test_head_alone_asks_for_what_is_so_already() -> None:
    (part,) = parts_of([], HeadChange(TRUNK, oid(1), MAIN))
    assert part == Part((Line(None, oid(1), TRUNK),), TRUNK)
    check(part)


def test_a_branch_that_head_leaves_and_that_moves_stays_out_of_that_part() -> None:
    moved = Line(oid(1), oid(2), MAIN)
    parts = parts_of([moved], HeadChange(TRUNK, oid(1), MAIN))
    assert parts == [Part((Line(None, oid(1), TRUNK),), TRUNK), Part((moved,))]


def test_many_refs_take_several_certificates() -> None:
    lines = [Line(None, oid(1), branch(f"{number:06}")) for number in range(2 * MAX_LINES + 1)]
    parts = parts_of(lines)
    assert [line for part in parts for line in part.lines] == lines
    assert [len(part.lines) for part in parts] == [MAX_LINES, MAX_LINES, 1]
    check(parts[2])


def test_long_names_take_several_certificates() -> None:
    name = "/".join(["n" * 200] * 4)
    value = oid(1, SHA256)
    lines = [Line(None, value, branch(f"{name}/{number:04}")) for number in range(3000)]
    parts = parts_of(lines)
    assert [line for part in parts for line in part.lines] == lines
    assert len(parts) == 3
    for part in parts:
        check(part, SHA256)
    texts = [len(b"".join(line.ref for line in part.lines)) for part in parts]
    assert max(texts) > MAX_TEXT * 3 // 4
