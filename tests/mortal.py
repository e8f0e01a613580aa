"""Processes that are killed (SIGKILL) before a chosen step. Steps are exchanges with the database and system
calls that change files, each with a name that says what it is about to do.

A module of this kind defines what a life is, `serve`s it when it is run, and is asked by a test through
`mortal`. Every life is a fork of a process that has imported everything and has no threads.
"""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias

import psycopg

CALLS = ("open", "pwrite", "fsync", "rename", "replace", "unlink", "utime", "mkdir")
"""The system calls by which files change."""
DIGITS = re.compile(r"\b([0-9a-f]{2}|[0-9a-f]{64}(\.\d+){0,2})\b")
"""Names of blobs, with whose draft they are, and of their directories."""
GONE_S = 300.0

Before: TypeAlias = Callable[[str], None]
Life: TypeAlias = Callable[[Before], object]
Ask: TypeAlias = Callable[[str], list[str]]


class Watched(psycopg.Connection[Any]):
    """Tells of every exchange with the server before it happens."""

    before: Before
    statement = ""
    """The last one."""
    copies = 0
    """Of this transaction."""

    def wait(self, gen: Any, *args: Any, **kwargs: Any) -> Any:
        step = self.statement
        match getattr(gen, "__name__", ""), self._num_transactions:
            case "_enter_gen", 0:
                step, self.copies = f"BEGIN after {step}", 0
            case "_enter_gen", _:
                step = f"SAVEPOINT after {step}"
            case "_exit_gen", 1:
                step = f"COMMIT after {step}"
            case "_exit_gen", _:
                step = f"RELEASE after {step}"
        self.before(step)
        return super().wait(gen, *args, **kwargs)


class Telling(psycopg.Cursor[Any]):
    """Says which statement comes; of COPY also which one of the transaction."""

    def execute(self, query: Any, *args: Any, **kwargs: Any) -> Any:
        self._watched.statement = " ".join(str(query).split()[:3])
        return super().execute(query, *args, **kwargs)

    def copy(self, statement: Any, *args: Any, **kwargs: Any) -> Any:
        self._watched.copies += 1
        self._watched.statement = f"COPY {self._watched.copies} {statement.split()[1].decode()}"
        return super().copy(statement, *args, **kwargs)

    @property
    def _watched(self) -> Watched:
        assert isinstance(self.connection, Watched)
        return self.connection


def connector(before: Before) -> Callable[[str], psycopg.Connection[Any]]:
    """Give a way to connect that tells of every exchange."""
    Watched.before = staticmethod(before)  # type: ignore[method-assign]
    return partial(Watched.connect, autocommit=True, cursor_factory=Telling)


def watch_calls(directory: Path, before: Before) -> None:
    """Tell of every system call that changes a file below `directory` before it happens."""

    def watched(name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def act(*arguments: Any, **named: Any) -> Any:
            path = arguments[0]
            path = Path(f"/proc/self/fd/{path}").readlink() if isinstance(path, int) else Path(path)
            if path.is_relative_to(directory):
                before(f"{name} {DIGITS.sub('*', str(path.relative_to(directory)))}")
            return call(*arguments, **named)

        return act

    for name in CALLS:
        setattr(os, name, watched(name, getattr(os, name)))


def serve(life: Life) -> None:
    """Live once for each line of standard input, which names the step to be killed before, and answer with
    the names of the steps that this life came to, as a JSON array.
    """
    for line in sys.stdin:
        print(json.dumps(_steps(life, line.rstrip("\n"))), flush=True)


def _steps(life: Life, last: str) -> list[str]:
    hear, say = os.pipe()
    pid = os.fork()
    if pid == 0:

        def before(step: str) -> None:
            os.write(say, f"{step}\n".encode())
            if step == last:
                os.kill(os.getpid(), signal.SIGKILL)

        code = 1
        try:
            life(before)
            code = 0
        finally:
            os._exit(code)
    os.close(say)
    with os.fdopen(hear) as heard:
        come_to = heard.read().splitlines()
    if os.waitpid(pid, 0)[1] not in (0, signal.SIGKILL):
        sys.exit("it failed by itself")
    return come_to


@contextmanager
def mortal(module: str, *arguments: object) -> Iterator[Ask]:
    """Run a module that `serve`s. Gives a way to have one life end before a step, which tells the steps that
    it came to: killed before the last one if that is the one asked for, and else it came to its end.
    """
    command = [sys.executable, "-m", module, *map(str, arguments)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        asked, said = process.stdin, process.stdout
        assert asked is not None and said is not None

        def ask(step: str) -> list[str]:
            print(step, file=asked, flush=True)
            come_to: list[str] = json.loads(said.readline())
            return come_to

        yield ask
        asked.close()


def wait_until_alone(connection: psycopg.Connection[Any]) -> None:
    """Wait until the server has noticed that all others are gone: what they asked for is done or undone."""
    others = (
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
        " AND pid <> pg_backend_pid() AND backend_type = 'client backend'"
    )
    deadline = time.monotonic() + GONE_S
    while connection.execute(others).fetchone() != (0,):
        assert time.monotonic() < deadline
        time.sleep(0.002)
