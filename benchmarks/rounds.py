"""What every benchmark needs: pinned processes, the disk's price, and the machine's name.

Machines are shared and drift, so servers that are compared run in turn within one round (A B C, A B C, …) and
only medians and ratios of one round are quoted.
"""

import os
import platform
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median

HERE = Path(__file__).parent
BUILD = HERE.parent / "build"
SERVER_CORE, GENERATOR_CORE = 0, 1


def pinned(words: list[str], core: int | None) -> list[str]:
    """Ask for one processor where the machine has that many and `taskset` exists."""
    if core is None or core >= (os.cpu_count() or 1) or shutil.which("taskset") is None:
        return words
    return ["taskset", "-c", str(core), *words]


@contextmanager
def server(
    *words: str, core: int | None = SERVER_CORE, env: dict[str, str] | None = None
) -> Iterator[subprocess.Popen[str]]:
    """Run `python -m …` until the block ends; it says `ready` on standard output when it listens."""
    command = pinned([sys.executable, "-m", *words], core)
    with tempfile.TemporaryFile("w+") as errors:
        process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=errors, text=True, env={**os.environ, **(env or {})}
        )
        try:
            assert process.stdout is not None
            if "ready\n" not in iter(process.stdout.readline, ""):
                errors.seek(0)
                raise RuntimeError(f"{' '.join(words)} did not start:\n{errors.read()[-2000:]}")
            yield process
        finally:
            process.terminate()
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()


def resident_bytes(pid: int) -> int:
    """Memory of a process that is in use now."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def sync_time_us(directory: Path, rounds: int = 200) -> float:
    """The disk's own price for one durable write of 8 KiB, as a median."""
    times = []
    with tempfile.NamedTemporaryFile(dir=directory) as file:
        os.posix_fallocate(file.fileno(), 0, 8192 * rounds)
        os.fsync(file.fileno())
        for i in range(rounds):
            os.pwrite(file.fileno(), b"x" * 8192, 8192 * i)
            begin = time.perf_counter()
            os.fdatasync(file.fileno())
            times.append(time.perf_counter() - begin)
    return median(times) * 1e6


def machine() -> str:
    """One line about where this ran."""
    model = next(
        (
            x.split(":")[1].strip()
            for x in Path("/proc/cpuinfo").read_text().splitlines()
            if "model name" in x
        ),
        "?",
    )
    memory = int(
        next(x.split()[1] for x in Path("/proc/meminfo").read_text().splitlines() if "MemTotal" in x)
    )
    return (
        f"{os.cpu_count()} x {model}, {memory // 1048576} GiB, Linux {platform.release().split('-')[0]}, "
        f"Python {platform.python_version()}"
    )


def table(head: list[str], rows: list[list[str]]) -> str:
    """A Markdown table with aligned columns."""
    widths = [max(len(row[i]) for row in [head, *rows]) for i in range(len(head))]

    def line(row: list[str]) -> str:
        return "| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |"

    rule = "|" + "|".join("-" * (width + 2) for width in widths) + "|"
    return "\n".join([line(head), rule, *(line(row) for row in rows)])


def free_port() -> int:
    """A port on the loopback interface that nobody listens on now."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])
