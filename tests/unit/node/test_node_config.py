"""``node.toml``: what it says, and what is said of one that is wrong."""

from __future__ import annotations

import re
from importlib import resources

import pytest
from msgspec.structs import replace

from gittorrent.disk_space import DEFAULT_RESERVE, NO_RESERVE, Reserve
from gittorrent.node.config import (
    LimitsConfig,
    NodeConfig,
    Rates,
    RatesAt,
    RepositoryConfig,
    TrackConfig,
)
from gittorrent.node.config_document import parse_config
from gittorrent.node.config_table import ConfigError
from gittorrent.node.toml_lines import lines_of
from gittorrent.push.carry_limits import CollectionLimits
from gittorrent.transfer.location import parse_location

TEMPLATE = (resources.files("gittorrent.node") / "node.toml").read_text(encoding="utf-8")
MONDAY, FRIDAY, SATURDAY = 0, 4, 5
NOON = 12 * 60


def problems(text: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        parse_config(text)
    return caught.value.problems


def uncommented(template: str) -> str:
    """Return the template with all its settings switched on."""
    return re.sub(r"^# (?=\[\[|[a-z-]+ = )", "", template, flags=re.MULTILINE)


def test_template_and_nothing_say_the_same() -> None:
    assert parse_config(TEMPLATE) == parse_config("") == NodeConfig()


KEY = "ssh:SHA256:" + "A" * 42 + "E"


def test_every_setting_of_the_template_is_known() -> None:
    text = uncommented(TEMPLATE).replace("REPOSITORY_ID@", "").replace("COLLECTION_ID@", "")
    config = parse_config(text.replace("SHA256:...", KEY.removeprefix("ssh:")))
    assert config.limits.rates == Rates()
    assert config.limits.at[0].rates == {"up": 2 << 20}
    assert [each.name for each in config.carry.repositories] == ["project", "mirrored"]
    (collection,) = config.carry.collections
    assert collection.location == config.carry.repositories[1].location
    assert collection.limits == replace(
        CollectionLimits(), refs=("refs/heads/*", "refs/tags/*"), owners=(KEY,)
    )


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("max-repositories = 0", "max-repositories: "),
        ('max-total = "much"', "is no size"),
        ('refs = ["heads/*"]', "not a ref pattern"),
        ('owners = ["SHA256:x"]', "owners: "),
        ("priority = 1", "priority: is not known"),
    ],
)
def test_limits_of_collections_are_checked(line: str, said: str) -> None:
    text = f'[[carry.collection]]\nurl = "git://h/x.git"\n{line}\n'
    (problem,) = problems(text)
    assert problem.startswith("node.toml:3: [carry.collection] ")
    assert said in problem


def test_what_is_followed_as_a_collection_is_not_named_twice() -> None:
    table = '[[carry.{}]]\nurl = "git://h/x.git"\n'
    (problem,) = problems(table.format("repository") + table.format("collection"))
    assert "stands in line 1 already" in problem


def test_template_has_every_key_that_is_known() -> None:
    written = {path[-1] for path in lines_of(uncommented(TEMPLATE)) if isinstance(path[-1], str)}
    nested = ["limits.at", "carry.repository", "carry.collection"]
    for section in [*NodeConfig.__struct_fields__, *nested]:
        is_list = "." in section or section == "track"
        header = f"[[{section}]]" if is_list else f"[{section}]"
        known = re.search(r"known are (.*)", "\n".join(problems(f"{header}\n_ = 1")))
        assert known is not None
        assert set(known[1].split(", ")) <= written | {"at", "repository"}


def test_callers_are_limited() -> None:
    limits = parse_config(
        "[limits]\nconnections = 200\nconnections-per-address = 200\n"
        "conversations = 3000\nconversations-per-address = 9"
    ).limits
    assert (limits.connections, limits.per_address) == (200, 200)
    assert (limits.conversations, limits.conversations_per_address) == (3000, 9)


