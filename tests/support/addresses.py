"""Networks of a test's own, with as many addresses as it wants, where this machine allows that."""

from __future__ import annotations

import ctypes
import subprocess
import threading
from collections.abc import Callable

import pytest

_NEW_NETWORK = 0x40000000
"""CLONE_NEWNET of unshare(2)."""


def in_own_network(work: Callable[[], None], *addresses: str) -> None:
    """Do ``work`` in a thread that is alone in a network with some addresses beside loopback.

    Threads and processes that it starts are in that network too. Skips the test where making one
    is not allowed.
    """
    failures: list[BaseException] = []

    def run() -> None:
        try:
            if ctypes.CDLL(None, use_errno=True).unshare(_NEW_NETWORK):
                pytest.skip("may not make a network")
            _ip("link", "set", "lo", "up")
            for address in addresses:
                _ip("address", "add", f"{address}/32", "dev", "lo")
            work()
        except BaseException as error:  # it belongs to the test, which waits for it
            failures.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    if failures:
        raise failures[0]


def _ip(*words: str) -> None:
    try:
        subprocess.run(["ip", *words], check=True, capture_output=True)
    except FileNotFoundError:
        pytest.skip("ip(8) is not here")
