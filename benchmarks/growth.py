"""What one more costs in a large fleet: a session that opens, a terminal that appears, a snapshot. And a
piece in a long message.

Each is done with a fleet of the first size and of a larger one, in turn in the same run, in processor time of
the thread. What follows what changes, and not what is there, costs the same with both.
"""

import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Final
from uuid import UUID

from benchmarks.measures import Measure, Options
from benchmarks.rounds import machine, table
from protocol.reassembly import Key
from worker.fleet import Fleet
from worker.fragments import Fragments, Hold, Piece
from worker.snapshot import CALM_BYTES_PER_S, SELDOM, Saver, Snapshot

SIZES: Final = (10_000, 100_000)
LONG_SIZES: Final = (10_000, 1_000_000)
ROUNDS: Final = 7
TIMES: Final = 200
"""Batches in each of which one session opens and one ends, or one terminal appears."""
PIECES: Final = (500, 8_000)
"""Of one medium."""
PIECE: Final = bytes(60)
SNAPSHOT_LEAST_S: Final = 5.0
DAY_S: Final = 86_400
HEAD: Final = [
    "terminals",
    "session opens and ends µs",
    "terminal appears µs",
    "snapshot stands ms",
    "GB a day",
]


def run(options: Options) -> list[Measure]:
    """Measure, print the table, and return how much more the larger fleet costs."""
    sizes = LONG_SIZES if options.long else SIZES
    fleets = {size: _fleet(size) for size in sizes}
    session, appears, stands = ({size: list[float]() for size in sizes} for _ in range(3))
    with tempfile.TemporaryDirectory(prefix="northwatch-bench-") as directory:
        for number in range(options.rounds or ROUNDS):
            for size, fleet in fleets.items():
                session[size].append(_us(lambda f=fleet, n=number: _turn_over(f, n)))  # type: ignore[misc]
                appears[size].append(_us(lambda f=fleet: _appear(f)))  # type: ignore[misc]
                stands[size].append(_stands_ms(fleet, Path(directory) / str(size)))
    rows = [
        [
            f"{size:,}",
            *(f"{median(each[size]):.2f}" for each in (session, appears, stands)),
            _daily(fleets[size]),
        ]
        for size in sizes
    ]
    pieces = {count: median(_piece_us(count) for _ in range(options.rounds or ROUNDS)) for count in PIECES}
    print(f"{machine()}; medians of {options.rounds or ROUNDS} rounds\n\n{table(HEAD, rows)}")
    small, large = sizes
    ratios = [median(each[large]) / median(each[small]) for each in (session, appears)]
    return [
        Measure(
            f"a session that opens and ends · a terminal that appears, {large:,} terminals against {small:,}",
            floor=[3.0, 3.0],
            reach=[1.5, 1.5],
            measured=ratios,
            unit="times",
            at_most=True,
        ),
        Measure(
            f"a piece of a message of {PIECES[1]:,} against one of {PIECES[0]:,}",
            floor=[3.0],
            reach=[1.5],
            measured=[pieces[PIECES[1]] / pieces[PIECES[0]]],
            unit="times",
            at_most=True,
        ),
    ]


def _fleet(size: int) -> Fleet:
    fleet = Fleet()
    for number in range(size):
        fleet.add(str(number), number)
    fleet.grow()
    fleet.sessions.open({number: number for number in range(size)})
    return fleet


def _turn_over(fleet: Fleet, number: int) -> None:
    """Open a session and end another, batch by batch."""
    first = 10_000_000 + number * TIMES
    for new in range(first, first + TIMES):
        fleet.sessions.open({new: 0})
        fleet.sessions.close({new - TIMES})


def _appear(fleet: Fleet) -> None:
    for _ in range(TIMES):
        fleet.add(f"new {len(fleet)}", len(fleet))
        fleet.grow()


def _piece_us(count: int) -> float:
    """Return what holding a piece costs, over all pieces of a message that stays incomplete."""
    fragments, log_id = Fragments(), UUID(int=1)
    began = time.thread_time()
    for number in range(1, count + 1):
        piece = Piece(PIECE, 16, 0, log_id, number, 0)
        fragments.take(Hold.PACKETS, Key(0, 0x0801, 7, count + 1), number, piece)
    return (time.thread_time() - began) / count * 1e6


def _us(work: Callable[[], object]) -> float:
    began = time.thread_time()
    work()
    return (time.thread_time() - began) / TIMES * 1e6


def _stands_ms(fleet: Fleet, directory: Path) -> float:
    """Return how long the worker stands still while a snapshot is begun."""
    saver = Saver(directory, SNAPSHOT_LEAST_S)
    began = time.monotonic()
    saver.begin(Snapshot({UUID(int=1): 1}, fleet), 0.0)
    stood_s = time.monotonic() - began
    saver.finished(wait=True)
    saver.close()
    return stood_s * 1e3


def _daily(fleet: Fleet) -> str:
    """Return how much snapshots write in a day of a quiet log."""
    size = sum(array.nbytes for array in fleet.to_arrays().values())
    every_s = min(max(size / CALM_BYTES_PER_S, SNAPSHOT_LEAST_S), SNAPSHOT_LEAST_S * SELDOM)
    return f"{size / every_s * DAY_S / 1e9:.1f}"
