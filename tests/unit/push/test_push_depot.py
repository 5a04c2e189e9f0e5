"""What a depot hears and says, packet by packet."""

from __future__ import annotations

import pytest

from gittorrent.ids import SHA1, SHA256, Oid, PushId, RefName, RepositoryId
from gittorrent.push.certificate import MAX_LINES, Certificate, Line, Nonce, parse_certificate
from gittorrent.push.depot.admission import (
    MAX_UNFINAL,
    SIGNING_HELP,
    PushRefusedError,
    check_nonce,
    check_quota,
    check_request,
    signed_part,
)
from gittorrent.push.depot.advertisement import RefLines, advertisement
from gittorrent.push.depot.report import RefReport, Report, encode_fatal, encode_report, words_of
from gittorrent.push.depot.request import (
    MAX_REQUEST,
    PushRequest,
    RequestError,
    RequestReader,
    RequestTooLargeError,
)
from gittorrent.push.rule import Push
from gittorrent.trust.errors import BadSignature
from gittorrent.trust.keys import KeyKind, KeyRef
from gittorrent.wire.pktline import DELIM, FLUSH, Packet

ID = RepositoryId("a2" * 26)
NONCE = Nonce(ID, PushId("c" * 40), 3)
ONE, TWO = "1" * 40, "2" * 40
MAIN = RefName(b"refs/heads/main")
CAPS = b"\0 report-status-v2 side-band-64k object-format=sha1 agent=git/2.47.3"
KEY = KeyRef(KeyKind.SSH, "SHA256:" + "A" * 43)
CERTIFICATE = f"""\
certificate version 0.1
pusher P Usher <push@example.org> 1600000000 +0000
pushee https://m.example.org/project.git
nonce {NONCE}
push-option atomic

{ONE} {TWO} refs/heads/main
""".encode()
SIGNATURE = b"-----BEGIN SSH SIGNATURE-----\nabcd\n-----END SSH SIGNATURE-----\n"


def read(*packets: Packet) -> PushRequest:
    reader = RequestReader(SHA1)
    assert [reader.take(packet) for packet in packets] == [False] * (len(packets) - 1) + [True]
    return reader.request()


def certificate_packets(*, options: bool = True) -> list[Packet]:
    lines = (CERTIFICATE + SIGNATURE).splitlines(keepends=True)
    said = CAPS + b" push-options" if options else CAPS
    packets: list[Packet] = [b"push-cert" + said, *lines, b"push-cert-end\n", FLUSH]
    return [*packets, b"atomic", FLUSH] if options else packets


# -- the request


def test_commands() -> None:
    request = read(
        f"{ONE} {TWO} refs/heads/main".encode() + CAPS,
        f"{'0' * 40} {TWO} refs/heads/a\n".encode(),
        FLUSH,
    )
    expected = (
        Line(Oid(ONE), Oid(TWO), MAIN),
        Line(None, Oid(TWO), RefName(b"refs/heads/a")),
    )
    assert request.commands == request.claimed() == expected
    assert (request.certificate, request.options, request.atomic) == (None, (), False)
    assert b"side-band-64k" in request.abilities


def test_certificate() -> None:
    request = read(*certificate_packets())
    assert request.certificate == CERTIFICATE + SIGNATURE
    assert request.options == (b"atomic",)
    assert [line.ref for line in request.claimed()] == [MAIN]
    text, signature = signed_part(request)
    assert (text, signature.data) == (CERTIFICATE, SIGNATURE)


def test_nothing() -> None:
    assert read(FLUSH).is_empty
    assert read(b"shallow " + ONE.encode(), FLUSH).is_empty


def test_shallow_lines_come_before() -> None:
    packets = [b"shallow " + ONE.encode() + b"\n", *certificate_packets()]
    assert read(*packets).certificate is not None


