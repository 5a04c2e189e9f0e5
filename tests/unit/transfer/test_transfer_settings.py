"""What users configure about fetching."""

from __future__ import annotations

import pytest

from gittorrent.errors import UsageError
from gittorrent.transfer.settings import read_settings


def test_sizes_and_rates() -> None:
    config = {
        "gittorrent.maxsize": "2G",
        "gittorrent.uplimit": "500K",
        "gittorrent.downlimit": "1.5m",
        "gittorrent.peeruplimit": "4096",
    }
    settings = read_settings(config)
    assert settings.max_bytes == 2 << 30
    assert settings.sharing.up_limit == 500 << 10
    assert settings.sharing.down_limit == 3 << 19
    assert settings.sharing.peer_up_limit == 4096


@pytest.mark.parametrize("value", ["", "lots", "0", "-1", "1T", "²", "9" * 5000])
@pytest.mark.parametrize(
    "name", ["maxSize", "upLimit", "downLimit", "peerUpLimit", "listen", "seedTime"]
)
def test_what_is_malformed_is_named(name: str, value: str) -> None:
    if value == "0" and name in ("listen", "seedTime"):
        assert read_settings({f"gittorrent.{name.lower()}": value}) == read_settings({})
        return
    with pytest.raises(UsageError, match=f"gittorrent.{name} is '{value}'") as caught:
        read_settings({f"gittorrent.{name.lower()}": value})
    assert caught.value.hint
