"""Connections held: terminals that each report every 30 s, 18,000 on one process and 90,000 over five.

What counts is memory above that of the process before anybody connected, divided by the connections, and how
long an answer takes. A process may open 20,000 files here, the generator as well as the gateway, so each
gateway has a generator of its own. Gateways listen on a port each; latencies of all are one histogram.
"""

import resource
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from statistics import mean
from typing import Final

from benchmarks.histogram import HEAD
from benchmarks.load import Fleet, Load, Outcome, together
from benchmarks.measures import Measure, Options
from benchmarks.rounds import free_port, machine, resident_bytes, server, table

CONNECTIONS: Final = 18_000
EVERY_S: Final = 30
HELD_S: Final = 35.0
"""Every terminal reports at least once."""
PROCESSES: Final = (1, 5)
SPARE: Final = 200
"""Files that gateway or generator have open besides."""
P99_MS: Final = 50
SETTLED_S: Final = 3.0


def held(processes: int, connections: int, seconds: float) -> tuple[list[float], Outcome]:
    """Hold so many connections on each process; give bytes for each by process, and the answers."""
    server_core, generator_core = (0, 1) if processes == 1 else (None, None)
    with ExitStack() as stack:
        place = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="northwatch-bench-")))
        gateways = []
        for number in range(processes):
            port = free_port()
            words = ("benchmarks.server", str(port), str(place / str(number)))
            process = stack.enter_context(server(*words, core=server_core))
            gateways.append((port, process.pid))
        time.sleep(SETTLED_S)
        idle = [resident_bytes(pid) for _, pid in gateways]
        generators: list[Fleet] = []
        for number, (port, pid) in enumerate(gateways):
            load = Load(
                port=port,
                connections=connections,
                rate=connections / EVERY_S,
                seconds=seconds,
                warmup=SETTLED_S,
                first=1 + number * connections,
                server_pid=pid,
            )
            generators.append(Fleet(load, generator_core))
            stack.callback(generators[-1].stop)
        for generator in generators:
            generator.wait_ready()
        time.sleep(seconds - SETTLED_S)
        memory = [resident_bytes(pid) for _, pid in gateways]
        outcome = together(generator.outcome() for generator in generators)
    return [(after - before) / connections for after, before in zip(memory, idle, strict=True)], outcome


def run(options: Options) -> list[Measure]:
    files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    connections = min(options.connections or CONNECTIONS, files - SPARE)
    print(f"{machine()}; {files:,} files for each process\n")
    rows, kib, p99 = [], [], []
    for processes in PROCESSES:
        memory, outcome = held(processes, connections, options.seconds or HELD_S)
        outcome.latency.write(options.histograms / f"connections-{processes}.hgrm")
        kib.append(mean(memory) / 1024)
        p99.append(outcome.latency.ms(0.99))
        rows.append(
            [
                f"{processes * connections:,}",
                str(processes),
                f"{kib[-1]:.2f}",
                f"{outcome.rate:,.0f}",
                f"{outcome.server_cpu_s * processes / outcome.seconds:.1%}",
                *outcome.latency.cells(),
                str(outcome.faults),
            ]
        )
    head = ["connections", "processes", "KiB each", "answered/s", "CPU", *HEAD, "lost or wrong"]
    print(table(head, rows))
    held_name = f"{connections:,} connections on one process · {PROCESSES[-1] * connections:,} over five"
    return [
        Measure(f"{held_name}: resident each", (4, 4), (2.5, 2.5), kib, "KiB", at_most=True),
        Measure("the same: p99 answer", (P99_MS, P99_MS), (P99_MS, P99_MS), p99, "ms", at_most=True),
    ]
