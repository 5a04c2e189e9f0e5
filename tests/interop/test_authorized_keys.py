"""Keys that policies name get in over ssh without a file of keys: sshd asks at each login."""

from __future__ import annotations

import getpass
from contextlib import closing
from pathlib import Path

import pytest

from gittorrent.repository.carried import ORIGIN, Carried
from gittorrent.signing.keys import Signer, make_ssh_key
from gittorrent.store.carried_rows import CarriedRow
from gittorrent.store.database import Database
from gittorrent.store.home import Home
from gittorrent.trust.policy import Rule
from gittorrent.trust.refpattern import RefPattern
from gittorrent.trust.sshkey import parse_key_line
from support import nodes
from support.copying import copy_tree
from support.programs import BIN, Person, somebody
from support.sshd import running_sshd


@pytest.fixture
def operator(tmp_path: Path) -> Person:
    return somebody(tmp_path / "operator")


def carry(operator: Person, *repositories: Carried) -> None:
    operator.gittorrent("status").ok()
    with closing(Database(Home(operator.node).database)) as database:
        for each in repositories:
            info, place = each.info, str(each.layout.git_dir)
            database.carry(CarriedRow(info.name, info.repository_id, place, ORIGIN, ""))


def offered(operator: Person, public: Path) -> str:
    _, key, *_ = public.read_text().split()
    return operator.gittorrent("shell", "--authorized-keys", key).ok().out


def test_readers_get_in_as_long_as_a_policy_names_them(
    tmp_path: Path, owner_key: Signer, operator: Person
) -> None:
    made = nodes.make_repository(tmp_path / "secrets.git", 1000)
    secret = nodes.publish(made, owner_key, "secrets", private=True)
    carry(operator, secret)
    command = f"/usr/bin/env GITTORRENT_HOME={operator.node} {BIN}/gittorrent shell"
    settings = (
        f"AuthorizedKeysCommand {command} --authorized-keys %k\n"
        f"AuthorizedKeysCommandUser {getpass.getuser()}\n"
    )
    with running_sshd(tmp_path, None, settings) as (port, client):
        person = Person(tmp_path / "reader", variables={"GIT_SSH_COMMAND": str(client)})
        base = f"ssh://{getpass.getuser()}@127.0.0.1:{port}"
        person.git("ls-remote", f"{base}/secrets.git").failed(128, "Permission denied")
        key = parse_key_line((tmp_path / "id.pub").read_text()).key
        nodes.change_policy(secret, owner_key, readers=(key,))
        person.git("clone", f"{base}/secrets.git", "copy").ok()
        person.git("ls-remote", f"{base}/missing.git").failed(128, "no such repository here")
        words = ("-p", str(port), f"{getpass.getuser()}@127.0.0.1", "id")
        assert "uid=" not in person.run(client, *words).out
        nodes.change_policy(secret, owner_key, readers=())
        person.git("ls-remote", f"{base}/secrets.git").failed(128, "Permission denied")


def test_what_is_printed(
    tmp_path: Path, owner_key: Signer, operator: Person, project: Carried
) -> None:
    make_ssh_key(tmp_path / "other", "other@example.org")
    copy_tree(project.layout.git_dir, tmp_path / "copy.git")
    copy = Carried(tmp_path / "copy.git", project.object_format)
    carry(operator, copy)
    other = tmp_path / "other.pub"
    assert offered(operator, other) == ""
    key = parse_key_line(other.read_text()).key
    rules = (*copy.log().policy.policy.rules, Rule(RefPattern(b"refs/heads/x"), key))
    nodes.change_policy(copy, owner_key, rules=rules)
    line = offered(operator, other)
    assert line.startswith(f'restrict,command="GITTORRENT_HOME={operator.node} ')
    assert " shell --key ssh:SHA256:" in line
    assert line.count("\n") == 1
    for nonsense in ("AAAA", "!", "x\ny", "AAAAC3NzaC1lZDI1NTE5"):
        assert operator.gittorrent("shell", "--authorized-keys", nonsense).ok().out == ""
    # What is damaged lets nobody in, and does not keep others out.
    copy.log_store.path.write_text("damaged")
    assert offered(operator, other) == ""
