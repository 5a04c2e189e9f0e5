"""Fuzz target: reference objects are refused, or name only refs that git allows."""

from __future__ import annotations

from gittorrent.gtp.errors import BadReferenceError
from gittorrent.gtp.reference import parse_reference, verify_reference
from gittorrent.push.refnames import check_ref_name

_HEAD = b"object " + b"a1" * 20 + b"\ntype commit\ntag x\ntagger A <a@b> 1200000000 +0000\n\n"
SEEDS = [
    _HEAD + b"b2" * 20 + b"\trefs/heads/main\n" + b"b2" * 20 + b"\tHEAD\n",
    _HEAD + b"b2" * 20 + b" refs/heads/main\n" + b"c3" * 20 + b" refs/tags/v1\n",
    _HEAD + b"c3" * 20 + b"\trefs/tags/v1\n" + b"b2" * 20 + b"\trefs/tags/v1^{}\ntext\n",
    _HEAD + b"b2" * 20 + b"\trefs/stash\n" + b"b2" * 20 + b"\trefs/heads/../x\n",
    _HEAD + b"-----BEGIN PGP SIGNATURE-----\n\niQ==\n-----END PGP SIGNATURE-----\n",
]


def one_input(data: bytes) -> None:
    for separator in (b"\t", b" "):
        try:
            found = parse_reference(data, separator)
        except BadReferenceError:
            continue
        for name, oid in found.refs.items():
            check_ref_name(name)
            if oid not in found.tips:
                raise AssertionError("a ref is no tip")
        try:
            verify_reference(found, b"no certificate")
        except BadReferenceError:
            continue
        raise AssertionError("believed without a key")


if __name__ == "__main__":
    from harness import run

    run(one_input)
