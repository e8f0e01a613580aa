"""`make fuzz`: every target in turn, guided by coverage; each ends by itself after SECONDS.

Each target runs in a process of its own, whose corpus, crashes and memory samples go to `build/fuzz/`. What
it found in earlier runs is where the next one begins. An input that must not happen is kept there as
`crash-…`; `python -m tests.fuzz --again FILE connection` checks it alone.
"""

import argparse
import importlib
import re
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil

TARGETS = ("connection", "bodies", "platforms")
BUILD = Path("build/fuzz")

COLUMNS = [f"protocol.columns.{path.stem}" for path in Path("protocol/columns").glob("[a-z]*.py")]
"""Not instrumented: atheris leaks the result of a comparison, here an array each time. Columns have next to
no branches anyway; what guides the search is in the scalar reading of the same bytes."""

LONGEST_INPUT = 4096
"""Bytes: two of the longest frames."""
SLOWEST_S = 10
"""An input that takes longer is a finding: they take about a millisecond."""
SETTLED = 0.25
"""Share of the time after which memory is measured from: until then all seeds have run and caches are
full."""
SAMPLE_EVERY_S = 1.0
MOST_GROWTH = 128 << 20
"""Bytes that a process may grow after it has settled. The fuzzer itself keeps its corpus in memory, some tens
of MiB; one lost frame for each input would be hundreds."""


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument(
        "targets", nargs="*", metavar="TARGET", help=f"{', '.join(TARGETS)}; all unless named"
    )
    parser.add_argument("--seconds", type=int, default=600, help="for each target")
    parser.add_argument("--again", type=Path, metavar="FILE", help="check this input only")
    parser.add_argument("--here", action="store_true", help="in this process")
    options = parser.parse_args()
    targets = options.targets or TARGETS
    for unknown in set(targets) - set(TARGETS):
        parser.error(f"there is no target {unknown!r}; there are {', '.join(TARGETS)}")
    if options.again:
        importlib.import_module(f"tests.fuzz.{targets[0]}").check(options.again.read_bytes())
    elif options.here:
        fuzz(targets[0], options.seconds)
    else:
        sys.exit(any([not passes(target, options.seconds) for target in targets]))


def passes(target: str, seconds: int) -> bool:
    """Fuzz a target in another process and print one line about it."""
    folder = BUILD / target
    folder.mkdir(parents=True, exist_ok=True)
    command = (sys.executable, "-m", "tests.fuzz", target, "--here", "--seconds", str(seconds))
    with (folder / "log").open("w") as log:
        status = subprocess.call(command, stdout=log, stderr=log)
    text = (folder / "log").read_text("utf-8", "replace")
    memory = [line.split() for line in (folder / "memory").read_text().splitlines()]
    if status or not memory:
        print(f"{target}: failed, see {folder}/log\n{text[-3000:]}", flush=True)
        return False
    executed = re.findall(r"number_of_executed_units: (\d+)", text)[-1]
    edges, features = re.findall(r"cov: (\d+) ft: (\d+)", text)[-1]
    settled = [int(rss) for at, rss in memory if float(at) >= SETTLED * seconds]
    mib = [round(rss / (1 << 20)) for rss in (settled[0], settled[-1])]
    print(
        f"{target}: {executed} inputs, {edges} edges, {features} features, RSS {mib[0]} to {mib[1]} MiB",
        flush=True,
    )
    return True


def fuzz(target: str, seconds: int) -> None:
    """Fuzz a target in this process, which ends with it."""
    try:
        import atheris
    except ImportError:
        sys.exit("Fuzzing needs atheris: `make fuzz` installs it.")
    with atheris.instrument_imports(include=["protocol", "construct"], exclude=COLUMNS):
        module = importlib.import_module(f"tests.fuzz.{target}")
    folder = BUILD / target
    for name in ("corpus", "seeds"):
        (folder / name).mkdir(exist_ok=True)
    for number, seed in enumerate(module.seeds()):
        (folder / "seeds" / f"{number:04}").write_bytes(seed)
    arguments = (
        sys.argv[0],
        f"-max_total_time={seconds}",
        f"-max_len={LONGEST_INPUT}",
        f"-timeout={SLOWEST_S}",
        "-print_final_stats=1",
        f"-artifact_prefix={folder}/",
        str(folder / "corpus"),
        str(folder / "seeds"),
    )
    atheris.Setup(list(arguments), watched(module.check, folder / "memory", seconds))
    atheris.Fuzz()


def watched(check: Callable[[bytes], None], path: Path, seconds: int) -> Callable[[bytes], None]:
    """Give a check that also notes the memory of this process, and fails when it grows."""
    start = due = time.monotonic()
    process, settled, samples = psutil.Process(), 0, path.open("w", buffering=1)

    def checked(data: bytes) -> None:
        nonlocal due, settled
        check(data)
        now = time.monotonic()
        if now < due:
            return
        due = now + SAMPLE_EVERY_S
        rss = process.memory_info().rss
        samples.write(f"{now - start:.0f} {rss}\n")
        if now - start >= SETTLED * seconds:
            settled = settled or rss
            if rss > settled + MOST_GROWTH:
                raise MemoryError(f"grew from {settled} to {rss} bytes")

    return checked


if __name__ == "__main__":
    main()
