"""Collections: what owners name is carried where it is followed, within the operator's limits."""

from __future__ import annotations

import contextlib
import json
import signal
from collections.abc import Callable

import pytest

from gittorrent.ids import SHA1
from gittorrent.repository.carried import Carried
from support import gitcmd, nodes
from support.collection_sites import Site, carried, once, states
from support.programs import Person, serve, wait_until

SOON = "[carry]\nlook-every = 1\n"
"""A configuration by which a source is asked every second."""


@pytest.fixture
def owner(people: Callable[[str], Person]) -> Person:
    return people("owner")


@pytest.fixture
def operator(people: Callable[[str], Person]) -> Person:
    person = people("operator")
    configure(person, SOON)
    return person


@pytest.fixture
def site(owner: Person) -> Site:
    return Site(owner, ["list", "one", "two", "three", "four"])


def configure(person: Person, text: str) -> None:
    person.node.mkdir(exist_ok=True)
    (person.node / "node.toml").write_text(text)


def are_carried(person: Person, *names: str) -> Callable[[], bool]:
    return lambda: set(carried(person)) == set(names)


def test_what_owners_name_is_carried_and_what_they_take_out_goes(
    site: Site, operator: Person
) -> None:
    with serve(site.owner) as site.node:
        site.name_all("one", "two")
        once(operator, site.node).ok()
        assert set(carried(operator)) == {"list", "one", "two"}
        site.name_all("two", "three")
        once(operator, site.node).ok()
        assert set(carried(operator)) == {"list", "two", "three"}
        path = operator.node / "repositories"
        assert not (path / "one.git").exists()
        wanted = gitcmd.refs(site.owner.root / "three.git")[b"refs/heads/main"]
        assert gitcmd.refs(path / "three.git")[b"refs/heads/main"] == wanted


def test_a_node_follows_what_owners_add_and_take_out(site: Site, operator: Person) -> None:
    with serve(site.owner) as site.node, serve(operator) as node:
        site.name_all("one")
        done = operator.gittorrent("mirror", "--collection", site.node.url("list")).ok()
        assert "handed over to the node" in done.err
        wait_until(are_carried(operator, "list", "one"), "what is named is here")
        site.name_all("one", "two")
        wait_until(are_carried(operator, "list", "one", "two"), "what was added is here")
        assert operator.git("ls-remote", f"{node.git}/two.git").ok().out
        site.name_all("two")
        wait_until(are_carried(operator, "list", "two"), "what was taken out is gone")


def test_many_that_disappear_at_once_wait_for_a_confirmation(site: Site, operator: Person) -> None:
    with serve(site.owner) as site.node:
        site.name_all("one", "two", "three", "four")
        once(operator, site.node).ok()
        site.name_all("one")
        once(operator, site.node).ok()
        assert set(carried(operator)) == {"list", "one", "two", "three", "four"}
        assert (
            "list: 3 of 4 repositories disappeared at once"
            in operator.gittorrent("status").ok().out
        )
        why = "it is named no more; 'gittorrent confirm' says what lets it go"
        assert states(operator)["two"] == ("held", why)
        shown = operator.gittorrent("collections").ok().out
        assert "brings 1 repository of 1 named and 3 that it names no more, " in shown
        site.name_all("one", "two")  # one of them is back
        once(operator, site.node).ok()
        operator.gittorrent("confirm", "list").ok()
        once(operator, site.node).ok()
        assert set(carried(operator)) == {"list", "one", "two"}
        assert "held back" not in operator.gittorrent("status").ok().out


def test_what_the_operator_carries_himself_waits_for_no_confirmation(
    site: Site, operator: Person
) -> None:
    """Nor does what another collection names, or what never came: nothing happens to it."""
    with serve(site.owner) as site.node:
        operator.gittorrent("mirror", site.node.url("one"), "--once").ok()
        nowhere = f'[[repository]]\nid = "{"b" * 51}a"\n'
        listed = [site.entry(name) for name in ("list", "one", "two", "three")]
        site.name("".join([*listed, nowhere]))
        once(operator, site.node)
        assert set(carried(operator)) == {"list", "one", "two", "three"}
        assert states(operator)["b" * 51 + "a"] == (
            "coming",
            f"no mirror of gittorrent://{'b' * 51}a can be asked: none is known on this machine,"
            " and none was found",
        )
        site.name_all("three")
        once(operator, site.node).ok()
        (held,) = json.loads(operator.gittorrent("confirm", "--json").ok().out)
        assert held["names"] == [site.ids["two"]]
        assert "1 of 2 repositories disappeared" in operator.gittorrent("status").ok().out
        operator.gittorrent("confirm", "list").ok()
        once(operator, site.node).ok()
        assert set(carried(operator)) == {"list", "one", "three"}


@pytest.mark.parametrize("by_node", [False, True])
def test_what_is_no_collection_is_said_once(site: Site, operator: Person, by_node: bool) -> None:
    """With what to do, and an exit code that says so."""
    with contextlib.ExitStack() as stack:
        site.node = stack.enter_context(serve(site.owner))
        if by_node:
            stack.enter_context(serve(operator))
        words = ("mirror", "--collection", site.node.url("one"), *([] if by_node else ["--once"]))
        done = operator.gittorrent(*words).failed(
            2, "there is no collection.toml on main", "carries this repository alone"
        )
        assert done.err.count("collection.toml on main") == 1
        assert set(carried(operator)) == {"one"}


