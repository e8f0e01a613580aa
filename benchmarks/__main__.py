"""`make bench`: every measurement in turn, and at the end what was asked beside what came out.

`make bench BENCH="gateway path"` runs some of them, `BENCH=--long` takes its time, and `PEER=name=host:port`
puts another server beside ours. A part is a module here with `run(options) -> list[Measure]`; adding one
means naming it in `PARTS`.
"""

import argparse
import importlib
import os
import signal
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.measures import Measure, Options, summary
from benchmarks.rounds import machine, sync_time_us

PARTS = (
    "codec",
    "gateway",
    "neighbours",
    "connections",
    "refresh",
    "path",
    "ingest",
    "growth",
    "compression",
    "queries",
    "log",
    "peers",
)


def options_from(words: argparse.Namespace) -> Options:
    """Read the options that all parts share."""
    peers = tuple(os.environ.get("PEER", "").split())
    return Options(words.long, words.rounds, words.seconds, words.connections, words.rate, peers)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("parts", nargs="*", metavar="PART", help=", ".join(PARTS))
    parser.add_argument("--only", action="append", default=[], metavar="PART", help="the same")
    parser.add_argument("--long", action="store_true", help="all sizes, more rounds")
    parser.add_argument("--rounds", type=int, help="of every comparison")
    parser.add_argument("--seconds", type=float, help="of every measured run")
    parser.add_argument("--connections", type=int, help="instead of the sizes of the table")
    parser.add_argument("--rate", type=float, help="of `path`, instead of searching for the highest")
    words = parser.parse_args()
    chosen = (*words.parts, *words.only) or PARTS
    if wrong := [part for part in chosen if part not in PARTS]:
        parser.error(f"there is no part {wrong[0]!r}; there are {', '.join(PARTS)}")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that what was started is stopped
    begin, measures = time.monotonic(), list[Measure]()
    for part in chosen:
        print(f"\n## {part}\n", flush=True)
        measures += importlib.import_module(f"benchmarks.{part}").run(options_from(words))
    print("\n## summary\n")
    print(
        f"{machine()}; a durable write of 8 KiB takes {sync_time_us(Path(tempfile.gettempdir())):.0f} µs;",
        end=" ",
    )
    print(f"{(time.monotonic() - begin) / 60:.0f} minutes\n")
    print(summary(measures))


if __name__ == "__main__":
    main()
