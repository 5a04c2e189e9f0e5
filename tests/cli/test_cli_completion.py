"""Completion in the shells that are here, for gittorrent and git torrent."""

from __future__ import annotations

import contextlib
import re
import shutil
import tomllib
from pathlib import Path

import pytest

from gittorrent.cli.completing import MOST
from gittorrent.cli.completion import SCRIPTS
from gittorrent.ids import RepositoryId
from gittorrent.repository.carried import MIRROR, ORIGIN
from gittorrent.store.carried_rows import CarriedRow
from gittorrent.store.database import Database
from gittorrent.store.held import HeldKind, HeldRow, HeldTable
from gittorrent.store.home import Home
from gittorrent.store.tokens import TokenRow, TokenTable
from gittorrent.store.tracks import Track, TrackTable
from support.programs import Person, somebody

ROOT = Path(__file__).parents[2]


@pytest.fixture
def owner(tmp_path: Path) -> Person:
    return somebody(tmp_path / "owner")


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_scripts_are_valid(owner: Person, tmp_path: Path, shell: str) -> None:
    script = owner.gittorrent("completion", shell).ok().out
    assert "_GITTORRENT_COMPLETE" in script
    found = shutil.which(shell)
    if found is None:
        pytest.skip(f"{shell} is not here")
    path = tmp_path / "script"
    path.write_text(script)
    owner.run(found, "-n", path).ok()


def test_completion_completes(owner: Person) -> None:
    asking = Person(
        owner.root,
        variables={
            "_GITTORRENT_COMPLETE": "bash_complete",
            "COMP_WORDS": "gittorrent pu",
            "COMP_CWORD": "1",
        },
    )
    assert "plain,publish" in asking.gittorrent().out


PROJECT = RepositoryId("ab" * 32)
SECRETS = RepositoryId("ac" * 32)


@pytest.fixture
def operator(tmp_path: Path) -> Person:
    """A home that carries, tracks and holds something, and whose owner gave tokens."""
    person = somebody(tmp_path / "operator")
    home = Home(person.node)
    person.gittorrent("status").ok()
    with contextlib.closing(Database(home.database)) as database:
        database.carry(CarriedRow("project", PROJECT, "/srv/project.git", MIRROR, "git://h/p"))
        database.carry(CarriedRow("private", SECRETS, "/srv/private.git", ORIGIN, ""))
        TrackTable(database).put(Track("prose", "https://git.example.org/prose.git", 60))
        for name, expires in (("printer", 0), ("proxy", 1), ("other", 0)):
            TokenTable(database).add(TokenRow(name, name, "", 1, expires))
        held = HeldRow(HeldKind.REFS, PROJECT, "project", {"refs/heads/a": "1"}, 2, 1)
        HeldTable(database).hold(held)
    return person


def completed(person: Person, *words: str, shell: str = "bash") -> set[str]:
    asking = Person(
        person.root,
        variables={
            **person.variables,
            "_GITTORRENT_COMPLETE": f"{shell}_complete",
            "COMP_WORDS": "\n".join(("gittorrent", *words)),
            "COMP_CWORD": str(len(words)),
        },
    )
    done = asking.gittorrent()
    assert not done.err
    return {line.partition(",")[2] for line in done.out.splitlines() if line.startswith("plain,")}


@pytest.mark.parametrize(
    ("words", "names"),
    [
        ("remove pr", {"project", "private", "prose"}),
        ("remove a", {PROJECT, SECRETS}),
        ("pause pr", {"project", "prose"}),
        ("resume AB", {PROJECT}),
        ("confirm pr", {"project"}),
        ("confirm 1", {"1"}),
        ("token revoke pr", {"printer", "proxy"}),
        ("token new x --repository pri", {"private"}),
        ("log pr", {"project", "private"}),
        ("publish pr", {"project", "private"}),
        ("mirrors ac", {SECRETS}),
        ("policy show --repository pro", {"project"}),
        ("log ./pr", set()),
        ("log x%", set()),
    ],
)
def test_names_of_this_home_are_completed(operator: Person, words: str, names: set[str]) -> None:
    assert completed(operator, *words.split()) == names


