"""Workers that are killed (SIGKILL) before a chosen step, each in a process of its own:
`python -m tests.worker.mortal DSN LOG STATE`.

Takes the name of a step in each line of standard input, lets a new worker begin on what the last one left,
and answers with the names of the steps that it came to, in a JSON array: it was killed before the last one if
that is the one asked for, and else has read the log to its end. Steps are exchanges with the database and
system calls that change files.
"""

import json
import os
import re
import signal
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import psycopg

from tests.worker.stories import finish
from tests.worker.test_worker import QUICK
from worker import run
from worker.run import Worker, WorkerOptions

CALLS = ("open", "pwrite", "fsync", "rename", "replace", "unlink", "utime", "mkdir")
"""The system calls by which a worker changes files."""
PART_BYTES = 300
"""So that a transaction has several parts."""

_DIGITS = re.compile(r"\b([0-9a-f]{2}|[0-9a-f]{64})\b")
"""Names of blobs and of their directories."""

Before = Callable[[str], None]


class Watched(psycopg.Connection[Any]):
    """Tells of every exchange with the server before it happens."""

    before: Before
    doing = ""
    copies = 0
    """Of this transaction."""
    moves = ""
    """Whether this transaction has moved the cursor."""

    def wait(self, gen: Any, *args: Any, **kwargs: Any) -> Any:
        match getattr(gen, "__name__", ""), self._num_transactions:
            case "_enter_gen", 0:
                self.doing, self.copies, self.moves = "BEGIN", 0, ""
            case "_enter_gen", _:
                self.doing = "SAVEPOINT"
            case "_exit_gen", 1:
                self.doing = f"COMMIT{self.moves}"
            case "_exit_gen", _:
                self.doing = "RELEASE"
        self.before(self.doing)
        return super().wait(gen, *args, **kwargs)


class Telling(psycopg.Cursor[Any]):
    """Says which statement comes; of COPY also which one of the transaction."""

    def execute(self, query: Any, *args: Any, **kwargs: Any) -> Any:
        self._watched.doing = " ".join(str(query).split()[:3])
        self._watched.moves = " of facts" if "cursors SET" in str(query) else self._watched.moves
        return super().execute(query, *args, **kwargs)

    def copy(self, statement: Any, *args: Any, **kwargs: Any) -> Any:
        self._watched.copies += 1
        self._watched.doing = f"COPY {self._watched.copies} {statement.split()[1].decode()}"
        return super().copy(statement, *args, **kwargs)

    @property
    def _watched(self) -> Watched:
        assert isinstance(self.connection, Watched)
        return self.connection


def watch_calls(directory: Path, before: Before) -> None:
    """Tell of every system call that changes a file below `directory` before it happens."""

    def watched(name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def act(*arguments: Any, **named: Any) -> Any:
            path = arguments[0]
            path = Path(f"/proc/self/fd/{path}").readlink() if isinstance(path, int) else Path(path)
            if path.is_relative_to(directory):
                before(f"{name} {_DIGITS.sub('*', str(path.relative_to(directory)))}")
            return call(*arguments, **named)

        return act

    for name in CALLS:
        setattr(os, name, watched(name, getattr(os, name)))


def live(dsn: str, log: Path, state: Path, before: Before) -> None:
    """Read the log to its end."""

    Watched.before = staticmethod(before)  # type: ignore[method-assign]
    watch_calls(log.parent, before)
    run.PART_BYTES = PART_BYTES
    options = WorkerOptions(policies=QUICK, snapshot_s=0.0, states_s=0.0)
    worker = Worker(
        options, dsn, log, state, connect=partial(Watched.connect, autocommit=True, cursor_factory=Telling)
    )
    finish(worker)
    worker.close()


def steps(dsn: str, log: Path, state: Path, last: str) -> list[str]:
    """Live in a process of its own that is killed before step `last`: what it came to."""
    hear, say = os.pipe()
    pid = os.fork()
    if pid == 0:

        def before(step: str) -> None:
            os.write(say, f"{step}\n".encode())
            if step == last:
                os.kill(os.getpid(), signal.SIGKILL)

        code = 1
        try:
            live(dsn, log, state, before)
            code = 0
        finally:
            os._exit(code)
    os.close(say)
    with os.fdopen(hear) as heard:
        come_to = heard.read().splitlines()
    if os.waitpid(pid, 0)[1] not in (0, signal.SIGKILL):
        sys.exit("it failed by itself")
    return come_to


def main(dsn: str, log: str, state: str) -> None:
    for line in sys.stdin:
        print(json.dumps(steps(dsn, Path(log), Path(state), line.rstrip("\n"))), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
