"""``init-node`` writes a configuration, ``serve --check`` judges one, ``serve`` goes by it."""

from __future__ import annotations

from pathlib import Path

import pytest

from gittorrent.cli.node_config import DEFAULT_GIT, Flags, options_of
from gittorrent.cli.node_toml import template
from gittorrent.node.config_document import parse_config
from gittorrent.node.local_clones import KEEP_SECONDS
from support.programs import Person, somebody


@pytest.fixture
def operator(tmp_path: Path) -> Person:
    return somebody(tmp_path / "operator")


def test_init_node_writes_what_changes_nothing(operator: Person) -> None:
    path = operator.node / "node.toml"
    assert operator.gittorrent("init-node").ok().out == f"wrote {path}\n"
    assert path.read_text() == template()
    assert operator.gittorrent("serve", "--check").ok().out == f"{path} is right\n"


def test_init_node_leaves_a_file_alone(operator: Person) -> None:
    path = operator.node / "node.toml"
    operator.gittorrent("init-node").ok()
    path.write_text("# mine\n")
    operator.gittorrent("init-node").failed(2, f"{path} is there already", "--print")
    assert path.read_text() == "# mine\n"
    assert operator.gittorrent("init-node", "--print").ok().out == template()


def test_check_lists_all_that_is_wrong(operator: Person, tmp_path: Path) -> None:
    path = tmp_path / "other.toml"
    path.write_text('[limits]\nup = "10X"\ndwon = 3\n')
    done = operator.gittorrent("serve", "--check", "--config", path).failed(2)
    assert done.err.splitlines() == [
        f'{path}:2: [limits] up: "10X" is no rate; write 10M',
        f"{path}:3: [limits] dwon: is not known; did you mean down?",
    ]
    operator.gittorrent("serve", "--config", path).failed(2, f"{path}:2: ", "(and 1 more)")


def test_check_looks_at_the_certificate(operator: Person, tmp_path: Path) -> None:
    """What would keep the node from beginning is found before it is told to begin."""
    path = tmp_path / "secure.toml"
    check = ("serve", "--check", "--config", path)
    path.write_text('[listen]\nhttps = "127.0.0.1:0"\n')
    operator.gittorrent(*check).failed(2, "for HTTPS the node needs a certificate", "node.toml")
    missing = tmp_path / "missing.pem"
    operator.gittorrent(*check, "--tls-certificate", missing).failed(7, f"cannot read {missing}")
    path.write_text(f'[listen]\nhttps = "127.0.0.1:0"\ntls-certificate = "{missing}"\n')
    operator.gittorrent(*check).failed(7, f"cannot read {missing}")


def test_a_file_that_was_named_has_to_be_there(operator: Person, tmp_path: Path) -> None:
    missing = tmp_path / "missing.toml"
    operator.gittorrent("serve", "--config", missing).failed(2, str(missing), "init-node")
    operator.gittorrent("serve", "--check").failed(2, "init-node")


def test_a_file_that_is_no_text_is_an_error_with_a_line(operator: Person, tmp_path: Path) -> None:
    path = tmp_path / "latin.toml"
    path.write_bytes(b"# a\n# \xe9\n")
    operator.gittorrent("serve", "--check", "--config", path).failed(2, f"{path}:2: not UTF-8")


def test_a_byte_order_mark_and_line_ends_of_windows_are_no_error(
    operator: Person, tmp_path: Path
) -> None:
    path = tmp_path / "windows.toml"
    path.write_bytes(b'\xef\xbb\xbf[limits]\r\nup = "1M"\r\nx = 1\r\n')
    operator.gittorrent("serve", "--check", "--config", path).failed(2, f"{path}:3: [limits] x:")


# -- options come before the file


def test_without_any_of_both_there_are_defaults() -> None:
    options = options_of(parse_config(""), Flags())
    assert (options.git, options.http) == (DEFAULT_GIT, ())
    assert options.announce
    assert options.keep.seconds == KEEP_SECONDS


def test_the_file_says_where_to_listen() -> None:
    options = options_of(parse_config('[listen]\nhttp = "0.0.0.0:8417"'), Flags())
    assert (options.git, options.http) == ((), (("0.0.0.0", 8417),))


def test_addresses_that_are_typed_stand_for_those_of_the_file() -> None:
    config = parse_config('[listen]\ngit = "0.0.0.0:9418"\nhttp = "0.0.0.0:8417"')
    options = options_of(config, Flags(http=[("127.0.0.1", 0)]))
    assert (options.git, options.http) == ((), (("127.0.0.1", 0),))


def test_options_come_before_the_file() -> None:
    config = parse_config(
        '[limits]\nup = "1M"\ngit-processes = 3\n[carry]\nkeep-for = 7\n'
        "[discovery]\nannounce = false"
    )
    options = options_of(config, Flags(up_limit=5, keep_for=0))
    assert (options.up_limit, options.git_processes) == (5, 3)
    assert options.keep.seconds == 0
    assert not options.announce
