"""A writer that is killed before any step, or whose disk refuses it, loses nothing that was durable."""

import errno
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from store.log import LogFailed, LogReader, LogWriter
from tests.store.test_log import SMALL, die, read_all, rejected

STEPS = (
    *("open", "posix_fallocate", "pwrite", "fsync", "fdatasync", "ftruncate", "posix_fadvise"),
    *("rename", "unlink", "close"),
)
"""The system calls by which a log changes."""
ROUNDS = 5
RECORDS = 2
BYTES = 800
"""Of a record: a round fills a segment."""


@contextmanager
def before_step(number: int, strike: Callable[[], None]) -> Iterator[None]:
    """Let something happen before the system call with this number, counted from 0."""
    left = iter(range(number))

    def watched(step: Callable[..., Any]) -> Callable[..., Any]:
        def act(*arguments: Any, **named: Any) -> Any:
            if next(left, None) is None:
                strike()
            return step(*arguments, **named)

        return act

    with pytest.MonkeyPatch.context() as patch:
        for name in STEPS:
            patch.setattr(os, name, watched(getattr(os, name)))
        yield


def kill_ourselves() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def refuse() -> None:
    raise OSError(errno.ENOSPC, "the test says that the disk is full")


def live(directory: Path, first: int, tell: Callable[[int], object]) -> None:
    """Open a log, make records durable and tell of each, giving back what is not needed any more; close."""
    writer = LogWriter(directory, limits=SMALL)
    number = first
    for _ in range(ROUNDS):
        for _ in range(RECORDS):
            writer.append(rejected(number, BYTES), 0)
            number += 1
        writer.sync()
        tell(number)
        writer.trim()
    writer.close()


def killed(directory: Path, first: int, step: int) -> tuple[int, bool]:
    """Live in a process of its own that is killed before `step`: how far it told that all is durable, and
    whether it came to that step.
    """
    hear, say = os.pipe()
    pid = os.fork()
    if pid == 0:
        with suppress(BaseException):
            told = os.write
            with before_step(step, kill_ourselves):
                live(directory, first, lambda number: told(say, number.to_bytes(8)))
            os._exit(0)
        os._exit(1)
    os.close(say)
    with os.fdopen(hear, "rb") as heard:
        data = heard.read()
    status = os.waitpid(pid, 0)[1]
    assert status == 0 or os.WTERMSIG(status) == signal.SIGKILL, "it failed by itself"
    return int.from_bytes(data[-8:]) if data else first, status != 0


def assert_kept(directory: Path, durable: int, written: int) -> int:
    """What was durable can be read, whether or not a writer has looked after the log, and nothing else than
    what was written. Gives the number of records.
    """
    before = read_all(LogReader(directory))[0] if (directory / "log.json").exists() else []
    writer = LogWriter(directory, limits=SMALL)
    numbers, end = read_all(LogReader(directory))
    assert numbers == list(range(numbers[0] if numbers else 0, len(numbers) + (numbers[0] if numbers else 0)))
    assert numbers[: len(before)] == before
    after = numbers[-1] + 1 if numbers else 0
    assert durable <= after <= written
    assert end == writer.durable, "a reader gets to the end"
    writer.append(rejected(after), 0)
    writer.close()
    assert read_all(LogReader(directory), end)[0] == [after], "it goes on there"
    assert not list(directory.glob("*.new"))
    return after + 1


def test_killed_before_any_step_what_was_durable_is_read(tmp_path: Path) -> None:
    step, was_killed = 0, True
    while was_killed:
        directory = tmp_path / str(step)
        durable, was_killed = killed(directory, 0, step)
        assert_kept(directory, durable, ROUNDS * RECORDS)
        step += 1
    assert step > 5 * ROUNDS, "every round makes a segment"


@settings(max_examples=40)
@given(st.lists(st.tuples(st.integers(0, 70), st.booleans()), max_size=4))
def test_killed_again_and_again_what_was_durable_is_read(lives: list[tuple[int, bool]]) -> None:
    """With a reader that stays, and now and then allows to delete what it has read."""
    with TemporaryDirectory() as name:
        directory = Path(name)
        LogWriter(directory, limits=SMALL).close()
        reader, cursor, next_number, seen = LogReader(directory), 0, 0, list[int]()
        for step, is_released in lives:
            durable, _ = killed(directory, next_number, step)
            written = next_number + ROUNDS * RECORDS
            for _ in range(2):  # as the killed one left it, and as the next one found it
                numbers, cursor = read_all(reader, cursor)
                seen += numbers
                next_number = max(durable, len(seen))
                LogWriter(directory, limits=SMALL).close()
            assert seen == list(range(len(seen))) and durable <= len(seen) <= written
            if is_released:
                reader.release(cursor)
        assert_kept(directory, next_number, next_number)


def test_refused_any_step_nothing_is_lost_and_nothing_twice(tmp_path: Path) -> None:
    """The disk refuses one step and works again: what was appended becomes durable later, once."""
    for step in range(1000):
        directory = tmp_path / str(step)
        LogWriter(directory, limits=SMALL).close()
        refused = list[int]()

        def strike(step: int = step, refused: list[int] = refused) -> None:
            if not refused:
                refused.append(step)
                refuse()

        writer = LogWriter(directory, limits=SMALL)
        with before_step(step, strike):
            for number in range(ROUNDS * RECORDS):
                writer.append(rejected(number, BYTES), 0)
                with suppress(LogFailed):
                    writer.sync()
        writer.sync()
        assert read_all(LogReader(directory))[0] == list(range(ROUNDS * RECORDS))
        die(writer)
        assert_kept(directory, ROUNDS * RECORDS, ROUNDS * RECORDS)
        if not refused:
            return
    pytest.fail("it never got through")
