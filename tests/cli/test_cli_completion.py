"""Completion in the shells that are here, for gittorrent and git torrent."""

from __future__ import annotations

import re
import shutil
import tomllib
from pathlib import Path

import pytest

from gittorrent.cli.completion import SCRIPTS
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


COMPLETIONS = {
    "bash": """
        . {folder}/git-torrent
        words=(git -C /tmp torrent se) cword=4 __git_cmd_idx=3
        _git_torrent; printf '%s\\n' "${{COMPREPLY[@]}}"
        COMP_WORDS=(gittorrent seed --hand more) COMP_CWORD=2
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
    """,
    "fish": """
        source {folder}/gittorrent.fish
        complete -C 'git -C /tmp torrent se'
        complete -C 'gittorrent seed --hand'
        complete -C 'gittorrent keeper '
        complete -C 'git torrent policy '
    """,
}
"""What shows in a shell what is completed; bash and zsh are told what git's completion says."""


@pytest.mark.parametrize("shell", COMPLETIONS)
def test_shells_complete_git_torrent_as_well(owner: Person, tmp_path: Path, shell: str) -> None:
    found = shutil.which(shell)
    if found is None:
        pytest.skip(f"{shell} is not here")
    script = owner.gittorrent("completion", shell).ok().out
    for name in {
        "bash": ("git-torrent",),
        "zsh": ("_git-torrent", "_gittorrent"),
        "fish": ("gittorrent.fish",),
    }[shell]:
        (tmp_path / name).write_text(script)
    quick = ["-f"] if shell == "zsh" else []
    done = owner.run(found, *quick, "-c", COMPLETIONS[shell].format(folder=tmp_path)).ok()
    completed = [re.split(r"[\t:]", line)[0] for line in done.out.splitlines()]
    assert {"seed", "serve"} <= set(completed)
    assert "--hand-over" in completed
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
