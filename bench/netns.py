"""A shaped network on one machine: nodes in network namespaces, joined by a bridge in another.

Tracks the namespaces, what was started in them, and how each link is shaped. A node has one veth
pair; the end in its own namespace shapes what it sends, the end at the bridge what it gets. A
distant node has a line that takes its time (`delay_line`) between the bridge and that end. Bytes
are read from the bridge's ports: what a node really sent, and what really reached it.

Rules: Linux and root only; needs ``ip`` and ``tc``. Whatever happens, leaving the ``with`` block
kills every process in the namespaces, one by one by its id, and removes them; only when this
program itself is killed do they stay, as ``gtb-<its process id>-*`` in ``ip netns list``.
Must not know what the nodes do.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from frame import BenchError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

NETWORK = "10.77"
"""First half of all addresses; they exist in the namespaces alone."""

QUEUE = "50ms"
"""What waits longer at a shaped link is dropped: a usual router's worth of buffer."""

BURST_SECONDS = 0.005
"""Traffic a shaped link lets through at once; long enough for the kernel's timers."""

MIN_BURST = 16 << 10
"""Bytes; below some packets of full size, tbf could not reach its rate."""

HEADERS = 66
"""Ethernet, IPv4 and TCP with time stamps: bytes of each packet that are not payload.

A packet that the kernel did not cut up yet counts as one, with one header, in both counters.
"""

PAYLOAD = 1448
"""Bytes of payload in a packet of full size."""

END_SECONDS = 10.0
"""Time that killed processes get to be gone."""

_CLONE_NEWNET = 0x40000000
_DELAY_LINE = Path(__file__).resolve().parent / "delay_line.py"
_NAMESPACES = Path("/run/netns")
_MAX_NODES = 250
_RATE = re.compile(r"([0-9]+(?:\.[0-9]+)?)(k|m|g)bit\Z")
_UNITS = {"k": 1e3, "m": 1e6, "g": 1e9}
_libc = ctypes.CDLL(None, use_errno=True)


@dataclass(frozen=True, slots=True)
class Traffic:
    """Payload bytes at one node.

    Args:
        sent: by it.
        received: by it.
    """

    sent: int
    received: int

    def since(self, before: Traffic) -> Traffic:
        """Return what came after ``before``."""
        return Traffic(self.sent - before.sent, self.received - before.received)


@dataclass(frozen=True, slots=True)
class Node:
    """One machine of the network.

    Args:
        namespace: its name for ``ip``.
        address: IPv4, in numbers.
        port: name of its port at the bridge.
    """

    namespace: str
    address: str
    port: str

    def congestion_control(self) -> str:
        """Return how TCP decides on its rate here: as the machine is set."""
        with self.entered():
            return Path("/proc/sys/net/ipv4/tcp_congestion_control").read_text().strip()

    def entered(self) -> contextlib.AbstractContextManager[None]:
        """Run the block in this node's network: sockets and processes made there stay there."""
        return _entered(self.namespace)


