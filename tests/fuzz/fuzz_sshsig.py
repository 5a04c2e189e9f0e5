"""Fuzz target: SSH signatures, from the armor down to the numbers.

Input is either armored text, or bytes to be put into an armor, so that both layers are reached.
"""

from __future__ import annotations

import base64

from gittorrent.trust import sshsig
from gittorrent.trust.armor import Armor, unwrap, wrap
from gittorrent.trust.errors import BadKey, BadSignature, WeakSignature
from gittorrent.trust.signature import detect, split_signed
from gittorrent.trust.sshkey import parse_key, parse_key_line

_MESSAGE = b"fuzz\n"
_ED25519 = base64.b64decode(
    "U1NIU0lHAAAAAQAAADMAAAALc3NoLWVkMjU1MTkAAAAgzQP73cqqJwPCUWVtXM3Zn1Y1seBlPAY2uVGjo9sh"
    "2tQAAAADZ2l0AAAAAAAAAAZzaGE1MTIAAABTAAAAC3NzaC1lZDI1NTE5AAAAQKyUd+J5c665BGT4hm8vXtGC"
    "N84KddtAV/9mmPU0xDGpRjAiIhcamDScLDBXWscA1l5TWyTb12y+iZ+ndtLLegE="
)
_ECDSA = base64.b64decode(
    "U1NIU0lHAAAAAQAAAGgAAAATZWNkc2Etc2hhMi1uaXN0cDI1NgAAAAhuaXN0cDI1NgAAAEEEfPJ7GI0DT36K"
    "UjgDBLUaw8CJaeJ38hs1pgtI/EdmmXgHd1UQ247QQCk9msafdDDbun2t5jzpgimeBLedInhz0QAAAANnaXQA"
    "AAAAAAAABnNoYTUxMgAAAGUAAAATZWNkc2Etc2hhMi1uaXN0cDI1NgAAAEoAAAAhAI238REo6/a7ICRM6cvr"
    "344xgSt9J4dFTwy6Rp5SlB5yAAAAIQCkZS6drtszAf0EjN8d/aB0DmgghvMlib1YqrDcwKgvnw=="
)
_SECURITY_KEY = base64.b64decode(
    "U1NIU0lHAAAAAQAAAEoAAAAac2stc3NoLWVkMjU1MTlAb3BlbnNzaC5jb20AAAAgzQP73cqqJwPCUWVtXM3Z"
    "n1Y1seBlPAY2uVGjo9sh2tQAAAAEc3NoOgAAAANnaXQAAAAAAAAABnNoYTUxMgAAAGcAAAAac2stc3NoLWVk"
    "MjU1MTlAb3BlbnNzaC5jb20AAABAc1XuattGizJ12lmDhQCjeCuaUB8CChEatJdTsTZyNoDDtTg7R5dzJq5h"
    "B/0k4yq8R+XhIIQS9gW1UtW/0UuWAQEAAAAH"
)
_RSA = base64.b64decode(
    "U1NIU0lHAAAAAQAAARcAAAAHc3NoLXJzYQAAAAMBAAEAAAEBAPechxa1UMr5lEahq3jE1Hz1kTbpy0VHjQZk"
    "TtjGQerPfoM3icBjXgqQd674gMBjyk8twoZSQ0kIquzSmzIU9VflJvEtsXFQktGNC+6SWBadrPQnDzlCobeB"
    "3fQ/gzwxGAuJ6KuXRn4OPZLB5barVzHXNyoQaVL/J0+gPEFZrj2s9NBTW9ic+i5mvTG13NSpeiWT+LUXHEPj"
    "7m3hm9/JUu8q5Yh56zchrUHhG8tciooKCXxs6WEnvkST2MWxe6nJ2Zd9azXsvFOqh7lFrixrmzOLUlzKA8W9"
    "BHPKq8cd09Gbyzf+vaWX1OBwvvJZhpNN4Yi28Q5mx2WXthB8uPzBSc0AAAADZ2l0AAAAAAAAAAZzaGE1MTIA"
    "AAEUAAAADHJzYS1zaGEyLTUxMgAAAQARb2JasOH9vQK3dvuk4SavnTBYPzktggwKU4g9nwzFPmN97pVSdZy5"
    "XoHMBItggrVJV2vmmgk+CGMpZaVl9ZlOWxZjE72/hCgRgyzaZLmrrccIdIAAkYbJSh8+jVj7NUL6uYSEZCxU"
    "yvJSFBmEZujleg/JOZ/C6r+pVh/tSyulZkyOx0w9VAVu4eQu1mIziZV3PoTPjs0aWGeKeW889wJtsAcox68P"
    "urTxuD8m8nly8hgaOwG/OCcKdwaoJDjO3Zrb0LoxKHXjZ67HgkOHs3vMdFglxG4L8vl6MrdZD4urcl9iRr/G"
    "tWze81KxShvCHSNvSiJcLdY7oTkKq1jZmkVd"
)
_RAW = (_ED25519, _ECDSA, _SECURITY_KEY, _RSA)

SEEDS: list[bytes] = [*_RAW, *(wrap(raw, Armor.SSH_SIGNATURE, 70) for raw in _RAW)]

_REFUSED = (BadSignature, BadKey, WeakSignature)


def one_input(data: bytes) -> None:
    """Verify ``data``; raises only when something but a refusal or a true key comes out."""
    armored = data if data.startswith(b"-----") else wrap(data, Armor.SSH_SIGNATURE, 70)
    try:
        made = sshsig.verify(armored, _MESSAGE)
    except _REFUSED:
        pass
    else:
        blob = base64.b64decode(made.public_key_line.split()[1])
        if parse_key(blob).key != made.key or parse_key_line(made.public_key_line).key != made.key:
            raise RuntimeError("the key reported is not the key that signed")
        raw = unwrap(armored, Armor.SSH_SIGNATURE, BadSignature)
        if not raw.startswith(b"SSHSIG") or blob not in raw:
            raise RuntimeError("accepted a signature without its key")
    for parser in (detect, split_signed, parse_key):
        try:
            parser(data)
        except _REFUSED:
            continue


if __name__ == "__main__":
    from harness import run

    run(one_input)