@pytest.mark.parametrize(
    "packets",
    [
        [b"hello"],
        [DELIM],
        [f"{ONE} {TWO}".encode()],
        [f"{ONE} {TWO} refs/heads/a b".encode() + CAPS],
        [f"{ONE}1 {TWO} refs/heads/a".encode() + CAPS],
        [f"{ONE} {TWO} ".encode() + b"r" * 5000],
        [f"{ONE} {TWO} refs/heads/a".encode() + CAPS.replace(b"sha1", b"sha256")],
        [f"{ONE} {TWO} refs/heads/a".encode() + CAPS, f"{ONE} {TWO} refs/heads/b".encode() + CAPS],
        [b"push-cert" + CAPS, FLUSH],
        [*certificate_packets(options=False)[:-1], b"push-cert"],
        [*certificate_packets(options=False)[:-1], f"{ONE} {TWO} refs/heads/a".encode(), FLUSH],
        [*certificate_packets()[:-1], b"o" * 1025],
        [*certificate_packets()[:-1], *[b"o"] * 64],
        [f"{ONE} {TWO} refs/heads/a".encode() + CAPS + b"x" * 9000],
    ],
)
def test_what_has_no_place_there(packets: list[Packet]) -> None:
    with pytest.raises(RequestError):
        read(*packets)