def test_a_running_node_sees_a_confirmation(site: Site, operator: Person) -> None:
    with serve(site.owner) as site.node, serve(operator):
        site.name_all("one", "two", "three", "four")
        operator.gittorrent("mirror", "--collection", site.node.url("list")).ok()
        wait_until(are_carried(operator, "list", *list(site.ids)[1:]), "all are here")
        site.name("# nothing any more\n")
        wait_until(
            lambda: "4 of 4 repositories disappeared" in operator.gittorrent("confirm").ok().out,
            "that is held back",
        )
        operator.gittorrent("confirm", "--refuse", "1").ok()
        operator.gittorrent("confirm", "1").ok()
        wait_until(are_carried(operator, "list"), "all are gone")


# -- what the operator says comes first


def test_limits_leave_out_what_does_not_fit_and_say_so(site: Site, operator: Person) -> None:
    with serve(site.owner) as site.node:
        site.name_all("one", "two", "three")
        once(operator, site.node, "--max-repositories", "2").ok()
        assert set(carried(operator)) == {"list", "one", "two"}
        why = "the limit of 2 repositories is reached"
        assert states(operator)[site.ids["three"]] == ("left out", why)
        assert why in operator.gittorrent("collections").ok().out
        once(operator, site.node, "--max-repositories", "3").ok()
        assert "three" in carried(operator)
        # What is here when a limit is lowered stays, and is followed no more.
        once(operator, site.node, "--max-repositories", "1").ok()
        assert set(carried(operator)) == {"list", "one", "two", "three"}
        assert states(operator)["two"][0] == "not followed"


def test_only_what_keys_of_the_operators_choice_signed_is_carried(
    site: Site, operator: Person, people: Callable[[str], Person]
) -> None:
    other = people("other")
    foreign = Site(other, ["foreign"])
    key = str(Carried(site.owner.root / "one.git", SHA1).log().policy.policy.roots[0])
    with serve(site.owner) as site.node, serve(other) as foreign.node:
        site.name(site.entry("one") + foreign.entry("foreign"))
        once(operator, site.node, "--owner", key).ok()
        assert set(carried(operator)) == {"list", "one"}
        why = "none of the keys that you allow is a root of its policy"
        assert states(operator)[foreign.ids["foreign"]] == ("left out", why)
        assert not list((operator.node / "repositories").glob(".new-*"))


def test_what_the_operator_asked_for_is_neither_changed_nor_removed(
    site: Site, operator: Person
) -> None:
    with serve(site.owner) as site.node:
        operator.gittorrent("mirror", site.node.url("one"), "--once", "--name", "mine").ok()
        before = carried(operator)["mine"]
        bad = 'urls = ["git://127.0.0.1:1025/nothing.git"]'
        site.name(f'[[repository]]\nid = "{site.ids["one"]}"\nname = "two"\n{bad}\n')
        once(operator, site.node).ok()
        assert states(operator) == {"mine": ("elsewhere", "you asked for it yourself")}
        site.name("")
        once(operator, site.node).ok()
        after = carried(operator)["mine"]
        assert (after["path"], after["source"]) == (before["path"], before["source"])


def test_what_is_asked_for_later_stays_when_the_collection_lets_go(
    site: Site, operator: Person
) -> None:
    with serve(site.owner) as site.node:
        site.name_all("one", "two")
        once(operator, site.node).ok()
        operator.gittorrent("mirror", site.node.url("one"), "--once").ok()
        site.name("")
        once(operator, site.node).ok()
        assert set(carried(operator)) == {"list", "one"}


def test_what_the_operator_removed_does_not_come_again(site: Site, operator: Person) -> None:
    with serve(site.owner) as site.node:
        site.name_all("one", "two")
        once(operator, site.node).ok()
        operator.gittorrent("remove", "one", "--yes").ok()
        once(operator, site.node).ok()
        assert set(carried(operator)) == {"list", "two"}
        assert states(operator)[site.ids["one"]][0] == "left out"
        operator.gittorrent("mirror", site.node.url("one"), "--once").ok()
        assert set(carried(operator)) == {"list", "one", "two"}
        # Without the collection nothing is deleted.
        operator.gittorrent("remove", "list", "--yes").ok()
        assert set(carried(operator)) == {"one", "two"}
        assert json.loads(operator.gittorrent("collections", "--json").ok().out) == []


def test_what_two_collections_name_goes_with_the_last(site: Site, operator: Person) -> None:
    site.publish("other")
    with serve(site.owner) as site.node:
        site.name_all("one", "two")
        site.name_all("one", "three", collection="other")
        once(operator, site.node).ok()
        operator.gittorrent("mirror", "--collection", site.node.url("other"), "--once").ok()
        site.name_all("two")
        once(operator, site.node).ok()
        assert set(carried(operator)) == {"list", "other", "one", "two", "three"}
        site.name_all("three", collection="other")
        operator.gittorrent("mirror", "--collection", site.node.url("other"), "--once").ok()
        assert set(carried(operator)) == {"list", "other", "two", "three"}


