"""Being another user for a moment; only root can."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

SOMEBODY = 65534
"""A user that is not this one; nobody on most systems."""

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can be somebody else")


@contextlib.contextmanager
def being(user: int) -> Iterator[None]:
    """Run the block as another user: what it listens at and connects to is that user's."""
    before = os.geteuid()
    os.seteuid(user)
    try:
        yield
    finally:
        os.seteuid(before)


@contextlib.contextmanager
def open_folder() -> Iterator[Path]:
    """Yield a folder in which every user may do everything; skips the test if there is none."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o777)
        with being(SOMEBODY) if os.geteuid() == 0 else contextlib.nullcontext():
            reached = os.access(folder, os.W_OK | os.X_OK, effective_ids=True)
        if not reached:
            pytest.skip("other users do not reach temporary directories here")
        yield Path(folder)