class Network:
    """The nodes and their links; `built` makes one."""

    def __init__(self, prefix: str, count: int) -> None:
        self.nodes = [
            Node(f"{prefix}-{n}", f"{NETWORK}.{n // 250}.{n % 250 + 1}", f"port{n}")
            for n in range(count)
        ]
        self._hub = f"{prefix}-hub"
        self._processes: list[tuple[Node, subprocess.Popen[bytes]]] = []

    def build(self) -> None:
        """Make namespaces and links, not shaped yet."""
        names = [self._hub, *(node.namespace for node in self.nodes)]
        _ip([f"netns add {name}" for name in names])
        lines = ["link add bridge type bridge", "link set bridge up"]
        for node in self.nodes:
            lines += [
                f"link add {node.port} type veth peer name eth0 netns {node.namespace}",
                f"link set {node.port} master bridge",
                f"link set {node.port} up",
            ]
        _ip(lines, self._hub)
        for node in self.nodes:
            _ip(
                ["link set lo up", f"addr add {node.address}/16 dev eth0", "link set eth0 up"],
                node.namespace,
            )
            with node.entered():
                # A link that was slow in one run must not be taken for slow in the next.
                Path("/proc/sys/net/ipv4/tcp_no_metrics_save").write_text("1\n")

    def remove(self) -> None:
        """Kill what runs in the namespaces and remove them, and with them the links."""
        self.kill(self.nodes)
        for name in [*(node.namespace for node in self.nodes), self._hub]:
            if (_NAMESPACES / name).exists():
                with contextlib.suppress(BenchError):
                    _ip([f"netns del {name}"])

    def configure(self, node: Node, *lines: str) -> None:
        """Run commands of ip(8) at a node."""
        _ip(lines, node.namespace)

    def shape(self, nodes: Iterable[Node], rate: float | None) -> None:
        """Give links a rate, the same each way.

        Args:
            nodes: whose links.
            rate: bits a second, headers included; None for as fast as the machine can.
        """
        for node in nodes:
            for place, device in ((node.namespace, "eth0"), (self._hub, node.port)):
                words = ["tc", "-n", place, "qdisc"]
                # The default takes the place of what is deleted, if there is anything.
                with contextlib.suppress(BenchError):
                    _call([*words, "del", "dev", device, "root"])
                if rate is not None:
                    burst = max(MIN_BURST, round(rate / 8 * BURST_SECONDS))
                    shape = ["tbf", "rate", f"{rate:.0f}bit", "burst", f"{burst}b"]
                    _call([*words, "add", "dev", device, "root", *shape, "latency", QUEUE])

    @contextlib.contextmanager
    def distant(self, node: Node, seconds: float) -> Iterator[None]:
        """Put a node so far away for the block that each frame to or from it takes that long.

        Args:
            node: which.
            seconds: each way, so a round trip takes twice as long.
        """
        line = f"{node.port}-line"
        _ip(
            [
                f"link set {node.port} nomaster",
                f"link add {line} type veth peer name {line}-end",
                f"link set {line}-end master bridge",
                f"link set {line}-end up",
                f"link set {line} up",
            ],
            self._hub,
        )
        words: list[str | Path] = [sys.executable, _DELAY_LINE, node.port, line, str(seconds)]
        with _entered(self._hub):
            process = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)
        with process:
            try:
                assert process.stdout is not None
                if process.stdout.readline() != b"ready\n":
                    raise BenchError("the delay line did not start")
                yield
                if process.poll() is not None:
                    raise BenchError("the delay line broke")
            finally:
                process.kill()
        _ip([f"link del {line}", f"link set {node.port} master bridge"], self._hub)

    @contextlib.contextmanager
    def divided(self, nodes: Iterable[Node]) -> Iterator[None]:
        """Keep nodes apart from the others for the block; among themselves they are joined.

        Args:
            nodes: those of one side.
        """
        chosen = list(nodes)
        lines = ["link add apart type bridge", "link set apart up"]
        _ip([*lines, *(f"link set {node.port} master apart" for node in chosen)], self._hub)
        try:
            yield
        finally:
            back = [f"link set {node.port} master bridge" for node in chosen]
            _ip([*back, "link del apart"], self._hub)

    def traffic(self) -> dict[Node, Traffic]:
        """Return the payload bytes of all nodes since the network was built."""
        with _entered(self._hub):
            text = Path("/proc/thread-self/net/dev").read_text()
        found = {}
        for line in text.splitlines()[2:]:
            name, _, rest = line.partition(":")
            found[name.strip()] = [int(word) for word in rest.split()]
        # proc_net_dev: bytes and packets received are the first two columns, sent the ninth on.
        # What the bridge's port receives, the node has sent.
        return {
            node: Traffic(
                found[node.port][0] - HEADERS * found[node.port][1],
                found[node.port][8] - HEADERS * found[node.port][9],
            )
            for node in self.nodes
        }

    def start(
        self,
        node: Node,
        words: Sequence[str | Path],
        environ: Mapping[str, str],
        said: BinaryIO,
        *,
        stdout: int | None = None,
    ) -> subprocess.Popen[bytes]:
        """Start a program at a node.

        Args:
            node: where.
            words: the program and its arguments.
            environ: all of its environment.
            said: file for standard error, and for standard output too if nothing else is said.
            stdout: as `subprocess.Popen` takes it.
        """
        with node.entered():
            process = subprocess.Popen(
                list(words),
                stdin=subprocess.DEVNULL,
                stdout=said if stdout is None else stdout,
                stderr=said,
                env=dict(environ),
                # Ctrl-C is for this program, which ends the others itself.
                start_new_session=True,
            )
        self._processes.append((node, process))
        return process

    def kill(self, nodes: Iterable[Node]) -> None:
        """Kill everything that runs at nodes, and wait until it is gone."""
        chosen = set(nodes)
        until = time.monotonic() + END_SECONDS
        while pids := _pids_in([node.namespace for node in chosen]):
            for pid in pids:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            self._reap(chosen)
            if time.monotonic() > until:
                raise BenchError(f"processes {pids} cannot be killed")
            time.sleep(0.01)
        self._reap(chosen)

    def _reap(self, nodes: set[Node]) -> None:
        """Collect killed children, which stay visible until somebody does."""
        left = []
        for node, process in self._processes:
            if node not in nodes:
                left.append((node, process))
                continue
            process.wait(END_SECONDS)
            if process.stdout is not None:
                process.stdout.close()
        self._processes = left


@contextlib.contextmanager
def built(count: int) -> Iterator[Network]:
    """Build a network for the block and remove it afterwards, also when interrupted.

    Args:
        count: of nodes; their links are not shaped yet.

    Raises:
        BenchError: this machine or user cannot have one.
    """
    if reason := obstacle():
        raise BenchError(reason)
    if count > _MAX_NODES:
        raise BenchError(f"a network has at most {_MAX_NODES} nodes, not {count}")
    network = Network(f"gtb-{os.getpid()}", count)
    with _ended_by_signals():
        try:
            network.build()
            yield network
        finally:
            with _undisturbed():
                network.remove()