def test_a_configuration_names_collections_and_their_limits(site: Site, operator: Person) -> None:
    with serve(site.owner) as site.node:
        site.name_all("one", "two")
        table = f'[[carry.collection]]\nurl = "{site.node.url("list")}"\nmax-repositories = '
        configure(operator, f"{SOON}{table}1\n")
        with serve(operator):
            wait_until(are_carried(operator, "list", "one"), "what fits is here")
            configure(operator, f"{SOON}{table}2\n")
            operator.gittorrent("reload").ok()
            wait_until(are_carried(operator, "list", "one", "two"), "the rest is here")
            configure(operator, SOON)
            operator.gittorrent("reload").ok()
            wait_until(lambda: states(operator) == {}, "no collection is followed")
            assert set(carried(operator)) == {"list", "one", "two"}


# -- what goes wrong


def test_a_collection_that_is_not_understood_or_not_there_changes_nothing(
    site: Site, operator: Person
) -> None:
    with serve(site.owner) as site.node:
        site.name_all("one", "two")
        once(operator, site.node).ok()
        site.name("<<<<<<< ours\n")
        once(operator, site.node).failed(2, "collection.toml:1: is neither")
        assert set(carried(operator)) == {"list", "one", "two"}
        site.name(site.entry("one") + "[[repository]]\nid = 1\n")
        assert "collection.toml:5: id: " in once(operator, site.node).ok().err
        assert set(carried(operator)) == {"list", "one", "two"}
        path = site.owner.root / "list.git"
        nodes.add_commit(path, "refs/heads/main", "other", b"no collection")
        site.owner.gittorrent("publish", path, "--wait").ok()
        once(operator, site.node).failed(2, "there is no collection.toml on main")
        assert set(carried(operator)) == {"list", "one", "two"}
        said = operator.gittorrent("status").ok().out
        assert "nothing changes by it: there is no collection.toml" in said
        site.name_all("two")
        once(operator, site.node).ok()
        assert set(carried(operator)) == {"list", "two"}
        last = site.node
    once(operator, last).failed(3)
    assert set(carried(operator)) == {"list", "two"}


def test_a_node_that_is_killed_goes_on_where_it_was(site: Site, operator: Person) -> None:
    names = ("one", "two", "three", "four")
    with serve(site.owner) as site.node:
        site.name_all(*names)
        with serve(operator) as node:
            operator.gittorrent("mirror", "--collection", site.node.url("list")).ok()
            node.running.signal_group(signal.SIGKILL)  # it has begun to bring what is named
            node.running.wait()
        with serve(operator) as node:
            wait_until(are_carried(operator, "list", *names), "all are here")
            site.name_all("one", "two", "three")
            wait_until(lambda: "four" not in states(operator), "that was read")
            node.running.signal_group(signal.SIGKILL)
            node.running.wait()
        with serve(operator):
            wait_until(are_carried(operator, "list", "one", "two", "three"), "that has gone")
            assert len(list((operator.node / "repositories").glob("[!.]*.git"))) == 4


def test_what_a_collection_brought_is_its_own_again_after_a_restore(
    site: Site, operator: Person, people: Callable[[str], Person]
) -> None:
    later = people("later")
    file = operator.root / "node.tar"
    with serve(site.owner) as site.node:
        site.name_all("one", "two")
        once(operator, site.node).ok()
        operator.gittorrent("backup", file).ok()
        later.gittorrent("restore", file).ok()
        with serve(later):
            wait_until(are_carried(later, "list", "one", "two"), "all came again")
        site.name_all("two")
        once(later, site.node).ok()
        assert set(carried(later)) == {"list", "two"}


def test_limits_of_a_collection_are_for_collections(operator: Person) -> None:
    said = "--refs and --owner say what a collection may bring"
    words = ("mirror", "git://127.0.0.1:1/x.git", "--once")
    operator.gittorrent(*words, "--max-total", "1G").failed(2, said)
    operator.gittorrent(*words, "--collection", "--owner", "me").failed(2, "--owner: ")
    operator.gittorrent(*words, "--collection", "--refs", "refs/../x").failed(2, "--refs: ")
    operator.gittorrent(*words, "--collection", "--refs", "main").failed(2, "full name")


def test_a_collection_that_is_published_here_is_followed_as_well(
    site: Site, operator: Person
) -> None:
    own = Site(operator, ["mine", "other"])
    with serve(site.owner) as site.node:
        operator.gittorrent("mirror", site.node.url("two"), "--once").ok()
        entry = f'[[repository]]\nid = "{own.ids["other"]}"\n'
        own.name(f"{entry}{site.entry('two')}", collection="mine")
        words = ("mirror", "--collection", f"gittorrent://{own.ids['mine']}", "--once")
        operator.gittorrent(*words).ok()
        assert states(operator) == {
            "other": ("elsewhere", "it is published from here"),
            "two": ("elsewhere", "you asked for it yourself"),
        }
