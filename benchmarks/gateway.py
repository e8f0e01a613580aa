"""Acknowledged reports a second with latencies: echo, log off, as shipped, in turn within each round.

    python -m benchmarks.gateway [--rounds N] [--seconds S] [--connections N]

One server process on one core, the generator on another. `echo` gives back the same frames and looks at
nothing, so it is what this loop, this kernel and this generator can do at all.
"""

import argparse
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.rounds import cpu_seconds, free_port, machine, offer, server, sync_time_us, table

WINDOWS = (1, 10)
SERVERS = ("echo", "log off", "as shipped")


@contextmanager
def serving(name: str, directory: Path) -> Iterator[tuple[int, Any]]:
    """Run one of `SERVERS`; gives its port and process."""
    port = free_port()
    words = ["benchmarks.server", str(port), str(directory)]
    if name == "echo":
        words = ["benchmarks.echo", str(port)]
    elif name == "log off":
        words.append("--no-log")
    with server(*words) as process:
        yield port, process


def measure(name: str, window: int, connections: int, seconds: float) -> dict[str, Any]:
    """One run against a fresh server."""
    with (
        tempfile.TemporaryDirectory(prefix="northwatch-bench-") as directory,
        serving(name, Path(directory)) as (
            port,
            process,
        ),
    ):
        before = cpu_seconds(process)
        result = offer(
            port, window=window, connections=connections, seconds=seconds, warmup=1, echo=name == "echo"
        )
        result["cpu_us"] = (cpu_seconds(process) - before) * 1e6 / max(result["sent"], 1)
        return result


def main(words: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gateway", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=4)
    parser.add_argument("--connections", type=int, default=1000)
    options = parser.parse_args(words)
    print(f"{machine()}; a durable write of 8 KiB takes {sync_time_us(Path(tempfile.gettempdir())):.0f} µs\n")
    rows = []
    for window in WINDOWS:
        runs: dict[str, list[dict[str, Any]]] = {name: [] for name in SERVERS}
        for _ in range(options.rounds):
            for name in SERVERS:
                runs[name].append(measure(name, window, options.connections, options.seconds))
        for name in SERVERS:
            rows.append(row(name, window, runs))
    head = [
        "server",
        "in flight",
        "reports/s",
        "p50 ms",
        "p99 ms",
        "CPU µs/report",
        "of echo",
        "of log off",
        "lost or wrong",
    ]
    print(table(head, rows))


def row(name: str, window: int, runs: dict[str, list[dict[str, Any]]]) -> list[str]:
    """Medians of one server; ratios are medians of the ratios within each round."""

    def middle(key: str) -> float:
        return median(run[key] for run in runs[name])

    def against(other: str) -> str:
        if SERVERS.index(name) <= SERVERS.index(other):
            return ""
        return f"{median(a['rate'] / b['rate'] for a, b in zip(runs[name], runs[other], strict=True)):.2f}"

    lost = sum(run["unanswered"] + run["wrong"] + run["closed"] for run in runs[name])
    return [
        name,
        str(window),
        f"{middle('rate'):,.0f}",
        f"{middle('p50_us') / 1000:.2f}",
        f"{middle('p99_us') / 1000:.2f}",
        f"{middle('cpu_us'):.1f}",
        against("echo"),
        against("log off"),
        str(lost),
    ]


if __name__ == "__main__":
    main()
