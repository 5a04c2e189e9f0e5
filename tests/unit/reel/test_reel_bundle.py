"""Reels as git's bundles: headers and lists."""

from __future__ import annotations

from msgspec.structs import replace

from gittorrent.ids import SHA1, SHA256, ManifestId, ObjectFormat, Oid, PushId, RepositoryId
from gittorrent.reel.bundle import MAX_BUNDLES, MAX_TIPS, bundles_of, list_text, settings
from gittorrent.reel.manifest import Manifest, Segment

A, B, C = (Oid(letter * 40) for letter in "abc")
ONE, TWO = ManifestId("1" * 64), ManifestId("2" * 64)


def manifest(*ends: tuple[Oid, ...], object_format: ObjectFormat = SHA1) -> Manifest:
    segments = tuple(Segment(12 + at, 1, 1, each) for at, each in enumerate(ends))
    return Manifest(
        RepositoryId("a" * 52), object_format, None, PushId("d" * 40), 1, 1, 1, 1, 32,
        "e" * 40, segments, ("f" * 64,),
    )  # fmt: skip


def test_each_bundle_needs_what_the_one_before_it_adds() -> None:
    first, second = bundles_of([(ONE, 1, manifest((A,), (A, B))), (TWO, 4, manifest((C,)))])
    where = f"refs/heads/gittorrent/{'d' * 40}"
    assert first.header.decode() == f"# v2 git bundle\n{A} {where}/0\n{B} {where}/1\n\n"
    assert second.header.decode() == f"# v2 git bundle\n-{A} \n-{B} \n{C} {where}/0\n\n"
    assert (first.token, second.token) == (1, 4)


def test_sha256_takes_the_third_version() -> None:
    made = manifest((Oid("a" * 64),), object_format=SHA256)
    (found,) = bundles_of([(ONE, 1, made)])
    assert found.header.startswith(b"# v3 git bundle\n@object-format=sha256\naaaa")


def test_a_chain_ends_before_a_reel_without_commits_and_at_its_bounds() -> None:
    plain = manifest((A,))
    assert [
        b.manifest for b in bundles_of([(ONE, 1, plain), (TWO, 2, manifest()), (ONE, 3, plain)])
    ] == [ONE]
    assert not bundles_of([(ONE, 1, manifest())])
    assert len(bundles_of((ONE, n, plain) for n in range(MAX_BUNDLES + 5))) == MAX_BUNDLES
    many = tuple(Oid(f"{number:040x}") for number in range(MAX_TIPS + 5))
    (found,) = bundles_of([(ONE, 1, replace(plain, segments=(Segment(12, 1, 1, many),)))])
    assert found.header.count(b" refs/heads/") == MAX_TIPS
    assert many[-1].encode() in found.header


def test_lists_and_settings_say_the_same() -> None:
    bundles = bundles_of([(ONE, 7, manifest((A,)))])
    assert list_text(bundles, "https://h/p.git/bundles/").decode() == (
        "[bundle]\n\tversion = 1\n\tmode = all\n\theuristic = creationToken\n"
        f'[bundle "{ONE}"]\n\turi = https://h/p.git/bundles/{ONE}.bundle\n\tcreationToken = 7\n'
    )
    assert settings(bundles, "bundles/")[-2:] == (
        f"bundle.{ONE}.uri=bundles/{ONE}.bundle",
        f"bundle.{ONE}.creationToken=7",
    )
    assert settings([], "bundles/") == ()
