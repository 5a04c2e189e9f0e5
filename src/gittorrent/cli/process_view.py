"""How ``gittorrent status`` shows what each process of this node does."""

from __future__ import annotations

import click

from gittorrent.cli.output import count, print_table
from gittorrent.printable import printable
from gittorrent.sizes import show_bytes
from gittorrent.store.processes import (
    AnyProcess,
    ConversationFigures,
    DiscoveryFigures,
    DownloadProcess,
    EndedConversation,
    FollowFigures,
    GivenFigures,
    KeptRepository,
    LackingFigures,
    MirrorFigures,
    MirrorProcess,
    NodeProcess,
    SeedProcess,
    peer_name,
)
from gittorrent.terminal import show_duration

_CONVERSATION_HEAD = ("PEER", "REPOSITORY", "SENT", "RATE", "PARTS", "FOR", "STATE")
_ENDED_HEAD = ("PEER", "REPOSITORY", "SENT", "PARTS", "REASON")
_KEPT_HEAD = ("NAME", "SIZE", "GOES IN", "REPOSITORY")


def show_process(process: AnyProcess, now: float) -> None:
    """Print what a process does.

    Args:
        process: what it says of itself.
        now: seconds since 1970.
    """
    if isinstance(process, NodeProcess):
        _show_node(process, now)
    elif isinstance(process, DownloadProcess):
        _show_download(process)
    elif isinstance(process, MirrorProcess):
        _show_mirror(process, now)
    else:
        _show_seed(process)


def _show_node(process: NodeProcess, now: float) -> None:
    rate = sum(each.rate for each in process.conversations)
    click.echo(
        f"node {process.pid} at {', '.join(process.listening)}:"
        f" {count(process.callers, 'caller')}, sending {show_bytes(rate)}/s"
    )
    answers = process.git.answers
    if answers.hits:
        click.echo(
            f"stock git: {answers.hits} of {answers.hits + answers.misses} answers given again;"
            f" {count(answers.kept, 'answer')} kept, {show_bytes(answers.bytes)}"
        )
    for short in process.short:
        click.echo(f"takes nothing more: {short.words}")
    for kept in process.keeping:
        click.echo(f"keeper of {kept.name}: {kept.words}")
    for lacking in process.lacking:
        click.echo(_lacks(lacking, now))
    if process.conversations:
        click.echo("")
        print_table(_CONVERSATION_HEAD, [_conversation(each) for each in process.conversations])
    if process.talks > len(process.conversations):
        click.echo(f"... and {process.talks - len(process.conversations)} more")
    if process.ended:
        click.echo("\nended in the last minute")
        print_table(_ENDED_HEAD, [_ended(each) for each in process.ended])
    if process.following is not None:
        _show_following(process.following)
    if words := _found_by(process.discovery):
        click.echo(f"found by id {words}")
    if process.cache:
        click.echo("\nkept for clones of this machine")
        print_table(_KEPT_HEAD, [_kept(each) for each in process.cache])


def _lacks(figures: LackingFigures, now: float) -> str:
    """Say which objects a repository lacks, and what becomes of that."""
    objects = ", ".join(f"{each.oid} for {printable(each.ref)}" for each in figures.refs)
    objects += f" and {figures.more} more" if figures.more else ""
    words = f"{figures.name} lacks {objects or 'objects of ' + ', '.join(figures.entries[:4])}"
    words += f" since {show_duration(max(0.0, now - figures.since))}"
    if figures.asked:
        words += f"; asked in vain: {', '.join(map(printable, figures.asked))}"
    words += f" ({printable(figures.reason)})" if figures.reason else ""
    if figures.again is None:
        return f"{words}; asks whoever says that it has it"
    return f"{words}; asks again in {show_duration(max(0.0, figures.again - now))}, or at news"


def _show_following(figures: FollowFigures) -> None:
    """Say what a node follows, where it is anything, and what is not here yet."""
    if figures.followed or figures.paused:
        words = [f"follows {count(figures.followed, 'mirror')}"]
        words += [f"looks at {figures.looking}"] if figures.looking else []
        words += [f"no news of {figures.failing}"] if figures.failing else []
        words += [f"{figures.paused} paused"] if figures.paused else []
        click.echo("; ".join(words))
    for each in figures.coming:
        state = "is being brought" if each.bringing else "waits for its turn"
        if each.error and not each.bringing:
            state = f"did not come, and is tried again: {each.error}"
        click.echo(f"{each.name or each.url}: not here yet; {state}")
    if figures.more:
        click.echo(f"... and {figures.more} more that are not here yet")


