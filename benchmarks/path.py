"""The whole path: reports answered, and on into `positions` with alarms and the offline engine.

    python -m benchmarks.path [--seconds S] [--connections N] [--rate REPORTS_PER_S]

The processes are those that `northwatch up` starts (gateway, worker, embedded PostgreSQL), and they share
the machine with the generator. Every answered report is counted in the database afterwards. With `--rate`
reports are offered on a fixed schedule, and what counts is how far the worker is behind at the end; without
it every connection keeps one, then ten reports in flight.
"""

import argparse
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg

from benchmarks.rounds import free_port, machine, offer, sync_time_us, table
from store.embedded import Embedded

WINDOWS = (1, 10)
CATCH_UP_S = 300
START_S = 30


@contextmanager
def installation(directory: Path) -> Iterator[tuple[int, str]]:
    """Run gateway, worker and database; gives the terminals' port and the database's address."""
    database = Embedded(directory / "database")
    dsn = os.environ.get("NORTHWATCH_TEST_DATABASE_URL") or database.start()
    port = free_port()
    environment = {
        **os.environ,
        "NORTHWATCH_DATA_DIR": str(directory),
        "NORTHWATCH_DATABASE_URL": dsn,
        "NORTHWATCH_GATEWAY__HOST": "127.0.0.1",
        "NORTHWATCH_GATEWAY__PORT": str(port),
        "NORTHWATCH_GATEWAY__HEALTH_PORT": str(free_port()),
        "NORTHWATCH_WORKER__HEALTH_PORT": str(free_port()),
    }
    processes: list[subprocess.Popen[bytes]] = []
    try:
        subprocess.run(
            [sys.executable, "-m", "northwatch", "migrate"], env=environment, check=True, capture_output=True
        )
        with (directory / "output").open("wb") as output:
            for part in ("gateway", "worker"):
                command = [sys.executable, "-m", "northwatch", part]
                processes.append(subprocess.Popen(command, env=environment, stdout=output, stderr=output))
        wait_for(directory / "log" / "0" / "head")
        time.sleep(2)
        yield port, dsn
    finally:
        for process in processes:
            process.send_signal(signal.SIGTERM)
            process.wait(30)
        database.stop()


def wait_for(path: Path) -> None:
    deadline = time.monotonic() + START_S
    while not path.exists():
        if time.monotonic() > deadline:
            raise TimeoutError(f"{path} did not appear")
        time.sleep(0.05)


def catch_up(dsn: str, head: Path) -> float:
    """Wait until the worker has read all that was answered; gives how long that took."""
    target, begin = int.from_bytes(head.read_bytes()[:8], "little"), time.monotonic()
    with psycopg.connect(dsn, autocommit=True) as connection:
        while time.monotonic() - begin < CATCH_UP_S:
            row = connection.execute("SELECT max(position) FROM cursors").fetchone()
            if row and row[0] is not None and row[0] >= target:
                return time.monotonic() - begin
            time.sleep(0.05)
    raise TimeoutError(f"the worker is more than {CATCH_UP_S} s behind")


def measure(options: argparse.Namespace, window: int) -> list[str]:
    """One run from an empty database."""
    directory = Path(tempfile.mkdtemp(prefix="northwatch-bench-"))
    try:
        with installation(directory) as (port, dsn):
            load: dict[str, Any] = {
                "connections": options.connections,
                "seconds": options.seconds,
                "warmup": 2,
            }
            load |= {"rate": options.rate} if options.rate else {"window": window}
            result = offer(port, core=None, **load)
            behind = catch_up(dsn, directory / "log" / "0" / "head")
            with psycopg.connect(dsn) as connection:
                row = connection.execute("SELECT coalesce(sum(copies), 0) FROM positions").fetchone()
        stored = row[0] if row else 0
        lost = result["sent"] - result["unanswered"] - stored
        return [
            f"{options.rate:,.0f} offered" if options.rate else str(window),
            f"{result['rate']:,.0f}",
            f"{result['p50_us'] / 1000:.1f}",
            f"{result['p99_us'] / 1000:.1f}",
            f"{behind:.1f}",
            f"{stored:,}",
            str(max(lost, 0)),
        ]
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def main(words: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.path", description=__doc__)
    parser.add_argument("--seconds", type=float, default=20)
    parser.add_argument("--connections", type=int, default=1000)
    parser.add_argument("--rate", type=float, default=0)
    options = parser.parse_args(words)
    print(f"{machine()}; a durable write of 8 KiB takes {sync_time_us(Path(tempfile.gettempdir())):.0f} µs\n")
    windows = WINDOWS[:1] if options.rate else WINDOWS
    head = ["in flight", "answered/s", "p50 ms", "p99 ms", "worker behind s", "rows", "answered, not stored"]
    print(table(head, [measure(options, window) for window in windows]))


if __name__ == "__main__":
    main()
