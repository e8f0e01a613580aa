"""Explaining bytes, beside the loop: a few processes that are asked one thing at a time.

What somebody pastes may take seconds of a core, however little it is. In a thread it would take them from the
loop, on which everybody waits; a process can be ended.

    loop ── hex, edition, profile: a line of JSON → python -m monitor.explainer ── a line of JSON → loop
"""

import asyncio
import json
import os
import resource
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import Sequence
from typing import Final

from protocol.explain import edition_named, explain, record
from protocol.profiles import profile_named

PROCESSES: Final = 2
"""A person reads for minutes what one of them worked out in a moment."""
TIME_S: Final = 10.0
START_S: Final = 30.0
"""For a process to load what it needs; a busy machine takes some seconds."""
MAX_ANSWER: Final = 16 << 20
"""Bytes; no browser shows more."""
MEMORY: Final = 1 << 30
"""Bytes of data that a process may have: some 60 times the largest answer."""


class ExplainError(Exception):
    """The bytes were not explained."""


class AsksAlready(ExplainError):
    """This person's last question is not answered yet."""


class TakesTooLong(ExplainError):
    """The answer takes more time, or is larger, than anybody wants."""


class Explainers:
    """The processes. They start with the first question."""

    def __init__(self, time_s: float = TIME_S, *, start_s: float = START_S) -> None:
        self._time_s, self._start_s = time_s, start_s
        self._asking: set[int] = set()
        self._idle: list[Process] = []
        self._free = asyncio.Semaphore(PROCESSES)

    async def explain(
        self, by: int, pieces: Sequence[bytes], *, edition: str | None = None, profile: str | None = None
    ) -> bytes:
        """Give what the bytes mean, as JSON, to the person with this id.

        Raises:
            ExplainError
        """
        if by in self._asking:
            raise AsksAlready
        self._asking.add(by)
        try:
            async with self._free:
                return await self._ask([[piece.hex() for piece in pieces], edition, profile])
        finally:
            self._asking.discard(by)

    async def close(self) -> None:
        """End the processes."""
        for process in self._idle:
            process.kill()
            await process.wait()
        self._idle.clear()

    async def _ask(self, question: object) -> bytes:
        process = await self._one()
        assert process.stdin is not None and process.stdout is not None
        try:
            async with asyncio.timeout(self._time_s):
                process.stdin.write(json.dumps(question).encode() + b"\n")
                answer = await process.stdout.readline()
        except (TimeoutError, ValueError):  # the latter: a line that is longer than the limit
            process.kill()
            raise TakesTooLong(f"More than {self._time_s:.0f} s or {MAX_ANSWER >> 20} MiB.") from None
        except BaseException:
            process.kill()
            raise
        if not answer:
            raise ExplainError("the process that explains ended")
        self._idle.append(process)
        return answer

    async def _one(self) -> Process:
        """Give a process that waits for a question."""
        while self._idle:
            if (process := self._idle.pop()).returncode is None:
                return process
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", __name__, stdin=PIPE, stdout=PIPE, limit=MAX_ANSWER, start_new_session=True
        )
        assert process.stdout is not None
        try:
            async with asyncio.timeout(self._start_s):
                await process.stdout.readline()  # what it has to load is not part of the time for an answer
        except TimeoutError:
            process.kill()
            raise TakesTooLong(f"The process that explains did not start in {self._start_s:.0f} s.") from None
        except BaseException:
            process.kill()
            raise
        return process


def main() -> None:
    """Answer line by line until the one who asks is gone."""
    os.nice(10)
    resource.setrlimit(resource.RLIMIT_DATA, (MEMORY, MEMORY))
    print(flush=True)
    for line in sys.stdin.buffer:
        pieces, edition, profile = json.loads(line)
        found = explain(
            *map(bytes.fromhex, pieces),
            edition=edition_named(edition) if edition else None,
            profile=profile_named(profile),
        )
        print(json.dumps(record(found), ensure_ascii=False), flush=True)


if __name__ == "__main__":
    main()