def test_too_much() -> None:
    command = f"{ONE} {TWO} refs/heads/".encode()
    many = [command + str(n).encode() for n in range(MAX_LINES + 1)]
    long = [b"push-cert" + CAPS, *[b"x" * 60_000] * (MAX_REQUEST // 60_000 + 1)]
    for packets in (many, long, [b"shallow " + ONE.encode()] * 5000):
        with pytest.raises(RequestTooLargeError, match="10,000 refs"):
            read(*packets)


def test_another_object_format() -> None:
    reader = RequestReader(SHA256)
    with pytest.raises(RequestError) as caught:
        reader.take(b"push-cert\0 report-status")
    assert caught.value.hint == "push from a repository with sha256 ids"


# -- what is said before the objects come


def test_unsigned() -> None:
    request = read(f"{ONE} {TWO} refs/heads/main".encode() + CAPS, FLUSH)
    with pytest.raises(PushRefusedError) as caught:
        signed_part(request)
    assert "git push --signed" in words_of(caught.value)
    assert caught.value.more == SIGNING_HELP


def test_two_signatures() -> None:
    request = PushRequest(frozenset(), (), CERTIFICATE + SIGNATURE + SIGNATURE)
    with pytest.raises(BadSignature):
        signed_part(request)


def certificate() -> Certificate:
    return parse_certificate(CERTIFICATE, SHA1)


def test_options_are_those_signed() -> None:
    check_request(certificate(), PushRequest(frozenset(), (), b"", (b"atomic",)))
    for options in ((), (b"atomic", b"x"), (b"x",)):
        with pytest.raises(PushRefusedError, match="not those that were signed"):
            check_request(certificate(), PushRequest(frozenset(), (), b"", options))


def test_atomic_is_signed_too() -> None:
    plain = parse_certificate(CERTIFICATE.replace(b"push-option atomic\n", b""), SHA1)
    request = PushRequest(frozenset([b"atomic"]), (), b"")
    with pytest.raises(PushRefusedError) as caught:
        check_request(plain, request)
    assert "git push --signed --atomic -o atomic" in words_of(caught.value)


def test_nonces_of_elsewhere() -> None:
    check_nonce(NONCE, NONCE, is_known=True)
    check_nonce(Nonce(ID, PushId("d" * 40), 900), NONCE, is_known=True)
    check_nonce(Nonce(ID, NONCE.checkpoint, 1), NONCE, is_known=True)
    for nonce, is_known in ((NONCE, False), (Nonce(ID, NONCE.checkpoint, 4), True)):
        with pytest.raises(PushRefusedError) as caught:
            check_nonce(nonce, NONCE, is_known=is_known)
        assert "push again in 10 s" in words_of(caught.value)


def test_quota() -> None:
    other = KeyRef(KeyKind.SSH, "SHA256:" + "E" * 43)
    few = [Push(PushId("e" * 40), KEY, certificate())] * (MAX_UNFINAL - 1)
    check_quota([*few, Push(PushId("f" * 40), other, certificate())], KEY)
    with pytest.raises(PushRefusedError, match="256 pushes"):
        check_quota([*few, few[0]], KEY)


# -- what it says


def test_advertisement() -> None:
    refs = {
        RefName(b"refs/heads/main"): Oid(ONE),
        RefName(b"refs/conflicts/" + b"e" * 40 + b"/heads/a"): Oid(TWO),
        RefName(b"refs/gittorrent/log"): Oid(TWO),
    }
    packets = list(advertisement(RefLines(refs), SHA1, NONCE, "gittorrent"))
    assert len(packets) == 3
    assert packets[0][4:].startswith(f"{TWO} refs/conflicts/{'e' * 40}/heads/a\0".encode())
    assert f" push-cert={NONCE} agent=gittorrent\n".encode() in packets[0]
    assert packets[1:] == [b"003d" + f"{ONE} refs/heads/main\n".encode(), b"0000"]


def test_advertisement_of_nothing() -> None:
    packets = list(advertisement(RefLines({}), SHA256, NONCE, "gittorrent", version="version=1"))
    assert packets[0] == b"000eversion 1\n"
    assert packets[1][4:].startswith(b"0" * 64 + b" capabilities^{}\0report-status ")
    assert b" object-format=sha256 " in packets[1]


def test_refs_that_moved_are_listed_as_if_anew() -> None:
    names = [RefName(b"refs/heads/%d" % number) for number in range(5)]
    refs = {names[1]: Oid(ONE), names[3]: Oid(ONE), names[4]: Oid(ONE)}
    hidden = RefName(b"refs/gittorrent/log")
    lines = RefLines(refs)
    moved = lines.after(
        [
            (names[0], None, Oid(TWO)), (names[3], Oid(ONE), Oid(TWO)), (names[4], Oid(ONE), None),
            (names[2], None, Oid(ONE)), (hidden, None, Oid(ONE)),
        ]
    )  # fmt: skip
    now = {names[0]: Oid(TWO), names[1]: Oid(ONE), names[2]: Oid(ONE), names[3]: Oid(TWO)}
    for found, expected in ((lines, refs), (moved, now), (moved.after([]), now)):
        said = [list(advertisement(x, SHA1, NONCE, "a")) for x in (found, RefLines(expected))]
        assert said[0] == said[1]
    assert len(moved.after((ref, oid, None) for ref, oid in now.items())) == 0


def test_report() -> None:
    report = Report((RefReport(MAIN), RefReport(RefName(b"refs/heads/a"), "no\nway")), ("hello",))
    plain = encode_report(report, {b"report-status"}, SHA1)
    status = b"000eunpack ok\n0017ok refs/heads/main\n001cng refs/heads/a no\\nway\n0000"
    assert plain == status
    banded = encode_report(report, {b"report-status", b"side-band-64k", b"quiet"}, SHA1)
    assert banded == b"000b\2hello\n" + b"%04x\1" % (len(status) + 5) + status + b"0000"
    assert encode_report(report, {b"side-band-64k"}, SHA1) == b"000b\2hello\n0000"
    assert encode_report(report, (), SHA1) == b""


def test_quiet_clients_are_told_what_matters_alone() -> None:
    report = Report((RefReport(MAIN),), messages=("one waits",), remarks=("accepted",))
    assert encode_report(report, {b"side-band-64k", b"quiet"}, SHA1) == b"000f\2one waits\n0000"
    said = encode_report(report, {b"side-band-64k"}, SHA1)
    assert said == b"0018\2one waits\naccepted\n0000"


def test_report_of_what_waits() -> None:
    report = Report((RefReport(MAIN, values=(Oid(ONE), None)),))
    said = encode_report(report, {b"report-status-v2"}, SHA1)
    assert f"option old-oid {ONE}\n".encode() in said
    assert f"option new-oid {'0' * 40}\n".encode() in said
    assert b"option" not in encode_report(report, {b"report-status"}, SHA1)


def test_reports_of_many_refs_fit_the_band() -> None:
    refs = tuple(RefReport(RefName(b"refs/heads/%d" % n), "x" * 300) for n in range(1000))
    said = encode_report(Report(refs), {b"report-status", b"side-band-64k"}, SHA1)
    at, bodies = 0, b""
    while (size := int(said[at : at + 4], 16)) > 4:
        assert said[at + 4] == 1
        bodies, at = bodies + said[at + 5 : at + size], at + size
    assert said[at:] == b"0000"
    assert bodies.count(b"ng refs/heads/") == 1000


def test_fatal() -> None:
    assert encode_fatal("why", ()) == b"000cERR why\n"
    assert encode_fatal("why", {b"side-band-64k"}) == b"0009\3why\n0000"
