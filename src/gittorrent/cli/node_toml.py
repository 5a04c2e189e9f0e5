"""The node's configuration on disk: reading it, and what a new one is.

For commands that want to know what it says; what a node makes of it is `node_config`, which brings
the whole node along.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from gittorrent.disk_space import DEFAULT_RESERVE, Watermarks
from gittorrent.errors import LocalError, UsageError
from gittorrent.node.config import NodeConfig
from gittorrent.node.config_document import parse_config
from gittorrent.node.config_table import ConfigError

if TYPE_CHECKING:
    from gittorrent.store.home import Home


def template() -> str:
    """Return a configuration that says with comments what can be said, and changes nothing."""
    from importlib import resources  # slow to import, and few ask for this

    file = resources.files("gittorrent.node") / "node.toml"
    return file.read_text(encoding="utf-8")


def read_config(path: Path, *, is_named: bool) -> NodeConfig:
    """Return what a file says.

    Args:
        path: of the file.
        is_named: whether somebody named it; otherwise it need not be there.

    Raises:
        ConfigError: it cannot be used.
        UsageError: it is not there.
        LocalError: it cannot be read.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")  # some editors write a byte order mark
    except FileNotFoundError:
        if not is_named:
            return NodeConfig()
        raise UsageError(
            f"there is no {path}", hint="'gittorrent init-node' writes one with comments"
        ) from None
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        raise ConfigError([f"{path}:{line}: not UTF-8"]) from error
    except OSError as error:
        raise LocalError(f"cannot read {path}: {error.strerror}") from error
    return parse_config(text, str(path))


def watermarks_of(home: Home, config: NodeConfig) -> Watermarks:
    """Return what keeps free of the disks of a node what its configuration says.

    Args:
        home: of the node.
        config: what it says.
    """
    reserve = config.disk.reserve
    always = [home.root, Path(tempfile.gettempdir())]
    return Watermarks(DEFAULT_RESERVE if reserve is None else reserve, always)
