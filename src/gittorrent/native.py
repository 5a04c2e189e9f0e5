"""The optional compiled helper `gittorrent-native`: whether it is there, and what it offers.

It is a wheel of its own (`native/`), used for indexing packs and for deflating those of reels.
Whatever uses it can do without, if slower; an older wheel may lack what came later.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
from typing import Any

SWITCH = "GITTORRENT_NATIVE"
"""Environment variable: ``0`` leaves the compiled helper out even where it is installed."""

_MODULE = "gittorrent_native"


def is_wanted() -> bool:
    """Tell whether the compiled helper may be used."""
    return os.environ.get(SWITCH) != "0"


def is_available() -> bool:
    """Tell whether the compiled helper is installed and wanted."""
    return is_wanted() and importlib.util.find_spec(_MODULE) is not None


def load() -> Any:
    """Return the helper's module, which `is_available` says is there."""
    return importlib.import_module(_MODULE)


def can_deflate() -> bool:
    """Tell whether the helper is there and deflates packs, as it does from version 0.2 on."""
    return is_available() and hasattr(load(), "deflate_pack")