def test_values_are_taken_in_all_their_forms() -> None:
    config = parse_config(
        """
        [listen]
        git = ["0.0.0.0:9418", "[::]:9418"]
        http = "127.0.0.1:0"
        url = "https://mirror.example.org"
        [limits]
        up = "10M"
        peer-up = 4096
        git-memory = "1.5G"
        git-answers = 0
        [carry]
        keep-for = "7d"
        look-every = 90
        [[carry.repository]]
        url = "gittorrent://origin.example.org/a.git"
        name = "b"
        priority = -2
        max-size = "1G"
        [log]
        level = "info"
        """
    )
    assert config.listen.git == (("0.0.0.0", 9418), ("::", 9418))
    assert config.listen.http == (("127.0.0.1", 0),)
    assert config.listen.url is not None
    assert config.listen.url.host == "mirror.example.org"
    assert config.limits.rates == Rates(up=10 << 20, peer_up=4096)
    assert config.limits.git_memory == 3 << 29
    assert config.limits.git_answers == 0
    assert (config.carry.keep_for, config.carry.look_every) == (7 * 86400, 90)
    location = parse_location("gittorrent://origin.example.org/a.git")
    assert config.carry.repositories == (RepositoryConfig(location, "b", -2, 1 << 30),)
    assert config.log.level == "info"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            '# a\n[limits]\nup = "10X"',
            'node.toml:3: [limits] up: "10X" is no rate; write 10M',
        ),
        ('[limits]\nup = "fast"', 'node.toml:2: [limits] up: "fast" is no rate; write 500K or 10M'),
        ('[limits]\nup = "0"', 'node.toml:2: [limits] up: "0" is no rate; write 500K or 10M'),
        ("[limits]\nup = true", "node.toml:2: [limits] up: true is no rate; write 500K or 10M"),
        ("[limits]\ndwon = 1", "node.toml:2: [limits] dwon: is not known; did you mean down?"),
        ("[lisen]\ngit = 1", "node.toml:1: lisen: is not known; did you mean listen?"),
        (
            "[limits]\nconnections = 0",
            "node.toml:2: [limits] connections: 0 is no whole number from 1 to 1000000",
        ),
        (
            "[limits]\nconnections = 9\nconnections-per-address = 10",
            "node.toml:3: [limits] connections-per-address: 10 is more than connections, which"
            " is 9",
        ),
        (
            "[limits]\nconversations-per-address = 10\nconversations = 9",
            "node.toml:2: [limits] conversations-per-address: 10 is more than conversations, which"
            " is 9",
        ),
        (
            "[push]\nx = 1",
            "node.toml:2: [push] x: is not known; known are git, final-only, max-size",
        ),
        (
            'git = "0.0.0.0:9418"\n[listen]',
            "node.toml:1: git: is not known; it belongs below [listen] or [push]",
        ),
        ("peer-up = 1", "node.toml:1: peer-up: is not known; it belongs below [limits]"),
        (
            "[log]\nlook-every = 5",
            "node.toml:2: [log] look-every: is not known; it belongs below [carry]",
        ),
        (
            '[push]\nmax-size = "1G"',
            'node.toml:2: [push] max-size: "1G" is more than 256M, and mirrors pass no more on of'
            " one key before the keeper has taken it",
        ),
        (
            '[disk]\nreserve = "95%"',
            'node.toml:2: [disk] reserve: "95%" is neither a size nor a percentage up to 90%;'
            ' write "1G", "5%" or "none"',
        ),
        (
            '[disk]\nreserve = ["1G", "2G"]',
            "node.toml:2: [disk] reserve: two of one kind; write a size and a percentage:"
            ' ["5%", "1G"]',
        ),
        (
            "[disk]\nreserve = []",
            'node.toml:2: [disk] reserve: [] says nothing; write "1G", "5%" or "none"',
        ),
        ("limits = 3", "node.toml:1: limits: is no table; write [limits]"),
        ("[carry]\nrepository = 3", "node.toml:2: [carry] repository: write [[carry.repository]]"),
        (
            '[listen]\ngit = [\n  "127.0.0.1:1",\n  "x"]',
            'node.toml:4: [listen] git: "x" is no HOST:PORT; write 0.0.0.0:9418 or [::]:9418',
        ),
        (
            "[listen]\ngit = []",
            'node.toml:2: [listen] git: [] names no address; write "0.0.0.0:9418", or leave it out',
        ),
        (
            '[listen]\ngit = "[::1]:9418"\nhttp = ["127.0.0.1:80", "[::1]:9418"]',
            "node.toml:3: [listen] http: [::1]:9418 stands there already; name another port",
        ),
        (
            '[listen]\ngit = ["127.0.0.1:9418", "127.0.0.1:9418"]',
            "node.toml:2: [listen] git: 127.0.0.1:9418 stands there already; name another port",
        ),
        (
            '[ci]\nallow = ["https://git.example.org/", "git.example.org"]',
            'node.toml:2: [ci] allow: "git.example.org": not the URL of an upstream; write'
            " https://HOST/ or https://HOST/PATH/",
        ),
        (
            '[ci]\nallow = "https://me:secret@git.example.org/x?y"',
            'node.toml:2: [ci] allow: "git.example.org/x?y": the URL of an upstream has neither a'
            " query nor a fragment; write https://HOST/ or https://HOST/PATH/",
        ),
        (
            "[push]\n[limits]\nconnections = " + "1" * 5000,
            "node.toml:3: a number has too many digits",
        ),
        ("a = " + "[" * 5000 + "]" * 5000, "node.toml: arrays or tables are nested too deep"),
        (
            "a = " + "{a = " * 5000 + "1" + "}" * 5000,
            "node.toml: arrays or tables are nested too deep",
        ),
        (
            f"[carry]\nat-once = [\n1, 0x{'f' * 5000}]",
            "node.toml:3: at-once: is too large a number; whole numbers have 64 bits",
        ),
        (
            "[limits]\nup = 9223372036854775808",
            "node.toml:2: up: is too large a number; whole numbers have 64 bits",
        ),
        (
            '[limits]\ngit-memory = "1K"',
            'node.toml:2: [limits] git-memory: "1K" is too little for any git; write 64M or more',
        ),
        (
            ".".join("a" * 5000) + " = 1",
            "node.toml:1: a: is not known; known are listen, limits, carry, track, discovery, push,"
            " disk, log, ci",
        ),
        (
            '[listen]\ntls-key = "/etc/node.key"',
            "node.toml:2: [listen] tls-key: is a key without a certificate; write tls-certificate",
        ),
        (
            '[listen]\nurl = "ftp://x"',
            "node.toml:2: [listen] url: scheme 'ftp' is not git, http or https;"
            " write git://mirror.example.org or https://HOST[:PORT]",
        ),
        ("[push]\ngit = 1", "node.toml:2: [push] git: 1 is neither true nor false"),
        (
            '[carry]\nkeep-for = "2w"',
            'node.toml:2: [carry] keep-for: "2w" is no length of time from 0 s to a year;'
            ' write "90s", "30m", "12h" or "7d"',
        ),
        (
            "[carry]\nat-once = 0",
            "node.toml:2: [carry] at-once: 0 is no whole number from 1 to 64",
        ),
        (
            '[[limits.at]]\nhours = "9-17"',
            'node.toml:2: [limits.at] hours: "9-17" is no time of day; write "22:00-06:00"',
        ),
        (
            '[[limits.at]]\ndays = ["mo"]',
            'node.toml:2: [limits.at] days: "mo" is no day; write "mon-fri" or ["sat", "sun"]',
        ),
        (
            '[[carry.repository]]\nname = "x"',
            "node.toml:1: [carry.repository] url: is missing;"
            " write where the repository comes from",
        ),
        (
            '[[carry.repository]]\nurl = "git://h/x"\n[[carry.repository]]\nurl = "git://h/x"',
            "node.toml:4: [carry.repository] url: git://h/x stands in line 1 already",
        ),
        (
            '[log]\nlevel = "loud"',
            'node.toml:2: [log] level: "loud" is not known; write debug, info, warning or error',
        ),
        ("[log\n", "node.toml:1: expected ']' at the end of a table declaration"),
        ("a = 1\na = 2\n", "node.toml:2: a key or a table of this name stands there already"),
        (
            "[push]\n[push]\n",
            "node.toml:2: [push] stands there twice; write all of it below one",
        ),
        ("[a.b]\n[a.b]\n", "node.toml:2: [a.b] stands there twice; write all of it below one"),
        ("a = {b = 1}\na.c = 1\n", "node.toml:2: a stands there already, as something else"),
        (
            "a = 0.0.0.0:1\n",
            "node.toml:1: something follows the value; a text is written in quotes",
        ),
        ("a = yes\n", "node.toml:1: invalid value: a text is written in quotes"),
        ('a = "x\n', "node.toml:1: a text is not closed in its line"),
        (
            '[[carry.repository]]\nurl = "git://h/a"\nname = "n"\n'
            '[[track]]\nurl = "git://h/b"\nname = "n"\n',
            "node.toml:6: [track] name: n stands in line 1 already",
        ),
        ('[log]\n\nlevel = """', "node.toml:3: unterminated string"),
    ],
)
def test_errors_name_the_line_and_a_way_out(text: str, said: str) -> None:
    assert problems(text) == [said]


