"""Fuzz target: the reader of references tags. Refused, or written again to the same bytes."""

from __future__ import annotations

from gittorrent.ids import SHA1, SHA256
from gittorrent.push.refnames import RefNameError
from gittorrent.push.reftag import ReferencesTagError, parse_references_tag
from gittorrent.trust.refpattern import is_reserved

_ONE = f"""\
object {SHA1.empty_tree}
type tree
tag gittorrent-refs
tagger P Usher <push@example.org> 1600000000 +0000

gittorrent refs 1
repository {"a2" * 26}
parent {"ab" * 20}

{"1" * 40}\trefs/heads/main
{"2" * 40}\trefs/tags/v1
{"3" * 40}\trefs/tags/v1.0/a
"""
_OTHER = _ONE.replace(SHA1.empty_tree, SHA256.empty_tree).replace("ab" * 20, "ab" * 32)
for _digit in "123":
    _OTHER = _OTHER.replace(_digit * 40, _digit * 64)

SEEDS: list[bytes] = [_ONE.encode(), _OTHER.encode(), _ONE.encode().split(b"1111")[0], b""]


def one_input(data: bytes) -> None:
    """Read ``data`` as a references tag; raises only when the reader itself is wrong."""
    for object_format in (SHA1, SHA256):
        try:
            tag = parse_references_tag(data, object_format)
        except (ReferencesTagError, RefNameError):
            continue
        if tag.text() != data:
            raise RuntimeError("accepted a text that is not in canonical form")
        for name in tag.refs:
            if is_reserved(name) or b".." in bytes(name) or min(name) < 0x21:
                raise RuntimeError(f"accepted the ref {name!r}")


if __name__ == "__main__":
    from harness import run

    run(one_input)