def _found_by(figures: DiscoveryFigures) -> str:
    """Say how others find the node who know an id alone; empty if they do not."""
    ways = ["on the local network"] if figures.lan else []
    if figures.dht and figures.port is not None and figures.announced:
        ways.append(f"in the DHT at port {figures.port}, for {figures.announced} of what it serves")
    return " and ".join(ways)


def _conversation(figures: ConversationFigures) -> tuple[str, ...]:
    return (
        figures.peer,
        figures.repository,
        show_bytes(figures.sent),
        f"{show_bytes(figures.rate)}/s",
        str(figures.parts),
        show_duration(figures.seconds),
        _state(figures),
    )


def _state(figures: ConversationFigures) -> str:
    """Say what a conversation does: who asks for parts is sent one, or waits for its turn."""
    if figures.choked:
        return "waits for its turn"
    return "is sent parts" if figures.waiting else "idle"


def _ended(ended: EndedConversation) -> tuple[str, ...]:
    reason = f"at fault: {ended.reason}" if ended.at_fault else ended.reason
    return (ended.peer, ended.repository, show_bytes(ended.sent), str(ended.parts), reason)


def _kept(kept: KeptRepository) -> tuple[str, ...]:
    return (
        kept.name,
        show_bytes(kept.bytes),
        show_duration(kept.seconds_left),
        kept.repository_id,
    )


def _show_download(process: DownloadProcess) -> None:
    figures = process.download
    share = 100 * figures.parts // max(1, figures.total)
    rate = sum(mirror.rate for mirror in figures.mirrors)
    click.echo(
        f"download {process.pid} of {process.repository_id}:"
        f" {figures.parts} of {figures.total} parts, {share}%, {show_bytes(rate)}/s"
    )
    click.echo("")
    given = {peer.peer: peer for peer in process.giving}
    print_table(
        ("PEER", "PARTS", "RATE", "GIVEN", "STATE"),
        [_peer(mirror, given.get(mirror.url), process.repository_id) for mirror in figures.mirrors],
    )


def _peer(mirror: MirrorFigures, given: GivenFigures | None, repository: str) -> tuple[str, ...]:
    return (
        _short(mirror.url, mirror.called_us, repository),
        str(mirror.parts),
        f"{show_bytes(mirror.rate)}/s",
        show_bytes(given.sent if given else 0),
        _peer_state(mirror, given),
    )


def _short(url: str, called_us: bool, repository: str) -> str:
    """Return a peer's place, without what all of them have in common; a mirror's URL as it is."""
    if called_us:
        return peer_name(url, called_us)
    place = url.removesuffix(f"/{repository}")
    return place if place == url else place.partition("://")[2]


def _peer_state(mirror: MirrorFigures, given: GivenFigures | None) -> str:
    if mirror.fault:
        return f"out: {mirror.fault}"
    return "takes part; waits for its turn" if given and given.choked else "takes part"


def _show_mirror(process: MirrorProcess, now: float) -> None:
    state = "looks for news, or brings them"
    if process.next_check is not None:
        state = f"looks for news again in {show_duration(max(0.0, process.next_check - now))}"
    name = f" of {process.name}" if process.name else ""
    click.echo(f"mirror {process.pid}{name}: {state}, at {process.url}")


def _show_seed(process: SeedProcess) -> None:
    sent = show_bytes(sum(peer.sent for peer in process.giving))
    click.echo(
        f"seed {process.pid} of {process.name} at port {process.port}, from {process.path}:"
        f" {count(process.reels, 'reel')}, {count(len(process.giving), 'peer')} given {sent}"
    )
    if process.behind is not None:
        click.echo(f"the clone is behind: it does not have {process.behind} as it was published")
    if process.giving:
        click.echo("")
        print_table(
            ("PEER", "GIVEN", "STATE"),
            [
                (
                    _short(peer.peer, peer.called_us, process.repository_id),
                    show_bytes(peer.sent),
                    "waits for its turn" if peer.choked else "takes part",
                )
                for peer in process.giving
            ],
        )
