"""What ``gittorrent doctor`` says of each thing that it looks at."""

from __future__ import annotations

from enum import Enum

from msgspec import Struct


class Verdict(Enum):
    """How it stands with something."""

    OK = "ok"
    WARNING = "warning"
    PROBLEM = "problem"


class Finding(Struct, frozen=True):
    """One line of the report.

    Args:
        subject: what was looked at.
        verdict: how it stands with it.
        text: what was found.
        remedy: what to do about it; empty where all is well.
    """

    subject: str
    verdict: Verdict
    text: str
    remedy: str = ""


def well(subject: str, text: str) -> Finding:
    """Return a finding that asks for nothing."""
    return Finding(subject, Verdict.OK, text)


def warning(subject: str, text: str, remedy: str) -> Finding:
    """Return what works, and not as well as it could, or will not for long."""
    return Finding(subject, Verdict.WARNING, text, remedy)


def problem(subject: str, text: str, remedy: str) -> Finding:
    """Return what does not work."""
    return Finding(subject, Verdict.PROBLEM, text, remedy)
