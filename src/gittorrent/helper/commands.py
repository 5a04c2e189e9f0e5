"""The remote helper protocol: commands from git on standard input, answers on standard output.

A pure reading of gitremote-helpers(7) as far as this helper needs it. Git's words arrive one line
at a time; a batch (of ``fetch``) ends with an empty line.
"""

from __future__ import annotations

from msgspec import Struct, field

from gittorrent.errors import GitTorrentError
from gittorrent.git.fetching import FetchOptions
from gittorrent.ids import Oid, format_of

CAPABILITIES = ("fetch", "push", "option", "check-connectivity", "object-format", "connect")
"""What git is told this helper can do; ``push`` is done by git's own helper for HTTP."""

_VALUED = frozenset({"depth", "filter", "deepen-since"})
_SWITCHES = frozenset(
    {"deepen-relative", "update-shallow", "from-promisor", "refetch", "followtags"}
)
_ACCEPTED = frozenset({"cloning", "check-connectivity", "object-format", "progress"})


class HelperProtocolError(GitTorrentError):
    """Git said something that the remote helper protocol does not have."""


class Options(Struct):
    """What git asked for with ``option``.

    Args:
        progress: whether to show any.
        verbosity: 0 for quiet, 1 as usual.
        check_connectivity: whether git would like to be spared its own check.
        settings: options for an ordinary fetch, with their values.
    """

    progress: bool = False
    verbosity: int = 1
    check_connectivity: bool = False
    settings: dict[str, list[str]] = field(default_factory=dict)

    def set(self, text: str) -> bool:
        """Take in ``<name> <value>``; tells whether the option is supported."""
        name, _, value = text.partition(" ")
        if name == "verbosity":
            self.verbosity = int(value) if value.isdigit() else 1
        elif name == "deepen-not":
            self.settings.setdefault(name, []).append(_unquoted(value))
        elif name in _VALUED:
            # Git repeats what it said before; two filters would be taken for a combined one.
            self.settings[name] = [_unquoted(value)]
        elif name in _SWITCHES:
            self.settings[name] = [value]
        elif name in _ACCEPTED:
            self._switch(name, value == "true")
        else:
            return False
        return True

    def _switch(self, name: str, on: bool) -> None:
        if name == "progress":
            self.progress = on
        elif name == "check-connectivity":
            self.check_connectivity = on

    def for_fetch(self) -> FetchOptions:
        """Return what an ordinary fetch is told."""
        return FetchOptions(self.progress, self.settings)


class Wanted(Struct, frozen=True):
    """One ``fetch`` command: an id and the name git knows it by."""

    oid: Oid
    name: str


def parse_fetch(line: str) -> Wanted:
    """Read ``fetch <oid> <name>``.

    Raises:
        HelperProtocolError: it is malformed.
    """
    words = line.split(" ", 2)
    if len(words) < 2 or words[0] != "fetch" or format_of(words[1]) is None:
        raise HelperProtocolError(f"git asked for {line[:100]!r}")
    return Wanted(Oid(words[1]), words[2] if len(words) == 3 else words[1])


def _unquoted(value: str) -> str:
    """Undo the C-style quotes git puts around values with special characters."""
    if len(value) >= 2 and value[0] == value[-1] == '"':
        return value[1:-1].encode().decode("unicode_escape")
    return value
