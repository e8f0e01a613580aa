"""The generator from here: compile it, run it, and say what it saw."""

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any

from benchmarks.histogram import Histogram, merged
from benchmarks.rounds import BUILD, GENERATOR_CORE, HERE, pinned

WARM_UP_S = 0.5
GRACE_S = 120
"""Beyond its measured time: connecting tens of thousands of terminals, and waiting for the last answers."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """What one generator offers; see the head of generator.c."""

    port: int
    host: str = "127.0.0.1"
    connections: int = 1000
    window: int = 1
    """In flight on each connection; in an open loop, frames that leave together."""
    rate: float = 0
    """Frames a second of an open loop; 0 is the closed loop."""
    seconds: float = 2
    warmup: float = WARM_UP_S
    mixed: bool = False
    echo: bool = False
    spin: bool = False
    """Do not sleep between two sends: only where the generator has a core of its own."""
    first: int = 1
    """Number of the first terminal."""
    server_pid: int = 0
    """Whose processor time is read at both ends of the measured window."""
    hostile: str = ""
    """deaf, flood or garbage: one terminal that behaves like that."""
    no_registration: bool = False

    def words(self) -> list[str]:
        """Give its options."""
        words: list[str] = []
        for name, value in asdict(self).items():
            if value is True:
                words.append("--" + name.replace("_", "-"))
            elif value:
                words += ["--" + name.replace("_", "-"), str(value)]
        return words


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one or several generators saw."""

    seconds: float
    in_window: int
    """Answers in the measured window; in an open loop, to what was due in it."""
    reports_in_window: int
    """Location reports in the frames that were answered."""
    sent: int
    answered: int
    reports_sent: int
    reports_answered: int
    missing: int
    """Never answered."""
    wrong: int
    """Answers to nothing that was sent."""
    refused: int
    duplicate: int
    overrun: int
    """Offered while the connection had too many unanswered ones: not sent."""
    closed: int
    """Connections that the server closed."""
    escaped: int
    """Frames with something to escape."""
    cpu_s: float
    """Of the generator."""
    server_cpu_s: float
    latency: Histogram

    @property
    def rate(self) -> float:
        """Answered frames a second."""
        return self.in_window / self.seconds

    @property
    def server_us(self) -> float:
        """Processor time of the server for one frame."""
        return self.server_cpu_s * 1e6 / max(self.in_window, 1)

    @property
    def busy(self) -> float:
        """Share of its core that the generator needed: below 1 it could have offered more."""
        return self.cpu_s / self.seconds

    @property
    def faults(self) -> int:
        """What must not happen."""
        return self.missing + self.wrong + self.refused + self.duplicate + self.overrun + self.closed


def _outcome(text: str) -> Outcome:
    seen: dict[str, Any] = json.loads(text)
    latency = Histogram(dict(seen["histogram"]), seen["max_ns"])
    names = [name for name in Outcome.__slots__ if name != "latency"]
    return Outcome(**{name: seen[name] for name in names}, latency=latency)


def together(outcomes: Iterable[Outcome]) -> Outcome:
    """Add up what several generators saw of the same server at the same time."""
    each = list(outcomes)
    sums = {name: sum(getattr(one, name) for one in each) for name in Outcome.__slots__ if name != "latency"}
    sums["seconds"] /= len(each)
    sums["server_cpu_s"] /= len(each)  # all of them read the same process
    return Outcome(**sums, latency=merged(one.latency for one in each))


class Fleet:
    """A generator that runs."""

    def __init__(self, load: Load, core: int | None = GENERATOR_CORE) -> None:
        self._words = [str(program()), *load.words()]
        self._errors = tempfile.TemporaryFile("w+")  # noqa: SIM115 - closed with the process
        self._limit_s = load.seconds + load.warmup + GRACE_S
        self._process = subprocess.Popen(
            pinned(self._words, core), stdout=subprocess.PIPE, stderr=self._errors, text=True
        )

    def wait_ready(self) -> None:
        """Wait until all terminals are through registration and authentication.

        Raises:
            RuntimeError: they do not get through.
        """
        assert self._process.stdout is not None
        if self._process.stdout.readline() != "ready\n":
            self._process.wait()
            raise RuntimeError(self._complaint())

    def outcome(self) -> Outcome:
        """Wait for the end.

        Raises:
            RuntimeError: it failed.
        """
        try:
            text, _ = self._process.communicate(timeout=self._limit_s)
        except subprocess.TimeoutExpired:
            raise RuntimeError(f"{' '.join(self._words)} did not end") from None
        if self._process.returncode:
            raise RuntimeError(self._complaint())
        return _outcome(text.splitlines()[-1])

    def stop(self) -> None:
        """End it, if it did not end by itself."""
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGKILL)
        self._process.communicate()
        self._errors.close()

    def _complaint(self) -> str:
        self._errors.seek(0)
        return f"{' '.join(self._words)}: {self._errors.read().strip()}"


@contextmanager
def fleet(load: Load, core: int | None = GENERATOR_CORE) -> Iterator[Fleet]:
    """Run a generator whose terminals are ready."""
    running = Fleet(load, core)
    try:
        running.wait_ready()
        yield running
    finally:
        running.stop()


def offer(load: Load, core: int | None = GENERATOR_CORE) -> Outcome:
    """Run a generator from begin to end."""
    with fleet(load, core) as running:
        return running.outcome()


def program() -> str:
    """Compile the generator when its source is newer than the program."""
    binary, source = BUILD / "generator", HERE / "generator.c"
    if not binary.exists() or binary.stat().st_mtime < source.stat().st_mtime:
        compiler = shutil.which("cc") or shutil.which("gcc")
        if compiler is None:
            sys.exit(
                "The load generator is written in C and this machine has no cc: apt install gcc libc6-dev"
            )
        BUILD.mkdir(exist_ok=True)
        draft = BUILD / f"generator.{os.getpid()}"
        subprocess.run([compiler, "-O2", "-o", str(draft), str(source)], check=True)
        draft.replace(binary)
    return str(binary)