@pytest.mark.parametrize(
    ("text", "host", "port"),
    [
        ("[::1]:9418", "::1", 9418),
        ("[fe80::1%eth0]:9418", "fe80::1%eth0", 9418),
        ("mirror.example.org:0", "mirror.example.org", 0),
        ("0.0.0.0:09418", "0.0.0.0", 9418),
    ],
)
def test_a_place_to_listen_at_is_a_host_and_a_port(text: str, host: str, port: int) -> None:
    assert parse_config(f'[listen]\nhttp = "{text}"').listen.http == ((host, port),)


@pytest.mark.parametrize(
    "text",
    [
        "::1",
        "::1:9418",
        "[::1]",
        "[1.2.3.4]:9418",
        "[mirror]:9418",
        "git://0.0.0.0:9418",
        "*:9418",
        "300.1.1.1:9418",
        "me@mirror:9418",
        ":9418",
        "mirror:65536",
        "mirror:",
        "two words:9418",
    ],
)
def test_what_nobody_can_listen_at_is_an_error_of_the_file(text: str) -> None:
    said = f'node.toml:2: [listen] git: "{text}" is no HOST:PORT; write 0.0.0.0:9418 or [::]:9418'
    assert problems(f'[listen]\ngit = "{text}"') == [said]


def test_all_errors_are_found_in_the_order_of_the_file() -> None:
    found = problems("[log]\nlevel = 1\n[limits]\nup = 0\nx = 1\n[[carry.repository]]\n")
    assert [text.split(":")[1] for text in found] == ["2", "4", "5", "6"]


