"""Against any other server: the same generator, the same run, in turn. PEER="name=host:port …" says where
they are.

Terminals register and authenticate as the standard says; a server that needs more lets nobody in, and is left
out with the reason. Reports per second are divided by the processor time that the server spent, so that one
that uses more cores has no advantage by it. A peer's processor time is known if it runs on this machine and
its process can be found by the port on which it listens; otherwise only reports per second are compared.
"""

import re
import socket
import tempfile
from pathlib import Path
from statistics import median
from typing import Final, NamedTuple

from benchmarks.gateway import serving
from benchmarks.load import Load, Outcome, offer
from benchmarks.measures import Measure, Options
from benchmarks.rounds import machine, table

OURS: Final = "northwatch, as shipped"
WINDOWS: Final = (1, 10)


class Peer(NamedTuple):
    """A server by its address."""

    name: str
    host: str
    port: int
    pid: int
    """0 where it cannot be found."""

    @classmethod
    def named(cls, text: str) -> "Peer":
        """Read name=host:port.

        Raises:
            ValueError: it is none, or the name of the host is unknown.
        """
        found = re.fullmatch(r"([^=]+)=([^:]+):(\d+)", text)
        if found is None:
            raise ValueError(f"PEER={text}: write it as name=host:port")
        try:
            host = socket.gethostbyname(found[2])
        except OSError as error:
            raise ValueError(f"PEER={text}: {found[2]}: {error}") from None
        return cls(found[1], host, int(found[3]), listener(int(found[3])) if host.startswith("127.") else 0)


def listener(port: int) -> int:
    """Find the process of this machine that listens on a port; 0 where that cannot be seen."""
    listens = "0A"
    sockets = {
        f"socket:[{fields[9]}]"
        for family in ("tcp", "tcp6")
        for fields in map(str.split, Path(f"/proc/net/{family}").read_text().splitlines()[1:])
        if fields[3] == listens and int(fields[1].rpartition(":")[2], 16) == port
    }
    for descriptor in Path("/proc").glob("[0-9]*/fd/*"):
        try:
            if str(descriptor.readlink()) in sockets:
                return int(descriptor.parts[2])
        except OSError:  # it has ended, or is not ours to look into
            continue
    return 0


def run(options: Options) -> list[Measure]:
    if not options.peers:
        print('nobody to compare with: make bench BENCH=peers PEER="name=host:port"')
        return []
    print(f"{machine()}\n")
    seconds = options.seconds or (8 if options.long else 3)
    connections = options.connections or 1000
    rows, measures = [], []
    with (
        tempfile.TemporaryDirectory(prefix="northwatch-bench-") as place,
        serving("as shipped", Path(place)) as (port, pid),
    ):
        ours = Peer(OURS, "127.0.0.1", port, pid)
        for peer in map(Peer.named, options.peers):
            ratios = []
            for window in WINDOWS:
                try:
                    found = compared([ours, peer], window, connections, options.rounds or 5, seconds)
                except RuntimeError as error:
                    print(f"{peer.name}: {error}\n")
                    break
                rows += [_row(each, window, outcomes) for each, outcomes in found]
                ratios.append(_ratio(*(_speeds(outcomes, alike=bool(peer.pid)) for _, outcomes in found)))
            if ratios:
                per = (
                    "per core" if peer.pid else "on all the cores it has (its processor time cannot be seen)"
                )
                name = f"durable reports/s {per} against {peer.name}: one in flight · ten"
                asked = (2,) * len(ratios), (3,) * len(ratios)
                measures.append(Measure(name, *asked, ratios, "times"))
    head = [
        "server",
        "in flight",
        "reports/s",
        "cores",
        "reports/s per core",
        "p50 ms",
        "p99 ms",
        "lost or wrong",
    ]
    print(table(head, rows))
    return measures


def compared(
    servers: list[Peer], window: int, connections: int, rounds: int, seconds: float
) -> list[tuple[Peer, list[Outcome]]]:
    """Measure servers in turn, round by round."""
    found: list[tuple[Peer, list[Outcome]]] = [(each, []) for each in servers]
    for _ in range(rounds):
        for each, outcomes in found:
            load = Load(
                host=each.host,
                port=each.port,
                window=window,
                connections=connections,
                seconds=seconds,
                server_pid=each.pid,
            )
            outcomes.append(offer(load))
    return found


def _speeds(outcomes: list[Outcome], *, alike: bool) -> list[float]:
    """Give reports per second of processor time; where that is not known of both, per second."""
    return [
        each.in_window / each.server_cpu_s if alike and each.server_cpu_s else each.rate for each in outcomes
    ]


def _ratio(ours: list[float], theirs: list[float]) -> float:
    return median(mine / other for mine, other in zip(ours, theirs, strict=True))


def _row(server: Peer, window: int, outcomes: list[Outcome]) -> list[str]:
    is_seen = server.pid != 0
    return [
        server.name,
        str(window),
        f"{median(each.rate for each in outcomes):,.0f}",
        f"{median(each.server_cpu_s / each.seconds for each in outcomes):.2f}" if is_seen else "?",
        f"{median(_speeds(outcomes, alike=is_seen)):,.0f}" if is_seen else "?",
        f"{median(each.latency.ms(0.5) for each in outcomes):.2f}",
        f"{median(each.latency.ms(0.99) for each in outcomes):.2f}",
        str(sum(each.faults for each in outcomes)),
    ]
