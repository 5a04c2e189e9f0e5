"""``gittorrent collection``."""

from __future__ import annotations

from pathlib import Path

import click

from gittorrent.cli.output import count, json_option, print_json, quiet_option
from gittorrent.errors import GitTorrentError, UsageError
from gittorrent.node.collection_file import FILE_NAME, MAX_BYTES, Entry, parse_collection


class CollectionWrongError(GitTorrentError):
    """Not everything in a collection's file counts."""


@click.group()
def collection() -> None:
    """Look at collections: lists of repositories that their owners want carried."""


@collection.command()
@click.argument(
    "file", type=click.Path(exists=True, path_type=Path), default=FILE_NAME, required=False
)
@quiet_option
@json_option
def check(file: Path, quiet: bool, as_json: bool) -> None:
    """Check a collection.toml before it is published, as those who follow it will read it.

    FILE is the file, or the directory that it is in; collection.toml of the current directory
    where it is left out. Every mistake is named with its line; what is not known is passed over
    by those who follow, and is a mistake here. With one the exit code is 1.

    \b
    Examples:
      gittorrent collection check
      gittorrent collection check ~/src/our-repositories
    """
    path = file / FILE_NAME if file.is_dir() else file
    if path != file and not path.is_file():
        raise UsageError(f"there is no file {path}")
    with path.open("rb") as opened:
        found = parse_collection(opened.read(MAX_BYTES + 1))
    problems = [*found.faults, *found.unknown]
    if as_json:
        print_json(
            {
                "repositories": list(map(_as_json, found.entries)),
                "problems": [{"line": each.line, "text": each.text} for each in problems],
            }
        )
    elif not quiet:
        click.echo(f"{path}: {count(len(found.entries), 'repository')}")
    for each in sorted(problems, key=lambda each: each.line):
        if not as_json:
            click.echo(str(each), err=True)
    if problems:
        wrong = found.wrong + len(found.unknown)
        raise CollectionWrongError(f"{path} has {count(wrong, 'mistake')}")


def _as_json(entry: Entry) -> dict[str, object]:
    return {
        "id": entry.repository,
        "urls": [url.url for url in entry.urls],
        "name": entry.name,
        "priority": entry.priority,
    }
