"""``gittorrent gtp metainfo``, and what the commands of GTP/0.1 share."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from gittorrent.cli.output import json_option, print_json
from gittorrent.durable import write_atomically
from gittorrent.errors import GitTorrentError, UnverifiedError, UsageError
from gittorrent.printable import paragraph

if TYPE_CHECKING:
    from gittorrent.gtp.metainfo import Metainfo
    from gittorrent.gtp.node.authoring import ReferenceAuthor

profile_option = click.option(
    "--profile",
    type=click.Choice(["rfc", "perl-2008"]),
    default="rfc",
    show_default=True,
    help="Dialect of the swarm.",
)
file_argument = click.argument("file", type=click.Path(path_type=Path, dir_okay=False))


@click.group()
def metainfo() -> None:
    """Make and look at .gittorrent files."""


@metainfo.command("create")
@click.argument("repo", type=click.Path(path_type=Path, exists=True))
@file_argument
@click.option("--key", help="OpenPGP key to sign with, as gpg names it; default as git does.")
@click.option("--tracker", "trackers", multiple=True, metavar="URL", help="A tracker to name.")
@click.option("--description", default="", help="What the repository is.")
@click.option("--comment", default="", help="A remark.")
@profile_option
@json_option
def create(
    repo: Path,
    file: Path,
    key: str | None,
    trackers: tuple[str, ...],
    description: str,
    comment: str,
    profile: str,
    as_json: bool,
) -> None:
    """Write the metainfo FILE of a repository, with a signed list of its branches and tags.

    \b
    Examples:
      gittorrent gtp metainfo create . project.gittorrent --tracker http://tracker.example.org:8418/
    """
    from gittorrent.gtp.metainfo import parse_metainfo
    from gittorrent.gtp.node.authoring import make_metainfo, remember_references
    from gittorrent.gtp.profile import PROFILES

    author = author_of(repo, key, signs=profile == "rfc")
    data = make_metainfo(
        repo,
        author,
        PROFILES[profile],
        trackers=trackers,
        description=description,
        comment=comment,
    )
    write_file(file, data)
    info = parse_metainfo(data)
    remember_references(repo, info, *info.references)
    if as_json:
        print_json({"file": str(file), "repo_hash": info.repo_hash.hex()})
    else:
        click.echo(f"{file}: repo hash {info.repo_hash.hex()}")


@metainfo.command("show")
@file_argument
@json_option
def show(file: Path, as_json: bool) -> None:
    """Print what a metainfo FILE says, verified or not.

    \b
    Examples:
      gittorrent gtp metainfo show project.gittorrent
    """
    from gittorrent.gtp.reference import parse_reference
    from gittorrent.trust.openpgp import certificate_fingerprint

    info = read_metainfo(file)
    references = [parse_reference(body, info.profile.separator) for body in info.references]
    value = {
        "repo_hash": info.repo_hash.hex(),
        "profile": info.profile.name,
        "key": str(certificate_fingerprint(info.pubkey)) if info.pubkey else None,
        "description": info.description,
        "comment": info.comment,
        "created_by": info.created_by,
        "creation_date": info.creation_date,
        "trackers": list(info.trackers),
        "alternatives": [other.hex() for other in info.alternatives],
        "references": [
            {"id": r.id.hex(), "time": r.time, "refs": len(r.refs), "signed": r.is_signed}
            for r in references
        ],
    }
    if as_json:
        print_json(value)
        return
    for name, found in value.items():
        if name != "references" and found:
            shown = ", ".join(map(str, found)) if isinstance(found, list) else found
            click.echo(paragraph(f"{name.replace('_', ' ')}: {shown}"))
    for r in references:
        signed = "signed" if r.is_signed else "not signed"
        click.echo(f"reference {r.id.hex()}: {len(r.refs)} refs, {signed}")


@metainfo.command("verify")
@file_argument
@json_option
def verify(file: Path, as_json: bool) -> None:
    """Check the form of a metainfo FILE and the signatures of its reference objects.

    \b
    Examples:
      gittorrent gtp metainfo verify project.gittorrent
    """
    from gittorrent.gtp.believed import ReferenceBook

    info = read_metainfo(file)
    book = ReferenceBook(info)
    if not info.pubkey:
        raise UnverifiedError(
            f"{file} has no key: its {len(book)} reference objects cannot be verified",
            hint="this is usual in the dialect of 2008",
        )
    if as_json:
        print_json({"file": str(file), "references": len(book)})
    else:
        click.echo(f"{file}: {len(book)} reference objects, all signed by its key")


def read_metainfo(file: Path, profile: str | None = None) -> Metainfo:
    """Read a metainfo file; the profile, where given, overrides what it says."""
    from gittorrent.gtp.metainfo import parse_metainfo
    from gittorrent.gtp.profile import PROFILES

    try:
        return parse_metainfo(file.read_bytes(), PROFILES[profile] if profile else None)
    except OSError as error:
        raise UsageError(f"cannot read {file}: {error.strerror}") from error
    except GitTorrentError as error:
        raise UsageError(f"{file}: {error}", hint=error.hint) from error


def write_file(file: Path, data: bytes) -> None:
    """Write a file that the user named.

    Raises:
        UsageError: it cannot be written.
    """
    try:
        write_atomically(file, data)
    except OSError as error:
        raise UsageError(f"cannot write {file}: {error.strerror}") from error


def author_of(repo: Path, key: str | None, *, signs: bool) -> ReferenceAuthor:
    """Return whose name and key go into reference objects of a repository."""
    from gittorrent.git.repository import read_config
    from gittorrent.gtp.node.authoring import ReferenceAuthor
    from gittorrent.signing.keys import resolve_signer

    config = read_config(repo)
    name, email = config.get("user.name", "gittorrent"), config.get("user.email", "gtp@localhost")
    person = f"{name} <{email}>".encode("utf-8", "surrogateescape")
    return ReferenceAuthor(person, int(time.time()), resolve_signer(key, config) if signs else None)
