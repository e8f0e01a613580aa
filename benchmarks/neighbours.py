"""Bad neighbours: one terminal that never reads, floods, or sends garbage at line rate, and what 999 others
keep.

Every round measures the 999 without it and with each kind, and begins with another one. Throughput is that of
a closed loop with one in flight, p99 that of an open loop at 70 % of what the 999 reached alone. The
processor time of an answer holds all that the gateway did in that time, for the bad one as well. The bad one
shares the generator's core, but waits there until the gateway reads (it needs 1 or 2 % of it), and comes back
100 ms after it was closed.
"""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Final

from benchmarks.gateway import LATENCY_AT, serving
from benchmarks.histogram import merged
from benchmarks.load import Load, Outcome, fleet, offer
from benchmarks.measures import Measure, Options
from benchmarks.rounds import machine, table

OTHERS: Final = 999
KINDS: Final = {"": "nobody", "deaf": "never reads", "flood": "floods", "garbage": "garbage"}
BAD: Final = tuple(filter(None, KINDS))
BAD_NUMBER: Final = 900_000
"""Of the bad terminal, which is none of the others."""


def beside(kind: str, load: Load) -> Outcome:
    """Measure the others while somebody behaves badly, or nobody."""
    with neighbour(kind, load):
        return offer(load)


@contextmanager
def neighbour(kind: str, load: Load) -> Iterator[None]:
    if not kind:
        yield
        return
    lasting = load.seconds + load.warmup + 60
    with fleet(Load(port=load.port, connections=1, hostile=kind, seconds=lasting, first=BAD_NUMBER)):
        yield


def run(options: Options) -> list[Measure]:
    seconds = options.seconds or (4 if options.long else 1.5)
    rounds = options.rounds or (8 if options.long else 4)
    print(f"{machine()}; {rounds} rounds of {seconds:g} s\n")
    closed: dict[str, list[Outcome]] = {kind: [] for kind in KINDS}
    opened: dict[str, list[Outcome]] = {kind: [] for kind in KINDS}
    with (
        tempfile.TemporaryDirectory(prefix="northwatch-bench-") as place,
        serving("as shipped", Path(place)) as (port, pid),
    ):
        load = Load(port=port, connections=OTHERS, seconds=seconds, server_pid=pid)
        for number in range(rounds):
            turns = [*KINDS][number % len(KINDS) :] + [*KINDS][: number % len(KINDS)]
            for kind in turns:
                closed[kind].append(beside(kind, load))
            rate = LATENCY_AT * closed[""][-1].rate
            for kind in turns:
                opened[kind].append(beside(kind, replace(load, rate=rate, spin=True)))
    throughput = {
        kind: _ratio([each.rate for each in closed[kind]], [each.rate for each in closed[""]])
        for kind in KINDS
    }
    p99 = {
        kind: _ratio([_p99(each) for each in opened[kind]], [_p99(each) for each in opened[""]])
        for kind in KINDS
    }
    rows = []
    for kind, name in KINDS.items():
        merged(each.latency for each in opened[kind]).write(
            options.histograms / f"neighbour-{kind or 'nobody'}.hgrm"
        )
        rows.append(
            [
                name,
                f"{median(each.rate for each in closed[kind]):,.0f}",
                f"{throughput[kind]:.2f}",
                f"{median(each.server_us for each in closed[kind]):.1f}",
                f"{median(each.rate for each in opened[kind]):,.0f}",
                f"{median(map(_p99, opened[kind])):.2f}",
                f"{p99[kind]:.2f}",
                str(sum(each.faults for each in closed[kind] + opened[kind])),
            ]
        )
    head = [
        "the thousandth",
        "answered/s",
        "of alone",
        "CPU µs/answer",
        "at 70 %: answered/s",
        "p99 ms",
        "of alone",
        "lost or wrong",
    ]
    print(table(head, rows))
    names = " · ".join(KINDS[kind] for kind in BAD)
    kept = [throughput[kind] for kind in BAD]
    slower = [p99[kind] for kind in BAD]
    return [
        Measure(
            f"999 beside one bad terminal keep of their throughput: {names}", (0.95,) * 3, (0.95,) * 3, kept
        ),
        Measure(
            "the same: p99 against that without it", (1.5,) * 3, (1.2,) * 3, slower, "times", at_most=True
        ),
    ]


def _p99(outcome: Outcome) -> float:
    return outcome.latency.ms(0.99)


def _ratio(mine: list[float], alone: list[float]) -> float:
    """Give the median of the ratios within each round."""
    return median(one / other for one, other in zip(mine, alone, strict=True))
