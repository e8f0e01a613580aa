"""Acknowledged frames a second and latencies: bare echo, log off, as shipped; connections × in flight ×
fleet.

One server process has one core, the generator another. `echo` gives back the same frames and looks at
nothing, so it is what this loop, this kernel and this generator can do at all. The three servers of a case
run next to each other and are measured in turn within each round. Latency is measured apart, in an open loop
at 70 % of what the server took before.
"""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import NamedTuple

from benchmarks.histogram import HEAD
from benchmarks.load import WARM_UP_S, Load, Outcome, offer
from benchmarks.measures import Measure, Options
from benchmarks.rounds import free_port, machine, server, sync_time_us, table

SERVERS = ("echo", "log off", "as shipped")
LATENCY_AT = 0.7
"""Of the throughput found."""


class Case(NamedTuple):
    """What the fleet is and does."""

    connections: int
    window: int
    mix: str

    def load(self, port: int, pid: int, seconds: float, *, is_echo: bool) -> Load:
        """Say what the generator has to do in a closed loop."""
        return Load(
            port=port,
            connections=self.connections,
            window=self.window,
            mixed=self.mix == "mixed",
            echo=is_echo,
            seconds=seconds,
            server_pid=pid,
        )


@contextmanager
def serving(name: str, directory: Path) -> Iterator[tuple[int, int]]:
    """Run one of `SERVERS`; gives its port and process id."""
    port = free_port()
    words = ["benchmarks.server", str(port), str(directory)]
    if name == "echo":
        words = ["benchmarks.echo", str(port)]
    elif name == "log off":
        words.append("--no-log")
    with server(*words) as process:
        yield port, process.pid


@contextmanager
def all_serving() -> Iterator[dict[str, tuple[int, int]]]:
    """Run all of `SERVERS`; those that are not measured have nothing to do."""
    with (
        tempfile.TemporaryDirectory(prefix="northwatch-bench-") as place,
        serving("echo", Path(place)) as echo,
        serving("log off", Path(place) / "off") as off,
        serving("as shipped", Path(place) / "on") as on,
    ):
        yield {"echo": echo, "log off": off, "as shipped": on}


def measure(case: Case, rounds: int, seconds: float) -> tuple[dict[str, list[Outcome]], dict[str, Outcome]]:
    """Give the outcomes of the closed loop, round by round, and that of the open loop, for every server."""
    closed: dict[str, list[Outcome]] = {name: [] for name in SERVERS}
    with all_serving() as servers:
        for _ in range(rounds):
            for name, (port, pid) in servers.items():
                closed[name].append(offer(case.load(port, pid, seconds, is_echo=name == "echo")))
        opened = {}
        for name, (port, pid) in servers.items():
            rate = LATENCY_AT * median(each.rate for each in closed[name])
            load = case.load(port, pid, 2 * seconds, is_echo=name == "echo")
            opened[name] = offer(replace(load, rate=rate, spin=True))
    return closed, opened


def run(options: Options) -> list[Measure]:
    seconds = options.seconds or (4 if options.long else 1.5)
    rounds = options.rounds or 5
    sizes = (options.connections,) if options.connections else (1000, 10_000)
    print(f"{machine()}; a durable write of 8 KiB takes {sync_time_us(Path(tempfile.gettempdir())):.0f} µs")
    print(f"{rounds} rounds of {seconds:g} s; 'generator' is how much of its core the generator needed\n")
    rates, latencies = [], []
    ratios: dict[Case, dict[str, float]] = {}
    for case in (
        Case(size, window, mix) for size in sizes for mix in ("uniform", "mixed") for window in (1, 10)
    ):
        few = rounds if options.long or case.connections <= 1000 else min(rounds, 3)
        closed, opened = measure(case, few, seconds)
        ratios[case] = {
            "echo": _ratio(closed, "log off", "echo"),
            "log off": _ratio(closed, "as shipped", "log off"),
        }
        rates += [_rate_row(case, name, closed) for name in SERVERS]
        for name, outcome in opened.items():
            outcome.latency.write(options.histograms / f"gateway-{'-'.join(map(str, case))}-{name}.hgrm")
            latencies.append(_latency_row(case, name, outcome))
    head = ["server", "connections", "fleet", "in flight"]
    more = ["frames/s", "CPU µs/frame", "of echo", "of log off", "generator", "lost or wrong"]
    print(table([*head, *more], rates), "\n")
    print(f"open loop at {LATENCY_AT:.0%}; latency from the moment at which a frame was due\n")
    print(table([*head, "offered/s", "answered/s", *HEAD, "lost or wrong"], latencies))
    return _measures(ratios, sizes[0])


def _measures(ratios: dict[Case, dict[str, float]], size: int) -> list[Measure]:
    one, ten = (ratios[Case(size, window, "uniform")] for window in (1, 10))
    name = f"acknowledged/s, {size:,} connections, log off against bare echo: one in flight · ten"
    return [
        Measure(name, (0.75, 0.5), (0.9, 0.6), (one["echo"], ten["echo"])),
        Measure(
            "durable against log off: one in flight · ten",
            (0.75, 0.7),
            (0.9, 0.85),
            (one["log off"], ten["log off"]),
        ),
    ]


def _ratio(closed: dict[str, list[Outcome]], name: str, other: str) -> float:
    """Give the median of the ratios within each round."""
    return median(mine.rate / theirs.rate for mine, theirs in zip(closed[name], closed[other], strict=True))


def _rate_row(case: Case, name: str, closed: dict[str, list[Outcome]]) -> list[str]:
    outcomes = closed[name]

    def against(other: str) -> str:
        return f"{_ratio(closed, name, other):.2f}" if SERVERS.index(name) > SERVERS.index(other) else ""

    return [
        *_labels(case, name),
        f"{median(each.rate for each in outcomes):,.0f}",
        f"{median(each.server_us for each in outcomes):.2f}",
        against("echo"),
        against("log off"),
        f"{median(each.busy for each in outcomes):.0%}",
        str(sum(each.faults for each in outcomes)),
    ]


def _latency_row(case: Case, name: str, outcome: Outcome) -> list[str]:
    return [
        *_labels(case, name),
        f"{outcome.sent / (outcome.seconds + WARM_UP_S):,.0f}",
        f"{outcome.rate:,.0f}",
        *outcome.latency.cells(),
        str(outcome.faults),
    ]


def _labels(case: Case, name: str) -> list[str]:
    return [name, f"{case.connections:,}", case.mix, str(case.window)]
