"""What a repository borrows from, as git itself follows it."""

from __future__ import annotations

import os
from itertools import pairwise
from pathlib import Path

import pytest

from gittorrent.git.alternates import MAX_DEPTH, alternates_file, borrow, lenders
from gittorrent.git.repository import create_bare
from gittorrent.ids import SHA1
from support import gitcmd


def made(place: Path, blob: bytes = b"") -> Path:
    create_bare(place, SHA1)
    gitcmd.git(place, "hash-object", "-w", "--stdin", stdin=blob)
    return place / "objects"


def write(objects: Path, *lines: bytes) -> None:
    alternates_file(objects).write_bytes(b"".join(line + b"\n" for line in lines))


def test_nothing_is_borrowed_by_most(tmp_path: Path) -> None:
    assert list(lenders(made(tmp_path / "r.git"))) == []
    assert list(lenders(tmp_path / "nothing")) == []


PLAIN = ["plain", "with blanks", 'quo"tes', "back\\slash", "umlä\udcff"]


@pytest.mark.parametrize(
    ("name", "is_quoted"),
    [*((name, False) for name in PLAIN), *((name, True) for name in [*PLAIN, "line\nfeed"])],
)
def test_paths_are_read_as_git_reads_them(name: str, is_quoted: bool, tmp_path: Path) -> None:
    lender, borrower = made(tmp_path / name, b"lent\n"), made(tmp_path / "borrower.git")
    path = os.fsencode(lender)
    if is_quoted:
        escapes = {10: b"\\n", 34: b'\\"', 92: b"\\\\"}
        plain = b"".join(
            escapes.get(one, bytes([one]) if one < 128 else b"\\%03o" % one) for one in path
        )
        path = b'"' + plain + b'"'
    write(borrower, b"# a comment", b"", path)
    blob = gitcmd.text(borrower.parent, "hash-object", "--stdin", stdin=b"lent\n").strip()
    assert gitcmd.git(borrower.parent, "cat-file", "blob", blob) == b"lent\n"
    assert list(lenders(borrower)) == [lender.resolve()]


@pytest.mark.parametrize("name", [*PLAIN, "line\nfeed", '"quoted"'])
def test_paths_are_written_as_git_reads_them(name: str, tmp_path: Path) -> None:
    lender, borrower = made(tmp_path / name, b"lent\n"), made(tmp_path / "borrower.git")
    borrow(borrower, [lender])
    blob = gitcmd.text(borrower.parent, "hash-object", "--stdin", stdin=b"lent\n").strip()
    assert gitcmd.git(borrower.parent, "cat-file", "blob", blob) == b"lent\n"
    assert list(lenders(borrower)) == [lender.resolve()]


def test_relative_paths_and_those_of_others(tmp_path: Path) -> None:
    first, second, third = (made(tmp_path / f"{name}.git") for name in "abc")
    write(first, b"../../b.git/objects", b"../../missing/objects")
    write(second, os.fsencode(third), os.fsencode(first))
    write(third, os.fsencode(second))
    assert list(lenders(first)) == [second, third]


def test_a_long_chain_is_followed_as_far_as_git_does(tmp_path: Path) -> None:
    chain = [made(tmp_path / f"{number}.git") for number in range(MAX_DEPTH + 3)]
    for one, following in pairwise(chain):
        write(one, os.fsencode(following))
    found = list(lenders(chain[0]))
    said = gitcmd.text(chain[0].parent, "count-objects", "-v")
    assert [f"alternate: {lender}" for lender in found] == [
        line for line in said.splitlines() if line.startswith("alternate: ")
    ]