def test_the_error_says_how_many_more_there_are() -> None:
    with pytest.raises(ConfigError, match=r"^node.toml:1: a: is not known.* \(and 1 more\)$"):
        parse_config("a = 1\nb = 2")


# -- what stays free of disks


@pytest.mark.parametrize(
    ("text", "reserve"),
    [
        ('"1G"', Reserve(bytes=1 << 30)),
        ("4096", Reserve(bytes=4096)),
        ('"2.5%"', Reserve(percent=2.5)),
        ('["5%", "1G"]', DEFAULT_RESERVE),
        ('["1G", "5%"]', DEFAULT_RESERVE),
        ('"none"', NO_RESERVE),
    ],
)
def test_what_stays_free(text: str, reserve: Reserve) -> None:
    assert parse_config(f"[disk]\nreserve = {text}").disk.reserve == reserve


# -- rates by time of day


def rates_at(*at: RatesAt) -> LimitsConfig:
    return LimitsConfig(Rates(up=1, down=2), at)


def test_rates_hold_within_their_hours() -> None:
    limits = rates_at(RatesAt(frozenset(range(5)), 8 * 60, 18 * 60, {"up": 7}))
    assert limits.rates_at(MONDAY, NOON) == Rates(up=7, down=2)
    assert limits.rates_at(MONDAY, 8 * 60) == Rates(up=7, down=2)
    assert limits.rates_at(MONDAY, 18 * 60) == Rates(up=1, down=2)
    assert limits.rates_at(SATURDAY, NOON) == Rates(up=1, down=2)


def test_hours_past_midnight_belong_to_the_day_they_begin() -> None:
    limits = rates_at(RatesAt(frozenset([FRIDAY]), 22 * 60, 6 * 60, {"up": None}))
    assert limits.rates_at(FRIDAY, 23 * 60).up is None
    assert limits.rates_at(SATURDAY, 5 * 60).up is None
    assert limits.rates_at(FRIDAY, 5 * 60).up == 1
    assert limits.rates_at(SATURDAY, 23 * 60).up == 1


def test_the_last_that_holds_counts() -> None:
    always = parse_config('[[limits.at]]\nup = 3\n[[limits.at]]\ndays = "sat-sun"\nup = "none"')
    assert always.limits.rates_at(MONDAY, 0).up == 3
    assert always.limits.rates_at(SATURDAY, 0).up is None


def test_what_is_tracked_is_taken() -> None:
    config = parse_config(
        "[[track]]\nurl = 'https://h/a/project.git'\nevery = '1h'\nrefs = ['refs/pull/*/head']\n"
        "[[track]]\nurl = '/srv/x.git'\nname = 'y'\nkey = 'ABCD'\nhook-secret = '/etc/secret'\n"
    )
    assert config.track == (
        TrackConfig("https://h/a/project.git", "project", 3600, ("refs/pull/*/head",)),
        TrackConfig("/srv/x.git", "y", key="ABCD", secret="/etc/secret"),
    )


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("every = 60", ":1: .track. url: is missing"),
        ("url = 'x.git'", ":2: .track. url:.*absolute path"),
        ("url = 'ext::x'", ":2: .track. url:.*no URL of a plain git server"),
        ("url = 'https://h/'", ":2: .track. name:"),
        ("url = 'https://h/a'\nevery = 3", ":3: .track. every:.*from 10 s"),
        ("url = 'https://h/a'\nrefs = ['refs/replace/*']", ":3: .track. refs:.*reserved"),
        ("url = 'https://h/a'\nkey = 'a/b'", ":3: .track. key:.*absolute"),
        (
            "url = 'https://h/a'\n[[track]]\nurl = '/b/a.git'",
            ":4: .track. name: a stands in line 1",
        ),
    ],
)
def test_what_cannot_be_tracked_is_said(text: str, said: str) -> None:
    assert re.search(said, "\n".join(problems(f"[[track]]\n{text}\n")))
