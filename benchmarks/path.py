"""The whole path: reports answered, and on into `positions` with alarms and the offline engine.

The processes are those that `northwatch up` starts (gateway, worker, embedded PostgreSQL), and they share the
machine with the generator. Reports are offered on a fixed schedule for a minute, whatever the answers do: one
at a time, and ten at a time. A rate is sustained if the worker is less than two seconds behind when the load
ends and everything offered was answered. Whatever was answered is counted in the database afterwards.

`--rate` measures that rate alone; `--connections` sizes the fleet. With NORTHWATCH_TEST_DATABASE_URL the
facts go to a new database on that server.
"""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import psycopg
from psycopg.conninfo import make_conninfo

from benchmarks.histogram import HEAD
from benchmarks.load import Load, Outcome, fleet
from benchmarks.measures import Measure, Options
from benchmarks.rounds import free_port, machine, sync_time_us, table
from store.embedded import Embedded

CONNECTIONS: Final = 10_000
FLOOR: Final = {1: 50_000, 10: 120_000}
"""Reports a second to be sustained, by how many leave together."""
REACH: Final = {1: 65_000, 10: 160_000}
SECONDS: Final = 60.0
WARM_UP_S: Final = 10.0
"""At the same rate: until the fleet has registered, all at once, and the worker has read that."""
PROBE_S: Final = 15.0
"""So long a rate is tried before a minute is spent on it."""
STEPS: Final = (1.3, 1.15, 1.0)
"""Of the reach; the highest that is sustained counts. Below it the floor is tried, then less."""
LESS: Final = (1.0, 0.8, 0.6, 0.4)
"""Of the floor."""
BEHIND_S: Final = 2.0
ANSWERED: Final = 0.995
"""Of what was offered."""
CATCH_UP_S: Final = 300
START_S: Final = 30


@dataclass(frozen=True, slots=True)
class Installation:
    """A running gateway, worker and database."""

    port: int
    worker_port: int
    dsn: str
    head: Path
    """Where the gateway says how much of its log is durable."""

    def worker_behind_s(self) -> float:
        """Ask the worker how old the newest record is that it has committed; its clock ticks each second."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.worker_port}/healthz", timeout=10) as answer:
            return float(json.load(answer)["lag_s"])

    def catch_up_s(self) -> float:
        """Wait until the worker has read all that was answered; give how long that took.

        Raises:
            TimeoutError: it does not get there.
        """
        target, begin = int.from_bytes(self.head.read_bytes()[:8], "little"), time.monotonic()
        with psycopg.connect(self.dsn, autocommit=True) as connection:
            while time.monotonic() - begin < CATCH_UP_S:
                row = connection.execute("SELECT max(position) FROM cursors").fetchone()
                if row and row[0] is not None and row[0] >= target:
                    return time.monotonic() - begin
                time.sleep(0.05)
        raise TimeoutError(f"the worker is more than {CATCH_UP_S} s behind")

    def rows(self) -> tuple[int, int]:
        """Count positions, and the reports that they stand for."""
        with psycopg.connect(self.dsn) as connection:
            row = connection.execute("SELECT count(*), coalesce(sum(copies), 0) FROM positions").fetchone()
        assert row is not None
        return int(row[0]), int(row[1])


@contextmanager
def installation(directory: Path) -> Iterator[Installation]:
    """Run gateway, worker and an empty database."""
    ports = {name: free_port() for name in ("gateway", "gateway_health", "worker_health")}
    with database(directory) as dsn:
        environment = {
            **os.environ,
            "NORTHWATCH_DATA_DIR": str(directory),
            "NORTHWATCH_DATABASE_URL": dsn,
            "NORTHWATCH_GATEWAY__HOST": "127.0.0.1",
            "NORTHWATCH_GATEWAY__PORT": str(ports["gateway"]),
            "NORTHWATCH_GATEWAY__HEALTH_PORT": str(ports["gateway_health"]),
            "NORTHWATCH_WORKER__HEALTH_PORT": str(ports["worker_health"]),
        }
        northwatch = [sys.executable, "-m", "northwatch"]
        subprocess.run([*northwatch, "migrate"], env=environment, check=True, capture_output=True)
        processes: list[subprocess.Popen[bytes]] = []
        try:
            with (directory / "output").open("wb") as output:
                for part in ("gateway", "worker"):
                    processes.append(
                        subprocess.Popen([*northwatch, part], env=environment, stdout=output, stderr=output)
                    )
            for port in ports.values():
                wait_for(port)
            head = directory / "log" / "0" / "head"
            yield Installation(ports["gateway"], ports["worker_health"], dsn, head)
        finally:
            for process in processes:
                process.send_signal(signal.SIGTERM)
            for process in processes:
                process.wait(60)


@contextmanager
def database(directory: Path) -> Iterator[str]:
    """Start an embedded PostgreSQL, or make a database on the server that the environment names."""
    server = os.environ.get("NORTHWATCH_TEST_DATABASE_URL")
    if server is None:
        embedded = Embedded(directory / "database")
        try:
            yield embedded.start()
        finally:
            embedded.stop()
        return
    name = f"northwatch_bench_{os.getpid()}"
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")
        try:
            yield make_conninfo(server, dbname=name)
        finally:
            connection.execute(f"DROP DATABASE {name} WITH (FORCE)")


def wait_for(port: int) -> None:
    """Wait until somebody listens."""
    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline:
        try:
            socket.create_connection(("127.0.0.1", port)).close()
        except ConnectionRefusedError:
            time.sleep(0.05)
        else:
            return
    raise TimeoutError(f"nobody listens on port {port} after {START_S} s")


@dataclass(frozen=True, slots=True)
class Trial:
    """One rate, offered for a while."""

    load: Load
    outcome: Outcome
    behind_s: float
    """How old the worker's newest facts were when the load ended."""
    caught_up_s: float
    rows: int
    stored: int

    @property
    def is_sustained(self) -> bool:
        """The worker kept up, and so did the answers."""
        enough = self.outcome.rate >= ANSWERED * self.load.rate and not self.outcome.faults
        return enough and self.behind_s < BEHIND_S and self.is_complete

    @property
    def is_complete(self) -> bool:
        """Every answered report is one row, and no row is there that nobody sent."""
        answered, sent = self.outcome.reports_answered, self.outcome.reports_sent
        return answered <= self.rows == self.stored <= sent

    def cells(self) -> list[str]:
        outcome = self.outcome
        return [
            f"{self.load.rate:,.0f}",
            f"{self.load.window}",
            f"{self.load.seconds:.0f}",
            f"{outcome.rate:,.0f}",
            *outcome.latency.cells(),
            f"{self.behind_s:.2f}",
            f"{self.caught_up_s:.1f}",
            f"{self.rows:,}",
            f"{max(outcome.reports_answered - self.rows, 0)}",
            "yes" if self.is_sustained else "no",
        ]


