"""``gittorrent certificate``: what a web of trust is judged by travels with pushes."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import TYPE_CHECKING

import click

from gittorrent.cli.output import count, json_option, print_json
from gittorrent.cli.repositories import REPOSITORY, repository_at_hand
from gittorrent.errors import UsageError
from gittorrent.git.repository import find_repository, read_config
from gittorrent.git.runner import Git
from gittorrent.push.certificate import MAX_OPTION, MAX_OPTIONS
from gittorrent.push.depot.admission import CERTIFICATE_OPTION
from gittorrent.signing.gpg import export_certificate
from gittorrent.trust.key_files import read_keys

if TYPE_CHECKING:
    from collections.abc import Sequence

_SETTING = "push.pushOption"
_NAME = CERTIFICATE_OPTION.decode("ascii")
_PIECE = (MAX_OPTION - len(_NAME) - 1) // 4 * 4
"""Base64 digits in one push option."""

SPARE_OPTIONS = 8
"""Push options that are left for others' use."""


@click.command()
@click.argument("repository", type=REPOSITORY, default=repository_at_hand)
@click.option(
    "--key",
    metavar="KEY",
    help="Your OpenPGP key, as gpg knows it; by default git's user.signingKey.",
)
@click.option(
    "--also",
    multiple=True,
    metavar="KEY",
    help="Key of somebody who vouches for you and for whom an owner does.",
)
@click.option("--remove", is_flag=True, help="Let pushes carry no certificate any more.")
@json_option
def certificate(
    repository: Path, key: str | None, also: tuple[str, ...], remove: bool, as_json: bool
) -> None:
    """Let pushes from this clone carry your OpenPGP certificate, which a web of trust is judged by.

    For those whom no policy names, and whose key an owner's key has certified. Git sends a
    signature and no certificate, so it goes into push options, which are signed too: then plain
    'git push' is enough. Run it again when somebody else has certified your key, or you extended
    it. Hosts that know no push options refuse pushes with them.

    \b
    Examples:
      gittorrent certificate --key alice@example.org
      gittorrent certificate --key alice@example.org --also bob@example.org
    """
    git = Git(find_repository(repository).git_dir)
    if remove:
        _set(git, [])
        if as_json:
            print_json({"git_dir": str(git.directory), "certificates": [], "bytes": 0})
        else:
            click.echo("pushes from here carry no certificate any more")
        return
    config = read_config(git.directory)
    own = key or config.get("user.signingkey")
    if own is None or config.get("gpg.format", "openpgp") != "openpgp":
        raise UsageError(
            "git signs with no OpenPGP key here, and SSH keys have no certificates",
            hint="name the key with --key, and let git sign with it:"
            " git config gpg.format openpgp, git config user.signingKey KEY",
        )
    found = [read_keys(export_certificate(name), name).keys[0] for name in (own, *also)]
    raw = b"".join(each.certificate or b"" for each in found)
    pieces = _pieces(raw)
    _set(git, pieces)
    if "push.gpgsign" not in config:
        git.run("config", "--local", "push.gpgSign", "if-asked")
    if "user.signingkey" not in config:
        git.run("config", "--local", "user.signingKey", found[0].key.fingerprint)
    if as_json:
        carried = [{"key": str(each.key), "label": each.label} for each in found]
        print_json({"git_dir": str(git.directory), "certificates": carried, "bytes": len(raw)})
        return
    click.echo(
        f"pushes from here carry {count(len(found), 'certificate')} now, {len(raw)} bytes:"
        f" {', '.join(each.label for each in found)}"
    )


def _pieces(raw: bytes) -> list[str]:
    """Cut certificates into push options.

    Raises:
        UsageError: they are too long for that.
    """
    text = base64.b64encode(raw).decode("ascii")
    pieces = [text[at : at + _PIECE] for at in range(0, len(text), _PIECE)]
    if len(pieces) > MAX_OPTIONS - SPARE_OPTIONS:
        most = (MAX_OPTIONS - SPARE_OPTIONS) * _PIECE * 3 // 4
        raise UsageError(
            f"the certificates have {len(raw)} bytes, and a push carries {most} at most",
            hint="leave out what nobody needs there: gpg --edit-key KEY, then 'clean' or 'minimize'"
            " and the certifications that count again",
        )
    return pieces


def _set(git: Git, pieces: Sequence[str]) -> None:
    """Put the pieces in the place of those that are there, and leave other push options alone."""
    done = git.attempt("config", "--local", "--unset-all", _SETTING, f"^{_NAME}=")
    if done.returncode not in (0, 5):  # 5: there was none
        git.run("config", "--local", "--unset-all", _SETTING, f"^{_NAME}=")
    for piece in pieces:
        git.run("config", "--local", "--add", _SETTING, f"{_NAME}={piece}")
