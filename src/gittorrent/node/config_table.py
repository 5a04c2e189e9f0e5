"""The tables of ``node.toml``: keys are taken out one by one, and all that is wrong is noted.

Tracks for one document what was taken and what is wrong with it. Rules: a key that nobody takes is
an error; each error names its line and says what to write. Must not know which keys there are.
"""

from __future__ import annotations

from difflib import get_close_matches
from typing import TYPE_CHECKING, TypeVar

from gittorrent.errors import UsageError
from gittorrent.node.config_values import ElementError, flag

if TYPE_CHECKING:
    from collections.abc import Callable

    from gittorrent.node.toml_lines import KeyPath

T = TypeVar("T")


class ConfigError(UsageError):
    """A configuration cannot be used.

    Args:
        problems: what is wrong, each with its file and line, in the order of the file.
    """

    def __init__(self, problems: list[str]) -> None:
        more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
        hint = "'gittorrent serve --check' lists all" if more else ""
        super().__init__(problems[0] + more, hint=hint)
        self.problems = problems


class Reading:
    """What the tables of one document share: its name, its lines, and what is wrong."""

    def __init__(self, name: str, lines: dict[KeyPath, int]) -> None:
        self.name = name
        self.lines = lines
        self.problems: list[tuple[int, str]] = []
        self.tables: list[Table] = []

    def places_of(self, key: str) -> str:
        """Return the tables that a key may stand in, among those that are read; empty for none."""
        found = sorted({f"[{each.name}]" for each in self.tables if each.name and each.knows(key)})
        return " or ".join(found)

    def done(self) -> None:
        """Complain of keys that no table took."""
        for each in self.tables:
            each.complain_of_unknown()


class Table:
    """One table of a document, whose keys are taken out one by one."""

    def __init__(self, reading: Reading, path: KeyPath, values: dict[str, object]) -> None:
        self._reading = reading
        self._path = path
        self._values = values
        self._known: list[str] = []
        reading.tables.append(self)

    @property
    def name(self) -> str:
        """What stands in its header; empty for the top of the document."""
        return ".".join(each for each in self._path if isinstance(each, str))

    def knows(self, key: str) -> bool:
        """Tell whether a key may stand in it."""
        return key in self._known

    @property
    def line(self) -> int:
        """The line of its header."""
        return self._line_of(self._path)

    def _line_of(self, path: KeyPath) -> int:
        lines = self._reading.lines
        while path and path not in lines:
            path = path[:-1]
        return lines.get(path, 1)

    def has(self, key: str) -> bool:
        """Tell whether a key is there."""
        return key in self._values

    def take(self, key: str, read: Callable[[object], T]) -> T | None:
        """Return the value of a key as ``read`` understands it; None if it is not there or wrong.

        Args:
            key: it.
            read: raises `ValueError` with what is wrong with the value, and what to write.
        """
        self._known.append(key)
        if key not in self._values:
            return None
        try:
            return read(self._values[key])
        except ElementError as error:
            self.complain(f"{key}: {error}", key, error.number)
        except ValueError as error:
            self.complain(f"{key}: {error}", key)
        return None

    def require(self, key: str, read: Callable[[object], T], hint: str) -> T | None:
        """Return the value of a key as `take` does, and complain if it is not there.

        Args:
            key: it.
            read: as for `take`.
            hint: what to write.
        """
        found = self.take(key, read)
        if not self.has(key):
            self.complain(f"{key}: is missing; {hint}")
        return found

    def flag(self, key: str, *, default: bool) -> bool:
        """Return a switch."""
        found = self.take(key, flag)
        return default if found is None else found

    def table(self, key: str) -> Table:
        """Return a table in this one, empty if it is not there."""
        self._known.append(key)
        value = self._values.get(key, {})
        if not isinstance(value, dict):
            self.complain(f"{key}: is no table; write [{key}]", key)
            value = {}
        return Table(self._reading, (*self._path, key), value)

    def tables(self, key: str) -> list[Table]:
        """Return the tables of an array of tables."""
        self._known.append(key)
        value = self._values.get(key, [])
        if not isinstance(value, list) or not all(isinstance(each, dict) for each in value):
            self.complain(f"{key}: write [[{'.'.join([*map(str, self._path), key])}]]", key)
            return []
        path = (*self._path, key)
        return [Table(self._reading, (*path, n), each) for n, each in enumerate(value)]

    def not_more(self, key: str, other: str) -> None:
        """Complain of a number that is above another one of the table."""
        value, bound = self._values.get(key), self._values.get(other)
        if isinstance(value, int) and isinstance(bound, int) and value > bound:
            self.complain(f"{key}: {value} is more than {other}, which is {bound}", key)

    def complain(self, text: str, *at: str | int) -> None:
        """Note what is wrong with the table, or with a key or element in it."""
        line = self._line_of((*self._path, *at))
        where = f"[{self.name}] " if self.name else ""
        self._reading.problems.append((line, f"{self._reading.name}:{line}: {where}{text}"))

    def complain_of_unknown(self) -> None:
        """Complain of keys that nobody took, and say what may be meant."""
        for key in self._values:
            if key not in self._known:
                near = get_close_matches(key, self._known, n=1)
                places = self._reading.places_of(key)
                if near:
                    way_out = f"did you mean {near[0]}?"
                elif places:
                    way_out = f"it belongs below {places}"
                else:
                    way_out = f"known are {', '.join(self._known)}"
                self.complain(f"{key}: is not known; {way_out}", key)
