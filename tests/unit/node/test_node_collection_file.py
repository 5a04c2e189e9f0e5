"""What of a collection.toml counts, what is named as wrong, and what is refused."""

from __future__ import annotations

import contextlib

import pytest

from gittorrent.node.collection_file import (
    MAX_BYTES,
    MAX_ENTRIES,
    CollectionError,
    CollectionFile,
    parse_collection,
)

A, B, C = (letter * 52 for letter in "abc")


def read(text: str) -> CollectionFile:
    return parse_collection(text.encode())


def entry(repository: str, more: str = "") -> str:
    return f'[[repository]]\nid = "{repository}"\n{more}\n'


def test_an_entry_says_where_how_and_how_urgently() -> None:
    urls = f'urls = ["gittorrent://{A}@h.example.org:9419/x.git", "https://H.example.net/x"]'
    found = read(entry(A, f'{urls}\nname = "x"\npriority = -3') + entry(B))
    first, second = found.entries
    assert [url.url for url in first.urls] == [
        "git://h.example.org:9419/x.git",
        "https://h.example.net/x",
    ]
    assert (first.name, first.priority, first.line) == ("x", -3, 1)
    assert (second.repository, second.urls, second.name, second.priority) == (B, (), None, 0)
    assert found.named == {A, B}
    assert found.is_whole


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ('urls = "git://h/x"', "is no list"),
        ('urls = ["file:///etc/passwd"]', "is not git, http or https"),
        ('urls = ["file://h/etc/passwd"]', "is not git, http or https"),
        ("urls = [\"ext::sh -c 'touch /tmp/x'\"]", "forbidden character"),
        ('urls = ["ssh://git@h/x"]', "is not git, http or https"),
        ('urls = ["git://user:pw@h/x"]', "credentials"),
        ('urls = ["git://h/../x"]', "'..' in path"),
        ('urls = ["git://h:25/x"]', "port 25 is not asked"),
        ('urls = ["git://127.1/x"]', "not a plain IPv4 address"),
        (f'urls = ["gittorrent://{B}@h/x"]', "names another repository"),
        (f'urls = ["gittorrent::ssh://{A}+git@h/x"]', "not a URL with a host"),
        ("urls = [" + '"git://h/x",' * 9 + "]", "more than 8"),
        ('name = "../x"', "letters, digits"),
        ("name = 7", "letters, digits"),
        ("priority = 1001", "no number from -1000"),
        ("priority = true", "no number from -1000"),
    ],
)
def test_a_wrong_entry_is_named_and_the_others_count(more: str, said: str) -> None:
    found = read(entry(A, f"# one\n{more}") + entry(B))
    assert [each.repository for each in found.entries] == [B]
    (fault,) = found.faults
    assert said in fault.text
    assert str(fault).startswith("collection.toml:")
    assert found.wrong == 1
    # A mistake takes nothing out.
    assert found.named == {A, B}
    assert found.is_whole


@pytest.mark.parametrize("line", ['id = "nonsense"', f'id = "{A.upper()}"', "id = 7", "name = 'x'"])
def test_where_an_id_cannot_be_read_nothing_counts_as_gone(line: str) -> None:
    found = read(f"[[repository]]\n{line}\n" + entry(B))
    assert [each.repository for each in found.entries] == [B]
    assert found.wrong == 1
    assert not found.is_whole


def test_a_repository_that_is_named_twice_is_the_first_one() -> None:
    found = read(entry(A, 'name = "one"') + entry(A, 'name = "two"'))
    assert [each.name for each in found.entries] == ["one"]
    assert "stands in line 1 already" in found.faults[0].text
    assert found.faults[0].line == 5
    assert found.is_whole


def test_what_is_not_known_is_passed_over() -> None:
    found = read('title = "x"\n[[other]]\nkey = 1\n' + entry(A, "shallow = true"))
    assert [each.repository for each in found.entries] == [A]
    assert [each.line for each in found.unknown] == [1, 2, 6]
    assert found.wrong == 0


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (entry(A) + "<<<<<<< ours\n", ":4: is neither"),
        (entry(A) + f'id = "{B}"\n', ":4: id stands in line 2 already"),
        ("[repository]\n", "write [[repository]]"),
        ("[[a.b]]\n", "is neither"),
        ("a.b = 1\n", "is neither"),
        ("x = 1.5\n", "is no value"),
        ("x = {a = 1}\n", "is no value"),
        ("x = [[1]]\n", "is no list of texts"),
        ('x = ["a"\n"b"]\n', ":2: a list is not closed"),
        ('x = ["a",\n\n', "is no list of texts"),
        ('x = "a\n', "is no value"),
        ('x = """a"""\n', "something follows its value"),
        ('x = "a\\n"\n', "is no value"),
        ("x = 1 y = 2\n", "something follows its value"),
        ("x = 07\n", "is no value"),
        ("x\x00\n", "control character"),
        (entry(A) * 0 + "".join(entry(A) for _ in range(MAX_ENTRIES + 1)), "more than 5000"),
        ("#" * (MAX_BYTES + 1), "longer than"),
    ],
)
def test_what_is_not_understood_is_refused_as_a_whole(text: str, said: str) -> None:
    with pytest.raises(CollectionError) as raised:
        read(text)
    assert said in str(raised.value)


def test_what_is_no_text_is_refused_with_its_line() -> None:
    with pytest.raises(CollectionError, match=r"collection\.toml:2: is not UTF-8"):
        parse_collection(b"# a\n\xff\n")


@pytest.mark.parametrize(
    "text", ["x = [", "[", '"', "a=", "[[a]] ", "[a\n", "\t", 'x = ["",', "# "]
)
def test_the_largest_documents_of_awkward_shapes_are_read_or_refused(text: str) -> None:
    """What took the square of the length would not come to an end here."""
    long = (text.encode() * (MAX_BYTES // len(text) + 1))[: MAX_BYTES - 1]
    for data in (long, long.replace(b" ", b"\n"), long + b"\n"):
        with contextlib.suppress(CollectionError):
            assert parse_collection(data).entries == ()