COLUMNS: Final = [
    "offered/s",
    "at a time",
    "for s",
    "answered/s",
    *HEAD,
    "worker behind s",
    "done after s",
    "rows",
    "answered, not stored",
    "sustained",
]


def trial(load: Load) -> Trial:
    """Offer a rate to an empty installation."""
    directory = Path(tempfile.mkdtemp(prefix="northwatch-bench-"))
    try:
        with installation(directory) as running:
            with fleet(replace(load, port=running.port), core=None) as generator:
                time.sleep(load.warmup + load.seconds)
                behind = running.worker_behind_s()
                outcome = generator.outcome()
            caught_up = running.catch_up_s()
            rows, stored = running.rows()
        return Trial(load, outcome, behind, caught_up, rows, stored)
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def highest(window: int, options: Options) -> Iterator[Trial]:
    """Try rates from the highest on, shortly and then in full; the last trial is what can be sustained."""
    seconds = options.seconds or SECONDS
    rates = [step * REACH[window] for step in (STEPS if options.long else STEPS[-1:])]
    for rate in (*rates, *(step * FLOOR[window] for step in LESS)):
        load = Load(
            port=0,
            connections=options.connections or CONNECTIONS,
            window=window,
            rate=options.rate or rate,
            seconds=min(PROBE_S, seconds),
            warmup=WARM_UP_S,
        )
        if options.rate is None:
            yield (probe := trial(load))
            if not probe.is_sustained:
                continue
        yield (full := trial(replace(load, seconds=seconds)))
        if full.is_sustained or options.rate is not None:
            return


def run(options: Options) -> list[Measure]:
    print(f"{machine()}; a durable write of 8 KiB takes {sync_time_us(Path(tempfile.gettempdir())):.0f} µs\n")
    trials: dict[int, list[Trial]] = {}
    for window in REACH:
        trials[window] = list(highest(window, options))
    print(table(COLUMNS, [each.cells() for tried in trials.values() for each in tried]))
    sustained = []
    for window, tried in trials.items():
        last = tried[-1]
        last.outcome.latency.write(options.histograms / f"path-{window}.hgrm")
        sustained.append(last.outcome.rate if last.is_sustained else 0.0)
    name = "whole path into positions, 10,000 connections, worker < 2 s behind: one at a time · ten"
    return [Measure(name, tuple(FLOOR.values()), tuple(REACH.values()), sustained, "reports/s")]
