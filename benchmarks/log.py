"""What a durable batch costs: segment files against SQLite, with the same promises.

Both keep one record a batch, durable when `commit` returns; never give a position twice, not even after
everything was deleted; delete what was consumed as they go; and let a reader of another process follow.
SQLite runs with WAL, `synchronous=FULL`, AUTOINCREMENT and one blob a row, the way DESIGN describes.

Both run in turn within one round, on the same file system, with batches of several sizes; medians of the
rounds.
"""

import os
import sqlite3
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from statistics import median, quantiles
from typing import Final, Protocol

import numpy as np

from benchmarks.measures import Measure, Options
from benchmarks.rounds import machine, sync_time_us, table
from store.log import MIB, LogLimits, LogReader, LogWriter
from store.records import Frames, encode

FRAME_BYTES: Final = 66
SIZES: Final = (1, 10, 100, 1000, 5000)
"""Frames in a batch."""
KEPT_BYTES: Final = 32 * MIB
"""What lies behind the newest record by more than this counts as consumed."""
TRIM_EVERY: Final = 50
"""Batches between two deletions of what was consumed."""
ROUND_S: Final = 1.0
HEAD: Final = [
    "frames a batch",
    "log",
    "commit p50 µs",
    "p99 µs",
    "processor µs",
    "frames/s",
    "read MB/s",
    "processor ratio",
    "clock ratio",
]


class Ways(Protocol):
    """One way to keep a log."""

    name: str

    def commit(self, batch: Frames, now_us: int) -> None: ...

    def trim(self) -> None: ...

    def read(self) -> Iterator[int]: ...

    def close(self) -> None: ...


class Segments:
    """`store.log` as shipped."""

    name = "segments"

    def __init__(self, directory: Path) -> None:
        limits = LogLimits(free_floor_bytes=0, segment_bytes=16 * MIB)
        self._writer = LogWriter(directory, limits=limits)
        self._reader = LogReader(directory)

    def commit(self, batch: Frames, now_us: int) -> None:
        self._writer.append(batch, now_us)
        self._writer.sync()

    def trim(self) -> None:
        self._reader.release(max(0, self._writer.durable - KEPT_BYTES))
        self._writer.trim()

    def read(self) -> Iterator[int]:
        position = self._reader.start
        while records := self._reader.read(position, MIB):
            position = records[-1].next_position
            yield sum(len(record.payload) for record in records)

    def close(self) -> None:
        self._writer.close()


class Sqlite:
    """One row a batch."""

    name = "SQLite"

    def __init__(self, directory: Path) -> None:
        directory.mkdir()
        self._path = directory / "log.sqlite"
        self._connection = sqlite3.connect(self._path, isolation_level=None)
        for setting in ("journal_mode=WAL", "synchronous=FULL", "auto_vacuum=INCREMENTAL"):
            self._connection.execute(f"PRAGMA {setting}").fetchall()
        self._connection.execute(
            "CREATE TABLE records (position INTEGER PRIMARY KEY AUTOINCREMENT,"
            " received_at_us INTEGER NOT NULL, kind INTEGER NOT NULL, payload BLOB NOT NULL)"
        )
        self._sizes: list[tuple[int, int]] = []
        self._total = 0

    def commit(self, batch: Frames, now_us: int) -> None:
        kind, payload = encode(batch)
        cursor = self._connection.execute(
            "INSERT INTO records (received_at_us, kind, payload) VALUES (?, ?, ?)", (now_us, kind, payload)
        )
        self._total += len(payload)
        self._sizes.append((cursor.lastrowid or 0, self._total))

    def trim(self) -> None:
        consumed = [at for at, (_, end) in enumerate(self._sizes) if end < self._total - KEPT_BYTES]
        if consumed:
            self._connection.execute(
                "DELETE FROM records WHERE position <= ?", (self._sizes[consumed[-1]][0],)
            )
            del self._sizes[: consumed[-1] + 1]

    def read(self) -> Iterator[int]:
        with closing(sqlite3.connect(f"file:{self._path}?mode=ro", uri=True)) as reader:
            for (payload,) in reader.execute("SELECT payload FROM records ORDER BY position"):
                yield len(payload)

    def close(self) -> None:
        self._connection.close()


def batch_of(frames: int) -> Frames:
    """Give a batch of location reports as the gateway makes it."""
    chance = np.random.default_rng(frames)
    return Frames(
        np.arange(frames, dtype=np.uint64) + (1 << 58),
        np.full(frames, FRAME_BYTES, np.uint16),
        np.ones(frames, np.uint16),
        chance.integers(0, 256, frames * FRAME_BYTES, np.uint8),
    )


def commits(way: Ways, batch: Frames, seconds: float) -> tuple[list[float], float]:
    """Commit for a while: how long each took, and the processor's time for one."""
    times = []
    cpu, end = time.process_time(), time.perf_counter() + seconds
    while (begin := time.perf_counter()) < end:
        way.commit(batch, time.time_ns() // 1000)
        times.append(time.perf_counter() - begin)
        if len(times) % TRIM_EVERY == 0:
            way.trim()
    return times, (time.process_time() - cpu) / len(times)


def run(options: Options) -> list[Measure]:
    rounds = options.rounds or (5 if options.long else 3)
    print(machine())
    with tempfile.TemporaryDirectory(prefix="northwatch-bench-") as folder:
        sync_us = sync_time_us(Path(folder))
        print(f"one write of 8 KiB and its fdatasync: {sync_us:.0f} µs\n")
        rows = []
        for size in SIZES if options.long else SIZES[::2]:
            rows += measured(Path(folder), size, rounds, options.seconds or ROUND_S)
        print(table(HEAD, rows))
        print("\nratios: SQLite's to the segments' time of the processor, and of the clock")
    return []


def measured(folder: Path, size: int, rounds: int, seconds: float) -> list[list[str]]:
    """Measure both ways with batches of one size."""
    batch = batch_of(size)
    ways: list[Ways] = [Segments(folder / f"segments-{size}"), Sqlite(folder / f"sqlite-{size}")]
    times: list[list[float]] = [[], []]
    cpu: list[list[float]] = [[], []]
    rates: list[list[float]] = [[], []]
    for number in range(rounds):
        for way in (0, 1) if number % 2 else (1, 0):
            os.sync()
            taken, cpu_s = commits(ways[way], batch, seconds)
            times[way] += taken
            cpu[way].append(cpu_s)
            rates[way].append(size * len(taken) / sum(taken))
    ratios = [median(theirs / ours for ours, theirs in zip(*cpu, strict=True))]
    ratios.append(median(ours / theirs for ours, theirs in zip(*rates, strict=True)))
    rows = []
    for way, log in enumerate(ways):
        begin = time.perf_counter()
        read_bytes = sum(log.read())
        read_s = time.perf_counter() - begin
        log.close()
        cuts = quantiles(times[way], n=100)
        rows.append(
            [
                str(size),
                log.name,
                f"{cuts[49] * 1e6:.0f}",
                f"{cuts[98] * 1e6:.0f}",
                f"{median(cpu[way]) * 1e6:.0f}",
                f"{median(rates[way]):,.0f}",
                f"{read_bytes / read_s / 1e6:,.0f}",
                *(f"{ratio:.1f}" if way == 0 else "" for ratio in ratios),
            ]
        )
    return rows
