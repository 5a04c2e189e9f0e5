"""What is said of a fetch that failed."""

from __future__ import annotations

import pytest

from gittorrent.git.fetching import complaint
from gittorrent.git.guarded import Outcome


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ("", "exit status 128"),
        ("\n", "exit status 128"),
        ("fatal: no such repository", "fatal: no such repository"),
        ("Receiving: 1%\rReceiving: 2%\rfatal: it ended", "fatal: it ended"),
        (
            "fatal: unable to connect:\nh: Connection refused",
            "fatal: unable to connect: h: Connection refused",
        ),
        ("fatal: unable to connect:", "fatal: unable to connect:"),
        ("something went wrong", "something went wrong"),
    ],
)
def test_what_git_complains_of(said: str, expected: str) -> None:
    assert complaint(Outcome(128, said, None)) == expected