def test_many_names_are_bounded(operator: Person) -> None:
    with contextlib.closing(Database(Home(operator.node).database)) as database:
        table = TokenTable(database)
        database.write(
            ("INSERT INTO tokens VALUES (?, ?, '', 1, 0)", (f"many-{n}", f"many-{n}"))
            for n in range(MOST + 1)
        )
        assert len(table.all()) > MOST
    assert len(completed(operator, "token", "revoke", "many")) == MOST


def test_no_home_is_made_and_no_other_one_looked_into(owner: Person, operator: Person) -> None:
    assert completed(owner, "remove", "pr") == set()
    assert not owner.node.exists()
    operator.node.chmod(0o777)
    assert completed(operator, "remove", "pr") == set()
    operator.node.chmod(0o700)
    Home(operator.node).database.write_bytes(b"damaged")
    assert completed(operator, "remove", "pr") == set()


COMPLETIONS = {
    "bash": """
        . {folder}/git-torrent
        words=(git -C /tmp torrent se) cword=4 __git_cmd_idx=3
        _git_torrent; printf '%s\\n' "${{COMPREPLY[@]}}"
        COMP_WORDS=(gittorrent seed --hand more) COMP_CWORD=2
        _gittorrent; printf '%s\\n' "${{COMPREPLY[@]}}"
        compopt() {{ echo "$2"; }}
        COMP_WORDS=(gittorrent log pr) COMP_CWORD=2
        _gittorrent; printf '%s\\n' "${{COMPREPLY[@]}}"
    """,
    "zsh": """
        fpath=({folder} $fpath)
        autoload -Uz _gittorrent _git-torrent
        _describe() {{ print -l -- ${{(P)3}} }}
        words=(torrent se) CURRENT=2
        _git-torrent
        words=(gittorrent seed --hand more) CURRENT=3
        _gittorrent
        _gittorrent
        _path_files() {{ print -l -- plusdirs }}
        words=(gittorrent log pr) CURRENT=3
        _gittorrent
    """,
    "fish": """
        source {folder}/gittorrent.fish
        complete -C 'git -C /tmp torrent se'
        complete -C 'gittorrent seed --hand'
        complete -C 'gittorrent keeper '
        complete -C 'gittorrent log pr'
        complete -C 'git torrent policy '
    """,
}
"""What shows in a shell what is completed; bash and zsh are told what git's completion says."""


@pytest.mark.parametrize("shell", COMPLETIONS)
def test_shells_complete_git_torrent_as_well(operator: Person, tmp_path: Path, shell: str) -> None:
    found = shutil.which(shell)
    if found is None:
        pytest.skip(f"{shell} is not here")
    script = operator.gittorrent("completion", shell).ok().out
    for name in {
        "bash": ("git-torrent",),
        "zsh": ("_git-torrent", "_gittorrent"),
        "fish": ("gittorrent.fish",),
    }[shell]:
        (tmp_path / name).write_text(script)
    quick = ["-f"] if shell == "zsh" else []
    done = operator.run(found, *quick, "-c", COMPLETIONS[shell].format(folder=tmp_path)).ok()
    completed = [re.split(r"[\t:]", line)[0] for line in done.out.splitlines()]
    assert {"seed", "serve"} <= set(completed)
    assert "--hand-over" in completed
    assert {"project", "private"} <= set(completed)
    assert shell == "fish" or "plusdirs" in completed, "directories are completed, too"
    if shell == "fish":
        # A word that has not begun is two words to fish 3.6.0, if it is not asked for with care.
        assert {"here", "diff", "sign"} <= set(completed)


def test_every_shell_finds_its_script_by_both_names() -> None:
    """The wheel installs them so, and git's completions look for the second."""
    data = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["data-files"]
    for shell, folder in {
        "bash": "share/bash-completion/completions",
        "zsh": "share/zsh/site-functions",
        "fish": "share/fish/vendor_completions.d",
    }.items():
        own = ROOT / "src/gittorrent/cli/completions" / SCRIPTS[shell]
        installed = [ROOT / each for each in data[folder]]
        other = own.name.replace("gittorrent", "git-torrent")
        assert {each.name for each in installed} == {own.name, other}
        assert {each.read_text() for each in installed} == {own.read_text()}