def obstacle() -> str:
    """Return why this machine or user cannot have a network; empty if nothing is in the way."""
    if os.geteuid() != 0:
        return "network namespaces need root; run this as root"
    for tool in ("ip", "tc"):
        if shutil.which(tool) is None:
            return f"{tool} is not installed (Debian, Ubuntu: apt install iproute2)"
    return ""


def plain_rate(source: Node, sink: Node, size: int) -> float:
    """Return the payload bytes a second of one TCP connection, once it is up to speed.

    Args:
        source: sends.
        sink: receives.
        size: bytes to send; the first quarter is not timed.
    """
    with source.entered():
        listener = socket.create_server((source.address, 0))
    with sink.entered():
        client = socket.create_connection(listener.getsockname(), timeout=30)

    def send() -> None:
        connection, _ = listener.accept()
        with connection, contextlib.suppress(OSError):
            connection.sendall(bytes(size))

    with listener, client:
        sender = threading.Thread(target=send, daemon=True)
        sender.start()
        received, began, skipped = 0, 0.0, 0
        while data := client.recv(1 << 16):
            received += len(data)
            if not skipped and received >= size // 4:
                began, skipped = time.perf_counter(), received
        took = time.perf_counter() - began
        sender.join()
    if received != size:
        raise BenchError(f"a plain transfer ended after {received} of {size} bytes")
    return (size - skipped) / took


def pids_in(nodes: Iterable[Node]) -> list[int]:
    """Return the processes that run at nodes, without this one."""
    return _pids_in([node.namespace for node in nodes])


def parse_rate(text: str) -> float:
    """Return bits a second of a rate such as ``20mbit``.

    Raises:
        BenchError: it is none.
    """
    found = _RATE.match(text)
    if found is None or float(found[1]) <= 0:
        raise BenchError(f"{text!r} is no rate; write 500kbit, 20mbit or 1gbit")
    return float(found[1]) * _UNITS[found[2]]


@contextlib.contextmanager
def _entered(namespace: str) -> Iterator[None]:
    """Move this thread into a namespace for the block; setns(2) is for one thread alone."""
    with (
        open("/proc/thread-self/ns/net", "rb") as home,
        open(_NAMESPACES / namespace, "rb") as place,
    ):
        _set_namespace(place.fileno())
        try:
            yield
        finally:
            _set_namespace(home.fileno())


def _set_namespace(descriptor: int) -> None:
    if _libc.setns(descriptor, _CLONE_NEWNET) != 0:
        code = ctypes.get_errno()
        raise BenchError(f"cannot enter a network namespace: {os.strerror(code)}")


def _pids_in(namespaces: Iterable[str]) -> list[int]:
    """Return the processes in namespaces, without this one."""
    wanted = set()
    for name in namespaces:
        with contextlib.suppress(OSError):
            stat = (_NAMESPACES / name).stat()
            wanted.add((stat.st_dev, stat.st_ino))
    found = []
    for place in Path("/proc").iterdir():
        if not place.name.isdigit() or int(place.name) == os.getpid():
            continue
        # Processes come and go meanwhile; the dead have no namespace.
        with contextlib.suppress(OSError):
            stat = (place / "ns" / "net").stat()
            if (stat.st_dev, stat.st_ino) in wanted:
                found.append(int(place.name))
    return found


def _ip(lines: Iterable[str], namespace: str | None = None) -> None:
    """Run commands of ip(8) in one go."""
    place = [] if namespace is None else ["-n", namespace]
    _call(["ip", *place, "-batch", "-"], "\n".join(lines))


def _call(words: Sequence[str], given: str = "") -> None:
    done = subprocess.run(
        words, input=given, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
    )
    if done.returncode != 0:
        raise BenchError(f"{' '.join(words)} failed: {done.stdout.strip()}")


@contextlib.contextmanager
def _ended_by_signals() -> Iterator[None]:
    """Let signals that end a program raise SystemExit, so that it cleans up."""

    def leave(number: int, frame: object) -> None:
        del frame
        raise SystemExit(128 + number)

    with _handling({signal.SIGTERM: leave, signal.SIGHUP: leave}):
        yield


def _undisturbed() -> contextlib.AbstractContextManager[None]:
    """Let no signal end the block."""
    return _handling(dict.fromkeys((signal.SIGINT, signal.SIGTERM, signal.SIGHUP), signal.SIG_IGN))


@contextlib.contextmanager
def _handling(handlers: Mapping[signal.Signals, signal._HANDLER]) -> Iterator[None]:
    before = {number: signal.signal(number, handler) for number, handler in handlers.items()}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
