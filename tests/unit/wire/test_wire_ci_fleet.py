"""What nodes of CI runners say to each other: nobody without the secret gets anything in."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from gittorrent.errors import ProtocolError
from gittorrent.wire.ci_fleet import (
    ANSWER_PATH,
    ANY_START,
    MAX_SKEW,
    MEMBER_PATH,
    Asked,
    Listed,
    NotAMemberError,
    Sender,
    check_answer,
    check_request,
    encode_body,
    encode_member,
    encode_refs_body,
    in_order,
    parse_body,
    parse_listed,
    parse_member,
    parse_refs_body,
    sign_answer,
    sign_request,
)
from gittorrent.wire.upload_requests import UploadRequest, list_request

SECRET, OTHER = b"s" * 32, b"t" * 32
MEMBER = "01" * 20
NOW = 1_900_000_000
BODY = b"https://git.example.org/x\n"
DIGEST = "ab" * 32


SENDER = Sender(MEMBER, "0a" * 16, 7)
TO = "0b" * 16
ASKED = Asked("POST", ANSWER_PATH)


def signed(secret: bytes = SECRET) -> str:
    return sign_request(secret, SENDER, TO, NOW, ASKED, BODY)


def test_who_knows_the_secret_is_believed() -> None:
    found = check_request(SECRET, signed(), NOW + MAX_SKEW, ASKED)
    assert (found.sender, found.to) == (SENDER, TO)
    found.require(BODY)
    answer = sign_answer(SECRET, found.code, DIGEST)
    assert check_answer(SECRET, signed(), answer) == DIGEST


@pytest.mark.parametrize(
    ("header", "now", "asked"),
    [
        ("", NOW, ASKED),
        (signed(OTHER), NOW, ASKED),
        (signed(), NOW, Asked("POST", MEMBER_PATH)),
        (signed(), NOW, Asked("GET", ANSWER_PATH)),
        (signed(), NOW, Asked("POST", ANSWER_PATH, is_kept=True)),
        (signed(), NOW + MAX_SKEW + 1, ASKED),
        (signed(), NOW - MAX_SKEW - 1, ASKED),
        (signed().replace(MEMBER, "02" * 20), NOW, ASKED),
        (signed().replace(str(NOW), str(NOW + 1)), NOW, ASKED),
        (signed().replace("0a" * 16, "0c" * 16), NOW, ASKED),
        (signed().replace(" 7 ", " 8 "), NOW, ASKED),
        (signed().replace(TO, ANY_START), NOW, ASKED),
        (f"{signed()} more", NOW, ASKED),
    ],
)
def test_others_are_not(header: str, now: int, asked: Asked) -> None:
    with pytest.raises(NotAMemberError):
        check_request(SECRET, header, now, asked)


def test_a_body_is_the_one_that_was_signed() -> None:
    with pytest.raises(NotAMemberError):
        check_request(SECRET, signed(), NOW, ASKED).require(BODY + b"x")


def test_a_former_node_hears_what_to_do() -> None:
    former = f"{MEMBER} {NOW} {DIGEST}"
    with pytest.raises(NotAMemberError, match=r"older than this one.*upgrade it"):
        check_request(SECRET, former, NOW, ASKED)
    with pytest.raises(ProtocolError, match="as this version does"):
        parse_member(f"{MEMBER}\n".encode())
    assert parse_member(encode_member(MEMBER, TO)) == (MEMBER, TO)


def test_answers_are_for_one_request() -> None:
    code = check_request(SECRET, signed(), NOW, ASKED).code
    other = sign_request(SECRET, SENDER, TO, NOW, ASKED, BODY + b"x")
    good = sign_answer(SECRET, code, DIGEST)
    for asked, answer in (
        (other, good),
        (signed(), sign_answer(OTHER, code, DIGEST)),
        (signed(), good.replace(DIGEST, "cd" * 32)),
        (signed(), ""),
    ):
        with pytest.raises(NotAMemberError):
            check_answer(SECRET, asked, answer)


def test_bodies_survive() -> None:
    request = UploadRequest((b"1" * 40,), shape=(b"deepen 1",))
    url = "https://git.example.org/x"
    for tags in ("", "ab" * 32):
        named = replace(request, tags=tags)
        assert parse_body(encode_body(url, named)) == (url, named)
    for line in (b"https://git.example.org/x ", b"https://git.example.org/x abc"):
        with pytest.raises(ProtocolError, match="name of tags"):
            parse_body(line + b"\n" + request.encode())


def test_an_upstream_of_one_that_is_gone_is_the_nexts() -> None:
    names = [f"{n:040x}" for n in range(10)]
    urls = [f"https://git.example.org/{n}" for n in range(200)]
    firsts = {url: in_order(names, url)[0] for url in urls}
    assert len(set(firsts.values())) == 10  # nobody has all the work
    gone = names[3]
    for url in urls:
        left = in_order([name for name in reversed(names) if name != gone], url)
        assert left[0] == (firsts[url] if firsts[url] != gone else in_order(names, url)[1])


SAID, REFS = b"\n000eversion 2\n0000", b"0032" + b"1" * 40 + b" HEAD\n0000"


def test_refs_survive_writing_and_reading() -> None:
    url = "https://git.example.org/x"
    body = encode_refs_body(url, "0f" * 16, list_request(b"HEAD"))
    assert parse_refs_body(body) == (url, list_request(b"HEAD"))
    listed = Listed(SAID, REFS)
    assert parse_listed(listed.encode()) == listed
    assert list(listed.packets()) == [REFS[:-4], b"0000"]


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"-1\n",
        b"9\nshort",
        b"1 \nxx",
        b"99999\n" + b"x" * 100_000,
        b"0\n" + REFS[:-1],
        b"0\nzzzz",
        b"0\n" + REFS[:20],
    ],
)
def test_what_is_no_list_of_refs_is_refused(data: bytes) -> None:
    with pytest.raises(ProtocolError):
        parse_listed(data)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"https://git.example.org/x\n" + list_request(b"HEAD"),
        b"https://git.example.org/x\nzz\n" + list_request(b"HEAD"),
        b"https://git.example.org/x\n" + b"0f" * 16 + b"\n" + REFS,
    ],
)
def test_what_asks_for_no_refs_is_refused(body: bytes) -> None:
    with pytest.raises(ProtocolError):
        parse_refs_body(body)
